"""Inode records being edited: fields by name, checksum set when they are written.

Fields that a reader does not need and an edit does, little-endian (Linux
``Documentation/filesystems/ext4/inodes.rst``); the others stand in ``inode.py``::

    offset  size  field                       offset  size  field
    8       4     read at                     116     2     blocks, high
    12      4     inode changed at            132     4     inode changed at, extra
    20      4     deleted at                  140     4     read at, extra
    28      4     blocks of 512 bytes, low    144     4     made at
                                              148     4     made at, extra
"""

from __future__ import annotations

import stat
import struct

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.inode import EXTENTS, INLINE_DATA
from rom_builder.formats.ext4.superblock import Superblock
from rom_builder.formats.folder_edit import Attributes
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.tree import NodeKind

TYPES = {NodeKind.FILE: stat.S_IFREG, NodeKind.FOLDER: stat.S_IFDIR}

MAX_LINKS = 65000  # EXT4_LINK_MAX of Linux

_FIELDS = {
    "mode": ((0, 2),),
    "uid": ((2, 2), (120, 2)),
    "size": ((4, 4), (108, 4)),
    "gid": ((24, 2), (122, 2)),
    "links": ((26, 2),),
    "sectors": ((28, 4), (116, 2)),
    "flags": ((32, 4),),
    "generation": ((100, 4),),
    "attribute_block": ((104, 4), (118, 2)),
}
_MODIFIED = ((16, 136), (12, 132))  # content and inode
_MADE = ((8, 140), (144, 148))  # last read, and made
_EXTRA_SIZE = 32
_TIMES = range(-1 << 31, (1 << 34) - (1 << 31))


class Record:
    """One inode record.

    Args:
        number: Its number.
        offset: Where it lies in the image.
        raw: All its bytes.
    """

    def __init__(self, number: int, offset: int, raw: bytes) -> None:
        self.number = number
        self.offset = offset
        self.raw = bytearray(raw)

    def get(self, name: str) -> int:
        """Return a field."""
        value = shift = 0
        for offset, size in _FIELDS[name]:
            value |= int.from_bytes(self.raw[offset : offset + size], "little") << shift
            shift += 8 * size
        return value

    def set(self, name: str, value: int) -> None:
        """Change a field.

        Raises:
            ImageError: It has no room for the value.
        """
        rest = value
        for offset, size in _FIELDS[name]:
            part = rest & (1 << 8 * size) - 1
            self.raw[offset : offset + size] = part.to_bytes(size, "little")
            rest >>= 8 * size
        if rest:
            name = name.replace("_", " ")
            raise ImageError(f"inode {self.number} has no room for {name} {value}")

    @property
    def extra_size(self) -> int:
        """Bytes in use after byte 128."""
        return int.from_bytes(self.raw[128:130], "little") if len(self.raw) > 128 else 0

    @property
    def block(self) -> bytes:
        """The 60 bytes of the block map."""
        return bytes(self.raw[40:100])

    @block.setter
    def block(self, value: bytes) -> None:
        self.raw[40:100] = value.ljust(60, b"\0")

    @property
    def checksum_start(self) -> bytes:
        """What the checksums of all that belongs to this inode begin with."""
        return struct.pack("<II", self.number, self.get("generation"))

    def use_extents(self) -> None:
        """Say that the block map is an extent tree."""
        self.set("flags", self.get("flags") & ~INLINE_DATA | EXTENTS)

    def set_attributes(self, kind: NodeKind, attributes: Attributes) -> None:
        """Set kind, permission bits, owner and the time of the content.

        Raises:
            ImageError: The time does not fit.
        """
        self.set("mode", TYPES[kind] | attributes.mode)
        self.set("uid", attributes.uid)
        self.set("gid", attributes.gid)
        self._set_times(_MODIFIED, attributes.mtime)

    def set_made(self, mtime: int) -> None:
        """Set the times at which a new inode was made and read."""
        self._set_times(_MADE, mtime)

    def _set_times(self, places: tuple[tuple[int, int], ...], mtime: int) -> None:
        end = 128 + self.extra_size
        if mtime not in _TIMES or (end < 140 and mtime >= 1 << 31):
            raise ImageError(f"the time {mtime} cannot be stored in inode {self.number}")
        for offset, extra in places:
            if offset + 4 <= end:
                struct.pack_into("<I", self.raw, offset, mtime & 0xFFFFFFFF)
            if extra + 4 <= end:
                # Epoch bits say what to add to the signed 32-bit value.
                struct.pack_into("<I", self.raw, extra, (mtime + (1 << 31)) >> 32)

    def write(self, draft: Draft, superblock: Superblock) -> None:
        """Set the checksum and write the record."""
        raw = self.raw
        if superblock.has_checksums:
            wide = self.extra_size >= 4
            raw[124:126] = b"\0\0"
            if wide:
                raw[130:132] = b"\0\0"
            seed = crc32c(superblock.checksum_seed, self.checksum_start)
            value = crc32c(seed, bytes(raw))
            raw[124:126] = (value & 0xFFFF).to_bytes(2, "little")
            if wide:
                raw[130:132] = (value >> 16).to_bytes(2, "little")
        draft.write(self.offset, bytes(raw))


def new_record(number: int, offset: int, superblock: Superblock) -> Record:
    """Return an empty record."""
    raw = bytearray(superblock.inode_size)
    if superblock.inode_size > 128:
        raw[128:130] = min(_EXTRA_SIZE, superblock.inode_size - 128).to_bytes(2, "little")
    return Record(number, offset, bytes(raw))
