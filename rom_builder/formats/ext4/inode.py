"""One inode: the bytes that describe a file, folder or link.

Layout, little-endian (Linux ``Documentation/filesystems/ext4/inodes.rst``)::

    offset  size  field                       offset  size  field
    0       2     kind and permissions        108     4     size, high
    2       2     owner, low                  118     2     attribute block, high
    4       4     size, low                   120     2     owner, high
    16      4     modified at                 122     2     group, high
    24      2     group, low                  124     2     checksum, low
    26      2     names (hard links)          128     2     bytes in use after byte 128
    32      4     flags                       130     2     checksum, high
    40      60    block map, extents or data  136     4     modified at, extra: 2 bits of epoch
    100     4     generation
    104     4     attribute block, low
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.superblock import Superblock
from rom_builder.formats.tree import FILE_TYPES, NodeKind

ENCRYPT = 0x800
INDEX = 0x1000
EXTENTS = 0x80000
EA_INODE = 0x200000
INLINE_DATA = 0x10000000

_FLAG_NAMES = {
    0x10: "immutable",
    0x20: "append-only",
    ENCRYPT: "encrypt",
    INDEX: "index",
    EXTENTS: "extents",
    0x100000: "verity",
    EA_INODE: "ea_inode",
    INLINE_DATA: "inline_data",
    0x40000000: "casefold",
}


_BODY = struct.Struct("<HHI8xi4xHH4xI4x60sIII6xHHH")


@dataclass(frozen=True, slots=True)
class Inode:
    """One inode in use.

    Attributes:
        number: Counted from 1.
        offset: Byte of the image at which it begins.
        kind: What it is.
        mode: Permission bits (``0o7777``).
        uid: Owner.
        gid: Group.
        size: Bytes of content.
        mtime: Seconds since 1970.
        links: Names that lead to it.
        flags: As stored.
        block: The 60 bytes that hold an extent root, a block map, inline data or a link's target.
        attribute_block: Block of further attributes, 0 if none.
        checksum_seed: Start value for the checksums of its blocks.
        body: Bytes after the inode proper, where attributes may lie.
    """

    number: int
    offset: int
    kind: NodeKind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    flags: int
    block: bytes
    attribute_block: int
    checksum_seed: int
    body: bytes

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The flags that change what a reader or a device may do, by name."""
        return tuple(name for bit, name in _FLAG_NAMES.items() if self.flags & bit)


def parse_inode(raw: bytes, number: int, offset: int, superblock: Superblock) -> Inode:
    """Decode one inode record.

    Args:
        raw: The whole record, ``superblock.inode_size`` bytes.
        number: Its number.
        offset: Where it lies in the image.
        superblock: The file system's.

    Raises:
        ImageError: It is not in use, damaged, or of no known kind.
    """
    mode, uid, size, mtime, gid, links, flags, block, generation, acl, *high = _BODY.unpack_from(
        raw
    )
    size_high, acl_high, uid_high, gid_high = high
    extra = int.from_bytes(raw[128:130], "little") if len(raw) > 128 else 0
    if extra % 4 or 128 + extra > len(raw):
        raise ImageError(f"inode {number} claims {extra} extra bytes", offset=offset + 128)
    seed = 0
    if superblock.has_checksums:
        seed = crc32c(superblock.checksum_seed, struct.pack("<II", number, generation))
        _verify_checksum(raw, number, offset, extra, seed)
    kind = FILE_TYPES.get(stat.S_IFMT(mode))
    if kind is None or not links:
        raise ImageError(
            f"inode {number} is not in use: mode {mode:#o}, {links} links", offset=offset
        )
    # A folder's high word was once the number of an ACL block.
    if kind is NodeKind.FILE or "large_dir" in superblock.features:
        size |= size_high << 32
    if extra >= 12:
        mtime += (raw[136] & 3) << 32
    return Inode(
        number=number,
        offset=offset,
        kind=kind,
        mode=mode & 0o7777,
        uid=uid | uid_high << 16,
        gid=gid | gid_high << 16,
        size=size,
        mtime=mtime,
        links=links,
        flags=flags,
        block=block,
        attribute_block=acl | acl_high << 32,
        checksum_seed=seed,
        body=raw[128 + extra :] if extra else b"",
    )


def _verify_checksum(raw: bytes, number: int, offset: int, extra: int, seed: int) -> None:
    stored = int.from_bytes(raw[124:126], "little")
    blank = raw[:124] + b"\0\0" + raw[126:]
    mask = 0xFFFF
    if extra >= 4:
        stored |= int.from_bytes(raw[130:132], "little") << 16
        blank = raw[:124] + b"\0\0" + raw[126:130] + b"\0\0" + raw[132:]
        mask = 0xFFFFFFFF
    computed = crc32c(seed, blank) & mask
    if computed != stored:
        raise ImageError(
            f"inode {number}: checksum {stored:#x}, its content has {computed:#x}",
            offset=offset + 124,
        )
