"""Code that asks whether the user has consented, found by what it reads.

A gate is a method that returns yes or no and reads one of the profile's strings, a call that reads
one and returns yes or no itself, or a method that says yes only after another gate did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from rom_builder.code.known import NONZERO, Answer, Text, Value
from rom_builder.code.operations import by_slot
from rom_builder.code.paths import MAX_STATES, Walk, walk
from rom_builder.code.programs import Body, Unit
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES, Site
from rom_builder.formats.dex_ids import MemberRef
from rom_builder.formats.dex_instructions import Instruction
from rom_builder.policy.profile import Gate

ANSWERS = ("Z", "I", "Ljava/lang/String;", "Ljava/lang/Object;")
"""Types of what a call that reads a setting returns."""
WRITES = ("put", "set", "remove", "edit", "apply", "commit", "add", "register")
MAX_STATES_OF_APP = 2_000_000
"""States of all walks through one app; a real one of two megabytes takes some tens of thousands."""
ROUNDS = 6
"""Methods that hand on a gate's answer to each other; more are not followed."""


class Gates:
    """The gates of one app.

    Attributes:
        methods: Key of each method that is a gate, and which of the profile's gates it is.
        unclear: Methods that may be gates but have too many paths to tell.
    """

    def __init__(self, scope: Scope, gates: Sequence[Gate]) -> None:
        self._scope = scope
        self._gates = gates
        self._all = frozenset(range(len(gates)))
        self._calls = {gate.call: i for i, gate in enumerate(gates) if gate.call}
        self._strings = {gate.string: i for i, gate in enumerate(gates) if gate.string}
        self._budget = MAX_STATES_OF_APP
        self._walks: dict[Body, list[tuple[frozenset[int], frozenset[int], Walk]]]
        self._walks = defaultdict(list)
        self._quiet: dict[Unit, set[int]] = defaultdict(set)
        self.methods: dict[str, int] = {}
        self._names: set[str] = set()
        self.unclear: list[Body] = []
        self._fields: dict[str, int] = {}
        self._find()
        self._fields = self._find_fields()
        if self._fields:
            self._forget_walks()

    @cached_property
    def anchors(self) -> dict[int, list[Site]]:
        """Where each gate's string is used or its call made, by index of the gate."""
        uses = self._scope.uses
        found: dict[int, list[Site]] = {i: [] for i in range(len(self._gates))}
        for text, index in self._strings.items():
            found[index] += uses.strings.get(text, ())
        for name, index in self._calls.items():
            found[index] += call_sites(self._scope, name)
        return found

    def walk(self, body: Body, only: frozenset[int] | None = None) -> Walk:
        """Walk a method; only the gates of those indexes end a path, all of them by default.

        Raises:
            ImageError: The code is damaged.
        """
        only = self._all if only is None else only
        known = self._walks[body]
        for walked, answered, found in known:
            # The answers of gates that are not asked for would have shown in it.
            if walked == only or answered <= only <= walked:
                return found
        oracle = _Answers(self, body.unit, only, self._quiet[body.unit])
        found = walk(self._scope.blocks(body), oracle, limit=min(MAX_STATES, self._budget))
        self._budget -= found.states
        known.append((only, frozenset(oracle.answered), found))
        return found

    def may_answer(self, ref: MemberRef) -> bool:
        """Say whether a call of a method can have a gate's answer, whatever is passed."""
        return (
            ref.name in self._names
            or (ref.returns in ("Z", "I") and reads(ref))
            or (bool(self._calls) and ref.dotted in self._calls)
        )

    def gate_called(self, code: int, ref: MemberRef, arguments: Iterable[Value]) -> int | None:
        """Return the gate whose answer a call returns, given what is known of its arguments."""
        declared = self._calls.get(ref.dotted) if self._calls else None
        if declared is not None:
            return declared
        for value in arguments:
            if isinstance(value, Text) and ref.returns in ("Z", "I") and reads(ref):
                return value.gate
        if ref.name not in self._names:
            return None
        found = {self.methods.get(target.key) for target in self._scope.targets(code, ref)}
        return found.pop() if len(found) == 1 else None

    def gate_read_by(self, text: str) -> int | None:
        """Return the gate that reads by a string."""
        return self._strings.get(text)

    def gate_kept_in(self, field: MemberRef) -> int | None:
        """Return the gate whose answer a field keeps."""
        return self._fields.get(field.key) if self._fields else None

    def _add(self, key: str, gate: int) -> None:
        """Note that a method is a gate; what was walked before may have missed it."""
        self.methods[key] = gate
        self._names.add(key.partition("->")[2].partition("(")[0])
        self._forget_walks()

    def _forget_walks(self) -> None:
        self._walks.clear()
        self._quiet.clear()

    def _find(self) -> None:
        """Find the methods that read a gate's string, then those that hand on their answer."""
        for text, index in self._strings.items():
            for site in self._scope.uses.strings.get(text, ()):
                body = self._scope.bodies[site.method]
                known = body.key in self.methods
                if not known and self._reads_in(body, site.address) and self._can_refuse(body):
                    self._add(body.key, index)
        fresh = list(self.methods)
        fresh_calls = [site for name in self._calls for site in call_sites(self._scope, name)]
        for _ in range(ROUNDS):
            asking = {site.method for key in fresh for _, site in self._callers(key)}
            asking |= {site.method for site in fresh_calls}
            fresh_calls = []
            fresh = []
            for key in sorted(asking - set(self.methods)):
                gate = self._handed_on(self._scope.bodies[key])
                if gate is not None:
                    self._add(key, gate)
                    fresh.append(key)

    def _callers(self, key: str) -> Sequence[tuple[int, Site]]:
        body = self._scope.body(key)
        return self._scope.callers(body) if body else ()

    def _reads_in(self, body: Body, address: int) -> bool:
        """Say whether a method that answers yes or no reads by the string at an address."""
        if body.method.ref.returns != "Z" or self._scope.is_callback(body):
            return False
        register: int | None = None
        for each in body.code.instructions:
            if each.address == address:
                register = each.registers[0]
            elif register is not None:
                if each.code in INVOKES and register in each.registers:
                    return reads(body.unit.ids.method(each.operand))
                if by_slot(each.name) and register in each.registers:
                    return False
                if each.registers[:1] == (register,) and not each.name.startswith(("if", "invoke")):
                    return False
        return False

    def _can_refuse(self, body: Body) -> bool:
        """Say whether a method that reads a setting does not answer yes whatever it reads."""
        walk = self.walk(body)
        if not walk.complete:
            self.unclear.append(body)
            return False
        constant = [v for v in walk.returns if isinstance(v, int)]
        yes = any(constant) or NONZERO in walk.returns
        if walk.asked:
            return not yes
        return not yes or len(walk.returns) > 1

    def _find_fields(self) -> dict[str, int]:
        """Return the fields that keep a gate's answer."""
        found: dict[str, int] = {}
        asking = {site.method for key in self.methods for _, site in self._callers(key)}
        asking |= {site.method for sites in self.anchors.values() for site in sites}
        for key in sorted(asking):
            body = self._scope.bodies[key]
            for index, gate in self.walk(body).stores:
                found[body.unit.ids.field(index).key] = gate
        return found

    def _handed_on(self, body: Body) -> int | None:
        """Return the gate without whose yes a method never answers yes."""
        if body.method.ref.returns != "Z" or self._scope.is_callback(body):
            return None
        walk = self.walk(body)
        answers = {value for value in walk.returns if value != 0}
        gates = {value.gate for value in answers if isinstance(value, Answer) and not value.negated}
        plain = all(isinstance(value, Answer) and not value.negated for value in answers)
        gates |= {gate for gate, _ in walk.asked}
        if not walk.complete:
            self.unclear.append(body)
        return gates.pop() if walk.complete and plain and len(gates) == 1 else None


