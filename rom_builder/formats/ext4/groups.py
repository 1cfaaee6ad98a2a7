"""Block groups being edited: bitmaps, counts and checksums of blocks and inodes in use.

Group descriptor, as far as an edit changes it; 32 bytes, or 64 with the high halves, little-endian
(Linux ``Documentation/filesystems/ext4/group_descr.rst``)::

    offset  high  size  field
    0       32    4     block bitmap block
    4       36    4     inode bitmap block
    8       40    4     first block of the inode table
    12      44    2     free blocks
    14      46    2     free inodes
    16      48    2     folders
    18            2     flags: 1 no inode was ever used, 2 the block bitmap is not written,
                        4 the inode table is zeroed
    24      56    2     block bitmap checksum
    26      58    2     inode bitmap checksum
    28      50    2     inodes at the end of the table that were never used
    30            2     checksum
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc16, crc32c
from rom_builder.formats.ext4.superblock import SUPERBLOCK_OFFSET
from rom_builder.formats.ext4.volume import Volume, has_superblock
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.ranges import difference

INODES_UNUSED, BLOCKS_UNWRITTEN, TABLE_ZEROED = 1, 2, 4

_FIELDS = {
    "block_bitmap": (0, 32, 4),
    "inode_bitmap": (4, 36, 4),
    "inode_table": (8, 40, 4),
    "free_blocks": (12, 44, 2),
    "free_inodes": (14, 46, 2),
    "folders": (16, 48, 2),
    "flags": (18, 0, 2),
    "block_bitmap_checksum": (24, 56, 2),
    "inode_bitmap_checksum": (26, 58, 2),
    "unused_inodes": (28, 50, 2),
}
_FREE_RUN = re.compile("0+")


@dataclass(slots=True)
class Group:
    """One block group.

    Attributes:
        number: Counted from 0.
        first: Its first block.
        count: Its blocks.
        raw: Its descriptor.
        blocks: Bitmap of blocks in use, the first block as bit 0; None until it is read.
        inodes: Bitmap of inodes in use; None until it is read.
    """

    number: int
    first: int
    count: int
    raw: bytearray
    blocks: int | None = None
    inodes: int | None = None
    changed: bool = False
    runs: list[range] | None = field(default=None, repr=False)

    def get(self, name: str) -> int:
        """Return a field of the descriptor."""
        low, high, size = _FIELDS[name]
        value = int.from_bytes(self.raw[low : low + size], "little")
        if high and len(self.raw) >= 64:
            value |= int.from_bytes(self.raw[high : high + size], "little") << 8 * size
        return value

    def set(self, name: str, value: int) -> None:
        """Change a field of the descriptor.

        Raises:
            ImageError: It has no room for the value.
        """
        low, high, size = _FIELDS[name]
        wide = high and len(self.raw) >= 64
        if not 0 <= value < 1 << 8 * size * (2 if wide else 1):
            raise ImageError(f"group {self.number} cannot have {value} {name.replace('_', ' ')}")
        self.raw[low : low + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        if wide:
            self.raw[high : high + size] = (value >> 8 * size).to_bytes(size, "little")
        self.changed = True

    def add(self, name: str, difference: int) -> None:
        """Count a field of the descriptor up or down."""
        self.set(name, self.get(name) + difference)


class Groups:
    """The groups of one image; what is taken and given back is written by :meth:`seal`.

    Args:
        draft: Where to write.
        volume: The image as it is.
        in_use: Blocks that files use and will use, whatever the bitmaps say.

    Raises:
        ImageError: A group descriptor is damaged.
    """

    def __init__(self, draft: Draft, volume: Volume, in_use: Iterable[range]) -> None:
        self.superblock = superblock = volume.superblock
        self.draft = draft
        self.block_size = superblock.block_size
        self.first_data_block = superblock.first_data_block
        self.per_group = superblock.blocks_per_group
        self.block_count = superblock.block_count
        self.inode_count = superblock.inode_count
        self.free_blocks = superblock.free_blocks
        self.free_inodes = superblock.free_inodes
        self.has_flags = bool({"metadata_csum", "uninit_bg"} & set(superblock.features))
        self._in_use = difference(in_use, [])
        self._starts = [run.start for run in self._in_use]
        self.table_offset = (SUPERBLOCK_OFFSET // self.block_size + 1) * self.block_size
        self.groups: list[Group] = []
        for number in range(superblock.group_count):
            volume.descriptor(number)  # refuses a wrong checksum
            self.append_group(number)
        # Everything after the reserved inodes of the first group that is not for files.
        self.fixed = [part for group in self.groups for part in self.fixed_of(group)]

    def append_group(self, number: int, raw: bytes | None = None) -> Group:
        """Add a group whose descriptor is ``raw``, or stands in the image."""
        size = self.superblock.descriptor_size
        if raw is None:
            raw = self.draft.read_at(self.table_offset + number * size, size)
        first = self.first_data_block + number * self.per_group
        count = min(self.per_group, self.block_count - first)
        group = Group(number, first, count, bytearray(raw))
        self.groups.append(group)
        return group

    @property
    def table_blocks(self) -> int:
        """Blocks that the descriptors take."""
        return -(-len(self.groups) * self.superblock.descriptor_size // self.block_size)

    def fixed_of(self, group: Group) -> list[range]:
        """Return the blocks of one group's superblock, descriptors, bitmaps and inode table."""
        found = []
        if has_superblock(self.superblock, group.number):
            reserved = int.from_bytes(self.draft.read_at(SUPERBLOCK_OFFSET + 0xCE, 2), "little")
            first = SUPERBLOCK_OFFSET // self.block_size if not group.number else group.first
            found.append(range(first, first + 1 + self.table_blocks + reserved))
        bitmaps = group.get("block_bitmap"), group.get("inode_bitmap")
        found += [range(block, block + 1) for block in bitmaps]
        table = group.get("inode_table")
        found.append(range(table, table + self.inode_table_blocks))
        for part in found:
            if not 0 <= part.start <= part.stop <= self.block_count:
                raise ImageError(f"group {group.number} keeps its tables at block {part.start}")
        return found

    @property
    def inode_table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        superblock = self.superblock
        return -(-superblock.inodes_per_group * superblock.inode_size // self.block_size)

    def group_of(self, block: int) -> Group:
        """Return the group of a block, its bitmap read."""
        group = self.groups[(block - self.first_data_block) // self.per_group]
        if group.blocks is None:
            group.blocks = self._read_blocks(group)
        return group

    def take_blocks(self, count: int, goal: int) -> list[range]:
        """Take ``count`` blocks, in as few runs as can be, from group ``goal`` on if it has them.

        Raises:
            ImageError: There are not enough, or a bitmap is wrong.
        """
        taken = []
        while count:
            run = self._free_run(count, goal)
            if self._is_used(run):
                raise ImageError(
                    f"blocks {run.start} to {run.stop - 1} are marked free and in use",
                    hint="check the image with e2fsck",
                )
            self._mark(run, used=True)
            taken.append(run)
            count -= len(run)
        return taken

    def give_blocks(self, run: range) -> None:
        """Mark blocks as free.

        Raises:
            ImageError: They are free already.
        """
        while run:
            group = self.group_of(run.start)
            part = range(run.start, min(run.stop, group.first + group.count))
            self._mark(part, used=False)
            run = range(part.stop, run.stop)

    def take_inode(self, goal: int, *, folder: bool) -> int:
        """Take a free inode, from group ``goal`` on, and return its number.

        Raises:
            ImageError: All are in use.
        """
        superblock = self.superblock
        per_group = superblock.inodes_per_group
        for group in self.groups[goal:] + self.groups[:goal]:
            if not group.get("free_inodes"):
                continue
            if group.inodes is None:
                group.inodes = self._read_inodes(group)
            first = max(0, superblock.first_inode - 1 - group.number * per_group)
            free = ~group.inodes & (1 << per_group) - (1 << first)
            if not free:
                continue
            index = (free & -free).bit_length() - 1
            group.inodes |= 1 << index
            group.add("free_inodes", -1)
            group.add("folders", folder)
            if self.has_flags:
                flags = group.get("flags")
                unused = per_group if flags & INODES_UNUSED else group.get("unused_inodes")
                group.set("flags", flags & ~INODES_UNUSED)
                group.set("unused_inodes", min(unused, per_group - 1 - index))
            self.free_inodes -= 1
            return group.number * per_group + index + 1
        raise ImageError("every inode is in use", hint="remove files, or rebuild the image")

    def give_inode(self, number: int, *, folder: bool) -> None:
        """Mark an inode as free.

        Raises:
            ImageError: It is free already.
        """
        index_group, index = divmod(number - 1, self.superblock.inodes_per_group)
        group = self.groups[index_group]
        if group.inodes is None:
            group.inodes = self._read_inodes(group)
        if not group.inodes >> index & 1:
            raise ImageError(f"inode {number} has a name and is marked free")
        group.inodes &= ~(1 << index)
        group.add("free_inodes", 1)
        group.add("folders", -folder)
        self.free_inodes += 1

    def inode_offset(self, number: int) -> int:
        """Return the byte of the image at which an inode lies."""
        group, index = divmod(number - 1, self.superblock.inodes_per_group)
        table = self.groups[group].get("inode_table") * self.block_size
        return table + index * self.superblock.inode_size

    def seal(self) -> None:
        """Write the bitmaps and descriptors that changed, with their checksums."""
        superblock = self.superblock
        for group in self.groups:
            if not group.changed:
                continue
            if group.blocks is not None:
                padding = (1 << 8 * self.block_size) - (1 << group.count)
                bitmap = (group.blocks | padding).to_bytes(self.block_size, "little")
                self.draft.write(group.get("block_bitmap") * self.block_size, bitmap)
                self._set_checksum(group, "block_bitmap_checksum", bitmap[: self.per_group // 8])
            if group.inodes is not None:
                per_group = superblock.inodes_per_group
                padding = (1 << 8 * self.block_size) - (1 << per_group)
                bitmap = (group.inodes | padding).to_bytes(self.block_size, "little")
                self.draft.write(group.get("inode_bitmap") * self.block_size, bitmap)
                self._set_checksum(group, "inode_bitmap_checksum", bitmap[: -(-per_group // 8)])
            self._seal_descriptor(group)
            offset = self.table_offset + group.number * superblock.descriptor_size
            self.draft.write(offset, bytes(group.raw))

    def _set_checksum(self, group: Group, name: str, bitmap: bytes) -> None:
        if self.superblock.has_checksums:
            mask = 0xFFFFFFFF if len(group.raw) >= 64 else 0xFFFF
            group.set(name, crc32c(self.superblock.checksum_seed, bitmap) & mask)

    def _seal_descriptor(self, group: Group) -> None:
        number, raw = group.number.to_bytes(4, "little"), bytes(group.raw)
        if self.superblock.has_checksums:
            blank = raw[:30] + b"\0\0" + raw[32:]
            value = crc32c(self.superblock.checksum_seed, number + blank) & 0xFFFF
        elif self.has_flags:
            value = crc16(0xFFFF, self.superblock.uuid.bytes + number + raw[:30] + raw[32:])
        else:
            return
        group.raw[30:32] = value.to_bytes(2, "little")

    def _is_used(self, run: range) -> bool:
        at = bisect_left(self._starts, run.stop)
        return at > 0 and self._in_use[at - 1].stop > run.start

    def _mark(self, run: range, *, used: bool) -> None:
        group = self.group_of(run.start)
        bits = (1 << len(run)) - 1 << run.start - group.first
        before = group.blocks or 0
        if before & bits != (0 if used else bits):
            state = "used" if used else "free"
            raise ImageError(f"blocks {run.start} to {run.stop - 1} are marked {state} already")
        group.blocks = before ^ bits
        group.runs = None
        if self.has_flags:
            group.set("flags", group.get("flags") & ~BLOCKS_UNWRITTEN)
        change = -len(run) if used else len(run)
        group.add("free_blocks", change)
        self.free_blocks += change

    def _free_run(self, count: int, goal: int) -> range:
        """Return the first run of ``count`` free blocks, else the longest that there is."""
        longest = range(0)
        for group in self.groups[goal:] + self.groups[:goal]:
            if group.get("free_blocks") <= len(longest):
                continue
            if group.runs is None:
                bitmap = self.group_of(group.first).blocks or 0
                # Bit 0 is the first block, and the last character of the text.
                text = f"{bitmap | 1 << group.count:b}"[:0:-1]
                group.runs = [range(*run.span()) for run in _FREE_RUN.finditer(text)]
            for run in group.runs:
                if len(run) > len(longest):
                    start = group.first + run.start
                    longest = range(start, start + min(len(run), count))
                if len(longest) == count:
                    return longest
        if not longest:
            raise ImageError("no block is free")
        return longest

    def _read_blocks(self, group: Group) -> int:
        fixed = _bits(self.fixed, group)
        if self.has_flags and group.get("flags") & BLOCKS_UNWRITTEN:
            bitmap = fixed
        else:
            raw = self.draft.read_at(group.get("block_bitmap") * self.block_size, self.block_size)
            self._verify(group, "block_bitmap_checksum", raw[: self.per_group // 8])
            bitmap = int.from_bytes(raw, "little") & (1 << group.count) - 1
        if bitmap & fixed != fixed:
            raise ImageError(f"group {group.number} marks its own tables as free")
        if group.count - bitmap.bit_count() != group.get("free_blocks"):
            raise ImageError(
                f"group {group.number} counts {group.get('free_blocks')} free blocks, its bitmap "
                f"has {group.count - bitmap.bit_count()}",
                hint="check the image with e2fsck",
            )
        return bitmap

    def _read_inodes(self, group: Group) -> int:
        count = self.superblock.inodes_per_group
        if self.has_flags and group.get("flags") & INODES_UNUSED:
            return 0
        raw = self.draft.read_at(group.get("inode_bitmap") * self.block_size, self.block_size)
        self._verify(group, "inode_bitmap_checksum", raw[: -(-count // 8)])
        bitmap = int.from_bytes(raw, "little") & (1 << count) - 1
        if count - bitmap.bit_count() != group.get("free_inodes"):
            raise ImageError(
                f"group {group.number} counts {group.get('free_inodes')} free inodes, its bitmap "
                f"has {count - bitmap.bit_count()}",
                hint="check the image with e2fsck",
            )
        return bitmap

    def _verify(self, group: Group, name: str, bitmap: bytes) -> None:
        if not self.superblock.has_checksums:
            return
        mask = 0xFFFFFFFF if len(group.raw) >= 64 else 0xFFFF
        if crc32c(self.superblock.checksum_seed, bitmap) & mask != group.get(name):
            raise ImageError(f"a bitmap of group {group.number} does not match its checksum")


def _bits(runs: Iterable[range], group: Group) -> int:
    """Return the blocks of ``runs`` that lie in a group as a bitmap."""
    bitmap = 0
    for run in runs:
        start = max(run.start, group.first) - group.first
        stop = min(run.stop, group.first + group.count) - group.first
        if start < stop:
            bitmap |= (1 << stop) - (1 << start)
    return bitmap
