"""The ext2, ext3 and ext4 superblock.

Layout, 1024 bytes at byte 1024 of the image, little-endian (Linux
``Documentation/filesystems/ext4/super.rst``)::

    offset  size  field                       offset  size  field
    0       4     inodes                      96      4     incompatible features
    4       4     blocks, low                 100     4     read-only compatible features
    12      4     free blocks, low            104     16    uuid
    16      4     free inodes                 120     16    label
    20      4     first data block            136     64    last mounted at
    24      4     log2(block size) - 10       254     2     group descriptor size (64bit)
    32      4     blocks per group            260     4     first meta block group
    40      4     inodes per group            264     4     made at, seconds since 1970
    44      4     mounted at                  336     4     blocks, high (64bit)
    48      4     written at                  344     4     free blocks, high (64bit)
    56      2     magic 0xEF53                373     1     checksum type, 1 = CRC-32C
    58      2     state                       588     8     backup groups (sparse_super2)
    76      4     revision                    620     4     project quota inode
    84      4     first ordinary inode        624     4     checksum seed
    88      2     inode size                  628     6     high bytes of times
    92      4     compatible features         640     4     orphan file inode
                                              1020    4     CRC-32C of bytes 0..1019
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.source import Source

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024
ROOT_INODE = 2

_MAGIC = 0xEF53
_CLEAN = 1
_ERRORS = 2

# Names as dumpe2fs prints them.
_COMPATIBLE = {
    0x1: "dir_prealloc",
    0x2: "imagic_inodes",
    0x4: "has_journal",
    0x8: "ext_attr",
    0x10: "resize_inode",
    0x20: "dir_index",
    0x40: "lazy_bg",
    0x80: "snapshot",
    0x100: "exclude_bitmap",
    0x200: "sparse_super2",
    0x400: "fast_commit",
    0x800: "stable_inodes",
    0x1000: "orphan_file",
}
_INCOMPATIBLE = {
    0x1: "compression",
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x1000: "dirdata",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
_READ_ONLY_COMPATIBLE = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x4: "btree_dir",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x80: "has_snapshot",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x800: "replica",
    0x1000: "read-only",
    0x2000: "project",
    0x4000: "shared_blocks",
    0x8000: "verity",
    0x10000: "orphan_present",
}
_UNREAD = frozenset({"compression", "journal_dev", "dirdata", "has_snapshot"})


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a superblock says about its file system.

    Attributes:
        label: Volume name.
        uuid: The volume's own.
        block_size: Bytes of one block, 1024 to 65536.
        block_count: Blocks of the file system.
        free_blocks: Blocks in no use; clusters with ``bigalloc``.
        first_data_block: The block that group 0 begins with.
        blocks_per_group: Blocks of each group but the last.
        group_count: Block groups.
        inode_count: Inodes, free ones included.
        free_inodes: Inodes in no use.
        inodes_per_group: Inodes of each group.
        inode_size: Bytes of one inode, a power of two from 128.
        first_inode: First inode that is not reserved.
        descriptor_size: Bytes of one group descriptor.
        first_meta_group: First block of descriptors laid out by ``meta_bg``.
        backup_groups: The groups with a backup under ``sparse_super2``.
        hidden_inodes: Ordinary inodes that serve the file system and have no name.
        features: Names as dumpe2fs prints them, compatible ones first.
        checksum_seed: Start value of metadata checksums, 0 without them.
        clean: Unmounted properly, or never mounted.
        has_errors: The kernel found damage and wrote so.
        last_mounted_at: Folder it was mounted at last, "" if unknown.
        made_at: Seconds since 1970.
        mounted_at: Seconds since 1970; 0 if never.
        written_at: Seconds since 1970.
    """

    label: str
    uuid: UUID
    block_size: int
    block_count: int
    free_blocks: int
    first_data_block: int
    blocks_per_group: int
    group_count: int
    inode_count: int
    free_inodes: int
    inodes_per_group: int
    inode_size: int
    first_inode: int
    descriptor_size: int
    first_meta_group: int
    backup_groups: tuple[int, int]
    hidden_inodes: frozenset[int]
    features: tuple[str, ...]
    checksum_seed: int
    clean: bool
    has_errors: bool
    last_mounted_at: str
    made_at: int
    mounted_at: int
    written_at: int

    @property
    def size(self) -> int:
        """Bytes of the whole file system."""
        return self.block_count * self.block_size

    @property
    def used_inodes(self) -> int:
        """Inodes in use, the reserved ones included."""
        return self.inode_count - self.free_inodes

    @property
    def has_checksums(self) -> bool:
        """Whether every structure carries a CRC-32C."""
        return "metadata_csum" in self.features


