"""Extent trees being written, and every block that an inode has; layout in ``blocks.py``."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.blocks import map_blocks
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.inode import EXTENTS, INLINE_DATA, Inode
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.tree import NodeKind

_MAGIC = 0xF30A
_MAX_DEPTH = 5
_MAX_EXTENT = 32768
_HEADER = struct.Struct("<4HI")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_ROOT_ROOM = 4


@dataclass(slots=True)
class OwnBlocks:
    """The blocks of one inode.

    Attributes:
        data: Content, also what lies past the file's size or was never written.
        nodes: Blocks of the extent tree.
    """

    data: list[range] = field(default_factory=list)
    nodes: list[range] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Blocks of both kinds."""
        return sum(map(len, self.data)) + sum(map(len, self.nodes))


def own_blocks(volume: Volume, inode: Inode, *, whole: bool) -> OwnBlocks:
    """Return the blocks of an inode, without those of its attributes.

    Args:
        volume: The image.
        inode: The inode.
        whole: Refuse an inode some of whose blocks cannot be told: one with an indirect map.

    Raises:
        ImageError: The map is damaged, or ``whole`` is asked for and cannot be had.
    """
    found = OwnBlocks()
    mapped = inode.kind in (NodeKind.FILE, NodeKind.FOLDER) or (
        inode.kind is NodeKind.SYMLINK and inode.flags & EXTENTS
    )
    if inode.flags & INLINE_DATA or not mapped:
        if inode.kind is NodeKind.SYMLINK and inode.size >= 60 and not inode.flags & INLINE_DATA:
            return _indirect(volume, inode, found, whole=whole)
        return found
    if not inode.flags & EXTENTS:
        return _indirect(volume, inode, found, whole=whole)
    _collect(volume, inode, inode.block, None, found)
    for run in found.data:
        volume.blocks(run.start, len(run))  # refuses what lies outside the image
    return found


def _indirect(volume: Volume, inode: Inode, found: OwnBlocks, *, whole: bool) -> OwnBlocks:
    found.data += [range(r.physical, r.physical + r.count) for r in map_blocks(volume, inode)]
    if whole and any(inode.block):
        raise ImageError(
            f"inode {inode.number} has an indirect block map",
            offset=inode.offset,
            hint="only files that are mapped by extents can be edited",
        )
    return found


def _collect(
    volume: Volume, inode: Inode, node: bytes, depth: int | None, found: OwnBlocks
) -> None:
    magic, count, room, levels, _ = _HEADER.unpack_from(node)
    wrong_depth = levels > _MAX_DEPTH if depth is None else levels != depth
    if magic != _MAGIC or count > room or 12 + 12 * room > len(node) or wrong_depth:
        raise ImageError(f"inode {inode.number}: a damaged extent node", offset=inode.offset)
    for position in range(12, 12 + 12 * count, 12):
        if not levels:
            _, blocks, high, low = _EXTENT.unpack_from(node, position)
            blocks -= _MAX_EXTENT if blocks > _MAX_EXTENT else 0
            start = low | high << 32
            found.data.append(range(start, start + blocks))
            continue
        _, low, high, _ = _INDEX.unpack_from(node, position)
        child = low | high << 32
        found.nodes.append(range(child, child + 1))
        if len(found.nodes) > volume.superblock.block_count:
            raise ImageError(f"inode {inode.number}: an endless extent tree", offset=inode.offset)
        _collect(volume, inode, volume.block(child), levels - 1, found)


def node_count(extents: int, block_size: int) -> int:
    """Return how many blocks the tree of so many extents takes besides the inode."""
    per_block = (block_size - 12) // 12
    count = 0
    while extents > _ROOT_ROOM:
        extents = -(-extents // per_block)
        count += extents
    return count


def split(runs: list[range]) -> list[tuple[int, range]]:
    """Return the extents of content that lies in ``runs``: first file block and image blocks."""
    extents: list[tuple[int, range]] = []
    logical = 0
    for run in runs:
        for start in range(run.start, run.stop, _MAX_EXTENT):
            part = range(start, min(run.stop, start + _MAX_EXTENT))
            last = extents[-1][1] if extents else range(0)
            if last and last.stop == part.start and len(last) + len(part) <= _MAX_EXTENT:
                extents[-1] = (extents[-1][0], range(last.start, part.stop))
            else:
                extents.append((logical, part))
            logical += len(part)
    return extents


def encode_tree(
    extents: list[tuple[int, range]],
    nodes: list[int],
    block_size: int,
    checksum_seed: int | None,
    write: Callable[[int, bytes], None],
) -> bytes:
    """Write the blocks of an extent tree and return its root, the inode's 60 bytes.

    Args:
        extents: Content, as :func:`split` returns it.
        nodes: As many blocks as :func:`node_count` says.
        block_size: Bytes of a block.
        checksum_seed: Where the checksum of a block starts; None for none.
        write: Takes the number of a block and its bytes.
    """
    level = [
        (logical, _EXTENT.pack(logical, len(run), run.start >> 32, run.start & 0xFFFFFFFF))
        for logical, run in extents
    ]
    room = (block_size - 12) // 12
    waiting = list(nodes)
    depth = 0
    while len(level) > _ROOT_ROOM:
        above = []
        for start in range(0, len(level), room):
            part = level[start : start + room]
            number = waiting.pop(0)
            node = _HEADER.pack(_MAGIC, len(part), room, depth, 0)
            node = (node + b"".join(e for _, e in part)).ljust(12 + 12 * room, b"\0")
            if checksum_seed is not None:
                node += crc32c(checksum_seed, node).to_bytes(4, "little")
            write(number, node.ljust(block_size, b"\0"))
            first = part[0][0]
            above.append((first, _INDEX.pack(first, number & 0xFFFFFFFF, number >> 32, 0)))
        level = above
        depth += 1
    root = _HEADER.pack(_MAGIC, len(level), _ROOT_ROOM, depth, 0)
    return (root + b"".join(entry for _, entry in level)).ljust(60, b"\0")
