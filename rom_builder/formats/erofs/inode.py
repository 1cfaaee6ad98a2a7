"""EROFS inodes: 32 bytes (compact) or 64 bytes (extended), numbered by where they lie."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.superblock import Superblock
from rom_builder.formats.source import Source
from rom_builder.formats.tree import FILE_TYPES, NodeKind

_COMPACT = struct.Struct("<4H4I2H4x")
_EXTENDED = struct.Struct("<4HQ4IqII16x")
_SLOT_SIZE = 32
_XATTR_HEADER_SIZE = 12

PLAIN, COMPRESSED_FULL, INLINE, COMPRESSED_COMPACT, CHUNKED = range(5)
HOLE_BLOCK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Inode:
    """One file-system object without its names.

    Attributes:
        nid: Its number; it lies at ``metadata_offset + nid * 32``.
        offset: That byte of the image.
        kind: What it is.
        mode: Permission bits with setuid, setgid and sticky.
        size: Bytes of content.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        layout: How its content is stored: ``PLAIN`` ... ``CHUNKED``.
        start: First block of the content, or the chunk format (``CHUNKED``); None is a hole.
        xattr_offset: Byte of the image at which its extended attributes start.
        end: Byte behind inode and extended attributes, where inline data and indexes start.
        dot_omitted: A folder that does not list itself as ``.``.
    """

    nid: int
    offset: int
    kind: NodeKind
    mode: int
    size: int
    uid: int
    gid: int
    mtime: int
    layout: int
    start: int | None
    xattr_offset: int
    end: int
    dot_omitted: bool


def encode_inode(
    *,
    mode: int,
    links: int,
    size: int,
    uid: int,
    gid: int,
    mtime: int,
    layout: int,
    start: int,
    number: int,
    xattr_size: int,
) -> bytes:
    """Return an extended inode, 64 bytes as :func:`parse_inode` reads them.

    Args:
        mode: Kind and permission bits, ``st_mode``.
        links: Names that lead to it.
        size: Bytes of content.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        layout: ``PLAIN`` or ``INLINE``.
        start: First block of the content.
        number: What 32-bit programs see as its number.
        xattr_size: Bytes of extended attributes behind it.
    """
    xattr_count = (xattr_size - _XATTR_HEADER_SIZE) // 4 + 1 if xattr_size else 0
    format_ = 1 | layout << 1
    return _EXTENDED.pack(
        format_, xattr_count, mode, 0, size, start, number, uid, gid, mtime, 0, links
    )


def with_content(raw: bytes, size: int, start: int, links_change: int) -> bytes:
    """Return a folder's inode with content that is ``PLAIN``: as long as ``raw``, else the same.

    Args:
        raw: The inode, 32 or 64 bytes.
        size: Bytes of its content now.
        start: First block of its content now.
        links_change: How many more folders it holds.

    Raises:
        ImageError: A compact inode has no room for the numbers.
    """
    changed = bytearray(raw)
    changed[0] &= ~0x0E  # layout PLAIN
    links = link_count(raw)
    links = links + links_change if links > 1 else links  # 1: folders are not counted
    if raw[0] & 1:
        struct.pack_into("<Q", changed, 8, size)
    elif size >> 32:
        raise ImageError(f"a compact inode has no room for {size} bytes")
    else:
        struct.pack_into("<I", changed, 8, size)
    struct.pack_into("<I", changed, 16, start)
    return with_links(bytes(changed), links)


def link_count(raw: bytes) -> int:
    """Return how many names an inode says it has."""
    if raw[0] & 1:
        return int.from_bytes(raw[44:48], "little")
    if raw[0] & 0x10 and not stat.S_ISDIR(int.from_bytes(raw[4:6], "little")):
        return 1
    return int.from_bytes(raw[6:8], "little")


def with_links(raw: bytes, links: int) -> bytes:
    """Return an inode with another number of names.

    Raises:
        ImageError: A compact inode has no room for the number.
    """
    offset, size = (44, 4) if raw[0] & 1 else (6, 2)
    if not 0 < links < 1 << 8 * size:
        raise ImageError(f"an inode cannot count {links} links")
    return raw[:offset] + links.to_bytes(size, "little") + raw[offset + size :]


def parse_inode(image: Source, superblock: Superblock, nid: int) -> Inode:
    """Read inode ``nid``.

    ==================  ===============  ===============
    field               compact (32)     extended (64)
    ==================  ===============  ===============
    format              u16 @0           u16 @0
    xattr count         u16 @2           u16 @2
    mode                u16 @4           u16 @4
    links               u16 @6           u32 @44
    start block, high   u16 @6 (bit 4)   u16 @6
    size                u32 @8           u64 @8
    mtime               epoch + u32 @12  s64 @32
    start or format     u32 @16          u32 @16
    uid                 u16 @24          u32 @24
    gid                 u16 @26          u32 @28
    ==================  ===============  ===============

    Format: bit 0 extended; bits 1-3 layout; bit 4 "one link, @6 is part of the start block"
    (compact, no folder) or "``.`` omitted" (folder); all others 0.

    Raises:
        ImageError: It lies outside the image or is not an inode.
    """
    offset = superblock.metadata_offset + nid * _SLOT_SIZE
    if offset + _SLOT_SIZE > image.size:
        raise ImageError(f"inode {nid} lies behind the end of the image", offset=offset)
    data = image.read_at(offset, min(_EXTENDED.size, image.size - offset))
    format_ = int.from_bytes(data[:2], "little")
    layout = format_ >> 1 & 7
    if format_ >> 5 or layout > CHUNKED:
        raise ImageError(f"inode {nid} has format {format_:#x}", offset=offset)
    if format_ & 1:
        if len(data) < _EXTENDED.size:
            raise ImageError(f"inode {nid} is cut off", offset=offset)
        (_, xattr_count, mode, high, size, start, _, uid, gid, mtime, _, _) = _EXTENDED.unpack(data)
        inode_size, hole_high = _EXTENDED.size, 0xFFFF
    else:
        _, xattr_count, mode, high, size, seconds, start, _, uid, gid = _COMPACT.unpack_from(data)
        mtime = superblock.epoch + seconds
        inode_size, hole_high = _COMPACT.size, 0xFFFF
        if stat.S_ISDIR(mode) or not format_ >> 4 & 1:
            high = hole_high = 0  # the number of links
    kind = FILE_TYPES.get(stat.S_IFMT(mode))
    if kind is None:
        raise ImageError(f"inode {nid} has mode {mode:#o}", offset=offset)
    hole = layout == PLAIN and start == HOLE_BLOCK and high in (0, hole_high)
    if high and not hole and kind in (NodeKind.FILE, NodeKind.FOLDER, NodeKind.SYMLINK):
        raise ImageError(f"inode {nid} has a 48-bit block address", offset=offset)
    xattr_size = _XATTR_HEADER_SIZE + 4 * (xattr_count - 1) if xattr_count else 0
    return Inode(
        nid=nid,
        offset=offset,
        kind=kind,
        mode=stat.S_IMODE(mode),
        size=size,
        uid=uid,
        gid=gid,
        mtime=mtime,
        layout=layout,
        start=None if hole else start,
        xattr_offset=offset + inode_size,
        end=offset + inode_size + xattr_size,
        dot_omitted=bool(format_ >> 4 & 1),
    )
