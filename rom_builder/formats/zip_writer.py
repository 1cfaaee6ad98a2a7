"""Write zip archives: same entries in, same bytes out.

What is written is what Android's readers take without effort: sizes and CRC-32 stand in the local
header (no data descriptors), names are UTF-8, the date is fixed, and zip64 is used only where a
number does not fit. ``zlib`` alone decides about deflated bytes; they may differ between its
versions, the content never.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterable, Mapping
from struct import pack
from types import MappingProxyType
from typing import BinaryIO, cast

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import (
    CENTRAL_HEADER,
    CENTRAL_MAGIC,
    DEFLATED,
    END,
    END_MAGIC,
    END_MARK,
    FLAG_UTF8,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    MAX_ENTRIES,
    STORED,
    U16_MAX,
    U32_MAX,
    ZIP64_END,
    ZIP64_END_MAGIC,
    ZIP64_EXTRA,
    ZIP64_LOCATOR,
    ZIP64_LOCATOR_MAGIC,
    ZipEntry,
    name_fault,
)

DATE_TIME = (2009 - 1980) << 25 | 1 << 21 | 1 << 16
"""2009-01-01 00:00:00 in MS-DOS form: the date that AOSP's signapk gives every entry."""
UNIX = 3
VERSION = 20
VERSION_ZIP64 = 45
ALIGNMENT_EXTRA = 0xD935
"""Id of the extra field that aligns data: 16-bit alignment, then zeros (zipalign, apksig)."""
COMPRESSION_LEVEL = 9
_PIECE = 1 << 20


