"""Where control goes inside a method, and what operations do to registers."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property, lru_cache

from rom_builder.code.programs import Body
from rom_builder.errors import ImageError
from rom_builder.formats.dex_code import Code
from rom_builder.formats.dex_instructions import Instruction

_NO_RESULT = re.compile(
    r"if-|return|throw|monitor|[aisp]put|invoke|goto|nop|fill-|filled|packed|sparse|sput|iput|check-cast"
    r"|execute|breakpoint"
)
_CAN_THROW = re.compile(
    r"invoke|execute|throw|new-|check-cast|instance-of|monitor|[ais]get|[ais]put|array-length|fill"
    r"|const-class|const-string|div-int|rem-int|div-long|rem-long"
)


MAX_EDGES = 1_000_000
"""Ways between instructions of one method, exceptions included."""
MAX_HELD = 1_000_000
"""Values that are held at all instructions of one method together."""


@lru_cache(maxsize=512)
def leaves(name: str) -> bool:
    """Say whether control may go elsewhere than to the next instruction; nop may be padding."""
    return name.startswith(("return", "throw", "goto", "if-", "nop")) or name.endswith("-switch")


@lru_cache(maxsize=512)
def defines(name: str) -> bool:
    """Say whether an operation writes its first register."""
    return not _NO_RESULT.match(name)


@lru_cache(maxsize=512)
def is_wide(name: str) -> bool:
    """Say whether an operation writes two registers."""
    head = name.removesuffix("/2addr")
    return "-wide" in head or (
        head.endswith(("-long", "-double")) and not head.startswith(("cmp", "cmpl", "cmpg"))
    )


@lru_cache(maxsize=512)
def can_throw(name: str) -> bool:
    """Say whether an operation may go to an exception handler."""
    return bool(_CAN_THROW.match(name))


class Graph:
    """Where control goes from each instruction of a method.

    Attributes:
        edges: How many ways there are.
        caught: Where an exception of an instruction may land, if it has a handler.

    Raises:
        ImageError: The code is damaged: a branch leaves it or lands inside an instruction; or it
            branches beyond measure.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self.edges = 0
        self.at = {each.address: each for each in code.instructions}
        self.caught: dict[int, tuple[int, ...]] = {}
        addresses = list(self.at)
        for guarded in code.guarded:
            landing = tuple(dict.fromkeys(address for address, _ in guarded.handlers))
            first = bisect_left(addresses, guarded.start)
            for address in addresses[first : bisect_left(addresses, guarded.end, first)]:
                if can_throw(self.at[address].name):
                    self.caught[address] = landing
        self.next: dict[int, tuple[int, ...]] = {}
        at = self.at
        for each in code.instructions:
            special = leaves(each.name)
            after = self._after(each) if special else (each.address + each.size,)
            self.next[each.address] = after
            landing = self.caught.get(each.address, ())
            self.edges += len(after) + len(landing)
            if self.edges > MAX_EDGES:
                raise ImageError("a method branches too often", offset=code.offset)
            for address in (*after, *landing) if landing or len(after) != 1 else after:
                if address not in at:
                    place = code.byte_offset(each.address)
                    raise ImageError(f"control goes to unit {address}, where none is", offset=place)

    @cached_property
    def entries(self) -> frozenset[int]:
        """Where control comes together or begins: the first instructions of basic blocks."""
        found = {0}
        seen: set[int] = set()
        for address, following in self.next.items():
            for after in following:
                if after in seen or len(following) > 1:
                    found.add(after)
                seen.add(after)
            found.update(self.handlers(address))
        return frozenset(found)

    def handlers(self, address: int) -> tuple[int, ...]:
        """Return where an exception of an instruction may land."""
        return self.caught.get(address, ())

    def _after(self, each: Instruction) -> tuple[int, ...]:
        if each.name.startswith(("return", "throw")):
            after: tuple[int, ...] = ()
        elif each.name.startswith("goto"):
            after = (each.target,)
        elif each.name.startswith("if-"):
            after = (each.address + each.size, each.target)
        elif each.name.endswith("-switch"):
            cases = self.code.targets(each)
            self.edges += len(cases)
            after = (each.address + each.size, *dict.fromkeys(cases))
        else:
            after = (each.address + each.size,)
        # Padding before a table falls through into it, in code that is never reached.
        return tuple(address for address in after if address in self.at or each.name != "nop")


def graph_of(body: Body) -> Graph:
    """Return where control goes in a method, and count that work.

    Raises:
        ImageError: The code is damaged or too complex.
    """
    body.unit.spend(len(body.code.units))
    graph = _graph(body.code)
    body.unit.spend(graph.edges)
    return graph


@lru_cache(maxsize=256)
def _graph(code: Code) -> Graph:
    """The methods that one finding leads through are looked at by several readers in turn."""
    return Graph(code)


def constants_at(body: Body, address: int) -> dict[int, int]:
    """Return the registers that hold one and the same constant on every path to an address.

    Raises:
        ImageError: The code is damaged.
    """
    graph = graph_of(body)
    held: dict[int, dict[int, int]] = {0: {}}
    queue = [0] if graph.at else []
    there: dict[int, int] = {}
    size = 0
    while queue:
        entry = queue.pop()
        for at, after, then in _constants_through(graph, entry, dict(held[entry])):
            if at == address:
                there = dict(then)
            body.unit.spend(1 + len(after) * len(then))
            for landing in after:
                known = held.get(landing)
                merged = dict(then) if known is None else dict(known.items() & then.items())
                if known != merged:
                    size += len(merged)
                    if size > MAX_HELD:
                        place = body.code.offset
                        raise ImageError("a method holds too many values", offset=place)
                    held[landing] = merged
                    queue.append(landing)
    return there


def _constants_through(
    graph: Graph, at: int, known: dict[int, int]
) -> Iterator[tuple[int, tuple[int, ...], dict[int, int]]]:
    """Yield each instruction of a block, the blocks it may go to, and what is known there.

    What is known before an instruction comes with its address, what is known after it with -1.
    """
    while True:
        yield at, (), known
        each = graph.at[at]
        if each.registers and defines(each.name):
            _assign(each, known)
        after = graph.next[at]
        ends = len(after) != 1 or after[0] in graph.entries
        leads = (*after, *graph.caught.get(at, ())) if ends else graph.caught.get(at, ())
        if leads:
            yield -1, leads, known
        if ends:
            return
        at = after[0]


def _assign(each: Instruction, known: dict[int, int]) -> None:
    """Note what an instruction writes to its first register, and forget what stood there."""
    value: int | None = None
    if each.name.startswith("const") and "-" not in each.name.partition("/")[0]:
        value = each.operand
    elif each.name.startswith("move") and len(each.registers) == 2:
        value = known.get(each.registers[1])
    known.pop(each.registers[0], None)
    if is_wide(each.name):
        known.pop(each.registers[0] + 1, None)
    if value is not None:
        known[each.registers[0]] = value
