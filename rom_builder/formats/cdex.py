r"""Compact DEX files (``cdex001\0``), as Android 9 to 13 wrote them into ``.vdex`` files.

Such a file has two parts: header and tables of identifiers, and a data section, which all compact
files of one container share. Offsets in the header count from the header, all others from the
start of the data section. Fields of the header, little-endian u32, where they differ from a plain
one (art/libdexfile/dex/compact_dex_file.h):

======  ===================================================================
offset  field
======  ===================================================================
0x20    size of header and tables
0x24    header size: 0x88
0x68    bytes of the data section that this file may use
0x6c    place of the data section, from the header
0x70    features: 1 if interfaces may have code
0x74    three fields about debug information, which is not read
0x80    part of the data section that is the file's own: its first byte
0x84    and the one after its last
======  ===================================================================

A code item begins with two u16; what they cannot hold stands before them, u16 each, backwards:

======  ====================================================================
bits    first u16
======  ====================================================================
12-15   registers besides those of parameters; 8-11 registers of parameters;
        4-7 those for outgoing calls; 0-3 number of try items
======  ====================================================================

======  ====================================================================
bits    second u16
======  ====================================================================
5-15    code units
4       before them: low and high half of what is added to the code units;
0, 1    what is added to the registers, to those of parameters,
2, 3    to those for outgoing calls, to the number of try items
======  ====================================================================

The code follows at once, try items at the next multiple of four; otherwise both kinds of file have
the same items (art/dexlayout/compact_dex_writer.cc).
"""

from __future__ import annotations

from struct import unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex

MAGIC = b"cdex001\0"
HEADER_SIZE = 0x88
_ENDIAN_TAG = 0x12345678
_VERSION = 1


def parse_cdex(head: bytes, data: bytes) -> Dex:
    """Read the header of a compact DEX file; strings and code are read when they are asked for.

    Args:
        head: Header and tables.
        data: The data section; files that share one are given the same object.

    Raises:
        ImageError: It is no compact DEX file, or its header does not hold.
    """
    if not head.startswith(MAGIC):
        raise ImageError(f"a compact DEX of version {head[4:7]!r} is not read", offset=4)
    if len(head) < HEADER_SIZE:
        raise ImageError(f"the compact DEX header is cut off at byte {len(head)}", offset=0)
    header_size, endian_tag = unpack_from("<2I", head, 0x24)
    if header_size != HEADER_SIZE or endian_tag != _ENDIAN_TAG:
        raise ImageError(
            f"header of {header_size} bytes with endian tag {endian_tag:#010x}", offset=0x24
        )
    string_count, strings_offset = unpack_from("<2I", head, 0x38)
    if string_count and not HEADER_SIZE <= strings_offset <= len(head) - 4 * string_count:
        raise ImageError(
            f"a table of {string_count} strings at {strings_offset:#x} does not fit "
            f"{len(head)} bytes",
            offset=0x38,
        )
    place = data_section(head, 0)[0]
    start, end = unpack_from("<2I", head, 0x80)
    if not start <= end <= len(data):
        raise ImageError(f"bytes {start:#x} to {end:#x} of {len(data)} are its own", offset=0x80)
    size = len(head) + end - start
    return Dex(data, _VERSION, string_count, strings_offset, head=head, place=place, size=size)


def data_section(data: bytes, start: int) -> tuple[int, int]:
    """Return place, counted from the header, and size of the data section of a compact file.

    Args:
        data: Where the file lies.
        start: Offset of its header, which must be there whole.
    """
    size, place = unpack_from("<2I", data, start + 0x68)
    return place, size


def code_head(data: bytes, offset: int) -> tuple[int, int, int, int]:
    """Return registers, those of parameters, try items and code units of a compact code item.

    Raises:
        ImageError: It lies outside the data section.
    """
    if offset < 4 or offset > len(data) - 4:
        raise ImageError("code lies outside the file", offset=offset)
    fields, more = unpack_from("<2H", data, offset)
    size = more >> 5
    registers, parameters, tries = fields >> 12, fields >> 8 & 15, fields & 15
    if more & 0x1F:
        at = offset
        if at < 2 * (more & 0x1F).bit_count() + 2 * (more >> 4 & 1):
            raise ImageError("code lies outside the file", offset=offset)
        if more & 0x10:
            at -= 4
            high, low = unpack_from("<2H", data, at)
            size += low | high << 16
        added = []
        for bit in (1, 2, 4, 8):
            if more & bit:
                at -= 2
                added.append(data[at] | data[at + 1] << 8)
            else:
                added.append(0)
        registers, parameters, tries = (
            registers + added[0],
            parameters + added[1],
            tries + added[3],
        )
    return registers + parameters, parameters, tries, size
