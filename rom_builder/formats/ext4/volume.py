"""Blocks, group descriptors and inodes of an ext4 image, each read when it is asked for.

Group descriptor, 32 or 64 bytes, little-endian (Linux
``Documentation/filesystems/ext4/group_descr.rst``)::

    offset  size  field                       offset  size  field
    4       4     inode bitmap block, low     36      4     inode bitmap block, high
    8       4     inode table block, low      40      4     inode table block, high
    18      2     flags, 1 = no inode used    58      2     inode bitmap checksum, high
    26      2     inode bitmap checksum, low
    30      2     checksum
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc16, crc32c
from rom_builder.formats.ext4.inode import Inode, parse_inode
from rom_builder.formats.ext4.superblock import Superblock
from rom_builder.formats.source import Slice, Source

_CACHE_SIZE = 2 << 20
_DESCRIPTORS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class GroupDescriptor:
    """Where a block group keeps its inodes.

    Attributes:
        inode_bitmap: Block of the bitmap of inodes in use.
        inode_table: First block of the inodes.
        inodes_unused: No inode of the group was ever used; its bitmap is not written.
        inode_bitmap_checksum: CRC-32C of the bitmap; its low 16 bits with 32-byte descriptors.
    """

    inode_bitmap: int
    inode_table: int
    inodes_unused: bool
    inode_bitmap_checksum: int


class Volume:
    """An ext4 image by block and inode number; what was read last is kept, 2 MiB at most.

    Args:
        source: The image.
        superblock: Its superblock.
    """

    def __init__(self, source: Source, superblock: Superblock) -> None:
        self.source = source
        self.superblock = superblock
        self.block_size = superblock.block_size
        self.block = lru_cache(max(8, _CACHE_SIZE // self.block_size))(self._read_block)
        self.descriptor = lru_cache(_DESCRIPTORS_KEPT)(self._read_descriptor)

    def blocks(self, first: int, count: int) -> Slice:
        """Return ``count`` blocks from block ``first`` on.

        Raises:
            ImageError: They lie outside the file system, or the image ends before them.
        """
        if first <= 0 or count <= 0 or first + count > self.superblock.block_count:
            raise ImageError(
                f"blocks {first} to {first + count - 1} lie outside the file system of "
                f"{self.superblock.block_count} blocks"
            )
        return Slice(self.source, first * self.block_size, count * self.block_size)

    def _read_block(self, number: int) -> bytes:
        return self.blocks(number, 1).read_at(0, self.block_size)

    def inode(self, number: int) -> Inode:
        """Return the inode with that number.

        Raises:
            ImageError: There is none, or it or its group descriptor is damaged.
        """
        superblock = self.superblock
        if not 0 < number <= superblock.inode_count:
            raise ImageError(f"inode {number} of {superblock.inode_count} does not exist")
        group, index = divmod(number - 1, superblock.inodes_per_group)
        block, start = divmod(index * superblock.inode_size, self.block_size)
        block += self.descriptor(group).inode_table
        raw = self.block(block)[start : start + superblock.inode_size]
        return parse_inode(raw, number, block * self.block_size + start, superblock)

    def inode_bitmap(self, group: int) -> int:
        """Return the inodes of a group that are in use, the group's first as bit 0.

        Raises:
            ImageError: The bitmap is damaged.
        """
        descriptor = self.descriptor(group)
        if descriptor.inodes_unused:
            return 0
        count = self.superblock.inodes_per_group
        raw = self.block(descriptor.inode_bitmap)[: -(-count // 8)]
        if self.superblock.has_checksums:
            mask = 0xFFFFFFFF if self.superblock.descriptor_size >= 64 else 0xFFFF
            computed = crc32c(self.superblock.checksum_seed, raw) & mask
            if computed != descriptor.inode_bitmap_checksum:
                raise ImageError(
                    f"the inode bitmap of group {group} does not match its checksum",
                    offset=descriptor.inode_bitmap * self.block_size,
                )
        return int.from_bytes(raw, "little") & (1 << count) - 1

    def _read_descriptor(self, group: int) -> GroupDescriptor:
        size = self.superblock.descriptor_size
        table_block, index = divmod(group, self.block_size // size)
        start = index * size
        block = self._descriptor_block(table_block)
        raw = self.block(block)[start : start + size]
        offset = block * self.block_size + start
        self._verify_descriptor(group, raw, offset)

        def word(low: int, high: int, width: int) -> int:
            value = int.from_bytes(raw[low : low + width], "little")
            if size >= 64:
                value |= int.from_bytes(raw[high : high + width], "little") << 8 * width
            return value

        # The flag means something only where descriptors carry a checksum.
        has_flags = {"metadata_csum", "uninit_bg"} & set(self.superblock.features)
        return GroupDescriptor(
            inode_bitmap=word(4, 36, 4),
            inode_table=word(8, 40, 4),
            inodes_unused=bool(has_flags and raw[18] & 1),
            inode_bitmap_checksum=word(26, 58, 2),
        )

    def _descriptor_block(self, table_block: int) -> int:
        """Return the block that holds the descriptors of one table block.

        With ``meta_bg`` the table is cut up: each of its blocks lies in the first of the groups
        that it describes, after the superblock's backup if that group has one.
        """
        superblock = self.superblock
        superblock_block = 1 if self.block_size == 1024 else 0
        if "meta_bg" not in superblock.features or table_block < superblock.first_meta_group:
            return superblock_block + 1 + table_block
        group = table_block * (self.block_size // superblock.descriptor_size)
        block = superblock.first_data_block + group * superblock.blocks_per_group
        if not group and self.block_size == 1024 and not superblock.first_data_block:
            block += 1  # bigalloc: group 0 begins with the boot block
        return block + has_superblock(superblock, group)

    def _verify_descriptor(self, group: int, raw: bytes, offset: int) -> None:
        superblock = self.superblock
        number = group.to_bytes(4, "little")
        stored = int.from_bytes(raw[30:32], "little")
        if superblock.has_checksums:
            blank = raw[:30] + b"\0\0" + raw[32:]
            computed = crc32c(superblock.checksum_seed, number + blank) & 0xFFFF
        elif "uninit_bg" in superblock.features:
            computed = crc16(0xFFFF, superblock.uuid.bytes + number + raw[:30] + raw[32:])
        else:
            return
        if computed != stored:
            raise ImageError(
                f"the descriptor of group {group}: checksum {stored:#06x}, its content has "
                f"{computed:#06x}",
                offset=offset + 30,
            )


def has_superblock(superblock: Superblock, group: int) -> bool:
    """Tell whether a block group begins with the superblock or a backup of it."""
    if group == 0:
        return True
    if "sparse_super2" in superblock.features:
        return group in superblock.backup_groups
    if group == 1 or "sparse_super" not in superblock.features:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False
