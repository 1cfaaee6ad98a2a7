"""Ramdisks: compressed and plain cpio archives laid end to end, as the kernel unpacks them.

Source: Linux ``init/initramfs.c`` and ``buffer-format.rst``: the buffer holds any number of cpio
archives, each plain (from a multiple of 4 on) or compressed, with zeros between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.compression import Codec, decompress, detect_codec
from rom_builder.formats.cpio import CpioTree, detect_cpio
from rom_builder.formats.source import Source

MAX_RAMDISK_SIZE = 1 << 28
"""Most bytes of a ramdisk, compressed or not, 256 MiB; the largest of phones take about 100."""

MAX_SEGMENTS = 64
"""Most streams laid end to end; phones have one or two."""


class Segment(NamedTuple):
    """One stream of a ramdisk.

    Attributes:
        codec: How it is compressed, None for a plain archive.
        offset: Where it starts.
        content: The archive, or several laid end to end.
    """

    codec: Codec | None
    offset: int
    content: bytes


def read_ramdisk(source: Source, limit: int = MAX_RAMDISK_SIZE) -> tuple[Segment, ...]:
    """Decompress a ramdisk, at most ``limit`` bytes of it.

    Raises:
        ImageError: Unknown compression, a damaged stream, or more than ``limit`` bytes.
    """
    if source.size > limit:
        raise ImageError(f"ramdisk of {source.size} bytes, at most {limit}")
    data = source.read_at(0, source.size)
    segments: list[Segment] = []
    position = 0
    while position < len(data):
        rest = data[position:]
        if not rest[0]:
            position += len(rest) - len(rest.lstrip(b"\0"))
            continue
        if len(segments) == MAX_SEGMENTS:
            raise ImageError(f"ramdisk of more than {MAX_SEGMENTS} streams", offset=position)
        codec = detect_codec(rest)
        if codec is None and not detect_cpio(rest):
            raise ImageError("ramdisk of unknown compression", offset=position)
        if codec is None:
            content, used = _plain(rest)
        else:
            try:
                content, used = decompress(codec, rest, limit)
            except ImageError as error:
                raise ImageError(error.message, offset=position) from error
        segments.append(Segment(codec, position, content))
        limit -= len(content)
        position += used
    if not segments:
        raise ImageError("the ramdisk is empty", offset=0)
    return tuple(segments)


def _plain(data: bytes) -> tuple[bytes, int]:
    """Cut plain archives off the front: up to the first stream that follows a trailer's zeros."""
    end = data.find(b"TRAILER!!!\0")
    while end >= 0:
        end += 11
        following = len(data) - len(data[end:].lstrip(b"\0"))
        if following == len(data) or detect_codec(data[following:]):
            return data[:following], following
        end = data.find(b"TRAILER!!!\0", following)
    return data, len(data)


def open_ramdisk(sources: Sequence[Source], limit: int = MAX_RAMDISK_SIZE) -> CpioTree:
    """Open ramdisks as one tree, later ones laid over earlier ones as at boot.

    Raises:
        ImageError: As :func:`read_ramdisk`; or nothing of an archive could be read.
    """
    archives = []
    for source in sources:
        for segment in read_ramdisk(source, limit):
            archives.append(segment.content)
            limit -= len(segment.content)
    return CpioTree(archives)
