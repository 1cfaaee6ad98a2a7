"""Programs as they lie in a ROM: their DEX files, and what a manifest has the system start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from rom_builder.code.graph import Graph
from rom_builder.code.taken_out import no_code, read_taken_out, taken_out_of
from rom_builder.errors import ImageError
from rom_builder.findings import Location
from rom_builder.formats.axml import Element
from rom_builder.formats.dex import Dex, parse_dex
from rom_builder.formats.dex_class import DexClasses, Method
from rom_builder.formats.dex_code import Code, parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.readers.packages import HAS_CODE, Apk, open_app
from rom_builder.rom import READ_LIMIT, Rom, RomFile

WORK, WORK_PER_BYTE = 1_000_000, 5
"""Instructions, and values held at them, that are looked at in one DEX file: so many, and so many for
each of its bytes. Real ones take about half a step a byte."""

DEX_ENTRY = re.compile(r"classes\d*\.dex")

# Resource ids of manifest attributes (frameworks/base, core/res/res/values/public.xml).
NAME = 0x01010003
PERSISTENT = 0x0101000D
ENABLED = 0x0101000E
EXPORTED = 0x01010010


@dataclass(frozen=True, slots=True)
class Component:
    """What the system starts by the manifest.

    Attributes:
        kind: ``activity``, ``service``, ``receiver``, ``provider`` or ``application``.
        name: Descriptor of its class.
        exported: Other apps can start it.
        actions: What its intent filters name.
        persistent: The application runs from the start of the device.
    """

    kind: str
    name: str
    exported: bool
    actions: tuple[str, ...]
    persistent: bool = False


class Unit:
    """One DEX file of a program.

    Raises:
        ImageError: Its tables are damaged; on access, what is read is damaged.
    """

    def __init__(self, name: str, dex: Dex) -> None:
        self.name = name
        self.dex = dex
        self.ids = DexIds(dex)
        self.classes = DexClasses(self.ids)
        self.operations = dex.operations
        self._work = WORK + WORK_PER_BYTE * dex.size
        self._parsed = 0

    def spend(self, work: int) -> None:
        """Count work on this file's code.

        Raises:
            ImageError: It is more than any honest code takes.
        """
        self._work -= work
        if self._work < 0:
            raise ImageError("following its code takes too long", path=self.name)

    def parse(self, offset: int) -> Code:
        """Return the code at an offset.

        Raises:
            ImageError: It is damaged, or methods share so much code that it exceeds the file.
        """
        dex = self.dex
        code = parse_code(dex.data, offset, self.operations, compact=dex.compact)
        self._parsed += len(code.units)
        if self._parsed > dex.size:
            raise ImageError("its methods have more code than the file can hold", path=self.name)
        return code


class Body:
    """A method with its code; names and code are read when they are asked for.

    Attributes:
        index: In the table of methods of its file.
        access: Flags of the DEX format.
        number: Among the methods of its app; -1 for one of a library.
    """

    __slots__ = (
        "_code", "_graph", "_key", "_method", "access", "index", "number", "offset", "unit",
    )  # fmt: skip

    def __init__(self, unit: Unit, index: int, access: int, offset: int) -> None:
        self.unit = unit
        self.index = index
        self.access = access
        self.offset = offset
        self.number = -1
        self._key: str | None = None
        self._method: Method | None = None
        self._code: Code | None = None
        self._graph: Graph | None = None

    @property
    def method(self) -> Method:
        """The method as its class lists it."""
        if self._method is None:
            ref = self.unit.ids.method(self.index)
            self._method = Method(ref, self.index, self.access, self.offset)
        return self._method

    @property
    def key(self) -> str:
        """Its whole name, as smali writes it."""
        if self._key is None:
            self._key = self.unit.ids.method(self.index).key
        return self._key

    @property
    def is_own(self) -> bool:
        """Whether it is the app's, not a library's."""
        return self.number >= 0

    @property
    def is_virtual(self) -> bool:
        """Whether a class below can have another in its place: no constructor, static, private."""
        return not self.access & 0x1000A

    @property
    def code(self) -> Code:
        """The code.

        Raises:
            ImageError: It is damaged.
        """
        if self._code is None:
            self._code = self.unit.parse(self.offset)
        return self._code

    def graph(self) -> Graph:
        """Return where control goes in it, and count that as work each time.

        Raises:
            ImageError: The code is damaged or too complex.
        """
        self.unit.spend(len(self.code.units))
        if self._graph is None:
            self._graph = Graph(self.code)
        self.unit.spend(self._graph.edges)
        return self._graph

    @property
    def owner(self) -> str:
        """Descriptor of its class."""
        return self.unit.ids.type(self.unit.ids.method_owners[self.index])

    @property
    def name(self) -> str:
        """Its bare name."""
        return self.unit.ids.string(self.unit.ids.method_names[self.index])

    @property
    def signature(self) -> str:
        """Its parameters and what it returns, ``(I)V``."""
        ids = self.unit.ids
        return ids.signature(ids.method_row(self.index)[1])

    def address_of(self, offset: int) -> int:
        """Return the address of the instruction at a byte offset in the file."""
        return (offset - self.code.byte_offset(0)) >> 1

    def place(self, address: int = 0) -> Location:
        """Return where an instruction lies in the ROM."""
        return Location(self.unit.name, self.unit.dex.place + self.code.byte_offset(address))

    @property
    def title(self) -> str:
        """Class and name as Java writes them."""
        return self.method.ref.dotted


@dataclass
class Program:
    """The code of one installed file.

    Attributes:
        name: Where it lies in the input.
        units: Its DEX files; the first that defines a class counts.
        components: What the system starts of it; none for a library.
    """

    name: str
    units: list[Unit]
    components: tuple[Component, ...] = ()

    @cached_property
    def by_class(self) -> dict[str, Component]:
        """Components by the descriptor of their class."""
        return {component.name: component for component in self.components}


def read_program(rom: Rom, file: RomFile, *, is_app: bool) -> Program | None:
    """Return the code of an app or jar; None if it cannot be read, which the ROM then notes."""
    try:
        units = list(_units(rom, file))
        apk = Apk(rom, file) if is_app else None
        components = tuple(read_components(apk)) if apk else ()
        no_code = apk is not None and apk.flag(HAS_CODE) is False
    except ImageError as error:
        rom.note_unread(error, file.name)
        return None
    if not units and not no_code:
        rom.note_unread(ImageError("has no bytecode that is read"), file.name)
        return None
    return Program(file.name, units, components)


def _units(rom: Rom, file: RomFile) -> Iterator[Unit]:
    archive = rom.archives.open(file.node, open_app(rom, file))
    entries = {name: entry for name, entry in archive.entries.items() if DEX_ENTRY.fullmatch(name)}
    for inner in sorted(entries, key=lambda each: (len(each), each)):
        name, entry = f"{file.name}!/{inner}", entries[inner]
        try:
            yield Unit(name, parse_dex(archive.read(entry, limit=READ_LIMIT)))
        except ImageError as error:
            raise error.within(name) from error
    taken_out = taken_out_of(rom, file) if not entries else None
    if taken_out is None:
        return
    name = ""
    for name, dex in read_taken_out(rom, file, taken_out, code=True):
        try:
            yield Unit(name, dex)
        except ImageError as error:
            raise error.within(name) from error
    if not name:
        raise no_code(file, taken_out)


def read_components(apk: Apk) -> Iterator[Component]:
    """Yield what the manifest has the system start.

    Raises:
        ImageError: The manifest is damaged.
    """
    application = apk.application
    if application is None:
        return
    name = _class_name(apk, application)
    if name:
        persistent = bool(apk.boolean(application.attribute(PERSISTENT)))
        yield Component("application", name, False, (), persistent)
    for kind in ("activity", "service", "receiver", "provider"):
        for element in application.children_named(kind):
            name = _class_name(apk, element)
            if not name or apk.boolean(element.attribute(ENABLED)) is False:
                continue
            filters = element.children_named("intent-filter")
            actions = tuple(
                action.as_string() or ""
                for each in filters
                for found in each.children_named("action")
                if (action := found.attribute(NAME))
            )
            stated = apk.boolean(element.attribute(EXPORTED))
            exported = bool(filters) or kind == "provider" if stated is None else stated
            yield Component(kind, name, exported, actions)


def _class_name(apk: Apk, element: Element) -> str | None:
    attribute = element.attribute(NAME)
    name = attribute.as_string() if attribute else None
    if not name:
        return None
    if name.startswith("."):
        name = apk.package + name
    elif "." not in name:
        name = f"{apk.package}.{name}"
    return f"L{name.replace('.', '/')};"
