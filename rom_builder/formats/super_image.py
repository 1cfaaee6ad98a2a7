"""Super images: the logical partitions of Android 10 and later, as sources.

All integers are little-endian; sectors are 512 bytes. Source: AOSP ``fs_mgr/liblp``,
``metadata_format.h``.

=========================== ==================================================================
position                    content
=========================== ==================================================================
4096, copy at 8192          geometry (52 bytes, padded to 4096): magic ``0x616C4467``, its size,
                            SHA-256 of itself with this field zero, most bytes of one metadata
                            copy, slots, logical block size
12288                       slot copies of the metadata, then as many backup copies
=========================== ==================================================================

``super_empty.img`` holds the geometry at 0 and one metadata at 4096 instead.

Metadata is a header and four tables. Header (128 bytes, 256 from version 10.2 on): magic
``0x414C5030``, u16 major 10, u16 minor 0-2, its size, SHA-256 of itself with this field zero,
bytes of the tables, SHA-256 of the tables, then for partitions, extents, groups and block devices
each offset, count and entry size; 10.2 adds u32 flags.

============ ==== ============================================================================
table        size entry
============ ==== ============================================================================
partition    52   name (36), u32 attributes, u32 first extent, u32 extents, u32 group
extent       24   u64 sectors, u32 type (0 linear, 1 zero), u64 first sector, u32 block device
group        48   name (36), u32 flags, u64 most bytes (0 for no limit)
block device 64   u64 first usable sector, u32 alignment, u32 offset, u64 size, name (36), u32 flags
============ ==== ============================================================================
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntFlag
from itertools import pairwise
from typing import Any

from rom_builder.errors import ImageError
from rom_builder.formats.source import Pieces, Slice, Source

SECTOR = 512
GEOMETRY_MAGIC = b"gDla"
GEOMETRY_OFFSETS = (4096, 8192)
METADATA_OFFSET = 12288

MAX_METADATA_SIZE = 1 << 19
"""Most bytes of one metadata copy, 512 KiB; devices use 64 KiB."""

MAX_SLOTS = 32
"""Most metadata slots; devices use 2 or 3."""

MAX_PARTITION_SIZE = 1 << 40
"""Largest logical partition accepted: a zero extent may claim any size."""

_GEOMETRY = struct.Struct("<4sI32s3I")
_HEADER = struct.Struct("<4s2HI32sI32s12I")
_PARTITION = struct.Struct("<36s4I")
_EXTENT = struct.Struct("<QIQI")
_GROUP = struct.Struct("<36sIQ")
_BLOCK_DEVICE = struct.Struct("<QIIQ36sI")
_HEADER_MAGIC = b"0PLA"
_MAJOR, _MINOR_MAX, _MINOR_WITH_FLAGS = 10, 2, 2
_LINEAR, _ZERO = 0, 1


class Attributes(IntFlag):
    """Attributes of a logical partition."""

    READONLY = 1
    SLOT_SUFFIXED = 2
    UPDATED = 4
    DISABLED = 8


class HeaderFlags(IntFlag):
    """Flags of the metadata header, version 10.2."""

    VIRTUAL_AB_DEVICE = 1
    OVERLAYS_ACTIVE = 2


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the metadata copies lie: bytes of each, slots, and the block size of partitions."""

    metadata_max_size: int
    slot_count: int
    logical_block_size: int


@dataclass(frozen=True, slots=True)
class LogicalExtent:
    """A run of sectors; ``sector`` and ``device`` mean nothing if it is zeros."""

    sectors: int
    is_zero: bool
    sector: int
    device: int


@dataclass(frozen=True, slots=True)
class LogicalPartition:
    """One partition, its name with slot suffix where it has one.

    Attributes:
        group: Name of its group.
        extents: What it is made of, in order; none for a name that is only reserved.
    """

    name: str
    attributes: Attributes
    group: str
    extents: tuple[LogicalExtent, ...]

    @property
    def size(self) -> int:
        """Bytes of the partition."""
        return sum(extent.sectors for extent in self.extents) * SECTOR


