"""One compressed cluster of EROFS: LZ4, MicroLZMA, deflate or zstd."""

from __future__ import annotations

import importlib
import lzma
import zlib
from functools import cache
from typing import Any

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.superblock import ALGORITHMS, DEFLATE, LZ4, LZMA

# Z_EROFS_PCLUSTER_MAX_SIZE and Z_EROFS_PCLUSTER_MAX_DSIZE of the kernel's erofs_fs.h
MAX_ENCODED_SIZE = 1 << 20
MAX_DECODED_SIZE = 12 << 20

_LZ4_MAX_RATIO = 255
_LZMA_MIN_DICTIONARY_SIZE = 4096
_ZSTD_MAX_WINDOW_SIZE = 16 << 20


def decompress(
    algorithm: int, data: bytes, size: int, *, partial: bool, zero_padded: bool, offset: int
) -> bytes:
    """Return the ``size`` bytes that a cluster stands for.

    Args:
        algorithm: ``LZ4``, ``LZMA``, ``DEFLATE`` or ``ZSTD``.
        data: The cluster, at most ``MAX_ENCODED_SIZE`` bytes, padding included.
        size: Bytes wanted, at most ``MAX_DECODED_SIZE``.
        partial: The cluster stands for more than ``size`` bytes; the first ones are wanted.
        zero_padded: Zeros that fill the cluster's blocks stand in front of the stream, as in
            every image but LZ4 ones for kernels before 5.4; those have them behind.
        offset: Byte of the image at which the cluster lies, for errors.

    Raises:
        ImageError: The stream is damaged or gives another number of bytes, or the library for
            the algorithm is not installed.
    """
    try:
        if algorithm == LZ4:
            output = _lz4(data, size, partial=partial, zero_padded=zero_padded)
        else:
            stream = data.lstrip(b"\0")
            if algorithm == LZMA:
                output = _micro_lzma(stream, size)
            elif algorithm == DEFLATE:
                output = _deflate(stream, size, partial=partial)
            else:
                output = _zstd(stream, size, partial=partial)
    except (ValueError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"damaged {ALGORITHMS[algorithm]} data: {error}", offset=offset) from error
    if len(output) != size:
        raise ImageError(
            f"{ALGORITHMS[algorithm]} data gives {len(output)} bytes, {size} are expected",
            offset=offset,
        )
    return output


@cache
def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImageError(
            f"{package} is needed to read this image", hint=f"pip install {package}"
        ) from error


def _lz4(data: bytes, size: int, *, partial: bool, zero_padded: bool) -> bytes:
    block = _library("lz4.block")
    if zero_padded:
        stream = data.lstrip(b"\0")
    else:  # mkfs.erofs cut extents of such images short without saying so
        stream = data[: _lz4_stream_size(data)]
        partial = True
    # The library decodes whole streams only: give a partial one room for all it can hold.
    room = min(MAX_DECODED_SIZE, _LZ4_MAX_RATIO * len(stream)) if partial else size
    try:
        output: bytes = block.decompress(stream, uncompressed_size=room)
    except block.LZ4BlockError as error:
        raise ValueError(error) from error
    return output[:size] if partial else output


def _lz4_stream_size(data: bytes) -> int:
    """Return how many bytes the LZ4 block takes that ``data`` starts with; zeros follow it.

    A block is a row of sequences: a token (high nibble: literals, low nibble: match length
    less 4; 15 goes on in bytes, up to one below 255), the literals, a u16 match distance, never
    0. The last sequence ends behind its literals.
    """
    position = 0
    while position < len(data):
        token = data[position]
        position += 1
        literals = token >> 4
        if literals == 15:
            more = _lz4_run(data, position)
            literals += sum(data[position:more])
            position = more
        position += literals
        if not any(data[position : position + 2]):
            break
        position += 2
        if token & 15 == 15:
            position = _lz4_run(data, position)
    return position


def _lz4_run(data: bytes, position: int) -> int:
    """Return where a length ends that goes on from ``position``: behind a byte below 255."""
    while position < len(data) and data[position] == 255:
        position += 1
    return position + 1


def _micro_lzma(stream: bytes, size: int) -> bytes:
    """Decode LZMA1 whose first byte, always 0, holds the inverted properties byte instead."""
    if not stream:
        return b""
    properties = ~stream[0] & 0xFF
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "lc": properties % 9,
            "lp": properties // 9 % 5,
            "pb": properties // 45,
            # no distance can reach behind the first byte, so a larger one is never needed
            "dict_size": max(size, _LZMA_MIN_DICTIONARY_SIZE),
        }
    ]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return decoder.decompress(b"\0" + stream[1:], max_length=size)


def _deflate(stream: bytes, size: int, *, partial: bool) -> bytes:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    output = decoder.decompress(stream, size)
    if not partial and not decoder.eof and decoder.decompress(decoder.unconsumed_tail, 1):
        raise ValueError(f"more than the {size} bytes expected")
    return output


def _zstd(stream: bytes, size: int, *, partial: bool) -> bytes:
    zstandard = _library("zstandard")
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_SIZE)
    try:
        with decoder.stream_reader(stream) as reader:
            output: bytes = reader.read(size)
            more = b"" if partial else reader.read(1)
    except zstandard.ZstdError as error:
        raise ValueError(error) from error
    if more:
        raise ValueError(f"more than the {size} bytes expected")
    return output
