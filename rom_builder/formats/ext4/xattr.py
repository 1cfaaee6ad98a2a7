"""Extended attributes of ext4: in the inode, in a block of their own, or each in its own inode.

Both places hold entries and values, little-endian (Linux
``Documentation/filesystems/ext4/attributes.rst``)::

    inode    after the inode proper: u32 magic 0xEA020000, entries
    block    u32 magic, u32 users, u32 blocks = 1, u32 hash, u32 CRC-32C, 12 bytes, entries
    entry    u8 name length, u8 name index, u16 value offset, u32 value inode, u32 value size,
             u32 hash, name, zeros to a multiple of 4; four zero bytes end the list

Value offsets count from the first entry in an inode, from the block's begin in a block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.blocks import mapped_content
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.inode import EA_INODE, Inode
from rom_builder.formats.ext4.volume import Volume

_MAGIC = 0xEA020000
_ENTRY = struct.Struct("<BBHII4x")
_VALUE_LIMIT = 65536  # XATTR_SIZE_MAX of Linux
_SIZE_LIMIT = 1 << 20  # values in one place; they could all name the same bytes
_BLOCKS_KEPT = 64

_ACL_ACCESS, _ACL_DEFAULT, _SYSTEM = 2, 3, 7
_PREFIXES = {
    0: "",
    1: "user.",
    _ACL_ACCESS: "system.posix_acl_access",
    _ACL_DEFAULT: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
    _SYSTEM: "system.",
    8: "system.richacl",
    10: "gnu.",
}
# Encryption context and verity descriptor: for the file system only, no program sees them.
_INTERNAL = {9, 11}


@dataclass(frozen=True, slots=True)
class Attributes:
    """The extended attributes of one inode.

    Attributes:
        values: By full name.
        inline_data: Content of a small file past its first 60 bytes; None if there is none.
        inodes: Inodes that hold values.
    """

    values: dict[str, bytes]
    inline_data: bytes | None
    inodes: frozenset[int]


class AttributeReader:
    """Reads attributes; blocks that many inodes share are decoded once.

    Args:
        volume: Where to read.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._block = lru_cache(_BLOCKS_KEPT)(self._read_block)

    def read(self, inode: Inode) -> Attributes:
        """Return every attribute of an inode.

        Raises:
            ImageError: They are damaged or one is named twice.
        """
        found = self._read_body(inode)
        if inode.attribute_block:
            outside = self._block(inode.attribute_block)
            twice = found.values.keys() & outside.values.keys()
            if twice:
                raise ImageError(
                    f"inode {inode.number}: the attribute {min(twice)!r} is there twice",
                    offset=inode.offset,
                )
            found = Attributes(
                found.values | outside.values, found.inline_data, found.inodes | outside.inodes
            )
        return found

    def read_inline_data(self, inode: Inode) -> bytes:
        """Return the content of an inode that keeps it in place of a block map.

        It may be shorter than the inode's size; the kernel reads what is missing as zeros.

        Raises:
            ImageError: The attribute that holds the rest is damaged.
        """
        return (inode.block + (self._read_body(inode).inline_data or b""))[: inode.size]

    def _read_body(self, inode: Inode) -> Attributes:
        body = inode.body
        if len(body) < 8 or int.from_bytes(body[:4], "little") != _MAGIC:
            return Attributes({}, None, frozenset())
        # The inode's record ends where its body ends.
        offset = inode.offset + self._volume.superblock.inode_size - len(body) + 4
        return self._parse(body[4:], 0, offset)

    def _read_block(self, number: int) -> Attributes:
        block = self._volume.block(number)
        offset = number * self._volume.block_size
        magic, _users, blocks, _hash, stored = struct.unpack_from("<5I", block)
        if magic != _MAGIC or blocks != 1:
            raise ImageError(f"block {number} holds no attributes", offset=offset)
        if self._volume.superblock.has_checksums:
            seed = crc32c(self._volume.superblock.checksum_seed, number.to_bytes(8, "little"))
            if crc32c(seed, block[:16] + bytes(4) + block[20:]) != stored:
                raise ImageError(
                    f"the attributes in block {number} do not match their checksum", offset=offset
                )
        return self._parse(block, 32, offset)

    def _parse(self, area: bytes, start: int, offset: int) -> Attributes:
        values: dict[str, bytes] = {}
        inline_data: bytes | None = None
        inodes: set[int] = set()
        left = _SIZE_LIMIT
        for index, name, value, value_inode, size in _entries(area, start, offset):
            left -= size
            if left < 0:
                raise ImageError(f"attributes of more than {_SIZE_LIMIT} bytes", offset=offset)
            if value_inode:
                value = self._read_value(value_inode, size)
                inodes.add(value_inode)
            if index in _INTERNAL:
                continue
            if (index, name) == (_SYSTEM, "data"):
                inline_data = value
                continue
            if index not in _PREFIXES:
                raise ImageError(f"attribute name index {index} is unknown", offset=offset)
            if index in (_ACL_ACCESS, _ACL_DEFAULT):
                value = _decode_acl(value, offset)
            full_name = _PREFIXES[index] + name
            if full_name in values:
                raise ImageError(f"the attribute {full_name!r} is there twice", offset=offset)
            values[full_name] = value
        return Attributes(values, inline_data, frozenset(inodes))

    def _read_value(self, number: int, size: int) -> bytes:
        inode = self._volume.inode(number)
        if not inode.flags & EA_INODE or inode.size != size or size > _VALUE_LIMIT:
            raise ImageError(
                f"inode {number} of {inode.size} bytes is no attribute value of {size} bytes",
                offset=inode.offset,
            )
        return mapped_content(self._volume, inode).read_at(0, size)


def _entries(area: bytes, start: int, offset: int) -> Iterator[tuple[int, str, bytes, int, int]]:
    """Yield name index, name, value, value inode and value size of every entry.

    Args:
        area: Entries and values.
        start: Where the entries begin; value offsets count from the area's begin.
        offset: Where the area lies in the image.
    """
    position = start
    while True:
        head = area[position : position + 16]
        if len(head) >= 4 and not any(head[:4]):
            return
        if len(head) < 16:
            raise ImageError("an attribute list has no end", offset=offset + position)
        name_size, index, value_offset, inode, size = _ENTRY.unpack(head)
        name_end = position + 16 + name_size
        if name_end > len(area) or (not inode and value_offset + size > len(area)):
            raise ImageError("an attribute reaches past its area", offset=offset + position)
        name = area[position + 16 : name_end].decode("utf-8", "surrogateescape")
        value = b"" if inode else area[value_offset : value_offset + size]
        yield index, name, value, inode, size
        position = -(-name_end // 4) * 4


def _decode_acl(value: bytes, offset: int) -> bytes:
    """Return a POSIX ACL as programs see it (version 2) from the shorter form on disk (version 1).

    On disk: u32 1, then u16 tag, u16 permissions, and u32 id for tags 2 (user) and 8 (group) only.
    Seen: u32 2, then all three for every entry, id 0xFFFFFFFF where it has no meaning.
    """
    if len(value) < 4 or value[:4] != b"\x01\0\0\0":
        raise ImageError("an access control list of unknown version", offset=offset)
    seen = [b"\x02\0\0\0"]
    position = 4
    while position < len(value):
        tag = value[position : position + 2]
        size = 8 if tag in (b"\x02\0", b"\x08\0") else 4
        entry = value[position : position + size]
        if len(entry) < size:
            raise ImageError("an access control list ends inside an entry", offset=offset)
        seen.append(entry if size == 8 else entry + b"\xff\xff\xff\xff")
        position += size
    return b"".join(seen)
