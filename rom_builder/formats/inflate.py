"""The inflater and the CRC-32 of zip archives: those of zlib-ng, or of zlib where that is missing.

zlib-ng is zlib rewritten for today's processors: it takes and refuses the same streams, to the byte, and
is half again as fast. ISA-L is faster still, but takes streams that zlib, and with it Android, refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zlib
else:
    try:
        from zlib_ng import zlib_ng as zlib
    except ImportError:  # there is no wheel of it for this machine
        import zlib

RAW = -zlib.MAX_WBITS
"""Window bits that stand for a deflate stream without a head."""

InflateError = zlib.error
crc32 = zlib.crc32
decompressobj = zlib.decompressobj
