"""Paths through one method: which places can be reached without the user's consent.

The method is walked along every branch and every exception handler, with what is known of its
registers: constants, results of gates, and whether a field that was just tested is null. Where a
branch is taken because a gate said yes, the path ends: what lies behind it has consent. What the
walk still reaches, it reaches without. That says more than dominance: two tests of one condition,
or a result that passes through a local variable, are followed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rom_builder.code.blocks import (
    BRANCH,
    CALL,
    CONSTANT,
    FLIP,
    LOAD,
    MOVE,
    RETURN,
    STORE,
    STRING,
    SWITCH,
    TAKE,
    Block,
    Blocks,
)
from rom_builder.code.flow import MAX_HELD
from rom_builder.code.known import (
    NONZERO,
    Answer,
    Known,
    Loaded,
    NonZero,
    Oracle,
    Silent,
    Text,
    Value,
)
from rom_builder.code.operations import by_slot
from rom_builder.formats.dex_instructions import Instruction

MAX_STATES = 20_000
"""States of one walk (place and what is known there); beyond, the method counts as too complex."""

RESULT = -2
"""Stands, among the registers, for the result of the last call."""

COMPARE = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt,
    "ge": operator.ge, "gt": operator.gt, "le": operator.le,
}  # fmt: skip

Facts = frozenset[tuple[int | tuple[int, int], Value]]
_NOTHING: Facts = frozenset()


@dataclass
class Walk:
    """What a walk found.

    Attributes:
        blocks: The method.
        entered: First addresses of the blocks that were reached without consent.
        asked: Gates whose positive answer ended a path, with the address of the test.
        relied_on: The same for answers that were kept in a field.
        stores: Indexes of the fields that a gate's answer is kept in, with the gate.
        returns: What is known of the values returned on paths without consent.
        complete: The whole method was walked.
        states: How many places, told apart by what is known there, were seen.
    """

    blocks: Blocks
    entered: set[int] = field(default_factory=set)
    asked: set[tuple[int, int]] = field(default_factory=set)
    relied_on: set[tuple[int, int]] = field(default_factory=set)
    stores: set[tuple[int, int]] = field(default_factory=set)
    returns: set[Value | None] = field(default_factory=set)
    complete: bool = True
    states: int = 0

    def reached(self, targets: Iterable[int]) -> set[int]:
        """Return the addresses, of some, that were reached without consent."""
        entry_of = self.blocks.entry_of
        return {address for address in targets if entry_of.get(address) in self.entered}


def walk(
    blocks: Blocks,
    oracle: Oracle | None = None,
    *,
    limit: int = MAX_STATES,
    given: Mapping[int, Value] | None = None,
) -> Walk:
    """Walk a method from its start.

    Args:
        blocks: The method.
        oracle: What is known of calls, strings and fields; nothing by default.
        limit: States after which the walk is given up.
        given: What is known of the parameters, by register.

    Raises:
        ImageError: The code is damaged, or following it takes too long.
    """
    return _Walker(blocks, oracle or Silent()).walk(limit, given or {})


class _Walker:
    """Walks one method once."""

    def __init__(self, blocks: Blocks, oracle: Oracle) -> None:
        self._blocks = blocks
        self._oracle = oracle
        self._found = Walk(blocks)
        self._queue: list[tuple[int, Facts]] = []
        self._seen: set[tuple[int, Facts]] = set()

    def walk(self, limit: int, given: Mapping[int, Value]) -> Walk:
        found, queue, blocks = self._found, self._queue, self._blocks
        if blocks.by_entry:
            start = 0, frozenset(given.items())
            self._seen.add(start)
            queue.append(start)
        held = 0
        for entry, facts in queue:
            held += len(facts)
            if len(queue) > limit or held > MAX_HELD:
                found.complete = False
                break
            block = blocks.by_entry[entry]
            blocks.spend(len(facts) + block.size)
            found.entered.add(entry)
            self._through(block, entry, dict(facts))
        found.states = len(queue)
        return found

    def _go(self, after: int, known: Known) -> None:
        """Note a state: a place that control goes to, and what is known there and still used."""
        kept = _NOTHING
        if known:
            live = self._blocks.live[after]
            kept = frozenset(
                [
                    fact
                    for fact in known.items()
                    if (name := fact[0]).__class__ is tuple or name == RESULT or live >> name & 1  # type: ignore[operator]
                ]
            )
        state = after, kept
        if state not in self._seen:
            self._seen.add(state)
            self._queue.append(state)

    def _through(self, block: Block, entry: int, known: Known) -> None:
        """Go through a block, and note where control goes from it and what is known there."""
        oracle = self._oracle
        quiet, reloads = oracle.quiet, self._blocks.reloads
        result, due = known.pop(RESULT, None), entry
        caught: tuple[int, ...] = ()
        changed = True
        for action, each, handlers, register, matters, wide, value in block.steps:
            if action == BRANCH:
                self._branch(each, known)
                return
            if handlers and (changed or handlers != caught):
                held: Known = {n: v for n, v in known.items() if n.__class__ is int}
                caught, changed = handlers, False
                self._blocks.spend(len(held))
                for landing in handlers:
                    self._go(landing, held)
            if action == CALL:
                result = None if each.operand in quiet else oracle.result(each, known)
                due = each.address + each.size
                if reloads and known:
                    _forget_fields(known)
                    changed = True
            elif register >= 0:
                if action == TAKE:
                    value = result if each.address == due else None
                elif action != CONSTANT:
                    value = self._value(action, each, known, value)
                changed |= self._write(known, register, value, matters)
                if wide:
                    changed |= self._write(known, register + 1, None, matters)
            elif action == STORE:
                self._store(each, known)
                changed = changed or reloads
            elif action == RETURN:
                self._note_return(each, known)
            elif action == SWITCH:
                way = self._switch(each, known)
                if way is not None:
                    self._go(way, known)
                    return
        if result is not None and due == block.end:
            known[RESULT] = result
        for after in block.after:
            self._go(after, known)

    def _value(
        self, action: int, each: Instruction, known: Known, loaded: Value | None
    ) -> Value | None:
        """Return what is known of the value that an instruction writes."""
        if action == MOVE:
            return known.get(each.registers[1])
        if action == STRING:
            return self._oracle.text(each.operand)
        if action == LOAD:
            kept = self._oracle.field(each.operand) if each.name.endswith("-boolean") else None
            if kept is None and isinstance(loaded, Loaded):
                return known.get(loaded) or loaded
            return kept
        if action == FLIP and each.operand == 1:
            source = known.get(each.registers[1])
            if isinstance(source, Answer):
                return source._replace(negated=not source.negated)
            if isinstance(source, int):
                return source ^ 1
        return None

    def _write(self, known: Known, register: int, value: Value | None, matters: bool) -> bool:
        """Note what a register holds; return whether that changes what is known."""
        changed = known.pop(register, None) is not None
        if known and self._blocks.reloads:
            for name, held in list(known.items()):
                if (isinstance(name, tuple) and name[0] == register) or (
                    isinstance(held, Loaded) and held.holder == register
                ):
                    del known[name]
                    changed = True
        if value is None or not (matters or isinstance(value, Text)):
            return changed
        if isinstance(value, Loaded) and value.holder == register:
            return changed
        known[register] = value
        return True

    def _store(self, each: Instruction, known: Known) -> None:
        if each.name in ("iput-boolean", "sput-boolean"):
            value = known.get(each.registers[0])
            if isinstance(value, Answer):
                self._found.stores.add((each.operand, value.gate))
        if known and self._blocks.reloads:
            any_field = each.name.startswith("monitor") or by_slot(each.name)
            _forget_fields(known, None if any_field else each.operand)

    def _note_return(self, each: Instruction, known: Known) -> None:
        if each.registers:
            value = known.get(each.registers[0])
            self._found.returns.add(None if isinstance(value, Loaded) else value)

    def _stop(self, answer: Answer, address: int) -> None:
        """Note that a path ends where a gate said yes."""
        stops = self._found.relied_on if answer.stored else self._found.asked
        stops.add((answer.gate, address))

    def _switch(self, each: Instruction, known: Known) -> int | None:
        """Return where a switch goes, None if that is not known."""
        value = known.get(each.registers[0])
        if isinstance(value, Answer):
            self._stop(value, each.address)
            value = value.no  # what is left is the path of a no
        if isinstance(value, int):
            cases = dict(self._blocks.code.cases(each))
            return cases.get(value, each.address + each.size)
        return None

    def _branch(self, each: Instruction, known: Known) -> None:
        """Note where a branch goes."""
        test, zero = each.name[3:5], each.name.endswith("z")
        left = known.get(each.registers[0])
        right = 0 if zero else known.get(each.registers[1])
        register = each.registers[0]
        if isinstance(right, Answer) and isinstance(left, int):
            left, right = right, left
            register = each.registers[1]
        through, target = each.address + each.size, each.target
        equality = test in ("eq", "ne")
        if isinstance(left, Answer) and right in (0, 1) and equality:
            says_yes = ((right == 1) == (test == "eq")) != left.negated
            self._stop(left, each.address)
            self._go(through if says_yes else target, {**known, register: left.no})
        elif isinstance(left, int) and isinstance(right, int):
            self._go(target if COMPARE[test](left, right) else through, known)
        elif isinstance(left, NonZero) and right == 0 and equality:
            self._go(target if test == "ne" else through, known)
        elif right == 0 and equality:
            for after, taken in ((through, False), (target, True)):
                value = 0 if taken == (test == "eq") else NONZERO
                self._go(after, _learned(known, register, value))
        else:
            self._go(through, known)
            self._go(target, known)


def _learned(known: Known, register: int, value: Value) -> Known:
    """Return what is known once a register was tested, and the field it was loaded from."""
    then = {**known, register: value}
    held = known.get(register)
    if isinstance(held, Loaded):
        then[held.holder, held.field] = value
    return then


def _forget_fields(known: Known, operand: int | None = None) -> None:
    """Forget what is known of all fields, or of the one with an index."""
    gone = [
        name
        for name, held in known.items()
        if (name.__class__ is tuple or held.__class__ is Loaded)
        and operand in (None, name[1] if isinstance(name, tuple) else held.field)  # type: ignore[union-attr]
    ]
    for name in gone:
        del known[name]