@dataclass(frozen=True, slots=True)
class Group:
    """Partitions that share a limit in bytes; 0 for none."""

    name: str
    flags: int
    maximum_size: int


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A partition of the disk that holds extents; the first is the super partition itself."""

    name: str
    first_sector: int
    alignment: int
    alignment_offset: int
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """The partitions of one slot."""

    minor_version: int
    flags: HeaderFlags
    partitions: tuple[LogicalPartition, ...]
    groups: tuple[Group, ...]
    block_devices: tuple[BlockDevice, ...]


def detect_super(head: bytes) -> bool:
    """Tell whether an image whose first 4100 bytes are ``head`` is a (raw) super image."""
    return GEOMETRY_MAGIC in (head[4096:4100], head[:4])


class SuperImage:
    """An opened super image.

    Attributes:
        geometry: Where metadata lies.
        slots: Metadata of every slot, None where both copies are damaged.
        problems: What is damaged but has a good copy, and partitions that share sectors, in words.

    Raises:
        ImageError: Not a super image, or no slot has a good copy.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problems: list[str] = []
        self.slots: tuple[Metadata | None, ...]
        if source.read_at(0, min(4, source.size)) == GEOMETRY_MAGIC:
            self.geometry = _parse_geometry(source, 0)
            self.slots = (_parse_metadata(source, 4096, self.geometry.metadata_max_size, 0),)
            return
        self.geometry = self._read_geometry()
        self.slots = tuple(self._read_slot(slot) for slot in range(self.geometry.slot_count))
        if not any(self.slots):
            raise ImageError("; ".join(self.problems), offset=METADATA_OFFSET)

    def _read_geometry(self) -> Geometry:
        found = []
        for offset in GEOMETRY_OFFSETS:
            try:
                found.append(_parse_geometry(self._source, offset))
            except ImageError as error:
                self.problems.append(f"geometry at {offset}: {error.message}")
        if not found:
            raise ImageError("; ".join(self.problems), offset=GEOMETRY_OFFSETS[0])
        return found[0]

    def _read_slot(self, slot: int) -> Metadata | None:
        size = self.geometry.metadata_max_size
        found = []
        for copy, name in enumerate(("primary", "backup")):
            offset = METADATA_OFFSET + (copy * self.geometry.slot_count + slot) * size
            try:
                found.append(_parse_metadata(self._source, offset, size, slot))
            except ImageError as error:
                self.problems.append(f"{name} metadata of slot {slot}: {error}")
        if not found:
            return None
        if found[0] != found[-1]:
            self.problems.append(f"slot {slot}: primary and backup metadata differ")
        self.problems += [f"slot {slot}: {text}" for text in _overlaps(found[0])]
        return found[0]

    def metadata(self, slot: int = 0) -> Metadata:
        """Return the metadata of a slot.

        Raises:
            ImageError: There is no such slot, or both its copies are damaged.
        """
        found = self.slots[slot] if 0 <= slot < len(self.slots) else None
        if found is None:
            raise ImageError(f"the super image has no readable metadata slot {slot}")
        return found

    def partition(self, name: str, slot: int = 0) -> Source:
        """Return the content of a logical partition, nothing copied.

        Raises:
            ImageError: No such partition, or an extent lies in another block device or nowhere.
        """
        metadata = self.metadata(slot)
        found = next((item for item in metadata.partitions if item.name == name), None)
        if found is None:
            raise ImageError(f"the super image has no partition {name} in slot {slot}")
        if found.size > MAX_PARTITION_SIZE:
            raise ImageError(f"partition {name} of {found.size} bytes is too large")
        pieces: list[tuple[Source | None, int]] = []
        for extent in found.extents:
            size = extent.sectors * SECTOR
            if extent.is_zero:
                pieces.append((None, size))
                continue
            if extent.device:
                device = metadata.block_devices[extent.device].name
                raise ImageError(f"partition {name} continues on block device {device}")
            pieces.append((Slice(self._source, extent.sector * SECTOR, size), size))
        return Pieces(pieces)


def _parse_geometry(source: Source, offset: int) -> Geometry:
    data = source.read_at(offset, _GEOMETRY.size)
    magic, size, digest, metadata_size, slots, block_size = _GEOMETRY.unpack(data)
    if magic != GEOMETRY_MAGIC:
        raise ImageError("no super geometry", offset=offset)
    if size != _GEOMETRY.size or _digest_without(data) != digest:
        raise ImageError("super geometry does not match its SHA-256", offset=offset)
    if not 0 < metadata_size <= MAX_METADATA_SIZE or metadata_size % SECTOR:
        raise ImageError(f"super metadata of {metadata_size} bytes", offset=offset + 40)
    if not 0 < slots <= MAX_SLOTS:
        raise ImageError(f"{slots} super metadata slots, at most {MAX_SLOTS}", offset=offset + 44)
    if not block_size or block_size % SECTOR:
        raise ImageError(f"logical block size {block_size}", offset=offset + 48)
    return Geometry(metadata_size, slots, block_size)


def _digest_without(data: bytes, start: int = 8) -> bytes:
    """SHA-256 of ``data`` with the 32 bytes of the digest itself zero."""
    return hashlib.sha256(data[:start] + bytes(32) + data[start + 32 :]).digest()


