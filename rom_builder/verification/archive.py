"""Hold the archive of a package to one meaning: every reader of it must see the same."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from rom_builder.errors import ImageError
from rom_builder.formats.ota_signature import COMMENT_LIMIT, EOCD_MAGIC, EOCD_SIZE
from rom_builder.formats.source import Source
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import FLAG_DESCRIPTOR, LOCAL_HEADER, ZipEntry

_DESCRIPTORS = (12, 16, 20, 24)
"""Bytes of a data descriptor: with and without magic, sizes of 32 or of 64 bits."""


def check_end(source: Source) -> str:
    """Refuse a second end record: some readers take the first, others the last.

    Raises:
        ImageError: There is one, or none ends the file.
    """
    size = min(source.size, EOCD_SIZE + COMMENT_LIMIT)
    tail = source.read_at(source.size - size, size)
    at = tail.find(EOCD_MAGIC)
    while at != -1:
        comment_size = int.from_bytes(tail[at + EOCD_SIZE - 2 : at + EOCD_SIZE], "little")
        if at + EOCD_SIZE + comment_size == size:
            break
        at = tail.find(EOCD_MAGIC, at + 1)
    if at == -1:
        raise ImageError("no end-of-central-directory record ends the file")
    second = tail.find(EOCD_MAGIC, at + 4)
    if second != -1:
        raise ImageError(
            "the comment holds a second end-of-central-directory record",
            offset=source.size - size + second,
        )
    return ""


def check_entries(archive: ZipArchive, source: Source) -> str:
    """Refuse bytes that belong to no entry, and local headers that say other than the directory.

    A reader that goes from the start of the file to its end, as a streaming updater does, would meet
    them.

    Raises:
        ImageError: There are such.
    """
    position = 0
    for entry in sorted(archive.entries.values(), key=lambda each: each.header_offset):
        _check_gap(position, entry.header_offset)
        _check_header(entry, source)
        position = archive.data_offset(entry) + entry.compressed_size
        if entry.flags & FLAG_DESCRIPTOR:
            position += _descriptor_size(entry, source, position, archive.directory_offset)
    _check_gap(position, archive.directory_offset)
    return ""


def _check_gap(start: int, end: int) -> None:
    if start != end:
        raise ImageError(f"{end - start} bytes belong to no entry", offset=start)


def _check_header(entry: ZipEntry, source: Source) -> None:
    head = source.read_at(entry.header_offset, LOCAL_HEADER.size)
    _, _, flags, _, date_time, *_ = LOCAL_HEADER.unpack(head)
    if flags != entry.flags or date_time != entry.date_time:
        raise ImageError(
            f"entry {entry.name!r}: its local header differs from the central directory",
            offset=entry.header_offset,
        )


def _descriptor_size(entry: ZipEntry, source: Source, start: int, end: int) -> int:
    """Return the size of the data descriptor at ``start``, which must tell what the directory does."""
    found = source.read_at(start, min(_DESCRIPTORS[-1], end - start))
    crc = entry.crc32.to_bytes(4, "little")
    for width in (4, 8):
        sizes = [entry.compressed_size, entry.size]
        if max(sizes) >> (8 * width):
            continue
        told = crc + b"".join(size.to_bytes(width, "little") for size in sizes)
        for descriptor in (b"PK\7\b" + told, told):
            if found.startswith(descriptor):
                return len(descriptor)
    raise ImageError(
        f"entry {entry.name!r}: its data descriptor differs from the central directory",
        offset=start,
    )


def check_otacert(otacert: Sequence[x509.Certificate], signer: x509.Certificate) -> str:
    """Refuse a package whose otacert is not that of the key that signed it.

    Raises:
        ImageError: It is not.
    """
    if any(each.public_key() != signer.public_key() for each in otacert):
        raise ImageError("is not the certificate of the key that signed the package")
    return ""
