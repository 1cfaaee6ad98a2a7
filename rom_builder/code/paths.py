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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

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


_BRANCH = re.compile(r"if-(eq|ne|lt|ge|gt|le)(z?)$")
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
        self._live = self._find_live()
        loads = [
            (each.registers[-1] if each.name.startswith("iget") else -1, each.operand)
            for each in body.code.instructions
            if each.name.startswith(("iget", "sget"))
        ]
        self._reloaded = {load for load in loads if loads.count(load) > 1}

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
        wanted = set(targets)
        if not self.code.instructions:
            return found
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
            self._spend(len(facts) + 1)
            if address in wanted:
                found.reached.add(address)
            known: Known = dict(facts)  # type: ignore[arg-type]
            each = self.graph.at[address]
            if each.name.startswith("return"):
                self._note_return(each, known, found)
            for after, then in self._step(each, known, found):
                live = self._live[after]
                kept = frozenset(
                    (name, value)
                    for name, value in then.items()
                    if not isinstance(name, int) or name in live or name == RESULT
                )
                following = (after, kept)
                if following not in seen:
                    seen.add(following)
                    queue.append(following)
        found.states = len(queue)
        return found

    def _note_return(self, each: Instruction, known: Known, found: Walk) -> None:
        if each.registers:
            value = known.get(each.registers[0])
            found.returns.add(None if isinstance(value, Loaded) else value)

    def _step(self, each: Instruction, known: Known, found: Walk) -> Iterator[tuple[int, Known]]:
        """Yield where control goes next and what is known there."""
        if match := _BRANCH.match(each.name):
            yield from self._branch(each, match[1], bool(match[2]), known, found)
            return
        handlers = self.graph.handlers(each.address)
        if handlers:
            caught: Known = {n: value for n, value in known.items() if isinstance(n, int)}
            caught.pop(RESULT, None)
            for landing in handlers:
                yield landing, caught
        if each.name in ("iput-boolean", "sput-boolean"):
            value = known.get(each.registers[0])
            if isinstance(value, Answer):
                found.stores.add((each.operand, value.gate))
        if each.name.endswith("-switch"):
            value = known.get(each.registers[0])
            if isinstance(value, Answer):
                stops = found.relied_on if value.stored else found.asked
                stops.add((value.gate, each.address))
                value = 1 if value.negated else 0  # what is left is the path of a no
            if isinstance(value, int):
                through = each.address + each.size
                yield dict(self.code.cases(each)).get(value, through), known
                return
        then = self._apply(each, known)
        for after in self.graph.next[each.address]:
            yield after, then

    def _apply(self, each: Instruction, known: Known) -> Known:
        """Return what is known after an instruction that is no branch."""
        name, registers = each.name, each.registers
        then = dict(known)
        result = then.pop(RESULT, None)
        if name.startswith(("invoke", "execute")):
            judged = self._judge(each, {r: then[r] for r in registers if r in then})
            self._forget_fields(then)
            if judged is not None:
                then[RESULT] = judged
            return then
        if name.startswith(("iput", "sput", "monitor", "aput")):
            self._forget_fields(then, None if name.startswith("monitor") else each.operand)
            return then
        if not registers or not defines(name):
            return then
        value: Value | None = None
        if name.startswith("move-result"):
            value = result
        elif name.startswith("move") and name != "move-exception":
            value = then.get(registers[1])
        elif name.startswith("const") and "wide" not in name:
            value = self._constant(each)
        elif name.startswith(("iget", "sget")):
            load = (registers[1] if name.startswith("iget") else -1, each.operand)
            gate = self._field(each.operand) if name.endswith("-boolean") else None
            if gate is not None:
                value = Answer(gate, stored=True)
            elif load in self._reloaded:
                value = then.get(load) or Loaded(*load)
        elif name.startswith("new-"):
            value = NONZERO
        elif name == "xor-int/lit8" and each.operand == 1:
            source = then.get(registers[1])
            if isinstance(source, Answer):
                value = Answer(source.gate, not source.negated, source.stored)
            elif isinstance(source, int):
                value = source ^ 1
        self._write(then, registers[0], value)
        if is_wide(name):
            self._write(then, registers[0] + 1, None)
        return then

    def _constant(self, each: Instruction) -> Value | None:
        if each.name.startswith("const-string"):
            gate = self._string(each.operand)
            return NONZERO if gate is None else Text(gate)
        return NONZERO if each.name.startswith("const-") else each.operand

    def _write(self, known: Known, register: int, value: Value | None) -> None:
        known.pop(register, None)
        for name, held in list(known.items()):
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

    @staticmethod
    def _forget_fields(known: Known, operand: int | None = None) -> None:
        for name, held in list(known.items()):
            loaded = held.field if isinstance(held, Loaded) else None
            index = name[1] if isinstance(name, tuple) else loaded
            if index is not None and operand in (None, index):
                del known[name]

    def _branch(
        self, each: Instruction, test: str, zero: bool, known: Known, found: Walk
    ) -> Iterator[tuple[int, Known]]:
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

    def _find_live(self) -> dict[int, set[int]]:
        """Return for each address the registers whose value is still used from there on."""
        live: dict[int, set[int]] = {address: set() for address in self.graph.at}
        before: dict[int, list[int]] = {address: [] for address in live}
        for address, following in self.graph.next.items():
            for after in (*following, *self.graph.handlers(address)):
                before[after].append(address)
        queue = list(reversed(self.code.instructions))
        held = 0
        for each in queue:
            out: set[int] = set()
            for after in self.graph.next[each.address]:
                out |= live[after]
            if each.registers and defines(each.name):
                out -= {each.registers[0]}
                used = each.registers[1:]
            else:
                used = each.registers
            for landing in self.graph.handlers(each.address):
                out |= live[landing]
            new = out | set(used)
            self._spend(len(new) + 1)
            if new != live[each.address]:
                held += len(new) - len(live[each.address])
                if held > MAX_HELD:
                    raise ImageError("a method holds too many values", offset=self.code.offset)
                live[each.address] = new
                queue += [self.graph.at[address] for address in before[each.address]]
        return live
