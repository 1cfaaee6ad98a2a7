"""Every compression a ROM uses: encoded, and decoded into bounded memory.

A decoder gets the compressed bytes and the most bytes it may give back; a stream that is damaged,
ends early or holds more raises ``ImageError``.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from rom_builder.errors import ImageError

MAX_WINDOW = 1 << 27
"""Largest history window a stream may ask for, 128 MiB: ``zstd -22`` uses it, ``xz -9`` half."""

_FED = 1 << 16  # compressed bytes that a decoder gets at a time, where it is to stop early
LZ4_LEGACY_BLOCK = 8 << 20
"""Uncompressed bytes of every block of an LZ4 legacy frame but the last (``lz4 -l``)."""


class Codec(Enum):
    """A compression and the bytes its streams start with."""

    GZIP = b"\x1f\x8b\x08"
    BZIP2 = b"BZh"
    XZ = b"\xfd7zXZ\x00"
    LZMA = b"\x5d\x00\x00"
    LZ4 = b"\x04\x22\x4d\x18"
    LZ4_LEGACY = b"\x02\x21\x4c\x18"
    ZSTD = b"\x28\xb5\x2f\xfd"


def detect_codec(head: bytes) -> Codec | None:
    """Return the codec of a stream that starts with ``head``; None if it is none of them."""
    return next((codec for codec in Codec if head.startswith(codec.value)), None)


def decompress(codec: Codec, data: bytes, limit: int) -> tuple[bytes, int]:
    """Decode the stream at the start of ``data``.

    Args:
        codec: How it is compressed.
        data: The stream; other bytes may follow it.
        limit: Most bytes it may decode to.

    Returns:
        The content, and how many bytes of ``data`` the stream takes.

    Raises:
        ImageError: The stream is damaged, ends early or decodes to more than ``limit`` bytes.
    """
    try:
        content, size = _DECODERS[codec](data, limit)
    except (
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        MemoryError,
        ValueError,
        _Damaged,
    ) as error:
        raise ImageError(f"damaged {codec.name.lower()} stream: {error}") from error
    if len(content) > limit:
        raise ImageError(f"{codec.name.lower()} stream decodes to more than {limit} bytes")
    return content, size


def decompress_exactly(codec: Codec, data: bytes, size: int) -> bytes:
    """Decode ``data``, which must be one stream of ``size`` bytes with nothing after it.

    Raises:
        ImageError: Damaged, another size, or bytes follow the stream.
    """
    content, used = decompress(codec, data, size)
    if len(content) != size:
        raise ImageError(f"{codec.name.lower()} stream decodes to {len(content)} bytes, not {size}")
    if used != len(data):
        raise ImageError(
            f"{len(data) - used} bytes follow the {codec.name.lower()} stream", offset=used
        )
    return content


class Stepwise:
    """A stream that is decoded as far as it is wanted, and later on from there.

    Args:
        codec: One of :data:`STEPWISE`.
        data: The stream.
        size: Bytes that it decodes to.

    Attributes:
        decoded: Bytes that it gave so far.
    """

    def __init__(self, codec: Codec, data: bytes, size: int) -> None:
        self.decoded = 0
        self._codec = codec
        self._decompressor = STEPWISE[codec]()
        self._content = bytearray(size)
        self._data = data
        self._fed = 0

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start`` on, of those that were decoded."""
        with memoryview(self._content) as content:
            return bytes(content[start : start + size])

    def decode(self, end: int) -> None:
        """Decode until there are ``end`` bytes.

        Raises:
            ImageError: Damaged or too short; if ``end`` is all: of another size, or bytes follow.
        """
        name, size = self._codec.name.lower(), len(self._content)
        try:
            while self.decoded < end and (piece := self._next(end - self.decoded)):
                self._content[self.decoded : self.decoded + len(piece)] = piece
                self.decoded += len(piece)
            more = self._next(1) if end == size else b""
        except (lzma.LZMAError, OSError, EOFError, MemoryError, ValueError, _Damaged) as error:
            raise ImageError(f"damaged {name} stream: {error}") from error
        if more:
            raise ImageError(f"{name} stream decodes to more than {size} bytes")
        if self.decoded < end:
            raise ImageError(f"{name} stream decodes to {self.decoded} bytes, not {size}")
        rest = len(self._data) - self._fed + len(self._decompressor.unused_data)
        if end == size and rest:
            raise ImageError(f"{rest} bytes follow the {name} stream")

    def _next(self, limit: int) -> bytes:
        """Return at most ``limit`` bytes more; none only at the end."""
        while not self._decompressor.eof:
            data = b""
            if self._decompressor.needs_input:
                data = self._data[self._fed : self._fed + _FED]
                self._fed += len(data)
                if not data:
                    raise _Damaged("it ends early")
            piece = self._decompressor.decompress(data, limit)
            if piece:
                return piece
        return b""


