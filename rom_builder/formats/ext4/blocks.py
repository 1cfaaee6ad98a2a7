"""From the blocks of a file to the blocks of the image: extent trees and indirect maps.

Extent tree (Linux ``Documentation/filesystems/ext4/ifork.rst``): the root is the inode's 60 bytes,
every other node a whole block. A header of 12 bytes, then entries of 12 bytes, little-endian::

    header   u16 magic 0xF30A, u16 entries, u16 room for entries, u16 depth, u32 generation
    index    u32 first file block, u32 child block low, u16 child block high, u16 unused
    extent   u32 first file block, u16 blocks, u16 image block high, u32 image block low

An extent of more than 32768 blocks is 32768 shorter, not yet written, and reads as zeros.

Indirect map: 15 u32 block numbers, 12 of them data, then one each over one, two and three levels of
blocks of block numbers; 0 is a hole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.inode import EXTENTS, Inode
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.source import BytesSource, Pieces, Slice, Source

_EXTENT_MAGIC = 0xF30A
_EXTENT_DEPTH = 5  # EXT4_MAX_EXTENT_DEPTH: enough for 2^32 blocks
_WRITTEN = 0x8000

_HEADER = struct.Struct("<HHHH4x")
_ENTRY = struct.Struct("<IHHI")


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring blocks of a file that are neighbours in the image, too.

    Attributes:
        logical: First block, counted from the file's begin.
        physical: First block, counted from the image's begin.
        count: Blocks.
    """

    logical: int
    physical: int
    count: int


