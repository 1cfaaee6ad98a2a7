"""Code that asks whether the user has consented, found by what it reads.

A gate is a method that returns yes or no and reads one of the profile's strings, a call that reads
one and returns yes or no itself, or a method that says yes only after another gate did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from rom_builder.code.paths import MAX_STATES, NONZERO, Answer, Judge, Text, Value, Walk, Walker
from rom_builder.code.programs import Body
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
        self._calls = {gate.call: i for i, gate in enumerate(gates) if gate.call}
        self._strings = {gate.string: i for i, gate in enumerate(gates) if gate.string}
        self._budget = MAX_STATES_OF_APP
        self._walkers: dict[str, Walker] = {}
        self._walks: dict[tuple[object, ...], Walk] = {}
        self.methods: dict[str, int] = {}
        self._names: list[str] = []
        self.unclear: list[Body] = []
        self._fields: dict[str, int] = {}
        self._find()
        self._fields = self._find_fields()
        self._walks.clear()

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

    def walk(self, body: Body, targets: Sequence[int], only: frozenset[int]) -> Walk:
        """Walk a method; only the gates of those indexes end a path.

        Raises:
            ImageError: The code is damaged.
        """
        self._only = only
        asked = body.key, tuple(targets), only, len(self.methods)
        if asked in self._walks:
            return self._walks[asked]
        walker = self._walkers.get(body.key)
        if walker is None:
            ids = body.unit.ids
            walker = Walker(
                body,
                self._judge_in(body),
                lambda index: self._strings.get(ids.string(index)),
                self._field_in(body),
            )
            self._walkers[body.key] = walker
        walk = walker.walk(targets, min(MAX_STATES, self._budget))
        self._budget -= walk.states
        self._walks[asked] = walk
        return walk

    def _field_in(self, body: Body) -> Callable[[int], int | None]:
        ids = body.unit.ids

        def field(index: int) -> int | None:
            gate = self._fields.get(ids.field(index).key)
            return gate if gate in self._only else None

        return field

    def _judge_in(self, body: Body) -> Judge:
        ids = body.unit.ids

        def judge(each: Instruction, arguments: Mapping[int, Value]) -> Value | None:
            if each.code not in INVOKES:
                return None
            gate = self._gate_called(each.code, ids.method(each.operand), arguments)
            return Answer(gate) if gate is not None and gate in self._only else None

        return judge

    def _gate_called(self, code: int, ref: MemberRef, arguments: Mapping[int, Value]) -> int | None:
        declared = self._calls.get(ref.dotted) if self._calls else None
        if declared is not None:
            return declared
        for value in arguments.values():
            if isinstance(value, Text) and ref.returns in ("Z", "I") and reads(ref):
                return value.gate
        if len(self._names) != len(self.methods):
            self._names = [key.partition("->")[2].partition("(")[0] for key in self.methods]
        if ref.name not in self._names:
            return None
        targets = self._scope.targets(code, ref)
        found = {self.methods.get(target.key) for target in targets}
        return found.pop() if len(found) == 1 else None

    def _find(self) -> None:
        """Find the methods that read a gate's string, then those that hand on their answer."""
        self._only = frozenset(range(len(self._gates)))
        for text, index in self._strings.items():
            for site in self._scope.uses.strings.get(text, ()):
                body = self._scope.bodies[site.method]
                if self._reads_in(body, site.address) and self._can_refuse(body):
                    self.methods.setdefault(body.key, index)
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
                    self.methods[key] = gate
                    fresh.append(key)

    def _callers(self, key: str) -> Iterator[tuple[int, Site]]:
        body = self._scope.body(key)
        return self._scope.callers(body) if body else iter(())

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
                if each.registers[:1] == (register,) and not each.name.startswith(("if", "invoke")):
                    return False
        return False

    def _can_refuse(self, body: Body) -> bool:
        """Say whether a method that reads a setting does not answer yes whatever it reads."""
        walk = self.walk(body, (), frozenset(range(len(self._gates))))
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
            for index, gate in self.walk(body, (), frozenset(range(len(self._gates)))).stores:
                found[body.unit.ids.field(index).key] = gate
        return found

    def _handed_on(self, body: Body) -> int | None:
        """Return the gate without whose yes a method never answers yes."""
        if body.method.ref.returns != "Z" or self._scope.is_callback(body):
            return None
        walk = self.walk(body, (), frozenset(range(len(self._gates))))
        answers = {value for value in walk.returns if value != 0}
        gates = {value.gate for value in answers if isinstance(value, Answer) and not value.negated}
        plain = all(isinstance(value, Answer) and not value.negated for value in answers)
        gates |= {gate for gate, _ in walk.asked}
        if not walk.complete:
            self.unclear.append(body)
        return gates.pop() if walk.complete and plain and len(gates) == 1 else None


def reads(ref: MemberRef) -> bool:
    """Say whether a call with a setting's name can be one that reads it."""
    return ref.returns in ANSWERS and not ref.name.lower().startswith(WRITES)


def call_sites(scope: Scope, name: str) -> Iterator[Site]:
    """Yield the calls of a method given as Java writes it, ``com.example.Settings.isOn``."""
    owner, _, method = name.rpartition(".")
    yield from scope.uses.calls_named(method, owner=f"L{owner.replace('.', '/')};")
