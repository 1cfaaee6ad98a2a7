"""A writer of sparse images with every chunk kind; img2simg writes no CRC32 chunk."""

from __future__ import annotations

import struct
import zlib

BLOCK = 4096


def raw(data: bytes) -> tuple[int, int, bytes]:
    return 0xCAC1, len(data) // BLOCK, data


def fill(pattern: bytes, blocks: int) -> tuple[int, int, bytes]:
    return 0xCAC2, blocks, pattern


def gap(blocks: int) -> tuple[int, int, bytes]:
    return 0xCAC3, blocks, b""


def crc(expanded: bytes) -> tuple[int, int, bytes]:
    return 0xCAC4, 0, struct.pack("<I", zlib.crc32(expanded))


def sparse_image(
    *chunks: tuple[int, int, bytes],
    checksum: int = 0,
    header_size: int = 28,
    chunk_header_size: int = 12,
) -> bytes:
    blocks = sum(chunk[1] for chunk in chunks)
    parts = [
        struct.pack(
            "<I4H4I",
            0xED26FF3A, 1, 0, header_size, chunk_header_size, BLOCK, blocks, len(chunks), checksum,
        ).ljust(header_size, b"\0")
    ]  # fmt: skip
    for kind, count, data in chunks:
        head = struct.pack("<2H2I", kind, 0, count, chunk_header_size + len(data))
        parts += [head.ljust(chunk_header_size, b"\0"), data]
    return b"".join(parts)
