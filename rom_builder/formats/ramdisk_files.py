"""Give files in ramdisks new content; every other entry, and every other stream, keeps its bytes."""

from __future__ import annotations

import stat

from rom_builder.errors import ImageError
from rom_builder.formats.compression import compress
from rom_builder.formats.cpio import HEADER_SIZE, CpioEntry, every_entry, path_of
from rom_builder.formats.ramdisk import read_ramdisk
from rom_builder.formats.source import BytesSource

_SIZE_FIELD = slice(54, 62)
_CHECKSUM_FIELD = slice(102, 110)


def with_ramdisk_file(ramdisk: bytes, path: str, data: bytes) -> bytes | None:
    """Return a ramdisk with other content of one file; None if it has no such file.

    The stream that holds the file is compressed again as it was; of several entries of that path
    the last counts, as at boot.

    Args:
        ramdisk: As the kernel gets it.
        path: Without a leading slash.
        data: The file afterwards; owner, mode and time stay.

    Raises:
        ImageError: The ramdisk is damaged, or the path is not that of a plain file with one name.
    """
    segments = read_ramdisk(BytesSource(ramdisk))
    ends = [*(segment.offset for segment in segments[1:]), len(ramdisk)]
    for segment, end in reversed(list(zip(segments, ends, strict=True))):
        archive = _with_entry(segment.content, path, data)
        if archive is None:
            continue
        stream = archive if segment.codec is None else compress(segment.codec, archive)
        if end < len(ramdisk):  # a plain archive starts at a multiple of 4
            stream += bytes(-(segment.offset + len(stream)) % 4)
        return ramdisk[: segment.offset] + stream + ramdisk[end:]
    return None


def _with_entry(content: bytes, path: str, data: bytes) -> bytes | None:
    found = None
    for entry in every_entry(memoryview(content)):
        if path_of(entry.name) == path:
            found = entry
    return None if found is None else _spliced(content, found, data)


def _spliced(content: bytes, entry: CpioEntry, data: bytes) -> bytes:
    if not stat.S_ISREG(entry.mode) or entry.links > 1:
        raise ImageError("is no plain file with one name", offset=entry.offset)
    start = entry.offset + HEADER_SIZE + len(entry.name) + 1
    start += -start % 4
    end = start + len(entry.content)
    end = min(end + -end % 4, len(content))
    head = bytearray(content[entry.offset : start])
    head[_SIZE_FIELD] = b"%08X" % len(data)
    if entry.checksum is not None:
        head[_CHECKSUM_FIELD] = b"%08X" % (sum(data) & 0xFFFF_FFFF)
    padding = bytes(-(start + len(data)) % 4)
    return content[: entry.offset] + head + data + padding + content[end:]
