r"""DEX files that were optimised on a device for the Dalvik machine (``.odex``, Android 1 to 4).

Header, little-endian (dalvik/libdex/DexFile.h, struct DexOptHeader):

======  ====  ==========================
offset  size  field
======  ====  ==========================
0       8     magic ``dey\n036\0``
8       4     offset of the DEX file
12      4     size of the DEX file
16      24    dependencies, tables, flags
======  ====  ==========================

Some operations are replaced by ones that name a slot instead of a method or field
(:data:`rom_builder.formats.dex_instructions.OPTIMISED`): what they call is not known from the file.
"""

from __future__ import annotations

from struct import unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex, parse_dex
from rom_builder.formats.dex_instructions import OPTIMISED

MAGIC = b"dey\n"
HEADER_SIZE = 40


def parse_odex(data: bytes) -> Dex:
    """Return the DEX file inside an optimised one.

    Raises:
        ImageError: It is no optimised DEX file, or damaged.
    """
    if not data.startswith(MAGIC) or len(data) < HEADER_SIZE:
        raise ImageError("not an optimised DEX file", offset=0)
    offset, size = unpack_from("<2I", data, 8)
    if offset < HEADER_SIZE or offset + size > len(data):
        raise ImageError(f"a DEX of {size} bytes at {offset:#x} does not fit", offset=8)
    dex = parse_dex(data[offset : offset + size])
    dex.operations = OPTIMISED
    return dex