class _Answers:
    """What the gates answer on a walk through a method of one DEX file.

    Attributes:
        quiet: Calls that have no gate's answer, whatever is passed; grows.
        answered: The gates whose answers were given.
    """

    def __init__(self, gates: Gates, unit: Unit, only: frozenset[int], quiet: set[int]) -> None:
        self._gates = gates
        self._ids = unit.ids
        self._only = only
        self.quiet = quiet
        self.answered: set[int] = set()

    def result(
        self, call: Instruction, known: Mapping[int | tuple[int, int], Value]
    ) -> Answer | None:
        """Return the answer of the gate that is called, if it is one."""
        if call.code not in INVOKES:
            return None
        ref = self._ids.method(call.operand)
        if not self._gates.may_answer(ref):
            self.quiet.add(call.operand)
            return None
        passed = (known[register] for register in call.registers if register in known)
        gate = self._gates.gate_called(call.code, ref, passed)
        return None if gate is None else self._answer(gate)

    def text(self, index: int) -> Value:
        """Return the gate that reads by a string, or that it is not null."""
        gate = self._gates.gate_read_by(self._ids.string(index))
        return NONZERO if gate is None else Text(gate)

    def field(self, index: int) -> Answer | None:
        """Return the answer of the gate that is kept in a field, if one is."""
        gate = self._gates.gate_kept_in(self._ids.field(index))
        return None if gate is None else self._answer(gate, stored=True)

    def _answer(self, gate: int, *, stored: bool = False) -> Answer | None:
        if gate not in self._only:
            return None
        self.answered.add(gate)
        return Answer(gate, stored=stored)


def reads(ref: MemberRef) -> bool:
    """Say whether a call with a setting's name can be one that reads it."""
    return ref.returns in ANSWERS and not ref.name.lower().startswith(WRITES)


def call_sites(scope: Scope, name: str) -> Iterator[Site]:
    """Yield the calls of a method given as Java writes it, ``com.example.Settings.isOn``."""
    owner, _, method = name.rpartition(".")
    yield from scope.uses.calls_named(method, owner=f"L{owner.replace('.', '/')};")
