"""Android resource tables (``resources.arsc``): every resource in every configuration.

Layout, little-endian; every chunk has the head that :mod:`rom_builder.formats.resource_chunk`
describes (``ResTable_*`` in Android's ``androidfw/ResourceTypes.h``):

==================  ===================================================================
chunk               content after the head
==================  ===================================================================
0x0002 table        u32 number of packages; the pool of values, then the packages
0x0200 package      see :mod:`rom_builder.formats.arsc_package`
entry               u16 size, u16 flags, u32 name; 8-byte value
... flags & 1       u16 size, u16 flags, u32 name, u32 parent, u32 count; u32 name and value each
... flags & 8       u16 name, u8 flags, u8 type, u32 data
==================  ===================================================================

A resource id is package id << 24 | type id << 16 | entry index. The value of a resource that is a
file is the file's path inside the APK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from struct import Struct, pack

from rom_builder.errors import ImageError
from rom_builder.formats.arsc_package import COMPACT, PACKAGE, PackageChunk, TypeChunk
from rom_builder.formats.overlayable import Overlayable
from rom_builder.formats.resource_chunk import (
    VALUE,
    TypedValue,
    ValueType,
    child_chunks,
    patch_bytes,
    read_chunk,
)
from rom_builder.formats.string_pool import STRING_POOL, StringPool

TABLE = 0x0002
_COMPLEX = 1
_ENTRY_SIZE, _COMPLEX_SIZE = 8, 16
_SIMPLE = Struct("<HHIHBBI")
"""An entry of one value, the common kind, and that value."""
_STRING = int(ValueType.STRING)

MAX_REFERENCES = 20
"""How many references are followed in a row, as in the platform."""
MAX_VALUES = 10_000
"""Most values that one resource may resolve to."""


@dataclass(frozen=True, slots=True)
class ResourceValue(TypedValue):
    """A resource in one configuration.

    ``config`` holds qualifiers as in a folder's name, "" for the default; ``land, mcc310`` if
    a reference led from one configuration to another and both must hold. ``data`` of a string is
    its index in the table's pool, ``string`` its text. ``offset`` is where the value stands.
    ``raw_config`` is the structure that ``config`` was read from; empty after :meth:`resolve`.
    A bag (a style, plural or array) has a ``parent`` (0 for none) and ``items`` by resource id.
    """

    config: str
    type: int
    data: int
    string: str | None = None
    offset: int = field(default=0, compare=False)
    is_compact: bool = False
    parent: int | None = None
    items: tuple[tuple[int, ResourceValue], ...] = ()
    raw_config: bytes = field(default=b"", compare=False)


class ResourceTable:
    """A resource table, indexed by chunk; entries and strings are read when they are asked for.

    Make one with :func:`parse_arsc`. Damage inside an entry raises ImageError from the look-up.
    """

    def __init__(
        self, data: bytes, strings: StringPool, packages: tuple[PackageChunk, ...]
    ) -> None:
        self._data = data
        self.strings = strings
        self._packages = packages

    @property
    def packages(self) -> tuple[tuple[int, str], ...]:
        """Id and name of each package, in file order."""
        return tuple((package.id, package.name) for package in self._packages)

    @property
    def overlayables(self) -> tuple[Overlayable, ...]:
        """Every overlayable set of every package, in file order."""
        return tuple(found for package in self._packages for found in package.overlayables)

    def find(self, type_name: str, entry_name: str) -> int | None:
        """Return the id of a resource such as ``bool``, ``def_backup_enabled``."""
        for package in self._packages:
            names = frozenset(package.keys.indices(entry_name)) if package.keys else frozenset()
            if names:
                for chunk in package.types_named(type_name):
                    for index, key in chunk.entry_keys():
                        if key in names:
                            return package.id << 24 | chunk.type_id << 16 | index
        return None

    def names(self, type_name: str) -> Iterator[tuple[str, int]]:
        """Yield name and id of every resource of a type, each id once."""
        for package in self._packages:
            seen: set[int] = set()
            for chunk in package.types_named(type_name):
                for index, key in chunk.entry_keys():
                    resource_id = package.id << 24 | chunk.type_id << 16 | index
                    if resource_id not in seen:
                        seen.add(resource_id)
                        yield package.key(key) or "", resource_id

    @property
    def type_names(self) -> tuple[str, ...]:
        """Every type that a package has resources of, each once."""
        found = (p.type_name(type_id) for p in self._packages for type_id in p.types)
        return tuple(dict.fromkeys(name for name in found if name))

    def all_values(self, type_name: str) -> Iterator[tuple[str, int, ResourceValue]]:
        """Yield name, id and value of every resource of a type in every configuration.

        In file order, one configuration after another; much faster than to ask for each resource.
        """
        for package in self._packages:
            for chunk in package.types_named(type_name):
                base = package.id << 24 | chunk.type_id << 16
                last = chunk.end - _SIMPLE.size
                for index, position in chunk.entries():
                    simple = None
                    if chunk.start <= position <= last:
                        simple = self._simple(chunk.config, position)
                    if simple is None:
                        simple = chunk.key(position), self._value(chunk, position)
                    yield package.key(simple[0]) or "", base | index, simple[1]

    def _simple(self, config: str, position: int) -> tuple[int, ResourceValue] | None:
        """Return name and value of an entry of the common kind, None if it is of another."""
        size, flags, key, _, _, kind, data = _SIMPLE.unpack_from(self._data, position)
        if size != _ENTRY_SIZE or flags & (COMPACT | _COMPLEX):
            return None
        string = self.strings.get(data) if kind == _STRING else None
        return key, ResourceValue(config, kind, data, string, position + _ENTRY_SIZE)

    def name(self, resource_id: int) -> str | None:
        """Return the name of a resource, such as ``bool/def_backup_enabled``."""
        for package, chunk, position in self._entries(resource_id):
            type_name, entry = package.type_name(chunk.type_id), package.key(chunk.key(position))
            if type_name is not None and entry is not None:
                return f"{type_name}/{entry}"
        return None

    def values(self, resource_id: int) -> tuple[ResourceValue, ...]:
        """Return a resource in all its configurations as written, the default one first."""
        found = [self._value(chunk, position) for _, chunk, position in self._entries(resource_id)]
        return tuple(sorted(found, key=lambda value: value.config != ""))

    def resolve(self, resource_id: int) -> tuple[ResourceValue, ...]:
        """Return what a resource comes to in all its configurations, the default one first.

        References to resources in this table are followed; a reference to another package's
        resource is returned as it is. Empty if there is no such resource.

        Raises:
            ImageError: References form a circle or go on too long, or an entry is damaged.
        """
        found = self._resolve(resource_id, (), {})
        return tuple(sorted(found, key=lambda value: value.config != ""))

    def _resolve(
        self, resource_id: int, path: tuple[int, ...], done: dict[int, list[ResourceValue]]
    ) -> list[ResourceValue]:
        if resource_id in done:
            return done[resource_id]
        path = (*path, resource_id)
        found: list[ResourceValue] = []
        for value in self.values(resource_id):
            target = value.reference
            if target is None:
                found.append(value)
                continue
            if target in path or len(path) > MAX_REFERENCES:
                raise ImageError(
                    f"resource {resource_id:#010x} refers to itself or too far",
                    offset=value.offset,
                )
            ends = self._resolve(target, path, done)
            if not ends:  # a resource of another package
                found.append(value)
            for end in ends:
                both = dict.fromkeys(filter(None, (value.config, end.config)))
                found.append(replace(end, config=", ".join(both), raw_config=b""))
            if len(found) > MAX_VALUES:
                raise ImageError(
                    f"resource {resource_id:#010x} has over {MAX_VALUES} values",
                    offset=value.offset,
                )
        done[resource_id] = found
        return found

    def _entries(self, resource_id: int) -> Iterator[tuple[PackageChunk, TypeChunk, int]]:
        """Yield where the entry of a resource stands, once for each configuration."""
        for package in self._packages:
            if package.id == resource_id >> 24:
                for chunk in package.types.get(resource_id >> 16 & 0xFF, ()):
                    position = chunk.entry(resource_id & 0xFFFF)
                    if position is not None:
                        yield package, chunk, position

    def _value(self, chunk: TypeChunk, position: int) -> ResourceValue:
        size, flags = chunk.unpack("<HH", position)
        if flags & COMPACT:
            kind, data = flags >> 8, chunk.unpack("<I", position + 4)[0]
            return self._typed(chunk, kind, data, position, is_compact=True)
        if size < (_COMPLEX_SIZE if flags & _COMPLEX else _ENTRY_SIZE):
            raise ImageError(f"an entry says it has {size} bytes", offset=position)
        if not flags & _COMPLEX:
            _, _, kind, data = chunk.unpack("<HBBI", position + size)
            return self._typed(chunk, kind, data, position + size)
        parent, count = chunk.unpack("<II", position + 8)
        if position + size + 12 * count > chunk.end:
            raise ImageError(f"{count} items do not fit their bag's chunk", offset=position)
        items = []
        for item in range(position + size, position + size + 12 * count, 12):
            name, _, _, kind, data = chunk.unpack("<IHBBI", item)
            items.append((name, self._typed(chunk, kind, data, item + 4)))
        return ResourceValue(
            chunk.config,
            ValueType.NULL,
            0,
            None,
            position,
            parent=parent,
            items=tuple(items),
            raw_config=chunk.raw_config,
        )

    def _typed(
        self, chunk: TypeChunk, kind: int, data: int, offset: int, *, is_compact: bool = False
    ) -> ResourceValue:
        string = self.strings.get(data) if kind == ValueType.STRING else None
        return ResourceValue(
            chunk.config, kind, data, string, offset, is_compact, raw_config=chunk.raw_config
        )


def parse_arsc(data: bytes) -> ResourceTable:
    """Index a resource table; nothing is decoded yet.

    Raises:
        ImageError: It is no resource table, or a chunk does not fit where it stands.
    """
    head = read_chunk(data, 0, len(data))
    if head.type != TABLE or not 12 <= head.header_size <= head.size:
        raise ImageError(f"not a resource table: chunk {head.type:#06x}", offset=0)
    strings: StringPool | None = None
    packages = []
    for chunk in child_chunks(data, head.body, head.end):
        if chunk.type == STRING_POOL and strings is None:
            strings = StringPool(data, chunk.offset, chunk.end)
        elif chunk.type == PACKAGE:
            packages.append(PackageChunk(data, chunk))
    if strings is None:
        raise ImageError("a resource table without strings", offset=head.body)
    return ResourceTable(data, strings, tuple(packages))


def patch_value(data: bytes, value: ResourceValue, kind: int, value_data: int) -> bytes:
    """Return the table with another value in place of one that was read from it.

    Args:
        data: The file that ``value`` was read from.
        value: As :meth:`ResourceTable.values` or ``resolve`` returned it; no bag.
        kind: The type, such as ``ValueType.INT_BOOLEAN``.
        value_data: The data; for a string, its index in the table's pool.

    Raises:
        ValueError: The value is a bag or does not come from this file.
    """
    if value.parent is not None:
        raise ValueError("a bag has no value of its own to patch")
    if value.is_compact:
        offset = value.offset + 3
        before, after = pack("<BI", value.type, value.data), pack("<BI", kind, value_data)
    else:
        offset = value.offset
        before = data[offset : offset + 3] + pack("<BI", value.type, value.data)
        after = VALUE.pack(8, 0, kind, value_data)
    return patch_bytes(data, offset, before, after)
