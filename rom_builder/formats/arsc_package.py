"""The packages of Android resource tables: which entry each type has in each configuration, and where.

Layout, little-endian (``ResTable_package`` and below in Android's ``androidfw/ResourceTypes.h``):

==================  ===================================================================
chunk               content after the head
==================  ===================================================================
0x0200 package      u32 id, 256 bytes UTF-16 name, u32 where the pool of type names starts,
                    u32 unused, u32 where the pool of entry names starts, u32 unused,
                    u32 what to subtract from type ids (not in old files); the two pools, types
0x0202 type spec    u8 type id from 1, 3 bytes, u32 entries, u32 flags for each
0x0201 type         u8 type id, u8 flags (1 sparse, 2 16-bit offsets), u16, u32 entries,
                    u32 where the entries start, configuration; an offset each; the entries
offsets             u32, or 0xffffffff for none; sparse: u16 index, u16 offset / 4;
                    16-bit: u16 offset / 4, or 0xffff for none
0x0204 overlayable  see :mod:`rom_builder.formats.overlayable`
==================  ===================================================================

What an entry holds, :mod:`rom_builder.formats.arsc` says; of it only the name is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from struct import calcsize, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.overlayable import OVERLAYABLE, Overlayable, parse_overlayable
from rom_builder.formats.resource_chunk import Chunk, child_chunks, decode_fixed_utf16
from rom_builder.formats.resource_config import decode_config
from rom_builder.formats.string_pool import STRING_POOL, StringPool

PACKAGE, TYPE, TYPE_SPEC = 0x0200, 0x0201, 0x0202
COMPACT = 8
"""Flag of an entry that has its name in place of its size."""
_SPARSE, _OFFSET16 = 1, 2


class TypeChunk:
    """The entries of one type in one configuration.

    Raises:
        ImageError: The chunk is damaged; on access, an entry is.
    """

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
        """The structure that says which configuration it is."""
        start = self._chunk.offset + 20
        size = unpack_from("<I", self._data, start)[0]
        return self._data[start : min(start + size, self._chunk.body)]

    @cached_property
    def config(self) -> str:
        """The configuration's qualifiers, as in a folder's name."""
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
        return short if flags & COMPACT else self.unpack("<I", position + 4)[0]

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


class PackageChunk:
    """One package of a table: its chunks by type.

    Raises:
        ImageError: The chunk, or one in it, is damaged.
    """

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
        self.types: dict[int, list[TypeChunk]] = {}
        self.overlayables: list[Overlayable] = []
        for child in child_chunks(data, chunk.body, chunk.end):
            if child.type == TYPE:
                found = TypeChunk(data, child)
                self.types.setdefault(found.type_id, []).append(found)
            elif child.type == STRING_POOL and child.offset == chunk.offset + types:
                self._type_names = StringPool(data, child.offset, child.end)
            elif child.type == STRING_POOL and child.offset == chunk.offset + keys:
                self.keys = StringPool(data, child.offset, child.end)
            elif child.type == OVERLAYABLE:
                self.overlayables.append(parse_overlayable(data, child))

    def type_name(self, type_id: int) -> str | None:
        """Return the name of a type, None if there is no such type."""
        index = type_id - 1 - self._type_id_offset
        return self._type_names.get(index) if self._type_names and index >= 0 else None

    def key(self, index: int) -> str | None:
        """Return one of the names of entries, None if there is no such name."""
        return self.keys.get(index) if self.keys else None

    def types_named(self, type_name: str) -> Iterator[TypeChunk]:
        """Yield a type in all its configurations."""
        for type_id, chunks in self.types.items():
            if self.type_name(type_id) == type_name:
                yield from chunks