class ZipWriter:
    """Writes an archive into a seekable binary file; what stands before its position is kept out.

    Offsets count from the place where the file stood when the writer was made.

    Args:
        file: Open for writing, seekable; the caller closes it.

    Attributes:
        entries: What has been written, by name and in order.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self._position = 0
        self._written: dict[str, ZipEntry] = {}
        self._data_offsets: dict[str, int] = {}
        self.entries: Mapping[str, ZipEntry] = MappingProxyType(self._written)

    def data_offset(self, entry: ZipEntry) -> int:
        """Return where the data of a written entry starts."""
        return self._data_offsets[entry.name]

    def add(
        self,
        name: str,
        data: bytes | Source | Iterable[bytes],
        *,
        compress: bool,
        size: int | None = None,
        mode: int = 0o644,
        align: int = 1,
    ) -> ZipEntry:
        """Write a new entry.

        Args:
            name: Path inside the archive; one that ends with a slash is a folder.
            data: The content: in memory, to be read in pieces, or in pieces already.
            compress: Deflate it.
            size: Bytes of content of an iterable; needed if they could be 4 GiB or more.
            mode: Unix permission bits.
            align: Stored data starts at a multiple of this (4 for ``resources.arsc`` of an APK).

        Raises:
            ValueError: The name is unsafe or taken, or the content is not of the given size.
        """
        pieces, known = _in_pieces(data, size)
        kind = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
        entry = ZipEntry(
            name=name,
            method=DEFLATED if compress else STORED,
            flags=0 if name.isascii() else FLAG_UTF8,
            crc32=0,
            compressed_size=0,
            size=0,
            header_offset=self._position,
            date_time=DATE_TIME,
            external_attributes=(kind | mode) << 16 | (0x10 if kind == stat.S_IFDIR else 0),
            create_system=UNIX,
        )
        # Deflate makes what it cannot compress larger by less than a thousandth.
        wide = known is not None and known + (known >> 10) + 1024 >= U32_MAX
        align = 1 if compress else align
        self._begin(entry, wide=wide, align=align)

        deflater = (
            zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            if compress
            else None
        )
        crc = content = packed = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            content += len(piece)
            packed += self._write(deflater.compress(piece) if deflater else piece)
        if deflater:
            packed += self._write(deflater.flush())
        if known is not None and content != known:
            raise ValueError(f"{name!r}: {content} bytes of content, {known} were announced")
        if max(content, packed) >= U32_MAX and not wide:
            raise ValueError(f"{name!r}: give the size of content of 4 GiB or more")

        entry = entry._replace(crc32=crc, compressed_size=packed, size=content)
        end = self._position
        self._seek(entry.header_offset)
        self._begin(entry, wide=wide, align=align)
        self._seek(end)
        self._written[name] = entry
        return entry

    def copy(
        self, archive: ZipArchive, entry: ZipEntry, name: str | None = None, *, align: int = 1
    ) -> ZipEntry:
        """Write an entry of another archive without inflating it; its content is not checked.

        Method, CRC-32, date and attributes stay. Flags, extra fields and data descriptor do not.

        Raises:
            ImageError: The entry's data is out of reach or of an unknown method.
            ValueError: The name is unsafe or taken.
        """
        if entry.method not in (STORED, DEFLATED):
            message = f"entry {entry.name!r}: method {entry.method} cannot be copied"
            raise ImageError(message, offset=entry.header_offset)
        raw = archive.raw(entry) if entry.method == DEFLATED else archive.open(entry)
        name = entry.name if name is None else name
        copied = entry._replace(
            name=name,
            flags=0 if name.isascii() else FLAG_UTF8,
            compressed_size=raw.size,
            header_offset=self._position,
        )
        wide = max(copied.size, copied.compressed_size) >= U32_MAX
        self._begin(copied, wide=wide, align=1 if entry.method == DEFLATED else align)
        for piece in _in_pieces(raw, None)[0]:
            self._write(piece)
        self._written[name] = copied
        return copied

    def close(self, comment: bytes = b"") -> None:
        """Write the central directory and the end record; the file stays open.

        Raises:
            ValueError: The comment is longer than 65535 bytes or holds an end record's magic.
        """
        if len(comment) > U16_MAX:
            raise ValueError(f"a comment of {len(comment)} bytes; at most {U16_MAX} fit")
        if END_MARK in comment:
            raise ValueError("the comment holds the magic of an end record")
        start = self._position
        for entry in self._written.values():
            self._write(_central_header(entry))
        eocd, size, count = self._position, self._position - start, len(self._written)
        if count >= U16_MAX or size >= U32_MAX or start >= U32_MAX:
            wide_end = ZIP64_END.pack(
                ZIP64_END_MAGIC, ZIP64_END.size - 12, UNIX << 8 | VERSION_ZIP64, VERSION_ZIP64,
                0, 0, count, count, size, start,
            )  # fmt: skip
            self._write(wide_end)
            self._write(ZIP64_LOCATOR.pack(ZIP64_LOCATOR_MAGIC, 0, eocd, 1))
        count, size, start = min(count, U16_MAX), min(size, U32_MAX), min(start, U32_MAX)
        self._write(END.pack(END_MAGIC, 0, 0, count, count, size, start, len(comment)) + comment)

    def _begin(self, entry: ZipEntry, *, wide: bool, align: int) -> None:
        """Write the local header of an entry at its offset, twice if its sizes come later."""
        fault = name_fault(entry.name)
        if fault:
            raise ValueError(f"{entry.name!r}: the name {fault}")
        if entry.name in self._written:
            raise ValueError(f"{entry.name!r}: the name is taken")
        if len(self._written) >= MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} entries")
        name = entry.name.encode()
        if len(name) > U16_MAX:
            raise ValueError(f"a name of {len(name)} bytes; at most {U16_MAX} fit")
        packed, size, extra = entry.compressed_size, entry.size, b""
        if wide:
            extra = pack("<HHQQ", ZIP64_EXTRA, 16, size, packed)
            packed = size = U32_MAX
        unaligned = entry.header_offset + LOCAL_HEADER.size + len(name) + len(extra)
        if unaligned % align:
            padding = -(unaligned + 6) % align
            extra += pack("<HHH", ALIGNMENT_EXTRA, 2 + padding, align) + bytes(padding)
        header = LOCAL_HEADER.pack(
            LOCAL_MAGIC, VERSION_ZIP64 if wide else VERSION, entry.flags, entry.method,
            entry.date_time, entry.crc32, packed, size, len(name), len(extra),
        )  # fmt: skip
        self._write(header + name + extra)
        self._data_offsets[entry.name] = self._position

    def _write(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def _seek(self, offset: int) -> None:
        self._file.seek(self._start + offset)
        self._position = offset


def _central_header(entry: ZipEntry) -> bytes:
    numbers = (entry.size, entry.compressed_size, entry.header_offset)
    wide = b"".join(number.to_bytes(8, "little") for number in numbers if number >= U32_MAX)
    extra = pack("<HH", ZIP64_EXTRA, len(wide)) + wide if wide else b""
    size, packed, offset = (min(number, U32_MAX) for number in numbers)
    version = VERSION_ZIP64 if wide else VERSION
    name = entry.name.encode()
    header = CENTRAL_HEADER.pack(
        CENTRAL_MAGIC, entry.create_system << 8 | version, version, entry.flags, entry.method,
        entry.date_time, entry.crc32, packed, size, len(name), len(extra), 0, 0, 0,
        entry.external_attributes, offset,
    )  # fmt: skip
    return header + name + extra


def _in_pieces(
    data: bytes | Source | Iterable[bytes], size: int | None
) -> tuple[Iterable[bytes], int | None]:
    if isinstance(data, bytes):
        return [data], len(data)
    if hasattr(data, "read_at"):
        source = cast(Source, data)
        length = source.size
        steps = range(0, length, _PIECE)
        return (source.read_at(at, min(_PIECE, length - at)) for at in steps), length
    return data, size
