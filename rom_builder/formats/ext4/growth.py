"""Making an ext4 image larger: more blocks in its last group, then new groups."""

from __future__ import annotations

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.groups import TABLE_ZEROED, Group, Groups
from rom_builder.formats.ext4.superblock import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from rom_builder.formats.ext4.volume import has_superblock
from rom_builder.formats.image_edit import pieces_of
from rom_builder.formats.source import Slice

_HINT = "remove files, or rebuild the image with more room"


class GrowingGroups(Groups):
    """Groups that make the image larger when its free blocks do not suffice.

    Attributes:
        grown: Whether they did.
    """

    grown = False

    def take_blocks(self, count: int, goal: int) -> list[range]:
        missing = count - sum(group.get("free_blocks") for group in self.groups)
        if missing > 0:
            self._grow(missing)
        return super().take_blocks(count, goal)

    def seal(self) -> None:
        super().seal()
        write_superblock(self)

    def _grow(self, missing: int) -> None:
        old_size = self.block_count * self.block_size
        if not self.grown and self.draft.size > old_size:
            rest = Slice(self.draft, old_size, self.draft.size - old_size)
            if any(any(piece) for piece in pieces_of(rest)):
                raise ImageError(
                    "the file system is full, and other bytes follow it",
                    offset=old_size,
                    hint=_HINT,
                )
        self.grown = True
        last = self.groups[-1]
        more = min(missing, self.per_group - last.count)
        if more:
            self.group_of(last.first)  # its bitmap must be there
            last.count += more
            last.runs = None
            self._count(last, more)
            missing -= more
        while missing > 0:
            missing -= self._add_group(missing)
        if self.block_count >> 32 and "64bit" not in self.superblock.features:
            raise ImageError(f"the image cannot have {self.block_count} blocks", hint=_HINT)
        self.draft.grow(self.block_count * self.block_size)

    def _add_group(self, missing: int) -> int:
        """Add a group with up to ``missing`` free blocks and return how many it has."""
        superblock, number = self.superblock, len(self.groups)
        table_blocks = self.table_blocks
        if (number + 1) * superblock.descriptor_size > table_blocks * self.block_size:
            raise ImageError("the table of group descriptors is full", hint=_HINT)
        position = 0
        if has_superblock(superblock, number):
            if {"resize_inode", "sparse_super2"} & set(superblock.features):
                raise ImageError(
                    f"group {number} would need a superblock and reserved blocks", hint=_HINT
                )
            position = 1 + table_blocks
        first = self.first_data_block + number * self.per_group
        fixed = position + 2 + self.inode_table_blocks
        count = min(self.per_group, fixed + missing)
        if count <= fixed:
            raise ImageError("a new group would have no block for files", hint=_HINT)
        self.block_count += count
        group = self.append_group(number, bytes(superblock.descriptor_size))
        group.blocks = (1 << fixed) - 1
        group.inodes = 0
        group.set("block_bitmap", first + position)
        group.set("inode_bitmap", first + position + 1)
        group.set("inode_table", first + position + 2)
        group.set("free_inodes", superblock.inodes_per_group)
        if self.has_flags:
            group.set("flags", TABLE_ZEROED)
            group.set("unused_inodes", superblock.inodes_per_group)
        self.block_count -= count - fixed  # counted with the free blocks
        self._count(group, count - fixed)
        self.inode_count += superblock.inodes_per_group
        self.free_inodes += superblock.inodes_per_group
        if self.inode_count >> 32:
            raise ImageError(f"the image cannot have {self.inode_count} inodes", hint=_HINT)
        return count - fixed

    def _count(self, group: Group, more: int) -> None:
        group.add("free_blocks", more)
        self.free_blocks += more
        self.block_count += more


def write_superblock(groups: GrowingGroups) -> None:
    """Write the counts into the superblock, and into its backups if the image has grown."""
    superblock, draft = groups.superblock, groups.draft
    raw = bytearray(draft.read_at(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE))
    for low, high, value in (
        (0, 0, groups.inode_count),
        (4, 0x150, groups.block_count),
        (12, 0x158, groups.free_blocks),
        (16, 0, groups.free_inodes),
    ):
        raw[low : low + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
        if high and "64bit" in superblock.features:
            raw[high : high + 4] = (value >> 32).to_bytes(4, "little")
    _seal(raw, has_checksums=superblock.has_checksums)
    draft.write(SUPERBLOCK_OFFSET, bytes(raw))
    if not groups.grown:
        return
    table = draft.read_at(groups.table_offset, len(groups.groups) * superblock.descriptor_size)
    for group in groups.groups[1:]:
        if has_superblock(superblock, group.number):
            raw[0x5A:0x5C] = group.number.to_bytes(2, "little")
            _seal(raw, has_checksums=superblock.has_checksums)
            draft.write(group.first * groups.block_size, bytes(raw))
            draft.write((group.first + 1) * groups.block_size, table)


def _seal(raw: bytearray, *, has_checksums: bool) -> None:
    if has_checksums:
        raw[1020:1024] = crc32c(0xFFFFFFFF, bytes(raw[:1020])).to_bytes(4, "little")
