"""Where control goes inside a method, from each instruction to the next."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from rom_builder.code.operations import can_throw, leaves
from rom_builder.errors import ImageError
from rom_builder.formats.dex_code import Code
from rom_builder.formats.dex_instructions import Instruction

MAX_EDGES = 1_000_000
"""Ways between instructions of one method, exceptions included."""


class Graph:
    """Where control goes from each instruction of a method.

    Attributes:
        at: The instructions by their addresses.
        next: Addresses that control goes to from each address.
        caught: Where an exception of an instruction may land, if it has a handler.
        edges: How many ways there are.

    Raises:
        ImageError: The code is damaged: a branch leaves it or lands inside an instruction; or it
            branches beyond measure.
    """

    def __init__(self, code: Code) -> None:
        self.edges = 0
        self.at = at = {each.address: each for each in code.instructions}
        self.caught: dict[int, tuple[int, ...]] = {}
        addresses = list(at)
        for guarded in code.guarded:
            landing = tuple(dict.fromkeys(address for address, _ in guarded.handlers))
            first = bisect_left(addresses, guarded.start)
            for address in addresses[first : bisect_left(addresses, guarded.end, first)]:
                if can_throw(at[address].name):
                    self.caught[address] = landing
        self.next: dict[int, tuple[int, ...]] = {}
        caught = self.caught
        for each in code.instructions:
            address = each.address
            special = leaves(each.name)
            after = self._after(code, each) if special else (address + each.size,)
            self.next[address] = after
            landing = caught.get(address, ())
            self.edges += len(after) + len(landing)
            if self.edges > MAX_EDGES:
                raise ImageError("a method branches too often", offset=code.offset)
            for to in (*after, *landing) if landing or len(after) != 1 else after:
                if to not in at:
                    place = code.byte_offset(address)
                    raise ImageError(f"control goes to unit {to}, where none is", offset=place)

    @cached_property
    def entries(self) -> frozenset[int]:
        """Where control comes together or begins: the first instructions of basic blocks."""
        found = {0}
        seen: set[int] = set()
        for following in self.next.values():
            for after in following:
                if after in seen or len(following) > 1:
                    found.add(after)
                seen.add(after)
        found.update(*self.caught.values())
        return frozenset(found)

    def _after(self, code: Code, each: Instruction) -> tuple[int, ...]:
        if each.name.startswith(("return", "throw")):
            after: tuple[int, ...] = ()
        elif each.name.startswith("goto"):
            after = (each.target,)
        elif each.name.startswith("if-"):
            after = (each.address + each.size, each.target)
        elif each.name.endswith("-switch"):
            cases = code.targets(each)
            self.edges += len(cases)
            after = (each.address + each.size, *dict.fromkeys(cases))
        else:
            after = (each.address + each.size,)
        # Padding before a table falls through into it, in code that is never reached.
        return tuple(address for address in after if address in self.at or each.name != "nop")
