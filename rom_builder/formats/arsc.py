"""Android resource tables (``resources.arsc``): every resource in every configuration.

Layout, little-endian; every chunk has the head that :mod:`rom_builder.formats.resource_chunk`
describes (``ResTable_*`` in Android's ``androidfw/ResourceTypes.h``):

==================  ===================================================================
chunk               content after the head
==================  ===================================================================
0x0002 table        u32 number of packages; the pool of values, then the packages
0x0200 package      u32 id, 256 bytes UTF-16 name, u32 where the pool of type names starts,
                    u32 unused, u32 where the pool of entry names starts, u32 unused,
                    u32 what to subtract from type ids (not in old files); the two pools, types
0x0202 type spec    u8 type id from 1, 3 bytes, u32 entries, u32 flags for each
0x0201 type         u8 type id, u8 flags (1 sparse, 2 16-bit offsets), u16, u32 entries,
                    u32 where the entries start, configuration; an offset each; the entries
offsets             u32, or 0xffffffff for none; sparse: u16 index, u16 offset / 4;
                    16-bit: u16 offset / 4, or 0xffff for none
entry               u16 size, u16 flags, u32 name; 8-byte value
... flags & 1       u16 size, u16 flags, u32 name, u32 parent, u32 count; u32 name and value each
... flags & 8       u16 name, u8 flags, u8 type, u32 data
0x0204 overlayable  see :mod:`rom_builder.formats.overlayable`
==================  ===================================================================

A resource id is package id << 24 | type id << 16 | entry index. The value of a resource that is a
file is the file's path inside the APK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from struct import Struct, calcsize, pack, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.overlayable import OVERLAYABLE, Overlayable, parse_overlayable
from rom_builder.formats.resource_chunk import (
    VALUE,
    Chunk,
    TypedValue,
    ValueType,
    child_chunks,
    decode_fixed_utf16,
    patch_bytes,
    read_chunk,
)
from rom_builder.formats.resource_config import decode_config
from rom_builder.formats.string_pool import STRING_POOL, StringPool

TABLE, PACKAGE, TYPE, TYPE_SPEC = 0x0002, 0x0200, 0x0201, 0x0202
_SPARSE, _OFFSET16 = 1, 2
_COMPLEX, _COMPACT = 1, 8
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

    def __init__(self, data: bytes, strings: StringPool, packages: tuple[_Package, ...]) -> None:
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
        if size != _ENTRY_SIZE or flags & (_COMPACT | _COMPLEX):
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

    def _entries(self, resource_id: int) -> Iterator[tuple[_Package, _TypeChunk, int]]:
        """Yield where the entry of a resource stands, once for each configuration."""
        for package in self._packages:
            if package.id == resource_id >> 24:
                for chunk in package.types.get(resource_id >> 16 & 0xFF, ()):
                    position = chunk.entry(resource_id & 0xFFFF)
                    if position is not None:
                        yield package, chunk, position

    def _value(self, chunk: _TypeChunk, position: int) -> ResourceValue:
        size, flags = chunk.unpack("<HH", position)
        if flags & _COMPACT:
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
        self, chunk: _TypeChunk, kind: int, data: int, offset: int, *, is_compact: bool = False
    ) -> ResourceValue:
        string = self.strings.get(data) if kind == ValueType.STRING else None
        return ResourceValue(
            chunk.config, kind, data, string, offset, is_compact, raw_config=chunk.raw_config
        )


class _TypeChunk:
    """The entries of one type in one configuration."""

    def __init__(self, data: bytes, chunk: Chunk) -> None:
        if not 24 <= chunk.header_size <= chunk.size:
            raise ImageError(
                f"type chunk of {chunk.size} bytes with a header of {chunk.header_size}",
                offset=chunk.offset,
            )
        self._data = data
        self._chunk = chunk
        self.start, self.end = chunk.offset, chunk.end
        head: tuple[int, ...] = unpack_from("<BBHII", data, chunk.offset + 8)
        self.type_id, flags, _, self._count, start = head
        self._is_sparse = bool(flags & _SPARSE)
        self._is_offset16 = bool(flags & _OFFSET16) and not self._is_sparse
        self._first = chunk.offset + start
        if chunk.body + self._count * (2 if self._is_offset16 else 4) > chunk.end:
            raise ImageError(
                f"{self._count} entry offsets do not fit their chunk", offset=chunk.offset
            )

    @cached_property
    def raw_config(self) -> bytes:
        start = self._chunk.offset + 20
        size = unpack_from("<I", self._data, start)[0]
        return self._data[start : min(start + size, self._chunk.body)]

    @cached_property
    def config(self) -> str:
        return decode_config(self.raw_config)

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        """Unpack little-endian integers that must lie inside the chunk."""
        if not self._chunk.offset <= offset <= self.end - calcsize(layout):
            raise ImageError("an entry runs past the end of its chunk", offset=offset)
        return unpack_from(layout, self._data, offset)

    @cached_property
    def _sparse(self) -> dict[int, int]:
        pairs = unpack_from(f"<{2 * self._count}H", self._data, self._chunk.body)
        return dict(zip(pairs[::2], pairs[1::2], strict=True))

    def entry(self, index: int) -> int | None:
        """Return the file offset of an entry, None if this configuration has none."""
        if self._is_sparse:
            quarter = self._sparse.get(index)
            return None if quarter is None else self._first + 4 * quarter
        if index >= self._count:
            return None
        if self._is_offset16:
            quarter = unpack_from("<H", self._data, self._chunk.body + 2 * index)[0]
            return None if quarter == 0xFFFF else self._first + 4 * quarter
        offset: int = unpack_from("<I", self._data, self._chunk.body + 4 * index)[0]
        return None if offset == 0xFFFFFFFF else self._first + offset

    def key(self, position: int) -> int:
        """Return the name of the entry at a file offset, an index into the package's names."""
        short, flags = self.unpack("<HH", position)
        return short if flags & _COMPACT else self.unpack("<I", position + 4)[0]

    def entries(self) -> Iterator[tuple[int, int]]:
        """Yield index and file offset of every entry."""
        first, body = self._first, self._chunk.body
        if self._is_sparse:
            yield from ((index, first + 4 * quarter) for index, quarter in self._sparse.items())
        elif self._is_offset16:
            quarters = unpack_from(f"<{self._count}H", self._data, body)
            yield from ((i, first + 4 * q) for i, q in enumerate(quarters) if q != 0xFFFF)
        else:
            offsets = unpack_from(f"<{self._count}I", self._data, body)
            yield from ((i, first + o) for i, o in enumerate(offsets) if o != 0xFFFFFFFF)

    def entry_keys(self) -> Iterator[tuple[int, int]]:
        """Yield index and name of every entry."""
        for index, position in self.entries():
            yield index, self.key(position)


