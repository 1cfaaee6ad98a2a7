"""A writer of super images; lpmake is in no distribution."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

SECTOR = 512
FIRST_SECTOR = 2048


@dataclass
class Lp:
    """``partitions``: (name, attributes, group); ``extents`` likewise by partition, in order."""

    partitions: list[tuple[str, int, int]]
    extents: list[list[tuple[int, int, int, int]]]  # sectors, type, first sector, device
    groups: list[tuple[str, int, int]] = field(default_factory=lambda: [("default", 0, 0)])
    devices: list[tuple[str, int]] = field(default_factory=lambda: [("super", 8 << 20)])
    minor: int = 2
    flags: int = 1
    slots: int = 2
    metadata_size: int = 65536

    def geometry(self) -> bytes:
        rest = struct.pack("<3I", self.metadata_size, self.slots, 4096)
        head = struct.pack("<II", 0x616C4467, 52)
        digest = hashlib.sha256(head + bytes(32) + rest).digest()
        return (head + digest + rest).ljust(4096, b"\0")

    def metadata(self) -> bytes:
        rows: list[list[bytes]] = [[], [], [], []]
        first = 0
        for (name, attributes, group), extents in zip(self.partitions, self.extents, strict=True):
            count = len(extents)
            rows[0].append(struct.pack("<36s4I", name.encode(), attributes, first, count, group))
            rows[1] += [struct.pack("<QIQI", *extent) for extent in extents]
            first += count
        rows[2] = [struct.pack("<36sIQ", name.encode(), *rest) for name, *rest in self.groups]
        for name, size in self.devices:
            device = (FIRST_SECTOR, 1 << 20, 0, size, name.encode(), 0)
            rows[3].append(struct.pack("<QIIQ36sI", *device))
        tables, places = b"", []
        for table, size in zip(rows, (52, 24, 48, 64), strict=True):
            places += [len(tables), len(table), size]
            tables += b"".join(table)
        header_size = 256 if self.minor >= 2 else 128
        head = struct.pack("<IHHI", 0x414C5030, 10, self.minor, header_size)
        tail = struct.pack("<I32s12I", len(tables), hashlib.sha256(tables).digest(), *places)
        if self.minor >= 2:
            tail += struct.pack("<I", self.flags) + bytes(124)
        digest = hashlib.sha256(head + bytes(32) + tail).digest()
        return (head + digest + tail + tables).ljust(self.metadata_size, b"\0")

    def image(self, content: dict[int, bytes]) -> bytes:
        """Write the super image; ``content`` is what lies at which sector."""
        image = bytearray(self.devices[0][1])
        head = bytes(4096) + self.geometry() * 2 + self.metadata() * self.slots * 2
        image[: len(head)] = head
        for sector, data in content.items():
            image[sector * SECTOR : sector * SECTOR + len(data)] = data
        return bytes(image)

    def empty_image(self) -> bytes:
        """Write a super_empty image: geometry and metadata alone."""
        return self.geometry() + self.metadata()