def _parse_metadata(source: Source, offset: int, most: int, slot: int) -> Metadata:
    head = source.read_at(offset, _HEADER.size)
    magic, major, minor, header_size, digest, tables_size, tables_digest, *tables = _HEADER.unpack(
        head
    )
    if magic != _HEADER_MAGIC:
        raise ImageError("no super metadata", offset=offset)
    if major != _MAJOR or minor > _MINOR_MAX:
        raise ImageError(f"super metadata of version {major}.{minor}", offset=offset + 4)
    if header_size != (256 if minor >= _MINOR_WITH_FLAGS else 128):
        raise ImageError(f"super metadata header of {header_size} bytes", offset=offset + 8)
    if header_size + tables_size > most:
        raise ImageError(f"super metadata tables of {tables_size} bytes", offset=offset + 44)
    head = source.read_at(offset, header_size)
    if _digest_without(head, 12) != digest:
        raise ImageError("super metadata header does not match its SHA-256", offset=offset)
    data = source.read_at(offset + header_size, tables_size)
    if hashlib.sha256(data).digest() != tables_digest:
        raise ImageError("super metadata tables do not match their SHA-256", offset=offset)
    flags = int.from_bytes(head[128:132], "little")
    parser = _Tables(data, tables, offset + header_size, slot)
    groups, devices = parser.groups(), parser.block_devices()
    partitions = parser.partitions(groups, devices)
    return Metadata(minor, HeaderFlags(flags), partitions, groups, devices)


class _Tables:
    """The four tables of one metadata copy."""

    def __init__(self, data: bytes, tables: list[int], offset: int, slot: int) -> None:
        self._data = data
        self._tables = tables
        self._offset = offset
        self._suffix = f"_{chr(ord('a') + slot)}"

    def _rows(self, index: int, row: struct.Struct) -> list[tuple[int, tuple[Any, ...]]]:
        start, count, size = self._tables[index * 3 : index * 3 + 3]
        if size != row.size or start + count * size > len(self._data):
            raise ImageError(
                f"super table {index} of {count} entries of {size} bytes at {start}",
                offset=self._offset,
            )
        return [
            (self._offset + position, row.unpack_from(self._data, position))
            for position in range(start, start + count * size, size)
        ]

    def _name(self, raw: bytes, *, suffixed: bool, offset: int) -> str:
        try:
            name = raw.rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise ImageError("a name in the super metadata is not ASCII", offset=offset) from None
        return name + self._suffix if suffixed else name

    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Group(self._name(name, suffixed=bool(flags & 1), offset=offset), flags, size)
            for offset, (name, flags, size) in self._rows(2, _GROUP)
        )

    def block_devices(self) -> tuple[BlockDevice, ...]:
        found = []
        for offset, row in self._rows(3, _BLOCK_DEVICE):
            first, alignment, alignment_offset, size, raw, flags = row
            name = self._name(raw, suffixed=bool(flags & 1), offset=offset)
            found.append(BlockDevice(name, first, alignment, alignment_offset, size, flags))
        if not found:
            raise ImageError("super metadata without block devices", offset=self._offset)
        return tuple(found)

    def _extents(self, devices: tuple[BlockDevice, ...]) -> list[LogicalExtent]:
        found = []
        for offset, (sectors, kind, sector, device) in self._rows(1, _EXTENT):
            if kind not in (_LINEAR, _ZERO):
                raise ImageError(f"unknown super extent type {kind}", offset=offset)
            if kind == _LINEAR:
                if device >= len(devices):
                    raise ImageError(f"super extent on block device {device}", offset=offset)
                if (
                    sector < devices[device].first_sector
                    or (sector + sectors) * SECTOR > devices[device].size
                ):
                    raise ImageError("super extent outside its block device", offset=offset)
            found.append(LogicalExtent(sectors, kind == _ZERO, sector, device))
        return found

    def partitions(
        self, groups: tuple[Group, ...], devices: tuple[BlockDevice, ...]
    ) -> tuple[LogicalPartition, ...]:
        extents = self._extents(devices)
        found: dict[str, LogicalPartition] = {}
        left = len(extents)
        for offset, (raw, attributes, first, count, group) in self._rows(0, _PARTITION):
            name = self._name(raw, suffixed=bool(attributes & 2), offset=offset)
            left -= count
            if first + count > len(extents) or left < 0:
                raise ImageError(f"partition {name} has extents that are not there", offset=offset)
            if group >= len(groups):
                raise ImageError(f"partition {name} is in group {group}", offset=offset)
            if name in found:
                raise ImageError(f"two partitions are named {name}", offset=offset)
            found[name] = LogicalPartition(
                name,
                Attributes(attributes),
                groups[group].name,
                tuple(extents[first : first + count]),
            )
        return tuple(found.values())


def _overlaps(metadata: Metadata) -> list[str]:
    """Name every partition that has sectors of another."""
    runs = sorted(
        (extent.device, extent.sector, extent.sectors, partition.name)
        for partition in metadata.partitions
        for extent in partition.extents
        if not extent.is_zero and extent.sectors
    )
    return [
        f"partitions {before[3]} and {after[3]} share sectors"
        for before, after in pairwise(runs)
        if before[0] == after[0] and before[1] + before[2] > after[1]
    ]
