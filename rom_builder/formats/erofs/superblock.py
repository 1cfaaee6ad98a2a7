"""The EROFS superblock: geometry, features, compression configurations, device table."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source, check_range

MAGIC = 0xE0F5E1E2
SUPERBLOCK_OFFSET = 1024
_SUPERBLOCK = struct.Struct("<3I2BHQq4I16s16sI3H2BIQ4xI16x")
_EXTSLOT_SIZE = 16
_DEVICE_SLOT_SIZE = 128

SB_CHKSUM = 0x1
PLAIN_XATTR_PFX = 0x10
COMPAT_FEATURES = {
    SB_CHKSUM: "sb_chksum",
    0x2: "mtime",
    0x4: "xattr_filter",
    0x8: "shared_ea_in_metabox",
    PLAIN_XATTR_PFX: "plain_xattr_pfx",
    0x20: "ishare_xattrs",
}

ZERO_PADDING = 0x1
COMPR_CFGS = 0x2
CHUNKED_FILE = 0x4
DEVICE_TABLE = 0x8
FRAGMENTS = 0x20
INCOMPAT_FEATURES = {
    ZERO_PADDING: "zero_padding",
    COMPR_CFGS: "compr_cfgs/big_pcluster",
    CHUNKED_FILE: "chunked_file",
    DEVICE_TABLE: "device_table/compr_head2",
    0x10: "ztailpacking",
    FRAGMENTS: "fragments/dedupe",
    0x40: "xattr_prefixes",
    0x80: "48bit",
    0x100: "metabox",
}
_READABLE_FEATURES = 0x7F

LZ4, LZMA, DEFLATE, ZSTD = range(4)
ALGORITHMS = {LZ4: "lz4", LZMA: "lzma", DEFLATE: "deflate", ZSTD: "zstd"}
_LZMA_MAX_DICTIONARY_SIZE = 8 << 20


@dataclass(frozen=True, slots=True)
class Superblock:
    """What an EROFS image says about itself.

    Attributes:
        block_size: Bytes of one block, 512 to 65536.
        blocks: Blocks of the image, in ``block_size``.
        root_nid: Number of the root folder's inode.
        inode_count: Inodes the image has, the packed inode included.
        epoch: Seconds since 1970 that compact inodes' times count from.
        build_time: Seconds since 1970 at which the image was made.
        metadata_offset: Byte at which inode 0 would lie.
        xattr_offset: Byte that shared extended attributes count from.
        uuid: Identity of the volume.
        label: Volume name, empty if it has none.
        compat: Feature bits a reader may ignore.
        incompat: Feature bits a reader must know.
        features: Names of both; a bit that two features share has both names.
        algorithms: Names of the compression algorithms that content may use.
        extra_devices: Devices besides this image that hold content.
        packed_nid: Inode that holds the fragments of other files; None without fragments.
        prefix_count: Long prefixes of extended attribute names.
        prefix_offset: Byte at which they start, in the packed inode or in the image.
    """

    block_size: int
    blocks: int
    root_nid: int
    inode_count: int
    epoch: int
    build_time: int
    metadata_offset: int
    xattr_offset: int
    uuid: uuid.UUID
    label: str
    compat: int
    incompat: int
    features: tuple[str, ...]
    algorithms: tuple[str, ...]
    extra_devices: int
    packed_nid: int | None
    prefix_count: int
    prefix_offset: int


def detect_erofs(head: bytes) -> bool:
    """Say whether an image that starts with ``head`` (at least 1028 bytes) is EROFS."""
    return head[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + 4] == MAGIC.to_bytes(4, "little")


class _Fields(NamedTuple):
    """The 128 bytes at byte 1024.

    ======  =====  ==============================================================
    offset  type   field
    ======  =====  ==============================================================
    0       u32    magic 0xE0F5E1E2
    4       u32    crc32c of byte 1024 to the end of the first block
    8       u32    compatible features
    12      u8     log2 of the block size
    13      u8     16-byte slots behind these 128 bytes
    14      u16    root nid
    16      u64    inodes
    24      s64    epoch, seconds
    32      u32    epoch, nanoseconds
    36      u32    blocks
    40      u32    first block of the metadata area
    44      u32    first block of the shared extended attributes
    48      16     UUID
    64      16     volume name
    80      u32    incompatible features
    84      u16    compression algorithms as bits, or LZ4's greatest match distance
    86      u16    extra devices
    88      u16    device table, in 128 bytes
    90      u8     log2 of the blocks a directory block takes
    91      u8     long xattr prefixes
    92      u32    where they start, in 4 bytes
    96      u64    packed nid
    108     u32    build time, seconds after the epoch
    ======  =====  ==============================================================
    """

    magic: int
    checksum: int
    compat: int
    block_bits: int
    extslots: int
    root_nid: int
    inode_count: int
    epoch: int
    epoch_nanoseconds: int
    blocks: int
    metadata_block: int
    xattr_block: int
    uuid: bytes
    label: bytes
    incompat: int
    algorithms: int
    extra_devices: int
    device_slot: int
    directory_bits: int
    prefix_count: int
    prefix_start: int
    packed_nid: int
    build_time: int


def parse_superblock(image: Source) -> Superblock:
    """Read and check the superblock.

    Raises:
        ImageError: Not EROFS, damaged, or with a feature this reader does not know.
    """
    head = image.read_at(0, min(image.size, SUPERBLOCK_OFFSET + _SUPERBLOCK.size))
    if not detect_erofs(head):
        raise ImageError("no EROFS superblock", offset=SUPERBLOCK_OFFSET)
    if len(head) < SUPERBLOCK_OFFSET + _SUPERBLOCK.size:
        raise ImageError("the EROFS superblock is cut off", offset=len(head))
    fields = _Fields._make(_SUPERBLOCK.unpack_from(head, SUPERBLOCK_OFFSET))
    _check_fields(image, fields)
    incompat = fields.incompat
    algorithms: tuple[str, ...] = ()
    if incompat & COMPR_CFGS:
        algorithms = _parse_configurations(image, fields.algorithms, fields.extslots)
    elif incompat & ZERO_PADDING or fields.algorithms:  # both may be 0 in images for Linux < 5.4
        algorithms = (ALGORITHMS[LZ4],)
    return Superblock(
        block_size=1 << fields.block_bits,
        blocks=fields.blocks,
        root_nid=fields.root_nid,
        inode_count=fields.inode_count,
        epoch=fields.epoch,
        build_time=fields.epoch + fields.build_time,
        metadata_offset=fields.metadata_block << fields.block_bits,
        xattr_offset=fields.xattr_block << fields.block_bits,
        uuid=uuid.UUID(bytes=fields.uuid),
        label=fields.label.split(b"\0")[0].decode("utf-8", "backslashreplace"),
        compat=fields.compat,
        incompat=incompat,
        features=_names(fields.compat, COMPAT_FEATURES) + _names(incompat, INCOMPAT_FEATURES),
        algorithms=algorithms,
        extra_devices=fields.extra_devices if incompat & DEVICE_TABLE else 0,
        packed_nid=fields.packed_nid if incompat & FRAGMENTS and fields.packed_nid else None,
        prefix_count=fields.prefix_count,
        prefix_offset=fields.prefix_start * 4,
    )


def _check_fields(image: Source, fields: _Fields) -> None:
    """Refuse a geometry, checksum, feature or device table that is wrong or not known."""
    if not 9 <= fields.block_bits <= 16:
        raise ImageError(f"block size 1 << {fields.block_bits}", offset=SUPERBLOCK_OFFSET + 12)
    if fields.compat & SB_CHKSUM:
        _verify_checksum(image, fields.checksum, 1 << fields.block_bits)
    if unknown := fields.incompat & ~_READABLE_FEATURES:
        raise ImageError(
            f"EROFS features are not supported: {', '.join(_names(unknown, INCOMPAT_FEATURES))}",
            offset=SUPERBLOCK_OFFSET + 80,
        )
    if fields.directory_bits:
        raise ImageError(
            f"directory blocks of {1 << fields.directory_bits} blocks are not supported",
            offset=SUPERBLOCK_OFFSET + 90,
        )
    if fields.incompat & DEVICE_TABLE:
        check_range(
            image,
            fields.device_slot * _DEVICE_SLOT_SIZE,
            fields.extra_devices * _DEVICE_SLOT_SIZE,
        )


def _parse_configurations(image: Source, bits: int, extslots: int) -> tuple[str, ...]:
    """Check the records behind the superblock and return the names of their algorithms.

    One record for each bit set, in rising order, at a 4-byte boundary: u16 length, then

    =======  ======  ===============================================================
    codec    length  content
    =======  ======  ===============================================================
    LZ4      14      u16 greatest distance, u16 greatest cluster in blocks, reserved
    LZMA     14      u32 dictionary size, u16 format 0, reserved
    deflate  6       u8 log2 of the window, 8 to 15, reserved
    zstd     6       u8 format 0, u8 log2 of the window less 10, reserved
    =======  ======  ===============================================================
    """
    if unknown := bits & ~sum(1 << algorithm for algorithm in ALGORITHMS):
        raise ImageError(
            f"compression algorithms are not supported: {', '.join(_names(unknown, {}))}",
            offset=SUPERBLOCK_OFFSET + 84,
        )
    position = SUPERBLOCK_OFFSET + _SUPERBLOCK.size + extslots * _EXTSLOT_SIZE
    names: list[str] = []
    for algorithm, name in ALGORITHMS.items():
        if not bits >> algorithm & 1:
            continue
        length = int.from_bytes(image.read_at(position, 2), "little")
        expected = 14 if algorithm in (LZ4, LZMA) else 6
        if length < expected:
            raise ImageError(f"{name} configuration of {length} bytes", offset=position)
        record = image.read_at(position + 2, expected)
        if algorithm == LZMA:
            dictionary_size, format_ = struct.unpack_from("<IH", record)
            known = format_ == 0 and dictionary_size <= _LZMA_MAX_DICTIONARY_SIZE
        elif algorithm == DEFLATE:
            known = 8 <= record[0] <= 15
        else:
            known = algorithm == LZ4 or record[0] == 0
        if not known:
            raise ImageError(f"{name} configuration {record.hex()}", offset=position)
        names.append(name)
        position += (2 + length + 3) & ~3
    return tuple(names)


def checksummed_size(block_size: int) -> int:
    """Bytes from byte 1024 on that the superblock's checksum covers."""
    return block_size - SUPERBLOCK_OFFSET if block_size > SUPERBLOCK_OFFSET else block_size


def superblock_checksum(data: bytes) -> int:
    """Return the checksum of ``checksummed_size`` bytes: CRC-32C, not inverted at the end."""
    return _crc32c(data[:4] + bytes(4) + data[8:])


def _verify_checksum(image: Source, checksum: int, block_size: int) -> None:
    """Refuse a superblock whose checksum differs."""
    found = superblock_checksum(image.read_at(SUPERBLOCK_OFFSET, checksummed_size(block_size)))
    if found != checksum:
        raise ImageError(
            f"superblock checksum {checksum:#010x}, its bytes give {found:#010x}",
            offset=SUPERBLOCK_OFFSET + 4,
        )


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _crc32c(data: bytes) -> int:
    """Return the CRC-32C register (polynomial 0x1EDC6F41, reflected) after ``data``."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def _names(bits: int, names: dict[int, str]) -> tuple[str, ...]:
    return tuple(
        names.get(1 << bit, f"{1 << bit:#x}") for bit in range(bits.bit_length()) if bits >> bit & 1
    )
