"""Give files in ramdisks new content; every other entry, and every other stream, keeps its bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat

from rom_builder.errors import ImageError
from rom_builder.formats.compression import LZ4_LEGACY_BLOCK, Codec
from rom_builder.formats.cpio import HEADER_SIZE, TRAILER, CpioEntry, read_cpio
from rom_builder.formats.ramdisk import read_ramdisk
from rom_builder.formats.source import BytesSource

_ZEROS = re.compile(rb"\0+")
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
    archive, position = memoryview(content), 0
    while position < len(content):
        for entry in read_cpio(archive, position):
            position = entry.offset + HEADER_SIZE + len(entry.name) + 1 + len(entry.content)
            if _path_of(entry.name) == path and entry.name != TRAILER:
                found = entry
        position = zeros.end() if (zeros := _ZEROS.match(content, position)) else position
    return None if found is None else _spliced(content, found, data)


def _path_of(name: bytes) -> str:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return b"/".join(parts).decode("utf-8", "surrogateescape")


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


def compress(codec: Codec, data: bytes) -> bytes:
    """Compress as Linux's decoders for ramdisks can read it; the same bytes every time."""
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
            return _lz4_legacy(data)
        case Codec.ZSTD:
            import zstandard

            return zstandard.ZstdCompressor(level=19).compress(data)


def _lz4_legacy(data: bytes) -> bytes:
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
