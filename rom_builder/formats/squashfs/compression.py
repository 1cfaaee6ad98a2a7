"""The codecs of SquashFS; each bounded, so that a few bytes cannot fill the memory."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable

from rom_builder.errors import ImageError

# Takes compressed bytes and the most bytes that may come out.
Decompress = Callable[[bytes, int], bytes]

_XZ_MEMORY = 64 << 20  # a dictionary is never larger than a block, 1 MiB
_NAMES = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}


def codec_name(number: int) -> str:
    """Return the name of a compression id of the superblock."""
    return _NAMES.get(number, f"compression {number}")


def find_decompress(name: str) -> Decompress:
    """Return the decompressor for a codec's name.

    It raises :class:`ImageError` if its input is damaged or gives more bytes than allowed.

    Raises:
        ImageError: The codec is not read, or its library is not installed.
    """
    find = {"gzip": _gzip, "xz": _xz, "lz4": _lz4, "zstd": _zstd}.get(name)
    if find is None:
        raise ImageError(f"SquashFS with {name} is not read", offset=20)
    try:
        return find()
    except ImportError as error:
        raise ImageError(
            f"SquashFS with {name} needs the Python library {error.name!r}",
            hint="install the dependencies of rom-builder",
        ) from error


def _whole(data: bytes, limit: int, finished: bool) -> bytes:
    if len(data) > limit or not finished:
        raise ImageError(f"compressed data is cut off or gives more than {limit} bytes")
    return data


def _gzip() -> Decompress:
    def decompress(data: bytes, limit: int) -> bytes:
        decoder = zlib.decompressobj()
        try:
            decoded = decoder.decompress(data, limit + 1)
        except zlib.error as error:
            raise ImageError(f"zlib: {error}") from None
        return _whole(decoded, limit, decoder.eof)

    return decompress


def _xz() -> Decompress:
    def decompress(data: bytes, limit: int) -> bytes:
        try:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            decoded = decoder.decompress(data, limit + 1)
        except lzma.LZMAError as error:
            raise ImageError(f"xz: {error}") from None
        return _whole(decoded, limit, decoder.eof)

    return decompress


def _lz4() -> Decompress:
    import lz4.block  # type: ignore[import-untyped]

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            decoded: bytes = lz4.block.decompress(data, uncompressed_size=limit)
        except lz4.block.LZ4BlockError as error:
            raise ImageError(f"lz4: {error}") from None
        return decoded

    return decompress


def _zstd() -> Decompress:
    import zstandard

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            # The library would allocate whatever size the frame names.
            if zstandard.frame_content_size(data) > limit:
                return _whole(b"", limit, False)
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
        except zstandard.ZstdError as error:
            raise ImageError(f"zstd: {error}") from None

    return decompress