class _Package:
    """One package of a table: its chunks by type."""

    def __init__(self, data: bytes, chunk: Chunk) -> None:
        # Old files lack the last four bytes of the header.
        if not 284 <= chunk.header_size <= chunk.size:
            raise ImageError(
                f"package chunk of {chunk.size} bytes with a header of {chunk.header_size}",
                offset=chunk.offset,
            )
        package_id, raw_name, types, _, keys, _ = unpack_from("<I256s4I", data, chunk.offset + 8)
        self.id: int = package_id
        self.name = decode_fixed_utf16(raw_name)
        self._type_id_offset = 0
        if chunk.header_size >= 288:
            self._type_id_offset = unpack_from("<I", data, chunk.offset + 284)[0]
        self._type_names: StringPool | None = None
        self.keys: StringPool | None = None
        self.types: dict[int, list[_TypeChunk]] = {}
        self.overlayables: list[Overlayable] = []
        for child in child_chunks(data, chunk.body, chunk.end):
            if child.type == TYPE:
                found = _TypeChunk(data, child)
                self.types.setdefault(found.type_id, []).append(found)
            elif child.type == STRING_POOL and child.offset == chunk.offset + types:
                self._type_names = StringPool(data, child.offset, child.end)
            elif child.type == STRING_POOL and child.offset == chunk.offset + keys:
                self.keys = StringPool(data, child.offset, child.end)
            elif child.type == OVERLAYABLE:
                self.overlayables.append(parse_overlayable(data, child))

    def type_name(self, type_id: int) -> str | None:
        index = type_id - 1 - self._type_id_offset
        return self._type_names.get(index) if self._type_names and index >= 0 else None

    def key(self, index: int) -> str | None:
        return self.keys.get(index) if self.keys else None

    def types_named(self, type_name: str) -> Iterator[_TypeChunk]:
        for type_id, chunks in self.types.items():
            if self.type_name(type_id) == type_name:
                yield from chunks


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
            packages.append(_Package(data, chunk))
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
