r"""DEX files that were taken out of an app when it was compiled ahead (``.vdex``, Android 8 to 14).

Header, little-endian u32 after the magic ``vdex`` and a version of three digits and a zero
(art/runtime/vdex_file.h, by the releases that wrote it):

========  ==========================================================================
version   what follows
========  ==========================================================================
006, 010  (Android 8.0, 8.1) number of DEX files, size of the DEX section, of the
          verifier's data, of the quickening data; a checksum of each file; the files
          and these data in this order
019       (9) version of the DEX section, number of files, size of the verifier's
          data; checksums; if the section's version is 002: its size, that of data
          shared by compact files, of the quickening data; the files, each after a
          u32 with a place in the quickening data; what compact files share;
          the verifier's data; the quickening data
021, 026  (10, 11) as 019 with two more sizes before the checksums
027       (12 to 14) number of sections; kind, offset and size of each; kind 0 has
          the checksums, kind 1 the files, then what compact files share
========  ==========================================================================

Each file begins at a multiple of four and is a plain or a compact one (:mod:`rom_builder.formats.cdex`).
Quickened code has operations of its own (:mod:`rom_builder.formats.quickening`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.cdex import MAGIC as COMPACT
from rom_builder.formats.cdex import data_section, parse_cdex
from rom_builder.formats.dex import Dex, parse_dex
from rom_builder.formats.quickening import SlotsOf, by_code, by_method, in_sequence, restore

MAGIC = b"vdex"
MAX_FILES = 1000
MAX_SECTIONS = 64
MAX_SHARED = 1 << 33
"""Bytes of shared data times files that share them; each looks for its strings in all of them."""

_PLAIN = ("006", "010")
_SECTIONED = ("019", "021", "026")
_NUMBERED = ("027",)
_CHECKSUMS, _FILES = 0, 1
_WITH_FILES, _WITHOUT_FILES = b"002\0", b"000\0"


@dataclass(frozen=True)
class Vdex:
    """A container of DEX files; make one with :func:`parse_vdex`.

    Attributes:
        version: Three digits.
        files: In the order of their names in the app, as they lie there: names and texts can be
            read, code may be quickened.
        quickening: What was replaced in their code.
        tables: What stands before each file: where its table in these data begins.
    """

    version: str
    files: list[Dex]
    quickening: bytes = b""
    tables: tuple[int, ...] = ()

    def restored(self) -> list[Dex]:
        """Return the files with the code that they had before it was quickened.

        Raises:
            ImageError: A file is damaged, or what was replaced does not fit its code.
        """
        if not self.quickening:
            return self.files
        return [
            parse_cdex(dex.head, data) if dex.compact else parse_dex(data)
            for dex, data in restore(self.files, self._replaced())
        ]

    def _replaced(self) -> Sequence[SlotsOf]:
        info, count = self.quickening, len(self.files)
        if self.version == "006":
            return [in_sequence(info)] * count
        if self.version == "010":
            return by_code(info, count)
        return [
            by_method(info, table, unpack_from("<I", dex.head, 0x58)[0])
            for dex, table in zip(self.files, self.tables, strict=True)
        ]


def parse_vdex(data: bytes) -> Vdex:
    """Read the headers of a container and of the DEX files inside.

    Raises:
        ImageError: It is no such file, of another version, or damaged.
    """
    if not data.startswith(MAGIC) or len(data) < 24 or data[7]:
        raise ImageError("not a verified DEX container (vdex)", offset=0)
    version = data[4:7].decode("latin-1")
    if version in _PLAIN:
        count, size, verifier, quickened = unpack_from("<4I", data, 8)
        at = 24 + 4 * count
        files, _ = _files(data, at, size, size, count, 0)
        return Vdex(version, files, _part(data, at + size + verifier, quickened))
    if version in _SECTIONED:
        return _sectioned(data, version)
    if version in _NUMBERED:
        return Vdex(version, _numbered(data))
    raise ImageError(f"version {version!r} of vdex is not read", offset=4)


def _part(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ImageError(f"quickening data of {size} bytes do not fit", offset=at)
    return data[at : at + size]


def _sectioned(data: bytes, version: str) -> Vdex:
    count, verifier = unpack_from("<2I", data, 12)
    at = (20 if version == "019" else 28) + 4 * count
    if data[8:12] == _WITHOUT_FILES:
        return Vdex(version, [])
    if data[8:12] != _WITH_FILES:
        raise ImageError(f"a DEX section of version {data[8:11]!r} is not read", offset=8)
    if at + 12 > len(data):
        raise ImageError(f"{count} DEX files do not fit", offset=12)
    size, shared, quickened = unpack_from("<3I", data, at)
    at += 12
    files, tables = _files(data, at, size, size + shared, count, 4)
    return Vdex(version, files, _part(data, at + size + shared + verifier, quickened), tables)


def _numbered(data: bytes) -> list[Dex]:
    (number,) = unpack_from("<I", data, 8)
    if number > MAX_SECTIONS or 12 + 12 * number > len(data):
        raise ImageError(f"{number} sections", offset=8)
    sections = {}
    for index in range(number):
        kind, offset, size = unpack_from("<3I", data, 12 + 12 * index)
        sections[kind] = offset, size
    _, checksums = sections.get(_CHECKSUMS, (0, 0))
    offset, size = sections.get(_FILES, (0, 0))
    return _files(data, offset, size, size, checksums // 4, 0)[0] if size else []


def _files(
    data: bytes, at: int, size: int, whole: int, count: int, prefix: int
) -> tuple[list[Dex], tuple[int, ...]]:
    """Read the files of a DEX section and what stands before each.

    Args:
        data: The container.
        at: Where the section begins.
        size: Its bytes.
        whole: Its bytes with what compact files share.
        count: How many files are in it.
        prefix: Bytes before each file.
    """
    end, last = at + size, at + whole
    if count > MAX_FILES or last > len(data):
        raise ImageError(f"{count} DEX files in {whole} bytes at {at:#x} do not fit", offset=8)
    shared = _Shared(data, last)
    found: list[Dex] = []
    before: list[int] = []
    for _ in range(count):
        start = at + prefix
        if start + 0x70 > end:
            raise ImageError("a DEX file runs past its section", offset=at)
        (length,) = unpack_from("<I", data, start + 0x20)
        if not 0x70 <= length <= end - start:
            raise ImageError(f"a DEX file of {length} bytes does not fit", offset=start)
        head = data[start : start + length]
        try:
            compact = head.startswith(COMPACT[:4])
            found.append(parse_cdex(head, shared.of(start)) if compact else parse_dex(head))
        except ImageError as error:
            raise ImageError(error.message, offset=start + (error.offset or 0)) from error
        before += unpack_from("<I", data, at) if prefix else ()
        at = start + length + -(start + length) % 4
    shared.check(found)
    return found, tuple(before)


class _Shared:
    """The data section of the compact files of a container, cut out once for all of them."""

    def __init__(self, data: bytes, end: int) -> None:
        self._data = data
        self._end = end
        self._start = -1
        self._section = b""

    def of(self, start: int) -> bytes:
        """Return the data section of the file whose header is at ``start``."""
        place, size = data_section(self._data, start)
        begin = start + place
        if begin + size > self._end:
            raise ImageError(f"{size} bytes of data at {begin:#x} do not fit", offset=0x68)
        if self._start < 0:
            self._start = begin
            self._section = self._data[begin : self._end]
        elif self._start != begin:
            raise ImageError("compact files have data of their own each", offset=0x6C)
        return self._section

    def check(self, files: Sequence[Dex]) -> None:
        """Refuse files that claim more of the data than there are, or are too many for them."""
        size = len(self._section)
        compact = [dex for dex in files if dex.compact]
        own = sum(dex.size - len(dex.head) for dex in compact)
        if own > size or len(compact) * size > MAX_SHARED:
            raise ImageError(f"{len(compact)} compact DEX files share {size} bytes of data")
