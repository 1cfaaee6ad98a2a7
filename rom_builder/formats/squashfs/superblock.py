"""The SquashFS 4.0 superblock.

Layout, 96 bytes at byte 0, little-endian (Linux ``fs/squashfs/squashfs_fs.h``)::

    offset  size  field                       offset  size  field
    0       4     magic "hsqs"                32      8     root inode reference
    4       4     inodes                      40      8     bytes used
    8       4     made at                     48      8     id table
    12      4     block size                  56      8     attribute id table
    16      4     fragments                   64      8     inode table
    20      2     compression                 72      8     directory table
    22      2     log2(block size)            80      8     fragment table
    24      2     flags                       88      8     export table
    26      2     ids
    28      4     u16 major 4, u16 minor 0

A table that is absent lies at 0xFFFFFFFFFFFFFFFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source
from rom_builder.formats.squashfs.compression import codec_name

ABSENT = 0xFFFFFFFFFFFFFFFF

_MAGIC = b"hsqs"
_LAYOUT = struct.Struct("<4s4I6H8Q")


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a superblock says about its file system; table positions are bytes of the image.

    Attributes:
        inode_count: Inodes, the root's included.
        made_at: Seconds since 1970.
        block_size: Bytes of a data block, 4 KiB to 1 MiB.
        fragment_count: Blocks that hold the ends of several files.
        compression: Codec by name.
        id_count: Distinct owners and groups.
        root: Reference of the root's inode.
        size: Bytes of the image in use.
        id_table: Owners and groups.
        attribute_table: Extended attributes, ``ABSENT`` if none.
        inode_table: First metadata block of inodes.
        directory_table: First metadata block of names.
        fragment_table: Fragments, ``ABSENT`` if none.
    """

    inode_count: int
    made_at: int
    block_size: int
    fragment_count: int
    compression: str
    id_count: int
    root: int
    size: int
    id_table: int
    attribute_table: int
    inode_table: int
    directory_table: int
    fragment_table: int


def detect_squashfs(head: bytes) -> bool:
    """Tell from the first bytes of an image whether it is a little-endian SquashFS."""
    return head[:4] == _MAGIC


def read_superblock(source: Source) -> Superblock:
    """Read and check the superblock of an image.

    Raises:
        ImageError: It is absent, damaged, inconsistent or of another version than 4.0.
    """
    if source.size < _LAYOUT.size:
        raise ImageError("too short for a SquashFS superblock", offset=source.size)
    magic, inodes, made_at, block_size, fragments, *rest = _LAYOUT.unpack(
        source.read_at(0, _LAYOUT.size)
    )
    compression, block_log, _flags, ids, major, minor, root, size, *tables = rest
    if magic != _MAGIC:
        raise ImageError(f"no SquashFS magic: {magic!r} where {_MAGIC!r} is expected", offset=0)
    if (major, minor) != (4, 0):
        raise ImageError(f"SquashFS {major}.{minor} is not read, only 4.0", offset=28)
    if not 12 <= block_log <= 20 or block_size != 1 << block_log:
        raise ImageError(f"a block of {block_size} bytes, log2 {block_log}", offset=12)
    for position, table in zip(range(48, 88, 8), tables, strict=False):
        may_be_absent = position == 56 or (position == 80 and not fragments)
        if not _LAYOUT.size <= table <= size and not (may_be_absent and table == ABSENT):
            raise ImageError(f"a table at {table:#x} of {size:#x} bytes", offset=position)
    id_table, attribute_table, inode_table, directory_table, fragment_table, _export = tables
    return Superblock(
        inode_count=inodes,
        made_at=made_at,
        block_size=block_size,
        fragment_count=fragments,
        compression=codec_name(compression),
        id_count=ids,
        root=root,
        size=size,
        id_table=id_table,
        attribute_table=attribute_table,
        inode_table=inode_table,
        directory_table=directory_table,
        fragment_table=fragment_table,
    )
