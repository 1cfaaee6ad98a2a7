"""Disk images with a GUID partition table, and their partitions as sources.

All integers are little-endian. Source: UEFI specification 2.10, section 5.3. A block (LBA) is 512
bytes on eMMC and 4096 on UFS; the header's own position tells which.

Header, at block 1 and again at the last block (92 bytes or more):

====== ==== =================================================================
offset size field
====== ==== =================================================================
0      8    magic ``EFI PART``
8      4    revision
12     4    bytes of the header that the CRC-32 covers
16     4    CRC-32 of the header with this field zero
24     8    block of this header
32     8    block of the other header
40     16   first and last block for partitions
56     16   GUID of the disk
72     8    first block of the entries
80     4    number of entries
84     4    bytes of an entry, 128 or more
88     4    CRC-32 of the entries
====== ==== =================================================================

Entry: type GUID (16), own GUID (16), first and last block (8, 8), attributes (8), name (72,
UTF-16); an all-zero type means unused.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.source import Slice, Source

MAGIC = b"EFI PART"
BLOCK_SIZES = (512, 4096)

MAX_ENTRIES = 1024
"""Most entries accepted; the usual table has 128, phones up to about 150."""

MAX_ENTRY_SIZE = 4096

_HEADER = struct.Struct("<8s4I4Q16sQ3I")
_ENTRY = struct.Struct("<16s16sQQQ72s")


@dataclass(frozen=True, slots=True)
class GptPartition:
    """One partition.

    Attributes:
        name: Its name, such as ``system`` or ``boot_a``.
        type_id: What it is for; phones use types of their own.
        unique_id: Its own GUID.
        offset: Where it starts, in bytes.
        size: Bytes.
        attributes: Bit field; phones keep A/B slot state in bits 48 to 55.
    """

    name: str
    type_id: uuid.UUID
    unique_id: uuid.UUID
    offset: int
    size: int
    attributes: int


@dataclass(frozen=True, slots=True)
class _Table:
    disk_id: uuid.UUID
    backup_block: int
    partitions: tuple[GptPartition, ...]


def detect_gpt(head: bytes) -> bool:
    """Tell whether an image whose first 4104 bytes are ``head`` has a GUID partition table."""
    return _block_size(head) is not None


def _block_size(head: bytes) -> int | None:
    return next((size for size in BLOCK_SIZES if head[size : size + 8] == MAGIC), None)


class DiskImage:
    """An opened disk image.

    Attributes:
        block_size: 512 or 4096.
        disk_id: GUID of the disk.
        partitions: Every partition, in table order.
        problems: What is damaged or missing but has a good copy, in words.

    Raises:
        ImageError: No partition table, or both copies are damaged.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        block_size = _block_size(source.read_at(0, min(4104, source.size)))
        if block_size is None:
            raise ImageError("no GUID partition table", offset=BLOCK_SIZES[0])
        self.block_size: int = block_size
        self.problems: list[str] = []
        primary = self._try("primary", 1)
        last = source.size // block_size - 1
        backup = self._try("backup", primary.backup_block if primary else last)
        table = primary or backup
        if table is None:
            raise ImageError("; ".join(self.problems), offset=block_size)
        if primary and backup and primary.partitions != backup.partitions:
            self.problems.append("primary and backup partition table differ")
        self.disk_id = table.disk_id
        self.partitions = table.partitions

    def _try(self, name: str, block: int) -> _Table | None:
        try:
            return self._table(block)
        except ImageError as error:
            self.problems.append(f"{name} partition table: {error}")
            return None

    def _table(self, block: int) -> _Table:
        start = block * self.block_size
        head = self._source.read_at(start, self.block_size)
        (magic, _, size, crc, _, here, other, _, _, disk, first, count, entry_size, entries_crc) = (
            _HEADER.unpack_from(head)
        )
        if magic != MAGIC:
            raise ImageError("no partition table header", offset=start)
        if not _HEADER.size <= size <= self.block_size:
            raise ImageError(f"partition table header of {size} bytes", offset=start + 12)
        if zlib.crc32(head[:16] + bytes(4) + head[20:size]) != crc:
            raise ImageError("partition table header does not match its CRC-32", offset=start + 16)
        if here != block:
            raise ImageError(f"partition table header of block {here}", offset=start + 24)
        if count > MAX_ENTRIES or not _ENTRY.size <= entry_size <= MAX_ENTRY_SIZE:
            raise ImageError(f"{count} partition entries of {entry_size} bytes", offset=start + 80)
        data = self._source.read_at(first * self.block_size, count * entry_size)
        if zlib.crc32(data) != entries_crc:
            raise ImageError("partition entries do not match their CRC-32", offset=start + 88)
        partitions = (
            self._entry(data, position, first * self.block_size + position)
            for position in range(0, len(data), entry_size)
        )
        found = tuple(partition for partition in partitions if partition)
        return _Table(uuid.UUID(bytes_le=disk), other, found)

    def _entry(self, data: bytes, position: int, offset: int) -> GptPartition | None:
        type_id, unique_id, first, last, attributes, raw = _ENTRY.unpack_from(data, position)
        if not any(type_id):
            return None
        if last < first - 1:
            raise ImageError(f"partition of blocks {first} to {last}", offset=offset + 32)
        return GptPartition(
            raw.decode("utf-16-le", "replace").split("\0")[0],
            uuid.UUID(bytes_le=type_id),
            uuid.UUID(bytes_le=unique_id),
            first * self.block_size,
            (last - first + 1) * self.block_size,
            attributes,
        )

    def partition(self, name: str) -> Source:
        """Return the content of a partition.

        Raises:
            ImageError: None or several have that name, or it ends after the image.
        """
        found = [partition for partition in self.partitions if partition.name == name]
        if len(found) != 1:
            raise ImageError(f"the disk has {len(found) or 'no'} partitions named {name}")
        return Slice(self._source, found[0].offset, found[0].size)
