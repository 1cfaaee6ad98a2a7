"""Values that registers hold on every way to a place: constants alone."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.code.graph import Graph
from rom_builder.code.operations import defines, is_wide
from rom_builder.code.programs import Body
from rom_builder.errors import ImageError
from rom_builder.formats.dex_instructions import Instruction

MAX_HELD = 1_000_000
"""Values that are held at all instructions of one method together."""


def constants_at(body: Body, address: int) -> dict[int, int]:
    """Return the registers that hold one and the same constant on every path to an address.

    Raises:
        ImageError: The code is damaged.
    """
    graph = body.graph()
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