def map_blocks(volume: Volume, inode: Inode) -> list[Run]:
    """Return the runs that hold a file's content, in file order; what none covers is a hole.

    Blocks past the file's size are left out.

    Raises:
        ImageError: The map is damaged, or the file is larger than the whole file system.
    """
    block_count = -(-inode.size // volume.block_size)
    if block_count > volume.superblock.block_count:
        raise ImageError(
            f"inode {inode.number} claims {inode.size} bytes, the whole file system has "
            f"{volume.superblock.size}",
            offset=inode.offset + 4,
        )
    if inode.flags & EXTENTS:
        found = _ExtentTree(volume, inode, block_count).runs(inode.block, 0, 1 << 32, None)
    else:
        found = _indirect_runs(volume, inode, block_count)
    runs: list[Run] = []
    for run in found:
        if run.logical >= block_count:
            break
        count = min(run.count, block_count - run.logical)
        volume.blocks(run.physical, count)  # refuses a run outside the image
        last = runs[-1] if runs else None
        if (
            last
            and last.logical + last.count == run.logical
            and last.physical + last.count == run.physical
        ):
            runs[-1] = Run(last.logical, last.physical, last.count + count)
        else:
            runs.append(Run(run.logical, run.physical, count))
    return runs


def mapped_content(volume: Volume, inode: Inode) -> Source:
    """Return the content that an inode's block map leads to; holes are zeros.

    Raises:
        ImageError: The map is damaged.
    """
    block_size, size = volume.block_size, inode.size
    pieces: list[tuple[Source | None, int]] = []
    position = 0
    for run in map_blocks(volume, inode):
        start = run.logical * block_size
        pieces.append((None, start - position))
        length = min(run.count * block_size, size - start)
        pieces.append((Slice(volume.source, run.physical * block_size, length), length))
        position = start + length
    pieces.append((None, size - position))
    pieces = [piece for piece in pieces if piece[1]]
    if not pieces:
        return BytesSource(b"")
    only = pieces[0][0]
    return only if len(pieces) == 1 and only is not None else Pieces(pieces)


class _ExtentTree:
    """Walks one extent tree up to ``block_count`` file blocks.

    A node must lie inside the range that its parent gives it, so that the cost has the file's
    size as its bound.
    """

    def __init__(self, volume: Volume, inode: Inode, block_count: int) -> None:
        self._volume = volume
        self._inode = inode
        self._block_count = block_count
        self._seen: set[int] = set()

    def runs(self, node: bytes, first: int, end: int, depth: int | None) -> Iterator[Run]:
        """Yield the written extents of a node whose file blocks are ``first`` to ``end - 1``.

        Args:
            node: The inode's 60 bytes or a block.
            first: Least file block allowed.
            end: File block at which the next node begins.
            depth: Levels below, as the parent says; None for the root.
        """
        magic, count, room, levels = _HEADER.unpack_from(node)
        if magic != _EXTENT_MAGIC or count > room or 12 + 12 * room > len(node):
            raise self._damage(f"no extent header, or {count} entries in a room for {room}")
        if levels > _EXTENT_DEPTH or (depth is not None and levels != depth):
            raise self._damage(f"an extent node of depth {levels} where {depth} is expected")
        if levels:
            if not count:
                raise self._damage(f"an extent node of depth {levels} without entries")
            yield from self._children(node, count, first, end, levels - 1)
            return
        for logical, blocks, high, low in _entries(node, count):
            if logical >= self._block_count:
                return
            written = blocks <= _WRITTEN
            length = blocks if written else blocks - _WRITTEN
            if not length or not first <= logical <= end - length:
                raise self._damage(f"an extent of {length} blocks from block {logical}")
            first = logical + length
            if written:
                yield Run(logical, low | high << 32, length)

    def _children(self, node: bytes, count: int, first: int, end: int, depth: int) -> Iterator[Run]:
        entries = [
            (logical, low_a | low_b << 16 | (high & 0xFFFF) << 32)
            for logical, low_a, low_b, high in _entries(node, count)
        ]
        limits = [logical for logical, _ in entries[1:]] + [end]
        for (logical, child), limit in zip(entries, limits, strict=True):
            if not first <= logical < limit or limit > end:
                raise self._damage(f"extent nodes out of order at block {logical}")
            if logical >= self._block_count:
                return
            yield from self.runs(self._read(child), logical, limit, depth)
            first = limit

    def _read(self, number: int) -> bytes:
        if number in self._seen:
            raise self._damage(f"block {number} is twice in one extent tree")
        self._seen.add(number)
        node = self._volume.block(number)
        if self._volume.superblock.has_checksums:
            end = 12 + 12 * int.from_bytes(node[4:6], "little")
            stored = int.from_bytes(node[end : end + 4], "little")
            if crc32c(self._inode.checksum_seed, node[:end]) != stored:
                raise ImageError(
                    f"inode {self._inode.number}: an extent block does not match its checksum",
                    offset=number * self._volume.block_size,
                )
        return node

    def _damage(self, message: str) -> ImageError:
        return ImageError(f"inode {self._inode.number}: {message}", offset=self._inode.offset + 40)


def _entries(node: bytes, count: int) -> Iterator[tuple[int, int, int, int]]:
    return _ENTRY.iter_unpack(node[12 : 12 + 12 * count])


def _indirect_runs(volume: Volume, inode: Inode, block_count: int) -> Iterator[Run]:
    """Yield the runs of an indirect map up to ``block_count`` file blocks."""
    pointers = struct.unpack("<15I", inode.block)
    logical = 0
    for index, pointer in enumerate(pointers):
        if logical >= block_count:
            return
        level = max(0, index - 11)
        yield from _indirect(volume, pointer, level, logical, block_count)
        logical += (volume.block_size // 4) ** level
    if logical < block_count:
        raise ImageError(
            f"inode {inode.number}: {block_count} blocks are more than an indirect map can hold",
            offset=inode.offset + 4,
        )


def _indirect(
    volume: Volume, pointer: int, level: int, logical: int, block_count: int
) -> Iterator[Run]:
    """Yield the runs below one pointer; recursion ends at level 0, at most 3 below the first."""
    if not pointer:
        return
    if not level:
        yield Run(logical, pointer, 1)
        return
    per_pointer = (volume.block_size // 4) ** (level - 1)
    for (child,) in struct.iter_unpack("<I", volume.block(pointer)):
        if logical >= block_count:
            return
        yield from _indirect(volume, child, level - 1, logical, block_count)
        logical += per_pointer
