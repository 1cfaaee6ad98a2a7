"""Texts as code puts them together: constants, fields of other files, string builders, formats.

One method is evaluated at a time, forwards, over all its branches. A register holds a small set of
texts; what is only known at run time is written ``{}``. Loops are followed a few times and no
further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from rom_builder.code.flow import MAX_HELD
from rom_builder.code.operations import by_slot, defines
from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES, STATIC
from rom_builder.errors import ImageError
from rom_builder.findings import Location
from rom_builder.formats.dex_code import parameter_registers
from rom_builder.formats.dex_ids import MemberRef, parameters
from rom_builder.formats.dex_instructions import Instruction

MAX_TEXTS = 8
"""Texts that one register can hold at a time; more are one that is not known."""
MAX_LENGTH = 400
MAX_VISITS = 6
"""Times an instruction is evaluated in one method."""
MAX_DEPTH = 4
"""Methods whose returned text is evaluated inside each other."""

STRING = "Ljava/lang/String;"
BUILDERS = ("Ljava/lang/StringBuilder;", "Ljava/lang/StringBuffer;")
SAME = ("toString", "trim", "intern", "valueOf", "toLowerCase", "copyValueOf")
FORMAT = re.compile(r"%(?:\d+\$)?[-#+ 0,(]*\d*(?:\.\d+)?[a-zA-Z]")


class Known(NamedTuple):
    """A text, as far as it is known, and where its parts stand."""

    text: str
    parts: tuple[Location, ...] = ()


Texts = frozenset[Known]
UNKNOWN: Texts = frozenset((Known("{}"),))


class Builder(NamedTuple):
    """A string builder, told from others by where it was made."""

    made_at: int


@dataclass
class Handed:
    """A text that a method hands on.

    Attributes:
        to: The method called, the field written, or None for a returned text.
        argument: Position among the arguments of the call, the object first.
    """

    address: int
    text: Known
    to: MemberRef | None
    argument: int


@dataclass
class Evaluated:
    """What one method does with texts."""

    handed: list[Handed] = field(default_factory=list)
    returned: Texts = frozenset()
    stored: dict[str, Texts] = field(default_factory=dict)


State = dict[int | Builder, Texts | Builder]


def _order(known: Known) -> tuple[str, list[str]]:
    """Sets have no order of their own; findings must come in the same one every time."""
    return known.text, [str(part) for part in known.parts]


def joined(*sets: Texts) -> Texts:
    """Return every way to put one text of each set after another."""
    if all(len(each) == 1 for each in sets) or len(list(product(*sets))) <= MAX_TEXTS:
        return frozenset(
            Known(
                "".join(known.text for known in way)[:MAX_LENGTH],
                tuple(dict.fromkeys(part for known in way for part in known.parts)),
            )
            for way in product(*sets)
        )
    return UNKNOWN


@lru_cache(maxsize=512)
def touches(name: str) -> bool:
    """Say whether an operation does anything to texts."""
    return defines(name) or name.startswith(
        ("invoke", "return-object", "sput-object", "iput-object")
    )


class Evaluator:
    """Evaluates the methods of one app.

    Raises:
        ImageError: Code is damaged.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._fields: dict[str, Texts] = {}
        self._starts: dict[str, Evaluated] = {}
        self._results: dict[Body, Texts] = {}
        self._depth = 0

    def field(self, ref: MemberRef) -> Texts:
        """Return what a static field holds once its class is initialised."""
        if ref.key not in self._fields:
            self._fields[ref.key] = UNKNOWN  # what it holds while it is evaluated itself
            self._fields[ref.key] = self._field(ref)
        return self._fields[ref.key]

    def _field(self, ref: MemberRef) -> Texts:
        for owner in (ref.owner, *self._scope.supertypes(ref.owner)):
            if owner not in self._scope.defined:
                continue
            unit, definition = self._scope.defined[owner]
            for static, value in unit.classes.static_fields(definition):
                if static.name != ref.name:
                    continue
                start = self._start(owner)
                stored = start.stored.get(static.key)
                if stored:
                    return stored
                if isinstance(value, str):
                    return frozenset((Known(value, (Location(unit.name),)),))
                return UNKNOWN
        return UNKNOWN

    def _start(self, owner: str) -> Evaluated:
        if owner not in self._starts:
            self._starts[owner] = Evaluated()
            body = self._scope.body(f"{owner}-><clinit>()V")
            if body is not None:
                self._starts[owner] = self.evaluate(body)
        return self._starts[owner]

    def result(self, code: int, ref: MemberRef) -> Texts:
        """Return the texts that a method of the app or a library can return."""
        if ref.returns != STRING or self._depth >= MAX_DEPTH:
            return UNKNOWN
        targets = self._scope.targets(code, ref)
        if len(targets) != 1:
            return UNKNOWN
        (body,) = targets
        if body not in self._results:
            self._results[body] = UNKNOWN
            if len(body.code.units) < 200:
                self._depth += 1
                self._results[body] = self.evaluate(body).returned or UNKNOWN
                self._depth -= 1
        return self._results[body]

    def evaluate(self, body: Body, given: Mapping[int, Known] | None = None) -> Evaluated:
        """Evaluate one method.

        Args:
            body: The method.
            given: Texts of its parameters, by position; ``this`` is the first.
        """
        return _Evaluation(self, body, given or {}).run()


