"""Inodes of SquashFS.

All begin, little-endian: u16 type, u16 permissions, u16 owner and u16 group as indexes into the id
table, u32 modified at, u32 number. Then, by type (Linux ``fs/squashfs/squashfs_fs.h``)::

    1  folder        u32 listing block, u32 links, u16 listing size + 3, u16 listing offset,
                     u32 parent
    2  file          u32 first block, u32 fragment, u32 fragment offset, u32 size,
                     u32 word per block
    3  symlink       u32 links, u32 size, target
    4 5  device      u32 links, u32 device
    6 7  fifo socket u32 links
    8  folder        u32 links, u32 listing size + 3, u32 listing block, u32 parent, u16 indexes,
                     u16 listing offset, u32 attributes
    9  file          u64 first block, u64 size, u64 bytes of holes, u32 links, u32 fragment,
                     u32 fragment offset, u32 attributes, u32 word per block
    10 to 14         as 3 to 7, then u32 attributes

A reference is the position of a metadata block in the inode table << 16 | offset in its content.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.squashfs.metadata import Cursor, FileContent, Volume
from rom_builder.formats.tree import NodeKind

_NONE = 0xFFFFFFFF
_BLOCKS_LIMIT = 1 << 20  # blocks of one file: 4 GiB of the smallest, 128 GiB of the usual ones
_TARGET_LIMIT = 4096  # PATH_MAX of Linux

_KINDS = (
    NodeKind.FOLDER,
    NodeKind.FILE,
    NodeKind.SYMLINK,
    NodeKind.BLOCK_DEVICE,
    NodeKind.CHARACTER_DEVICE,
    NodeKind.FIFO,
    NodeKind.SOCKET,
)
_COMMON = struct.Struct("<4HII")
_FOLDER = struct.Struct("<IIHHI")
_LONG_FOLDER = struct.Struct("<4IHHI")
_FILE = struct.Struct("<4I")
_LONG_FILE = struct.Struct("<3Q4I")
_FRAGMENT = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class Inode:
    """One inode.

    Attributes:
        number: Its number; hard links share it.
        kind: What it is.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        size: Bytes of a file, a link's target, or a folder's listing.
        target: Where a symlink points.
        attributes: Index of its extended attributes, None if it has none.
        start: First data block of a file, listing block of a folder (counted from its table).
        fragment: Fragment with the file's end, None if it has none.
        offset: Where a file's end begins in its fragment, or a listing in its block.
        reference: Where the inode lies.
    """

    number: int
    kind: NodeKind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes | None
    attributes: int | None
    start: int
    fragment: int | None
    offset: int
    reference: int


def read_inode(volume: Volume, reference: int) -> Inode:
    """Read the inode that a reference points to.

    Raises:
        ImageError: It is damaged or of an unknown type.
    """
    return _read(volume, reference)[0]


def _read(volume: Volume, reference: int) -> tuple[Inode, Cursor]:
    """Return an inode and a cursor behind its fixed part, where a file's words begin."""
    place = volume.superblock.inode_table + (reference >> 16)
    cursor = Cursor(volume, place, reference & 0xFFFF)
    kind_id, mode, uid, gid, mtime, number = _COMMON.unpack(cursor.read(_COMMON.size))
    if not 1 <= kind_id <= 14:
        raise ImageError(f"inode type {kind_id} is unknown", offset=place)
    extended, kind = kind_id > 7, _KINDS[(kind_id - 1) % 7]
    size = start = offset = 0
    fragment = attributes = _NONE
    target = None
    if kind is NodeKind.FOLDER:
        if extended:
            _, size, start, _, _, offset, attributes = _LONG_FOLDER.unpack(
                cursor.read(_LONG_FOLDER.size)
            )
        else:
            start, _, size, offset, _ = _FOLDER.unpack(cursor.read(_FOLDER.size))
        size = max(0, size - 3)  # the listing counts "." and ".." without having them
    elif kind is NodeKind.FILE:
        if extended:
            start, size, _, _, fragment, offset, attributes = _LONG_FILE.unpack(
                cursor.read(_LONG_FILE.size)
            )
        else:
            start, fragment, offset, size = _FILE.unpack(cursor.read(_FILE.size))
    else:
        cursor.read(4)  # links
        if kind is NodeKind.SYMLINK:
            size = int.from_bytes(cursor.read(4), "little")
            if not 0 < size < _TARGET_LIMIT:
                raise ImageError(f"a link's target of {size} bytes", offset=place)
            target = cursor.read(size)
        elif kind in (NodeKind.BLOCK_DEVICE, NodeKind.CHARACTER_DEVICE):
            cursor.read(4)
        if extended:
            attributes = int.from_bytes(cursor.read(4), "little")
    inode = Inode(
        number=number,
        kind=kind,
        mode=mode & 0o7777,
        uid=_read_id(volume, uid),
        gid=_read_id(volume, gid),
        mtime=mtime,
        size=size,
        target=target,
        attributes=None if attributes == _NONE else attributes,
        start=start,
        fragment=None if fragment == _NONE else fragment,
        offset=offset,
        reference=reference,
    )
    return inode, cursor


def _read_id(volume: Volume, index: int) -> int:
    if index >= volume.superblock.id_count:
        raise ImageError(f"owner {index} of {volume.superblock.id_count} does not exist")
    return int.from_bytes(volume.table_entry(volume.superblock.id_table, index, 4), "little")


def read_content(volume: Volume, reference: int) -> FileContent:
    """Return the content of the file whose inode a reference points to.

    Raises:
        ImageError: The inode is damaged or no file's.
    """
    inode, cursor = _read(volume, reference)
    if inode.kind is not NodeKind.FILE:
        raise ImageError(f"inode {inode.number} is a {inode.kind.value}")
    superblock = volume.superblock
    count, tail_size = divmod(inode.size, superblock.block_size)
    tail = None
    if inode.fragment is None:
        count += bool(tail_size)
    elif tail_size:
        tail = (*_read_fragment(volume, inode.fragment), inode.offset)
    if count > _BLOCKS_LIMIT:
        raise ImageError(f"inode {inode.number} claims {inode.size} bytes")
    words = struct.unpack(f"<{count}I", cursor.read(4 * count)) if count else ()
    return FileContent(volume, inode.size, inode.start, words, tail)


def _read_fragment(volume: Volume, index: int) -> tuple[int, int]:
    """Return position and word of a fragment block."""
    if index >= volume.superblock.fragment_count:
        raise ImageError(f"fragment {index} of {volume.superblock.fragment_count} does not exist")
    entry = volume.table_entry(volume.superblock.fragment_table, index, _FRAGMENT.size)
    position, word, _ = _FRAGMENT.unpack(entry)
    return position, word
