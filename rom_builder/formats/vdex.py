r"""DEX files that were taken out of an app when it was compiled ahead (``.vdex``, Android 8 to 14).

Header, little-endian u32 after the magic ``vdex`` and a version of three digits and a zero
(art/runtime/vdex_file.h, by the releases that wrote it):

========  ==========================================================================
version   what follows
========  ==========================================================================
006, 010  (Android 8.0, 8.1) number of DEX files, size of the DEX section, of the
          verifier's data, of the quickening data; a checksum of each file; the files
019       (9) version of the DEX section, number of files, size of the verifier's
          data; checksums; if the section's version is 002: its size, that of data
          shared by compact files, of the quickening data; the files, each after a
          u32 with a place in the quickening data
021, 026  (10, 11) as 019 with two more sizes before the checksums
027       (12 to 14) number of sections; kind, offset and size of each; kind 0 has
          the checksums, kind 1 the files
========  ==========================================================================

Each file begins at a multiple of four. Quickened code has operations of its own that name slots
instead of methods and fields, and what they stood for lies apart: such files are refused.
"""

from __future__ import annotations

from struct import unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex, parse_dex

MAGIC = b"vdex"
MAX_FILES = 1000
MAX_SECTIONS = 64

_PLAIN = ("006", "010")
_SECTIONED = ("019", "021", "026")
_NUMBERED = ("027",)
_CHECKSUMS, _FILES = 0, 1
_WITH_FILES, _WITHOUT_FILES = b"002\0", b"000\0"


def parse_vdex(data: bytes) -> list[Dex]:
    """Return the DEX files inside, in the order of their names in the app.

    Raises:
        ImageError: It is no such file, of another version, damaged, without DEX files, or its code
            is quickened or compact.
    """
    if not data.startswith(MAGIC) or len(data) < 24 or data[7]:
        raise ImageError("not a verified DEX container (vdex)", offset=0)
    version = data[4:7].decode("latin-1")
    if version in _PLAIN:
        count, size, _, quickened = unpack_from("<4I", data, 8)
        return _files(data, 24 + 4 * count, size, count, 0, quickened)
    if version in _SECTIONED:
        return _sectioned(data, 20 if version == "019" else 28)
    if version in _NUMBERED:
        return _numbered(data)
    raise ImageError(f"version {version!r} of vdex is not read", offset=4)


def _sectioned(data: bytes, header: int) -> list[Dex]:
    (count,) = unpack_from("<I", data, 12)
    at = header + 4 * count
    if data[8:12] == _WITHOUT_FILES:
        return []
    if data[8:12] != _WITH_FILES:
        raise ImageError(f"a DEX section of version {data[8:11]!r} is not read", offset=8)
    if at + 12 > len(data):
        raise ImageError(f"{count} DEX files do not fit", offset=12)
    size, _, quickened = unpack_from("<3I", data, at)
    return _files(data, at + 12, size, count, 4, quickened)


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
    return _files(data, offset, size, checksums // 4, 0, 0) if size else []


def _files(data: bytes, at: int, size: int, count: int, prefix: int, quickened: int) -> list[Dex]:
    """Read the files of a DEX section; ``prefix`` bytes stand before each."""
    end = at + size
    if count > MAX_FILES or end > len(data):
        raise ImageError(f"{count} DEX files in {size} bytes at {at:#x} do not fit", offset=8)
    if quickened:
        raise ImageError(
            "quickened code is not read", offset=at, hint="use a ROM that keeps code in its apps"
        )
    found = []
    for _ in range(count):
        start = at + prefix
        if start + 0x70 > end:
            raise ImageError("a DEX file runs past its section", offset=at)
        (length,) = unpack_from("<I", data, start + 0x20)
        if not 0x70 <= length <= end - start:
            raise ImageError(f"a DEX file of {length} bytes does not fit", offset=start)
        try:
            found.append(parse_dex(data[start : start + length]))
        except ImageError as error:
            raise ImageError(error.message, offset=start + (error.offset or 0)) from error
        at = start + length + -(start + length) % 4
    return found
