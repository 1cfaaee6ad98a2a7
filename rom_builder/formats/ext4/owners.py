"""Which inodes use which blocks: what an edit frees, writes over or zeroes is nobody else's."""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.extent_tree import OwnBlocks, own_blocks
from rom_builder.formats.ext4.superblock import Superblock
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.ranges import difference, overlaps

_JOURNAL_INODE = 8

# Extents of all inodes together per block of the image; sound ones without shared blocks have 1.
_EXTENT_RATIO = 4


class Owners:
    """The blocks of every inode of an image.

    Args:
        volume: The image.
        named: Inodes that names lead to.

    Raises:
        ImageError: A block map is damaged.
    """

    def __init__(self, volume: Volume, named: Iterable[int]) -> None:
        self._volume = volume
        self._blocks: dict[int, list[range]] = {}
        left = _EXTENT_RATIO * volume.superblock.block_count
        for number in {*named, *_unnamed(volume.superblock)}:
            inode = volume.inode(number)
            own = own_blocks(volume, inode, whole=False)
            found = [*own.data, *own.nodes]
            if inode.attribute_block:
                found.append(range(inode.attribute_block, inode.attribute_block + 1))
            self._blocks[number] = found
            left -= len(found)
            if left < 0:
                raise ImageError("the files of the image claim its blocks over and over")
        self.shared = overlaps(run for runs in self._blocks.values() for run in runs)

    def whole(self, number: int) -> OwnBlocks:
        """Return the blocks of one inode.

        Raises:
            ImageError: Some cannot be told.
        """
        return own_blocks(self._volume, self._volume.inode(number), whole=True)

    def used_without(self, dropped: Iterable[int]) -> list[range]:
        """Return the blocks that the inodes use which are not ``dropped``."""
        out = set(dropped)
        kept = (run for number, runs in self._blocks.items() if number not in out for run in runs)
        return difference(kept, [])

    def is_shared(self, runs: list[range]) -> bool:
        """Tell whether more than one inode uses some of these blocks."""
        return bool(self.shared) and difference(runs, self.shared) != difference(runs, [])


def _unnamed(superblock: Superblock) -> set[int]:
    """Return the inodes without a name that have blocks of their own.

    The inode that reserves blocks for growth is left out: they lie behind the group descriptors.
    """
    journal = {_JOURNAL_INODE} if "has_journal" in superblock.features else set()
    return {*superblock.hidden_inodes, *journal}
