"""Paths through one method: which places can be reached without the user's consent.

The method is walked along every branch and every exception handler, with what is known of its
registers: constants, results of gates, and whether a field that was just tested is null. Where a
branch is taken because a gate said yes, the path ends: what lies behind it has consent. What the
walk still reaches, it reaches without. That says more than dominance: two tests of one condition,
or a result that passes through a local variable, are followed.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rom_builder.code.flow import MAX_HELD, defines, graph_of, is_wide
from rom_builder.code.programs import Body
from rom_builder.errors import ImageError
from rom_builder.formats.dex_instructions import Instruction

MAX_STATES = 20_000
"""States of one walk (place and what is known there); beyond, the method counts as too complex."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a gate: true means yes, unless negated.

    Attributes:
        gate: Which gate of the profile.
        stored: It was kept in a field, and may have changed since.
    """

    gate: int
    negated: bool = False
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant that a gate reads by."""

    gate: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The value of a field: the register that holds its object (-1 for static), and its index."""

    holder: int
    field: int


class _NonZero:
    def __repr__(self) -> str:
        return "nonzero"


NONZERO = _NonZero()
"""A value known to be true or not null."""

Value = int | Answer | Text | Loaded | _NonZero
Known = dict[int | tuple[int, int], Value]
"""What is known: of registers, by number, and of fields, by holder and index."""
RESULT = -2
"""Stands for the result of the last call."""

Judge = Callable[[Instruction, Mapping[int, Value]], Value | None]
"""Says what a call returns, given what is known of its arguments; None if nothing."""


@dataclass
class Walk:
    """What a walk found.

    Attributes:
        reached: The targets that were reached without consent.
        asked: Gates whose positive answer ended a path, with the address of the test.
        relied_on: The same for answers that were kept in a field.
        stores: Indexes of the fields that a gate's answer is kept in.
        returns: What is known of the values returned on paths without consent.
        complete: The whole method was walked.
        states: How many places, told apart by what is known there, were seen.
    """

    reached: set[int] = dataclasses.field(default_factory=set)
    asked: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    relied_on: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    stores: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    returns: set[Value | None] = dataclasses.field(default_factory=set)
    complete: bool = True
    states: int = 0


NOTHING, CALL, STORE, TAKE, MOVE, CONSTANT, LOAD, NEW, FLIP, OTHER, BRANCH, SWITCH, RETURN = range(
    13
)
"""What an operation does to what is known; a plain number, as it is asked for at every step."""

_ACTIONS = (
    (re.compile(r"if-"), BRANCH),
    (re.compile(r"(packed|sparse)-switch"), SWITCH),
    (re.compile(r"return"), RETURN),
    (re.compile(r"invoke|execute"), CALL),
    (re.compile(r"iput|sput|monitor|aput"), STORE),
    (re.compile(r"goto|nop|throw|breakpoint|fill|check-cast"), NOTHING),
    (re.compile(r"move-result"), TAKE),
    (re.compile(r"move(?!-exception)"), MOVE),
    (re.compile(r"const(?!.*wide)"), CONSTANT),
    (re.compile(r"iget|sget"), LOAD),
    (re.compile(r"new-"), NEW),
    (re.compile(r"xor-int/lit8"), FLIP),
)


@lru_cache(maxsize=512)
def action_of(name: str) -> int:
    """Return what the operation of that name does."""
    return next((action for begins, action in _ACTIONS if begins.match(name)), OTHER)


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that always follow one another.

    Attributes:
        entry: Address of the first.
        all: Every one, with its exception handlers.
        steps: Those that change what is known or may throw, with their exception handlers.
        after: Where control goes from the last.
    """

    entry: int
    all: list[tuple[Instruction, tuple[int, ...]]]
    steps: list[tuple[Instruction, int, tuple[int, ...]]]
    after: tuple[int, ...]
    last: Instruction
    addresses: frozenset[int]


COMPARE = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt,
    "ge": operator.ge, "gt": operator.gt, "le": operator.le,
}  # fmt: skip


