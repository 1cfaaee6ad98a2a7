"""Extended attributes of SquashFS.

The attribute id table begins, little-endian: u64 position of the metadata blocks with names and
values, u32 ids, u32 unused; then the positions of the table's blocks. Its entries: u64 reference,
u32 attributes, u32 size. A reference points to that many of::

    u16 type, u16 name size, name, u32 value size, value

The type's low byte is the prefix; with 0x100 the value is a u64 reference to u32 size, value.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from rom_builder.errors import ImageError
from rom_builder.formats.squashfs.metadata import Cursor, Volume
from rom_builder.formats.squashfs.superblock import ABSENT

_PREFIXES = {0: "user.", 1: "trusted.", 2: "security."}
_ELSEWHERE = 0x100
_SIZE_LIMIT = 1 << 20  # names and values of one inode; Linux allows 64 KiB each
_SETS_KEPT = 256

_TABLE = struct.Struct("<QII")
_ENTRY = struct.Struct("<QII")


class AttributeReader:
    """Reads sets of attributes; sets that many inodes share are decoded once.

    Args:
        volume: Where to read.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.read = lru_cache(_SETS_KEPT)(self._read)

    def _read(self, index: int) -> dict[str, bytes]:
        """Return the attributes of a set by full name; not to be changed by the caller.

        Raises:
            ImageError: They are damaged or one is named twice.
        """
        table = self._volume.superblock.attribute_table
        if table == ABSENT:
            raise ImageError(f"attribute set {index} in an image without attributes")
        start, count, _ = _TABLE.unpack(self._volume.read(table, _TABLE.size))
        if index >= count:
            raise ImageError(f"attribute set {index} of {count} does not exist", offset=table)
        entry = self._volume.table_entry(table + _TABLE.size, index, _ENTRY.size)
        reference, attributes, _ = _ENTRY.unpack(entry)
        cursor = self._cursor(start, reference)
        values: dict[str, bytes] = {}
        left = _SIZE_LIMIT
        for _ in range(attributes):
            kind, name_size = struct.unpack("<HH", cursor.read(4))
            name = cursor.read(name_size).decode("utf-8", "surrogateescape")
            value = self._value(cursor)
            if kind & _ELSEWHERE:
                if len(value) != 8:
                    raise ImageError(f"an attribute's reference of {len(value)} bytes")
                value = self._value(self._cursor(start, int.from_bytes(value, "little")))
            prefix = _PREFIXES.get(kind & 0xFF)
            if prefix is None or prefix + name in values:
                raise ImageError(f"an attribute {name!r} of type {kind:#x}, or there twice")
            values[prefix + name] = value
            left -= name_size + len(value)
            if left < 0:
                raise ImageError(f"attributes of more than {_SIZE_LIMIT} bytes")
        return values

    def _cursor(self, start: int, reference: int) -> Cursor:
        return Cursor(self._volume, start + (reference >> 16), reference & 0xFFFF)

    def _value(self, cursor: Cursor) -> bytes:
        size = int.from_bytes(cursor.read(4), "little")
        if size > _SIZE_LIMIT:
            raise ImageError(f"an attribute of {size} bytes")
        return cursor.read(size)
