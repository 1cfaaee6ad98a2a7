"""Android sparse images, read as the raw image they stand for without writing it out.

All integers are little-endian. Source of the layout: AOSP ``libsparse/sparse_format.h``.

File header (28 bytes; its own size field may be larger):

====== ==== ======================================================
offset size field
====== ==== ======================================================
0      4    magic ``0xED26FF3A``
4      2    major version, 1
6      2    minor version
8      2    size of this header
10     2    size of a chunk header
12     4    block size in bytes, a multiple of 4
16     4    blocks of the raw image
20     4    number of chunks
24     4    CRC-32 of the raw image with gaps as zeros; 0 = not given
====== ==== ======================================================

Chunk header (12 bytes): type (2), reserved (2), blocks of output (4), bytes in the file
including this header (4).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.source import Pieces, Slice, Source

MAGIC = b"\x3a\xff\x26\xed"

MAX_SIZE = 1 << 38
"""Largest raw image accepted, 256 GiB: a header of 40 bytes can claim 2**64."""

MAX_CHUNKS = 1 << 20
"""Most chunks accepted; an 8 GiB super image has about 20,000."""

_HEADER = struct.Struct("<4s4H4I")
_CHUNK = struct.Struct("<2H2I")
_READ_SIZE = 1 << 20


class ChunkKind(IntEnum):
    """What a chunk holds."""

    RAW = 0xCAC1
    FILL = 0xCAC2
    DONT_CARE = 0xCAC3
    CRC32 = 0xCAC4


class Chunk(NamedTuple):
    """One run of blocks.

    Attributes:
        kind: What the chunk holds.
        block: First block of the raw image it stands for.
        blocks: How many; 0 for a CRC32 chunk.
        offset: Byte offset of its data in the sparse file.
    """

    kind: ChunkKind
    block: int
    blocks: int
    offset: int


class Fill:
    """``size`` bytes that repeat a pattern of four."""

    def __init__(self, pattern: bytes, size: int) -> None:
        self._pattern = pattern
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ImageError(f"{size} bytes are wanted past the end of a fill", offset=offset)
        phase = offset % 4
        return (self._pattern * ((phase + size + 3) // 4))[phase : phase + size]


def detect_sparse(head: bytes) -> bool:
    """Tell whether a file that starts with ``head`` is an Android sparse image."""
    return head[:4] == MAGIC


class SparseImage:
    """The raw image of one sparse file, as a source; blocks no chunk writes read as zeros.

    Attributes:
        size: Bytes of the raw image.
        block_size: Bytes of one block.
        chunks: Every chunk in file order.
        checksum: CRC-32 the header gives for the raw image; 0 if it gives none.

    Raises:
        ImageError: Not a sparse image, damaged, or larger than :data:`MAX_SIZE`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        (
            magic,
            major,
            _,
            header_size,
            self._chunk_header_size,
            self.block_size,
            blocks,
            count,
            crc,
        ) = _HEADER.unpack(source.read_at(0, _HEADER.size))
        if magic != MAGIC:
            raise ImageError("not an Android sparse image", offset=0)
        if major != 1:
            raise ImageError(f"sparse image of version {major}, only 1 is known", offset=4)
        if header_size < _HEADER.size or self._chunk_header_size < _CHUNK.size:
            raise ImageError("the sparse image's header sizes are too small", offset=8)
        if not self.block_size or self.block_size % 4:
            raise ImageError(f"sparse block size {self.block_size} is no multiple of 4", offset=12)
        if blocks * self.block_size > MAX_SIZE:
            raise ImageError(f"sparse image of {blocks} blocks exceeds {MAX_SIZE} bytes", offset=16)
        if count > MAX_CHUNKS:
            raise ImageError(f"sparse image of {count} chunks, at most {MAX_CHUNKS}", offset=20)
        self.size = blocks * self.block_size
        self.checksum: int = crc
        self.chunks = tuple(self._read_chunks(header_size, count, blocks))
        self._pieces = Pieces(
            [(self._content(chunk), chunk.blocks * self.block_size) for chunk in self.chunks]
        )

    def _read_chunks(self, offset: int, count: int, blocks: int) -> Iterator[Chunk]:
        block = 0
        for _ in range(count):
            number, _, chunk_blocks, total = _CHUNK.unpack(
                self._source.read_at(offset, _CHUNK.size)
            )
            try:
                kind = ChunkKind(number)
            except ValueError:
                raise ImageError(
                    f"unknown sparse chunk type {number:#06x}", offset=offset
                ) from None
            expected = {
                ChunkKind.RAW: chunk_blocks * self.block_size,
                ChunkKind.FILL: 4,
                ChunkKind.DONT_CARE: 0,
                ChunkKind.CRC32: 4,
            }[kind]
            if total != self._chunk_header_size + expected:
                raise ImageError(
                    f"sparse chunk of {chunk_blocks} blocks takes {total} bytes, "
                    f"{self._chunk_header_size + expected} expected",
                    offset=offset,
                )
            if kind is ChunkKind.CRC32:
                chunk_blocks = 0
            if block + chunk_blocks > blocks:
                raise ImageError(f"sparse chunks exceed the image's {blocks} blocks", offset=offset)
            if offset + total > self._source.size:
                raise ImageError("sparse chunk ends after the file", offset=offset)
            yield Chunk(kind, block, chunk_blocks, offset + self._chunk_header_size)
            block += chunk_blocks
            offset += total
        if block != blocks:
            raise ImageError(f"sparse chunks hold {block} of {blocks} blocks", offset=offset)

    def _content(self, chunk: Chunk) -> Source | None:
        size = chunk.blocks * self.block_size
        if chunk.kind is ChunkKind.RAW:
            return Slice(self._source, chunk.offset, size)
        if chunk.kind is ChunkKind.FILL:
            return Fill(self._source.read_at(chunk.offset, 4), size)
        return None

    def read_at(self, offset: int, size: int) -> bytes:
        return self._pieces.read_at(offset, size)

    def verify_checksums(self) -> bool:
        """Read the whole image against its CRC32 chunks and the checksum of its header.

        Returns:
            True if at least one checksum was there; most sparse images carry none.

        Raises:
            ImageError: A checksum does not match.
        """
        crc = 0
        found = False
        for chunk in self.chunks:
            if chunk.kind is ChunkKind.CRC32:
                found = True
                (expected,) = struct.unpack("<I", self._source.read_at(chunk.offset, 4))
                if crc != expected:
                    raise ImageError(
                        f"CRC-32 so far is {crc:#010x}, its chunk says {expected:#010x}",
                        offset=chunk.offset,
                    )
            start = chunk.block * self.block_size
            end = start + chunk.blocks * self.block_size
            for position in range(start, end, _READ_SIZE):
                crc = zlib.crc32(self.read_at(position, min(_READ_SIZE, end - position)), crc)
        if self.checksum and crc != self.checksum:
            raise ImageError(
                f"CRC-32 of the image is {crc:#010x}, its header says {self.checksum:#010x}",
                offset=24,
            )
        return found or bool(self.checksum)

    def written(self) -> Iterator[tuple[int, int, Source]]:
        """Yield ``(byte offset, size, content)`` of every run that a chunk writes, in order."""
        for chunk in self.chunks:
            content = self._content(chunk)
            if content is not None and content.size:
                yield chunk.block * self.block_size, content.size, content


def join_sparse(parts: Sequence[SparseImage]) -> Source:
    """Lay the split files of one image (``super.img_sparsechunk.0`` ...) over each other.

    Each part describes the whole image and writes its share of it; the order does not matter.

    Raises:
        ImageError: Two parts write the same bytes, or their block sizes differ.
    """
    if len({part.block_size for part in parts}) > 1:
        raise ImageError("the parts of a split sparse image differ in block size", offset=12)
    pieces: list[tuple[Source | None, int]] = []
    position = 0
    for start, size, content in sorted(
        (run for part in parts for run in part.written()), key=lambda run: run[:2]
    ):
        if start < position:
            raise ImageError(f"two parts of a split sparse image write byte {start:#x} of it")
        pieces += [(None, start - position), (content, size)]
        position = start + size
    pieces.append((None, max((part.size for part in parts), default=0) - position))
    return Pieces(pieces)
