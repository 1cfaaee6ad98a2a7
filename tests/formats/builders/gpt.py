"""A writer of GUID partition tables with 4096-byte blocks; parted writes only 512 into a file."""

from __future__ import annotations

import struct
import uuid
import zlib

TYPE = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def disk_image(
    partitions: list[tuple[str, int, int]], blocks: int = 64, block: int = 4096
) -> bytes:
    """Write a disk; ``partitions`` are (name, first block, last block), filled with their names."""
    image = bytearray(blocks * block)
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, blocks - 1)
    image[446 : 446 + len(protective)] = protective
    image[510:512] = b"\x55\xaa"
    entries = b""
    for number, (name, first, last) in enumerate(partitions):
        entries += TYPE.bytes_le + uuid.UUID(int=number + 1).bytes_le
        entries += struct.pack("<QQQ", first, last, 0) + name.encode("utf-16-le").ljust(72, b"\0")
        size = (last - first + 1) * block
        image[first * block : (last + 1) * block] = (name.encode() * size)[:size]
    entries = entries.ljust(32 * 128, b"\0")
    entry_blocks = -(-len(entries) // block)
    last = blocks - 1
    for here, other, table in (1, last, 2), (last, 1, last - entry_blocks):
        fields = (here, other, 2 + entry_blocks, last - entry_blocks - 1, bytes(16), table)
        head = struct.pack("<8sII", b"EFI PART", 0x10000, 92)
        tail = struct.pack("<I4Q16sQ", 0, *fields)
        tail += struct.pack("<3I", 32, 128, zlib.crc32(entries))
        crc = struct.pack("<I", zlib.crc32(head + bytes(4) + tail))
        image[here * block : here * block + 92] = head + crc + tail
        image[table * block : table * block + len(entries)] = entries
    return bytes(image)