class Walker:
    """Walks one method.

    Args:
        body: The method.
        judge: What calls return.
        string: Which gate reads by a string, by its index; None for all others.
        field: Which gate's answer a field keeps, by its index; None for all others.

    Raises:
        ImageError: The code is damaged.
    """

    def __init__(
        self,
        body: Body,
        judge: Judge = lambda *_: None,
        string: Callable[[int], int | None] = lambda _: None,
        field: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        self.code = body.code
        self.graph = graph_of(body)
        self._spend = body.unit.spend
        self._judge = judge
        self._string = string
        self._field = field
        self._relevant = self._find_relevant()
        loads = [
            (each.registers[-1] if each.name.startswith("iget") else -1, each.operand)
            for each in body.code.instructions
            if each.name.startswith(("iget", "sget"))
        ]
        self._reloaded = {load for load, times in Counter(loads).items() if times > 1}
        self._blocks: dict[int, Block] = {}
        self._live = self._find_live()

    def walk(
        self,
        targets: Iterable[int],
        limit: int = MAX_STATES,
        given: Mapping[int, Value] | None = None,
    ) -> Walk:
        """Walk from the start of the method and see which of the targets are reached.

        Args:
            targets: Addresses.
            limit: States after which the walk is given up.
            given: What is known of the parameters, by register.
        """
        found = Walk()
        if not self.code.instructions:
            return found
        wanted = set(targets)
        start: tuple[int, frozenset[tuple[object, Value]]] = (0, frozenset((given or {}).items()))
        seen = {start}
        queue = [start]
        held = 0
        for state in queue:
            address, facts = state
            held += len(facts)
            if len(queue) > limit or held > MAX_HELD:
                found.complete = False
                break
            block = self._block(address)
            self._spend(len(facts) + len(block.addresses))
            found.reached |= wanted & block.addresses
            for after, then in self._through(block, dict(facts), found):  # type: ignore[arg-type]
                live = self._live[after]
                kept = frozenset(
                    [
                        (name, value)
                        for name, value in then.items()
                        if name.__class__ is tuple or name == RESULT or live >> name & 1  # type: ignore[operator]
                    ]
                )
                following = (after, kept)
                if following not in seen:
                    seen.add(following)
                    queue.append(following)
        found.states = len(queue)
        return found

    def _block(self, entry: int) -> Block:
        """Return the instructions that always follow one another from an entry on."""
        known = self._blocks.get(entry)
        if known is not None:
            return known
        steps: list[tuple[Instruction, int, tuple[int, ...]]] = []
        every: list[tuple[Instruction, tuple[int, ...]]] = []
        addresses: list[int] = []
        graph, entries = self.graph, self.graph.entries
        after: tuple[int, ...] = (entry,)
        while len(after) == 1 and (not addresses or after[0] not in entries):
            each = graph.at[after[0]]
            addresses.append(each.address)
            every.append((each, graph.caught.get(each.address, ())))
            action, handlers = action_of(each.name), graph.caught.get(each.address, ())
            if action or handlers:
                steps.append((each, action, handlers))
            after = graph.next[each.address]
        block = self._blocks[entry] = Block(entry, every, steps, after, each, frozenset(addresses))
        return block

    def _note_return(self, each: Instruction, known: Known, found: Walk) -> None:
        if each.registers:
            value = known.get(each.registers[0])
            found.returns.add(None if isinstance(value, Loaded) else value)

    def _through(self, block: Block, known: Known, found: Walk) -> Iterator[tuple[int, Known]]:
        """Yield where control goes from a block and what is known there."""
        result, due = known.pop(RESULT, None), block.entry
        caught: tuple[int, ...] = ()
        changed, fields = True, bool(self._reloaded)
        for each, action, handlers in block.steps:
            if action == BRANCH:
                yield from self._branch(each, known, found)
                return
            if handlers and (changed or handlers != caught):
                held: Known = {n: value for n, value in known.items() if isinstance(n, int)}
                caught, changed = handlers, False
                self._spend(len(held))
                yield from ((landing, held) for landing in handlers)
            if action == CALL:
                registers = each.registers
                result = self._judge(each, {r: known[r] for r in registers if r in known})
                due = each.address + each.size
                if fields:
                    self._forget_fields(known)
                    changed = True
            elif action == SWITCH:
                way = self._switch(each, known, found)
                if way is not None:
                    yield way, known
                    return
            elif action == RETURN:
                self._note_return(each, known, found)
            elif action == STORE:
                self._store(each, known, found)
                changed = changed or fields
            elif action:
                taken = result if each.address == due else None
                value = self._value(each, action, known, taken)
                if value is not None or fields or each.registers[0] in known:
                    self._write(known, each.registers[0], value)
                    changed = True
                if is_wide(each.name):
                    self._write(known, each.registers[0] + 1, None)
                    changed = True
        if result is not None and due == block.last.address + block.last.size:
            known[RESULT] = result
        yield from ((after, known) for after in block.after)

    def _switch(self, each: Instruction, known: Known, found: Walk) -> int | None:
        """Return where a switch goes, None if that is not known."""
        value = known.get(each.registers[0])
        if isinstance(value, Answer):
            stops = found.relied_on if value.stored else found.asked
            stops.add((value.gate, each.address))
            value = 1 if value.negated else 0  # what is left is the path of a no
        if isinstance(value, int):
            return dict(self.code.cases(each)).get(value, each.address + each.size)
        return None

    def _store(self, each: Instruction, known: Known, found: Walk) -> None:
        if each.name in ("iput-boolean", "sput-boolean"):
            value = known.get(each.registers[0])
            if isinstance(value, Answer):
                found.stores.add((each.operand, value.gate))
        self._forget_fields(known, None if each.name.startswith("monitor") else each.operand)

    def _value(
        self, each: Instruction, action: int, known: Known, result: Value | None
    ) -> Value | None:
        """Return what is known of the value that an instruction writes."""
        if action == OTHER:
            return None
        registers = each.registers
        if action == TAKE:
            return result
        if action == MOVE:
            return known.get(registers[1])
        if action == CONSTANT:
            return self._constant(each)
        if action == LOAD:
            gate = self._field(each.operand) if each.name.endswith("-boolean") else None
            if gate is not None:
                return Answer(gate, stored=True)
            load = (registers[1] if each.name.startswith("iget") else -1, each.operand)
            if load in self._reloaded:
                return known.get(load) or Loaded(*load)
        elif action == NEW:
            return NONZERO
        elif action == FLIP and each.operand == 1:
            source = known.get(registers[1])
            if isinstance(source, Answer):
                return Answer(source.gate, not source.negated, source.stored)
            if isinstance(source, int):
                return source ^ 1
        return None

    def _constant(self, each: Instruction) -> Value | None:
        if each.name.startswith("const-string"):
            gate = self._string(each.operand)
            return NONZERO if gate is None else Text(gate)
        return NONZERO if each.name.startswith("const-") else each.operand

    def _write(self, known: Known, register: int, value: Value | None) -> None:
        known.pop(register, None)
        for name, held in list(known.items()) if self._reloaded else ():
            if (isinstance(name, tuple) and name[0] == register) or (
                isinstance(held, Loaded) and held.holder == register
            ):
                del known[name]
        keep = register in self._relevant or isinstance(value, Text)
        if (
            value is not None
            and keep
            and not (isinstance(value, Loaded) and value.holder == register)
        ):
            known[register] = value

    def _forget_fields(self, known: Known, operand: int | None = None) -> None:
        if not self._reloaded:
            return
        gone = [
            name
            for name, held in known.items()
            if (name.__class__ is tuple or held.__class__ is Loaded)
            and operand in (None, name[1] if isinstance(name, tuple) else held.field)  # type: ignore[union-attr]
        ]
        for name in gone:
            del known[name]

    def _branch(self, each: Instruction, known: Known, found: Walk) -> Iterator[tuple[int, Known]]:
        test, zero = each.name[3:5], each.name.endswith("z")
        left = known.get(each.registers[0])
        right = 0 if zero else known.get(each.registers[1])
        if isinstance(right, Answer) and isinstance(left, int):
            left, right = right, left
        through, target = each.address + each.size, each.target
        if isinstance(left, Answer) and right in (0, 1) and test in ("eq", "ne"):
            says_yes = ((right == 1) == (test == "eq")) != left.negated
            stops = found.relied_on if left.stored else found.asked
            stops.add((left.gate, each.address))
            refused = through if says_yes else target
            yield refused, {**known, each.registers[0]: 1 if left.negated else 0}
            return
        if isinstance(left, int) and isinstance(right, int):
            taken = COMPARE[test](left, right)
            yield (target if taken else through), known
            return
        if isinstance(left, _NonZero) and right == 0 and test in ("eq", "ne"):
            yield (target if test == "ne" else through), known
            return
        for after, taken in ((through, False), (target, True)):
            then = known
            if right == 0 and test in ("eq", "ne"):
                is_zero = (test == "eq") == taken
                then = self._learn(known, each.registers[0], 0 if is_zero else NONZERO)
            yield after, then

    def _learn(self, known: Known, register: int, value: Value) -> Known:
        """Return what is known once a register was tested, and the field it was loaded from."""
        then = dict(known)
        held = known.get(register)
        then[register] = value
        if isinstance(held, Loaded):
            then[held.holder, held.field] = value
        return then

    def _find_relevant(self) -> set[int]:
        """Return the registers whose value can decide a branch, is returned or kept."""
        relevant: set[int] = set()
        moves: list[tuple[int, int]] = []
        for each in self.code.instructions:
            if each.name.startswith(
                ("if-", "return", "iput-boolean", "sput-boolean", "packed-", "sparse-")
            ):
                relevant.update(each.registers)
            elif (
                each.name.startswith("move") and len(each.registers) == 2
            ) or each.name == "xor-int/lit8":
                moves.append((each.registers[0], each.registers[1]))
        changed = True
        while changed:
            new = {source for target, source in moves if target in relevant} - relevant
            relevant |= new
            changed = bool(new)
        return relevant

    def _find_live(self) -> dict[int, int]:
        """Return for each block the registers whose value is still used, as bits of a number."""
        flows = {entry: self._flow(self._block(entry)) for entry in sorted(self.graph.entries)}
        before: dict[int, list[int]] = {entry: [] for entry in flows}
        for entry, (_, _, following, landings) in flows.items():
            for after in (*following, *landings):
                before[after].append(entry)
        live = dict.fromkeys(flows, 0)
        queue = list(reversed(flows))
        held = 0
        for entry in queue:
            used, written, following, landings = flows[entry]
            new = 0
            for after in following:
                new |= live[after]
            new = used | new & ~written
            for landing, always in landings.items():
                new |= live[landing] & ~always
            words = 1 + new.bit_length() // 64
            self._spend(words * (1 + len(landings)))
            if new != live[entry]:
                held += words
                if held > MAX_HELD:
                    raise ImageError("a method holds too many values", offset=self.code.offset)
                live[entry] = new
                queue += before[entry]
        return live

    def _flow(self, block: Block) -> tuple[int, int, tuple[int, ...], dict[int, int]]:
        """Return what a block reads before it writes it, what it writes, and where it leads.

        Last, for each exception handler: what is written before any exception that goes there.
        """
        used = written = 0
        landings: dict[int, int] = {}
        for each, handlers in block.all:
            registers = each.registers
            writes = bool(registers) and defines(each.name)
            for register in registers[1:] if writes else registers:
                used |= 1 << register & ~written
            for landing in handlers:
                landings[landing] = landings.get(landing, -1) & written
            if writes:
                written |= 1 << registers[0]
        self._spend(len(block.all) * (1 + (used | written).bit_length() // 64))
        return used, written, block.after, landings
