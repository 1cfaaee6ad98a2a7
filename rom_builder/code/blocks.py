"""A method made ready for walks: its basic blocks, and which registers matter where.

Nothing here depends on what is asked; one method is walked many times.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import lru_cache
from typing import NamedTuple

from rom_builder.code.flow import MAX_HELD
from rom_builder.code.known import NONZERO, Loaded, Value
from rom_builder.code.operations import defines, is_wide
from rom_builder.code.programs import Body
from rom_builder.errors import ImageError
from rom_builder.formats.dex_instructions import Instruction

(
    NOTHING, CALL, STORE, TAKE, MOVE, CONSTANT, STRING, LOAD, FLIP, OTHER, BRANCH, SWITCH, RETURN,
) = range(13)  # fmt: skip
"""What an operation does to what is known; a plain number, as it is asked for at every step."""

_ACTIONS = (
    (re.compile(r"if-"), BRANCH),
    (re.compile(r"(packed|sparse)-switch"), SWITCH),
    (re.compile(r"return"), RETURN),
    (re.compile(r"invoke|execute"), CALL),
    (re.compile(r"iput|sput|monitor"), STORE),
    (re.compile(r"goto|nop|throw|breakpoint|fill|check-cast|aput"), NOTHING),
    (re.compile(r"move-result"), TAKE),
    (re.compile(r"move(?!-exception)"), MOVE),
    (re.compile(r"const-string"), STRING),
    (re.compile(r"const(?!.*wide)|new-"), CONSTANT),
    (re.compile(r"(iget|sget)(?!.*-quick)"), LOAD),
    (re.compile(r"xor-int/lit8"), FLIP),
)


@lru_cache(maxsize=512)
def action_of(name: str) -> int:
    """Return what the operation of that name does."""
    return next((action for begins, action in _ACTIONS if begins.match(name)), OTHER)


class Step(NamedTuple):
    """An instruction that changes what is known, or may throw.

    Attributes:
        handlers: Where its exceptions may land.
        register: What it writes, -1 if nothing.
        matters: A value there can decide a branch, is returned or kept.
        wide: It writes the next register as well.
        value: Of a constant, the constant; of a field that is loaded again, what it is known as.
    """

    action: int
    instruction: Instruction
    handlers: tuple[int, ...]
    register: int
    matters: bool
    wide: bool
    value: Value | None


class Block(NamedTuple):
    """Instructions that always follow one another.

    Attributes:
        steps: Those of them that change what is known, or may throw.
        after: Where control goes from the last.
        end: Address after the last.
        size: How many there are.
        used: The registers that are read before they are written, as bits.
        written: The registers that are written, as bits.
        landings: Each exception handler, with what is written before any exception that goes there.
    """

    steps: list[Step]
    after: tuple[int, ...]
    end: int
    size: int
    used: int
    written: int
    landings: dict[int, int]


class Blocks:
    """The basic blocks of one method.

    Attributes:
        by_entry: The blocks by the address of their first instruction.
        entry_of: That address, by the address of every instruction that control can get to.
        live: For each block, the registers whose value is still used there, as bits of a number.
        reloads: Some field is loaded more than once.

    Raises:
        ImageError: The code is damaged or too complex.
    """

    def __init__(self, body: Body) -> None:
        self.code = body.code
        self.spend = body.unit.spend
        self._graph = body.graph()
        self._relevant = _relevant(self.code.instructions)
        self._reloaded = _reloaded(self.code.instructions)
        self.reloads = bool(self._reloaded)
        entries = sorted(self._graph.entries) if self.code.instructions else ()
        self.entry_of: dict[int, int] = {}
        self.by_entry = {entry: self._block(entry) for entry in entries}
        self.live = self._live()

    def _block(self, entry: int) -> Block:
        graph, entries = self._graph, self._graph.entries
        steps: list[Step] = []
        size = 0
        landings: dict[int, int] = {}
        used = written = 0
        after: tuple[int, ...] = (entry,)
        while len(after) == 1 and (not size or after[0] not in entries):
            address = after[0]
            each, handlers = graph.at[address], graph.caught.get(address, ())
            self.entry_of[address] = entry
            size += 1
            registers = each.registers
            writes = bool(registers) and defines(each.name)
            for register in registers[1:] if writes else registers:
                used |= 1 << register & ~written
            for landing in handlers:
                landings[landing] = landings.get(landing, -1) & written
            if writes:
                written |= 1 << registers[0]
            action = action_of(each.name)
            if action or handlers:
                steps.append(self._step(action, each, handlers, registers[0] if writes else -1))
            after = graph.next[address]
        self.spend(size * (1 + (used | written).bit_length() // 64))
        end = each.address + each.size
        return Block(steps, after, end, size, used, written, landings)

    def _step(
        self, action: int, each: Instruction, handlers: tuple[int, ...], register: int
    ) -> Step:
        value: Value | None = None
        if action == CONSTANT:  # a number, or a class or object, which is not null
            value = NONZERO if "-" in each.name else each.operand
        elif action == LOAD and (load := _load(each)) in self._reloaded:
            value = load
        matters = register in self._relevant
        return Step(action, each, handlers, register, matters, is_wide(each.name), value)

    def _live(self) -> dict[int, int]:
        blocks = self.by_entry
        before: dict[int, list[int]] = {entry: [] for entry in blocks}
        for entry, block in blocks.items():
            for after in (*block.after, *block.landings):
                before[after].append(entry)
        live = dict.fromkeys(blocks, 0)
        queue = list(reversed(blocks))
        held = 0
        for entry in queue:
            block = blocks[entry]
            new = 0
            for after in block.after:
                new |= live[after]
            new = block.used | new & ~block.written
            for landing, always in block.landings.items():
                new |= live[landing] & ~always
            words = 1 + new.bit_length() // 64
            self.spend(words * (1 + len(block.landings)))
            if new != live[entry]:
                held += words
                if held > MAX_HELD:
                    raise ImageError("a method holds too many values", offset=self.code.offset)
                live[entry] = new
                queue += before[entry]
        return live


def _load(each: Instruction) -> Loaded:
    """Return which field an instruction loads, and from the object in which register."""
    return Loaded(each.registers[-1] if each.name.startswith("iget") else -1, each.operand)


def _reloaded(instructions: list[Instruction]) -> set[Loaded]:
    """Return the fields that are loaded more than once."""
    loads = Counter(_load(each) for each in instructions if action_of(each.name) == LOAD)
    return {load for load, times in loads.items() if times > 1}


def _relevant(instructions: list[Instruction]) -> set[int]:
    """Return the registers whose value can decide a branch, is returned or kept."""
    relevant: set[int] = set()
    sources: dict[int, list[int]] = defaultdict(list)
    for each in instructions:
        if each.name.startswith(
            ("if-", "return", "iput-boolean", "sput-boolean", "packed-", "sparse-")
        ):
            relevant.update(each.registers)
        elif action_of(each.name) in (MOVE, FLIP):
            sources[each.registers[0]].append(each.registers[1])
    queue = list(relevant)
    while queue:
        new = set(sources.pop(queue.pop(), ())) - relevant
        relevant |= new
        queue += new
    return relevant