def detect_ext4(head: bytes) -> bool:
    """Tell from the first 8 KiB of an image whether it is ext2, ext3 or ext4."""
    if len(head) < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE:
        return False
    at = SUPERBLOCK_OFFSET
    (log_block_size,) = struct.unpack_from("<I", head, at + 24)
    (magic,) = struct.unpack_from("<H", head, at + 56)
    (revision,) = struct.unpack_from("<I", head, at + 76)
    return bool(magic == _MAGIC and log_block_size <= 6 and revision <= 1)


def read_superblock(source: Source) -> Superblock:
    """Read and check the superblock of an image.

    Raises:
        ImageError: It is absent, damaged, inconsistent, or names a feature that is not read.
    """
    if source.size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE:
        raise ImageError("too short for an ext4 superblock", offset=source.size)
    raw = source.read_at(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    if raw[56:58] != _MAGIC.to_bytes(2, "little"):
        raise _damage(f"no ext4 magic: {raw[56:58].hex()} where 53ef is expected", 56)
    features = _features(raw)
    if "metadata_csum" in features:
        _verify_checksum(raw)
    superblock = _parse(raw, features)
    _check_geometry(superblock)
    return superblock


def _damage(message: str, offset: int) -> ImageError:
    return ImageError(message, offset=SUPERBLOCK_OFFSET + offset)


def _features(raw: bytes) -> tuple[str, ...]:
    """Return the names of all features; refuse those that make the layout unknown."""
    if not _u32(raw, 76):
        return ()  # revision 0 knows no features
    names = []
    for offset, known, must_know in (
        (92, _COMPATIBLE, False),
        (96, _INCOMPATIBLE, True),
        (100, _READ_ONLY_COMPATIBLE, False),
    ):
        word = _u32(raw, offset)
        kind = {92: "compatible", 96: "incompatible", 100: "read-only compatible"}[offset]
        bits = [1 << bit for bit in range(32) if word >> bit & 1]
        found = [known.get(bit, f"{kind} feature {bit:#x}") for bit in bits]
        unread = [
            name
            for bit, name in zip(bits, found, strict=True)
            if name in _UNREAD or (must_know and bit not in known)
        ]
        if unread:
            raise ImageError(
                f"the ext4 feature is not read: {', '.join(unread)}",
                offset=SUPERBLOCK_OFFSET + offset,
                hint="nothing of this image was checked",
            )
        names += found
    return tuple(names)


def _verify_checksum(raw: bytes) -> None:
    if raw[373] != 1:
        raise _damage(f"checksum type {raw[373]} is unknown, only 1 (CRC-32C) is read", 373)
    computed = crc32c(0xFFFFFFFF, raw[:1020])
    if computed != _u32(raw, 1020):
        raise _damage(
            f"the superblock's checksum is {_u32(raw, 1020):#010x}, its content has "
            f"{computed:#010x}",
            1020,
        )


def _u32(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 4], "little")


