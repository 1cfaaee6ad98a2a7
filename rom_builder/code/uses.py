"""Where an app's methods call, create and name things, from one pass over its code.

What is kept of an instruction is one number: its method's number in the upper half, its byte offset
in the DEX file in the lower. Names are looked up, and places made of the numbers, when asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from struct import unpack_from
from typing import NamedTuple

from rom_builder.code.programs import Body, Unit
from rom_builder.formats.dex_code import code_span
from rom_builder.formats.dex_ids import MemberRef
from rom_builder.formats.dex_instructions import positions

CONST_STRING, CONST_STRING_JUMBO, CONST_CLASS, NEW_INSTANCE = 0x1A, 0x1B, 0x1C, 0x22
SGET_OBJECT, SPUT_OBJECT = 0x62, 0x69
INVOKES = frozenset((*range(0x6E, 0x73), *range(0x74, 0x79)))
VIRTUAL, SUPER, DIRECT, STATIC, INTERFACE = 0x6E, 0x6F, 0x70, 0x71, 0x72
VIRTUALS = frozenset((VIRTUAL, INTERFACE, VIRTUAL + 6, INTERFACE + 6))

_CODES = INVOKES | {CONST_STRING, CONST_STRING_JUMBO, CONST_CLASS, NEW_INSTANCE, SGET_OBJECT}
_PORTION = 10_000
"""Units after which work is counted."""
_SHIFT, _MASK = 32, 0xFFFFFFFF


class Site(NamedTuple):
    """An instruction: the method that holds it and its address there."""

    method: str
    address: int


def site_of(bodies: Sequence[Body], number: int) -> Site:
    """Return the place that is kept as a number."""
    body = bodies[number >> _SHIFT]
    return Site(body.key, body.address_of(number & _MASK))


class Sites(Mapping[str, list[Site]]):
    """Places by what is named there; made of their numbers on every access."""

    def __init__(self, found: Mapping[str, list[int]], bodies: Sequence[Body]) -> None:
        self._found = found
        self._bodies = bodies

    def __getitem__(self, name: str) -> list[Site]:
        return [site_of(self._bodies, number) for number in self._found[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def numbers(self, name: str) -> list[int]:
        """Return the places as they are kept."""
        return self._found[name]


class _UnitUses:
    """Numbers of the instructions of one DEX file by what they name.

    What is named is one number as well: the operation code in the low byte, above it the index of
    16 bits.

    Attributes:
        found: By what is named, in the order of the methods, while they are read.
    """

    def __init__(self) -> None:
        self.found: dict[int, list[int]] = defaultdict(list)
        self.others: list[int] = []
        self.invokes: dict[int, list[int]] = {}
        self.strings: dict[int, list[int]] = {}
        self.creations: dict[int, list[int]] = {}
        self.classes: dict[int, list[int]] = {}
        self.fields: dict[int, list[int]] = {}

    def sort_out(self) -> None:
        """Tell apart what is found; ``others`` are instructions that need a closer look."""
        groups = {
            CONST_STRING: self.strings,
            NEW_INSTANCE: self.creations,
            CONST_CLASS: self.classes,
            SGET_OBJECT: self.fields,
            **dict.fromkeys(INVOKES, self.invokes),
        }
        for named, numbers in self.found.items():
            group = groups.get(named & 0xFF)
            if group is None:
                self.others += numbers
            else:
                known = group.get(named >> 8)
                group[named >> 8] = numbers if known is None else sorted(known + numbers)
        self.found.clear()


class Uses:
    """Where the app's methods call, create and name things.

    Args:
        bodies: The methods; each is given its number here.

    Attributes:
        creations: Sites of ``new-instance`` by type.
        classes: Sites of ``const-class`` by type.
        strings: Sites of ``const-string`` by text.
        slots: Methods with operations that name a slot: what they call, read or write is not known.

    Raises:
        ImageError: Code is damaged, or names what the file does not have.
    """

    def __init__(self, bodies: Sequence[Body]) -> None:
        self._bodies = bodies
        self._units: dict[Unit, _UnitUses] = {}
        self._calling: dict[tuple[str, ...], frozenset[str]] = {}
        self._calls_named: dict[tuple[frozenset[str], str | None], list[Site]] = {}
        self.slots: set[str] = set()
        self._named: list[list[int]] = []
        for unit, numbered in groupby(enumerate(bodies), lambda each: each[1].unit):
            self._named += self._read(unit, numbered)
        for unit, uses in self._units.items():
            uses.sort_out()
            self._look_closer(unit, uses)
        self.strings = self._sites(lambda unit: unit.ids.string, lambda uses: uses.strings)
        self.creations = self._sites(lambda unit: unit.ids.type, lambda uses: uses.creations)
        self.classes = self._sites(lambda unit: unit.ids.type, lambda uses: uses.classes)
        for unit, uses in self._units.items():
            if uses.invokes:
                unit.ids.method(max(uses.invokes))  # refuses it if there is none

    def _read(self, unit: Unit, bodies: Iterable[tuple[int, Body]]) -> Iterator[list[int]]:
        """Read methods of one DEX file, with their numbers; yield what each names."""
        data, compact = unit.dex.data, unit.dex.compact
        steps = unit.operations.steps(_CODES | unit.operations.slots)
        found = self._units.setdefault(unit, _UnitUses()).found
        unspent = 0
        for number, body in bodies:
            body.number = number
            start, size = code_span(data, body.offset, compact=compact)
            unspent += size
            if unspent > _PORTION:
                unit.spend(unspent)
                unspent = 0
            base = number << _SHIFT
            named_here = []
            for at in positions(data, start, size, steps):
                named = data[at] | data[at + 2] << 8 | data[at + 3] << 16
                named_here.append(named)
                found[named].append(base | at)
            yield named_here

    def _look_closer(self, unit: Unit, uses: _UnitUses) -> None:
        """Tell strings with long indexes from operations that name a slot."""
        data = unit.dex.data
        long: dict[int, list[int]] = defaultdict(list)
        for number in uses.others:
            at = number & _MASK
            if data[at] == CONST_STRING_JUMBO:
                long[unpack_from("<I", data, at + 2)[0]].append(number)
            else:
                self.slots.add(self._bodies[number >> _SHIFT].key)
        for index, numbers in long.items():
            uses.strings[index] = sorted(uses.strings.get(index, []) + numbers)

    def _sites(
        self,
        name_of: Callable[[Unit], Callable[[int], str]],
        group: Callable[[_UnitUses], dict[int, list[int]]],
    ) -> Sites:
        found: dict[str, list[int]] = {}
        for unit, uses in self._units.items():
            name = name_of(unit)
            for index, numbers in group(uses).items():
                text = name(index)
                known = found.get(text)
                found[text] = numbers if known is None else sorted(known + numbers)
        return Sites(found, self._bodies)

    @cached_property
    def fields(self) -> dict[MemberRef, list[int]]:
        """Numbers of the instructions that read a static object field; see :meth:`sites_of`."""
        found: dict[MemberRef, list[int]] = {}
        for unit, uses in self._units.items():
            for index, numbers in uses.fields.items():
                ref = unit.ids.field(index)
                found[ref] = found.get(ref, []) + numbers
        return found

    def methods_with(self, wanted: Callable[[str], object]) -> set[str]:
        """Return the methods that use a text of some kind."""
        numbers = (
            number for text in self.strings if wanted(text) for number in self.strings.numbers(text)
        )
        return {self._bodies[number >> _SHIFT].key for number in numbers}

    def sites_of(self, numbers: Sequence[int]) -> list[Site]:
        """Return the places of instructions, as :attr:`fields` has them."""
        return [site_of(self._bodies, number) for number in numbers]

    def named_by(self, body: Body) -> list[int]:
        """Return what the instructions of a method name, in order.

        Each is a number: the operation code in the low byte, above it the index, of 16 bits.
        """
        return self._named[body.number] if body.is_own else []

    def calls_by(self, body: Body) -> Iterator[tuple[int, MemberRef]]:
        """Yield operation code and method of each call of a method."""
        for named in self.named_by(body):
            if named & 0xFF in INVOKES:
                yield named & 0xFF, body.unit.ids.method(named >> 8)

    def calls_of(self, ref: MemberRef) -> list[tuple[int, Site]]:
        """Return operation code and place of each call that names a method so."""
        found = []
        for unit, index in self._indexes_of(ref):
            data = unit.dex.data
            numbers = self._units[unit].invokes[index]
            found += [(data[number & _MASK], site_of(self._bodies, number)) for number in numbers]
        return found

    def _indexes_of(self, ref: MemberRef) -> Iterator[tuple[Unit, int]]:
        """Yield where a method that is called stands in the tables."""
        for unit, uses in self._units.items():
            for index in self._called.get((unit, ref.owner), ()):
                if index in uses.invokes and unit.ids.method(index) == ref:
                    yield unit, index

    @cached_property
    def _called(self) -> dict[tuple[Unit, str], list[int]]:
        """The methods that are called, by the class they are named with."""
        found: dict[tuple[Unit, str], list[int]] = defaultdict(list)
        for unit, uses in self._units.items():
            owners, name = unit.ids.method_owners, unit.ids.type
            for index in sorted(uses.invokes):
                found[unit, name(owners[index])].append(index)
        return found

    def calls_named(self, *names: str, owner: str | None = None) -> list[Site]:
        """Return the calls of every method with one of some bare names, of one class or any."""
        asked = frozenset(names), owner
        if asked not in self._calls_named:
            found = []
            for unit, uses in self._units.items():
                for index in unit.ids.methods_named(asked[0]):
                    if index in uses.invokes and owner in (None, unit.ids.method(index).owner):
                        found += uses.invokes[index]
            self._calls_named[asked] = self.sites_of(sorted(found))
        return self._calls_named[asked]

    def methods_calling(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the methods that call any method of these names, whoever's it is."""
        if names not in self._calling:
            self._calling[names] = frozenset(site.method for site in self.calls_named(*names))
        return self._calling[names]