class _Evaluation:
    def __init__(self, evaluator: Evaluator, body: Body, given: Mapping[int, Known]) -> None:
        self._evaluator = evaluator
        self._body = body
        self._ids = body.unit.ids
        self._graph = body.graph()
        self._found = Evaluated()
        self._seen: set[tuple[int, str, int]] = set()
        self._start: State = {}
        for position, (register, _) in enumerate(parameter_registers(body.method, body.code)):
            if position in given:
                self._start[register] = frozenset((given[position],))

    def run(self) -> Evaluated:
        states: dict[int, State] = {0: self._start}
        visits: dict[int, int] = {}
        size = 0
        queue = [0] if self._graph.at else []
        while queue:
            address = queue.pop()
            if visits.get(address, 0) >= MAX_VISITS:
                continue
            visits[address] = visits.get(address, 0) + 1
            for after, then in self._through(address, dict(states[address])):
                merged = self._merged(states.get(after), then)
                if merged != states.get(after):
                    size += len(merged)
                    if size > MAX_HELD:
                        place = self._body.code.offset
                        raise ImageError("a method holds too many texts", offset=place)
                    states[after] = merged
                    queue.append(after)
        return self._found

    def _through(self, address: int, state: State) -> Iterator[tuple[int, State]]:
        """Evaluate the instructions that follow one another; yield where control goes, with what."""
        graph, work = self._graph, 0
        caught: tuple[int, ...] = ()
        changed = True
        while True:
            each = graph.at[address]
            work += 1
            if -2 in state or touches(each.name):
                self._apply(each, state)
                work += len(state)
                changed = True
            handlers = graph.caught.get(address, ())
            if handlers and (changed or handlers != caught):
                held = dict(state)
                work += len(held)
                caught, changed = handlers, False
                yield from ((landing, held) for landing in handlers)
            if work > 1000:
                self._body.unit.spend(work)
                work = 0
            after = graph.next[address]
            if len(after) != 1 or after[0] in graph.entries:
                break
            address = after[0]
        self._body.unit.spend(work)
        yield from ((entry, state) for entry in after)

    @staticmethod
    def _merged(one: State | None, other: State) -> State:
        if one is None or one is other:
            return other  # states are not written to once they are held
        merged: State = {}
        for name in one.keys() & other.keys():
            left, right = one[name], other[name]
            if left == right:
                merged[name] = left
            elif not isinstance(left, Builder) and not isinstance(right, Builder):
                both = left | right
                merged[name] = both if len(both) <= MAX_TEXTS else UNKNOWN
        return merged

    def _apply(self, each: Instruction, state: State) -> State:
        name, registers = each.name, each.registers
        if each.code in INVOKES:
            self._call(each, self._ids.method(each.operand), state)
            return state
        result = state.pop(-2, None)
        if by_slot(name):
            for register in registers:  # a builder that is passed may have anything appended
                value = state.get(register)
                if isinstance(value, Builder):
                    state[value] = UNKNOWN
            if registers and defines(name):
                state.pop(registers[0], None)
        elif name.startswith("return-object"):
            value = self._texts(state, registers[0])
            self._found.returned |= value
            self._hand(each, value, None, 0)
        elif name.startswith(("sput-object", "iput-object")):
            ref = self._ids.field(each.operand)
            value = self._texts(state, registers[0])
            if value != UNKNOWN:
                known = self._found.stored.get(ref.key, frozenset())
                self._found.stored[ref.key] = known | value
                if name.startswith("iput"):
                    self._hand(each, value, ref, 0)
        elif registers and defines(name):
            value_or_builder = self._defined(each, state, result)
            state.pop(registers[0], None)
            if value_or_builder is not None:
                state[registers[0]] = value_or_builder
                if isinstance(value_or_builder, Builder):
                    state.setdefault(value_or_builder, frozenset((Known(""),)))
        return state

    def _defined(
        self, each: Instruction, state: State, result: Texts | Builder | None
    ) -> Texts | Builder | None:
        name = each.name
        if name.startswith("const-string"):
            place = self._body.place(each.address)
            return frozenset((Known(self._ids.string(each.operand), (place,)),))
        if name == "move-result-object":
            return result
        if name.startswith("move-object"):
            return state.get(each.registers[1])
        if name == "sget-object":
            ref = self._ids.field(each.operand)
            if ref.signature != STRING:
                return None
            return self._found.stored.get(ref.key) or self._evaluator.field(ref)
        if name == "new-instance" and self._ids.type(each.operand) in BUILDERS:
            return Builder(each.address)
        return None

    def _texts(self, state: State, register: int) -> Texts:
        value = state.get(register)
        if isinstance(value, Builder):
            value = state.get(value)
        return UNKNOWN if value is None or isinstance(value, Builder) else value

    def _call(self, each: Instruction, ref: MemberRef, state: State) -> None:
        registers = each.registers
        state.pop(-2, None)
        if ref.owner in BUILDERS and registers:
            self._build(each, ref, state)
            return
        static = each.code in (STATIC, STATIC + 6)
        if ref.owner == STRING:
            value = self._string_call(ref, registers, static, state)
            if value is not None:
                state[-2] = value
            return
        types = parameters(ref.signature)
        names = registers if static else registers[1:]
        position = 0
        for number, kind in enumerate(types):
            if position < len(names) and kind.startswith("L"):
                value = self._texts(state, names[position])
                self._hand(each, value, ref, number + (not static))
            position += 2 if kind in ("J", "D") else 1
        if ref.returns == STRING:
            state[-2] = self._evaluator.result(each.code, ref)

    def _string_call(
        self, ref: MemberRef, registers: tuple[int, ...], static: bool, state: State
    ) -> Texts | None:
        if not registers:
            return None
        first = self._texts(state, registers[0])
        if ref.name == "concat" and len(registers) == 2:
            return joined(first, self._texts(state, registers[1]))
        if ref.name == "format":
            located = ref.signature.startswith("(Ljava/util/Locale;")
            pattern = self._texts(state, registers[1]) if located and len(registers) > 1 else first
            return frozenset(Known(FORMAT.sub("{}", k.text), k.parts) for k in pattern)
        if ref.name in SAME and ref.returns == STRING and (not static or len(registers) == 1):
            return first
        return UNKNOWN if ref.returns == STRING else None

    def _build(self, each: Instruction, ref: MemberRef, state: State) -> None:
        builder = state.get(each.registers[0])
        if not isinstance(builder, Builder):
            return
        content = state.get(builder, UNKNOWN)
        if isinstance(content, Builder):
            return
        if ref.name == "<init>":
            texts = ref.signature.startswith(f"({STRING}")
            content = self._texts(state, each.registers[1]) if texts else frozenset((Known(""),))
        elif ref.name == "append":
            texts = STRING in ref.signature or "CharSequence" in ref.signature
            added = self._texts(state, each.registers[1]) if texts else UNKNOWN
            content = joined(content, added)
        elif ref.name == "toString":
            state[-2] = content
            return
        else:
            content = UNKNOWN
        state[builder] = content
        state[-2] = builder

    def _hand(
        self, each: Instruction, texts: Iterable[Known], to: MemberRef | None, argument: int
    ) -> None:
        for known in sorted(texts, key=_order):
            key = (each.address, known.text, argument)
            if known.text != "{}" and key not in self._seen:
                self._seen.add(key)
                self._found.handed.append(Handed(each.address, known, to, argument))
