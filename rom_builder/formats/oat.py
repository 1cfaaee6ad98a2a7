r"""DEX files inside apps and jars that were compiled ahead (``.odex``, ``.oat``, Android 5 to 7).

The file is an ELF shared object (:mod:`rom_builder.formats.elf`); from its symbol ``oatdata`` on,
little-endian (art/runtime/oat.h; oat_file.cc, ``OatFile::Setup``):

======  ====  =====================================================================
offset  size  field
======  ====  =====================================================================
0       8     magic ``oat\n``, version of three digits and a zero: 039 (Android
              5.0), 045 (5.1), 064 (6.0), 079 (7.0), 088 (7.1)
8       12    checksum, instruction set, its features
20      4     number of DEX files
24            039, 045: 56 bytes, since 064: 44 bytes: places of code, and of the
              image that it was compiled against
80/68   4     bytes of a store of texts
84/72         the store
======  ====  =====================================================================

Then for each DEX file:

======  =========================================================================
bytes   field
======  =========================================================================
4       bytes of its location
        its location: the path of app or jar on the device; of all but its first
        file with ``:classes2.dex`` and so on behind it
4       checksum
4       offset of the file, from ``oatdata``
        039 to 064: u32 for each of its classes; since 079: two u32
======  =========================================================================

Since 124 (Android 8) it holds none: they lie in ``.vdex`` (:mod:`rom_builder.formats.vdex`).

What is compiled stays in the DEX file, too. Methods that were not compiled may be quickened:
some of their operations name a slot (:data:`rom_builder.formats.dex_instructions.QUICKENED`).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex, parse_dex
from rom_builder.formats.dex_instructions import QUICKENED
from rom_builder.formats.elf import from_symbol
from rom_builder.formats.source import Slice, Source

MAGIC = b"oat\n"
MAX_FILES = 1000
MAX_LOCATION = 4096

_HEADER_SIZES = {"039": 84, "045": 84, "064": 72, "079": 72, "088": 72}
_FIRST_WITHOUT = 124
_WITH_CLASSES = ("039", "045", "064")
_DEX_HEADER_SIZE = 0x70


@dataclass(frozen=True)
class Inside:
    """A DEX file inside a compiled one; it is read by :meth:`dex`.

    Attributes:
        location: Where its app or jar lies on the device.
        source: Its bytes.
    """

    location: str
    source: Slice

    @property
    def file(self) -> str:
        """The bare name of its app or jar."""
        return self.location.rpartition("/")[2].partition(":")[0]

    def dex(self) -> Dex:
        """Return the file, read whole.

        Raises:
            ImageError: It is damaged.
        """
        dex = parse_dex(self.source.read_at(0, self.source.size))
        dex.operations = QUICKENED
        return dex


def parse_oat(source: Source) -> list[Inside]:
    """Read which DEX files a compiled file holds, and nothing else of it.

    Raises:
        ImageError: It is no such file, of another version, or damaged.
    """
    data = from_symbol(source, b"oatdata")
    head = data.read_at(0, min(data.size, 84))
    if not head.startswith(MAGIC) or len(head) < 84 or head[7]:
        raise ImageError("not compiled code (oat)", offset=0)
    version = head[4:7].decode("latin-1")
    if version.isascii() and version.isdigit() and int(version) >= _FIRST_WITHOUT:
        return []
    if version not in _HEADER_SIZES:
        raise ImageError(f"version {version!r} of compiled code (oat) is not read", offset=4)
    (count,) = unpack_from("<I", head, 20)
    if count > MAX_FILES:
        raise ImageError(f"{count} DEX files in compiled code", offset=20)
    at = _HEADER_SIZES[version]
    at += unpack_from("<I", head, at - 4)[0]
    found = []
    for _ in range(count):
        inside, at = _inside(data, at, version)
        found.append(inside)
    if sum(each.source.size for each in found) > data.size:
        raise ImageError("the DEX files are larger than the compiled code that holds them")
    return found


def _inside(data: Slice, at: int, version: str) -> tuple[Inside, int]:
    """Read one record; return it and where the next one begins."""
    (size,) = unpack_from("<I", data.read_at(at, 4))
    if not 0 < size <= MAX_LOCATION:
        raise ImageError(f"a location of {size} bytes", offset=at)
    record = data.read_at(at + 4, size + 8)
    (offset,) = unpack_from("<I", record, size + 4)
    header = data.read_at(offset, _DEX_HEADER_SIZE)
    (length,) = unpack_from("<I", header, 0x20)
    if not _DEX_HEADER_SIZE <= length <= data.size - offset:
        raise ImageError(f"a DEX file of {length} bytes at {offset:#x} does not fit", offset=at)
    (classes,) = unpack_from("<I", header, 0x60)
    after = 4 * classes if version in _WITH_CLASSES else 8
    location = record[:size].decode("utf-8", errors="replace")
    return Inside(location, Slice(data, offset, length)), at + 4 + size + 8 + after