def compress(codec: Codec, data: bytes) -> bytes:
    """Encode ``data`` as Linux's decoders of ramdisks can read it; the same bytes every time."""
    match codec:
        case Codec.GZIP:
            return gzip.compress(data, 9, mtime=0)
        case Codec.BZIP2:
            return bz2.compress(data)
        case Codec.XZ:  # Linux knows no check but CRC-32
            return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32)
        case Codec.LZMA:
            return lzma.compress(data, lzma.FORMAT_ALONE)
        case Codec.LZ4:
            import lz4.frame

            return bytes(lz4.frame.compress(data, compression_level=9))
        case Codec.LZ4_LEGACY:
            return _encode_lz4_legacy(data)
        case Codec.ZSTD:
            import zstandard

            return zstandard.ZstdCompressor(level=19).compress(data)


def _encode_lz4_legacy(data: bytes) -> bytes:
    import lz4.block

    parts = [Codec.LZ4_LEGACY.value]
    for start in range(0, len(data), LZ4_LEGACY_BLOCK):
        block = lz4.block.compress(
            data[start : start + LZ4_LEGACY_BLOCK],
            mode="high_compression",
            compression=12,
            store_size=False,
        )
        parts += [len(block).to_bytes(4, "little"), block]
    return b"".join(parts)


class _Damaged(Exception):
    """Why a stream cannot be decoded."""


class _Decompressor(Protocol):
    """What bz2, lzma and lz4.frame have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _run(decompressor: _Decompressor, data: bytes, limit: int) -> tuple[bytes, int]:
    content = decompressor.decompress(data, limit + 1)
    if not decompressor.eof and len(content) <= limit:
        raise _Damaged("it ends early")
    return content, len(data) - len(decompressor.unused_data or b"")


def _gzip(data: bytes, limit: int) -> tuple[bytes, int]:
    decompressor = zlib.decompressobj(wbits=31)
    content = decompressor.decompress(data, limit + 1)
    if not decompressor.eof and len(content) <= limit:
        raise _Damaged("it ends early")
    return content, len(data) - len(decompressor.unused_data)


def _bzip2(data: bytes, limit: int) -> tuple[bytes, int]:
    return _run(bz2.BZ2Decompressor(), data, limit)


def _xz(data: bytes, limit: int) -> tuple[bytes, int]:
    return _run(_xz_decompressor(), data, limit)


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * MAX_WINDOW)


STEPWISE: dict[Codec, Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]] = {
    Codec.BZIP2: bz2.BZ2Decompressor,
    Codec.XZ: _xz_decompressor,
}
"""Codecs whose decoders can stop anywhere and go on."""


def _lzma(data: bytes, limit: int) -> tuple[bytes, int]:
    return _run(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=2 * MAX_WINDOW), data, limit)


def _lz4(data: bytes, limit: int) -> tuple[bytes, int]:
    import lz4.frame

    try:
        return _run(lz4.frame.LZ4FrameDecompressor(), data, limit)
    except RuntimeError as error:
        raise _Damaged(str(error)) from error


def _lz4_legacy(data: bytes, limit: int) -> tuple[bytes, int]:
    """Blocks of ``u32 compressed size, bytes`` after the magic, until one is short or data ends.

    There is no end mark: the stream ends with the data, at a size of zero, or at the next magic.
    """
    import lz4.block

    parts = []
    position, size = 4, 0
    while position + 4 <= len(data) and size <= limit:
        head = data[position : position + 4]
        count = int.from_bytes(head, "little")
        if not count or head == Codec.LZ4_LEGACY.value:
            break
        block = data[position + 4 : position + 4 + count]
        if len(block) < count:
            raise _Damaged("it ends early")
        try:
            parts.append(lz4.block.decompress(block, uncompressed_size=LZ4_LEGACY_BLOCK))
        except lz4.block.LZ4BlockError as error:
            raise _Damaged(str(error)) from error
        size += len(parts[-1])
        position += 4 + count
    return b"".join(parts), position


def _zstd(data: bytes, limit: int) -> tuple[bytes, int]:
    import zstandard

    try:
        size = _zstd_frame_size(data, zstandard.frame_header_size(data))
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        with decompressor.stream_reader(data[:size], read_across_frames=False) as reader:
            return reader.read(limit + 1), size
    except zstandard.ZstdError as error:
        raise _Damaged(str(error)) from error


def _zstd_frame_size(data: bytes, header_size: int) -> int:
    """Bytes of the frame at the start of ``data`` (RFC 8878, section 3.1.1), checksum included."""
    position, last = header_size, False
    while not last:
        if position + 3 > len(data):
            raise _Damaged("it ends early")
        head = int.from_bytes(data[position : position + 3], "little")
        last = bool(head & 1)
        rle = head >> 1 & 3 == 1
        position += 3 + (1 if rle else head >> 3)
    position += 4 if data[4] & 4 else 0
    if position > len(data):
        raise _Damaged("it ends early")
    return position


_DECODERS: dict[Codec, Callable[[bytes, int], tuple[bytes, int]]] = {
    Codec.GZIP: _gzip,
    Codec.BZIP2: _bzip2,
    Codec.XZ: _xz,
    Codec.LZMA: _lzma,
    Codec.LZ4: _lz4,
    Codec.LZ4_LEGACY: _lz4_legacy,
    Codec.ZSTD: _zstd,
}