def _u16(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 2], "little")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _parse(raw: bytes, features: tuple[str, ...]) -> Superblock:
    if _u32(raw, 24) > 6:
        raise _damage(f"the block size is 2^{_u32(raw, 24)} KiB, at most 64 KiB is known", 24)
    large = "64bit" in features
    dynamic = _u32(raw, 76) > 0
    block_count = _u32(raw, 4) | (_u32(raw, 336) << 32 if large else 0)
    first_data_block, blocks_per_group = _u32(raw, 20), _u32(raw, 32)
    if not blocks_per_group or first_data_block >= block_count:
        raise _damage(f"{block_count} blocks in groups of {blocks_per_group} hold nothing", 4)
    uuid = raw[104:120]
    seed = 0
    if "metadata_csum_seed" in features:
        seed = _u32(raw, 624)
    elif "metadata_csum" in features:
        seed = crc32c(0xFFFFFFFF, uuid)
    hidden = set()
    if "project" in features:
        hidden.add(_u32(raw, 620))
    if "orphan_file" in features:
        hidden.add(_u32(raw, 640))
    state = _u16(raw, 58)
    return Superblock(
        label=_text(raw[120:136]),
        uuid=UUID(bytes=uuid),
        block_size=1024 << _u32(raw, 24),
        block_count=block_count,
        free_blocks=_u32(raw, 12) | (_u32(raw, 344) << 32 if large else 0),
        first_data_block=first_data_block,
        blocks_per_group=blocks_per_group,
        group_count=-(-(block_count - first_data_block) // blocks_per_group),
        inode_count=_u32(raw, 0),
        free_inodes=_u32(raw, 16),
        inodes_per_group=_u32(raw, 40),
        inode_size=_u16(raw, 88) if dynamic else 128,
        first_inode=_u32(raw, 84) if dynamic else 11,
        descriptor_size=_u16(raw, 254) if large else 32,
        first_meta_group=_u32(raw, 260),
        backup_groups=(_u32(raw, 588), _u32(raw, 592)),
        hidden_inodes=frozenset(hidden),
        features=features,
        checksum_seed=seed,
        clean=bool(state & _CLEAN),
        has_errors=bool(state & _ERRORS),
        last_mounted_at=_text(raw[136:200]),
        made_at=_u32(raw, 264) | raw[630] << 32,
        mounted_at=_u32(raw, 44) | raw[629] << 32,
        written_at=_u32(raw, 48) | raw[628] << 32,
    )


def _check_geometry(superblock: Superblock) -> None:
    """Refuse sizes that contradict each other, as the kernel does before it mounts."""
    block_size = superblock.block_size
    inode_size, descriptor_size = superblock.inode_size, superblock.descriptor_size
    for wrong, message, offset in (
        (superblock.block_count >> 48, f"{superblock.block_count} blocks are too many", 4),
        (
            inode_size & (inode_size - 1) or not 128 <= inode_size <= block_size,
            f"an inode of {inode_size} bytes in blocks of {block_size}",
            88,
        ),
        (
            descriptor_size & (descriptor_size - 1)
            or not (64 if "64bit" in superblock.features else 32) <= descriptor_size <= 1024,
            f"a group descriptor of {descriptor_size} bytes",
            254,
        ),
        (
            not 0 < superblock.inodes_per_group <= 8 * block_size,
            f"{superblock.inodes_per_group} inodes in a group; its bitmap is one block",
            40,
        ),
        (
            superblock.inode_count != superblock.group_count * superblock.inodes_per_group,
            f"{superblock.inode_count} inodes are not {superblock.group_count} groups of "
            f"{superblock.inodes_per_group}",
            0,
        ),
        (
            superblock.inode_count * inode_size > superblock.size,
            f"{superblock.inode_count} inodes of {inode_size} bytes do not fit",
            0,
        ),
        (
            superblock.free_inodes > superblock.inode_count,
            f"{superblock.free_inodes} of {superblock.inode_count} inodes are free",
            16,
        ),
        (
            not ROOT_INODE < superblock.first_inode <= superblock.inode_count,
            f"the first ordinary inode is {superblock.first_inode}",
            84,
        ),
    ):
        if wrong:
            raise _damage(f"the superblock contradicts itself: {message}", offset)
