"""EROFS directories: blocks of sorted entries, their names behind them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.tree import NodeKind

_ENTRY = struct.Struct("<QHBx")
_MAX_NAME_SIZE = 255

# EROFS_FT_* of the kernel's erofs_fs.h; 0 is "unknown"
_KINDS = (
    None,
    NodeKind.FILE,
    NodeKind.FOLDER,
    NodeKind.CHARACTER_DEVICE,
    NodeKind.BLOCK_DEVICE,
    NodeKind.FIFO,
    NodeKind.SOCKET,
    NodeKind.SYMLINK,
)


class DirectoryEntry(NamedTuple):
    """A name in a folder: the inode it stands for, and its kind if the folder tells."""

    name: bytes
    nid: int
    kind: NodeKind | None


def parse_directory_block(block: bytes, after: bytes) -> list[DirectoryEntry]:
    """Return the entries of one block of a folder, ``.`` and ``..`` included.

    An entry is 12 bytes: u64 nid, u16 offset of its name in the block, u8 kind, u8 reserved. The
    first offset tells their number. A name ends where the next one starts, the last one at the
    end of the block or before its first NUL.

    Args:
        block: One block, or the shorter end of the folder.
        after: The last name of the block before; names only rise.

    Raises:
        ImageError: The block is damaged.
    """
    if len(block) < _ENTRY.size:
        raise ImageError(f"a directory block of {len(block)} bytes")
    _, names_offset, _ = _ENTRY.unpack_from(block)
    if names_offset < _ENTRY.size or names_offset % _ENTRY.size or names_offset > len(block):
        raise ImageError(f"a directory block's names start at byte {names_offset}")
    raw = list(_ENTRY.iter_unpack(block[:names_offset]))
    ends = [start for _, start, _ in raw[1:]]
    last_name = block[raw[-1][1] :].split(b"\0", 1)[0]
    ends.append(raw[-1][1] + len(last_name))
    entries = []
    start = names_offset
    for (nid, offset, kind), end in zip(raw, ends, strict=True):
        name = block[start:end]
        if offset != start or not 1 <= end - start <= _MAX_NAME_SIZE or end > len(block):
            raise ImageError(f"a directory entry's name lies at byte {offset} to {end}")
        if b"/" in name or b"\0" in name:
            raise ImageError(f"a directory entry is named {name!r}")
        if name <= after:
            raise ImageError(f"directory entry {name!r} stands behind {after!r}")
        if kind >= len(_KINDS):
            raise ImageError(f"directory entry {name!r} has kind {kind}")
        entries.append(DirectoryEntry(name, nid, _KINDS[kind]))
        after, start = name, end
    return entries


def encode_directory(entries: Iterable[DirectoryEntry], block_size: int) -> bytes:
    """Return the content of a folder: full blocks, and a last one that ends with its last name.

    Args:
        entries: All of them, ``.`` and ``..`` too, in any order.
        block_size: Bytes of a block; at least one entry of any name fits.
    """
    blocks: list[bytes] = []
    waiting: list[DirectoryEntry] = []
    room = block_size
    for entry in sorted(entries, key=lambda entry: entry.name):
        size = _ENTRY.size + len(entry.name)
        if size > room:
            blocks.append(_encode_block(waiting).ljust(block_size, b"\0"))
            waiting, room = [], block_size
        waiting.append(entry)
        room -= size
    blocks.append(_encode_block(waiting))
    return b"".join(blocks)


def _encode_block(entries: list[DirectoryEntry]) -> bytes:
    heads, names = [], []
    offset = _ENTRY.size * len(entries)
    for entry in entries:
        heads.append(_ENTRY.pack(entry.nid, offset, _KINDS.index(entry.kind)))
        names.append(entry.name)
        offset += len(entry.name)
    return b"".join(heads + names)
