"""Whether a walk met every inode in use: a tree that ended early must not look like a small one."""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.tree import Unread

_SHOWN = 10


def check_used_inodes(volume: Volume, reached: Iterable[int]) -> list[Unread]:
    """Compare the inodes reached by name with the bitmaps of inodes in use and the superblock.

    Args:
        volume: The image.
        reached: Numbers of the inodes that names and attributes lead to.

    Returns:
        One item for each way in which they differ; empty if they agree.
    """
    superblock = volume.superblock
    met = _by_group(volume, {*reached, *superblock.hidden_inodes})
    problems = []
    missing: list[int] = []
    free: list[int] = []
    used_count = 0
    for group in range(superblock.group_count):
        try:
            used = volume.inode_bitmap(group)
        except ImageError as error:
            problems.append(Unread("", f"which inodes are in use: {error}"))
            break
        used_count += used.bit_count()
        first = 1 + group * superblock.inodes_per_group
        # The reserved inodes count as used and have no names.
        ordinary = -1 << max(0, superblock.first_inode - first)
        here = met.get(group, 0)
        _add_bits(missing, used & ~here & ordinary, first)
        _add_bits(free, here & ~used & ordinary, first)
    else:
        if used_count != superblock.used_inodes:
            problems.append(
                Unread(
                    "",
                    f"the superblock counts {superblock.used_inodes} inodes in use, "
                    f"the bitmaps {used_count}",
                )
            )
    for numbers, message in (
        (missing, "inodes in use that no name leads to"),
        (free, "names lead to inodes marked as free"),
    ):
        if numbers:
            shown = ", ".join(map(str, numbers[:_SHOWN]))
            more = ", ..." if len(numbers) > _SHOWN else ""
            problems.append(Unread("", f"{message}: {shown}{more}"))
    return problems


def _by_group(volume: Volume, numbers: Iterable[int]) -> dict[int, int]:
    """Return a bitmap of the given inode numbers for each group that has one."""
    bitmaps: dict[int, int] = {}
    for number in numbers:
        if 0 < number <= volume.superblock.inode_count:
            group, index = divmod(number - 1, volume.superblock.inodes_per_group)
            bitmaps[group] = bitmaps.get(group, 0) | 1 << index
    return bitmaps


def _add_bits(numbers: list[int], bits: int, first: int) -> None:
    """Add the numbers of the set bits, but no more than are shown and one."""
    while bits and len(numbers) <= _SHOWN:
        numbers.append(first + (bits & -bits).bit_length() - 1)
        bits &= bits - 1
