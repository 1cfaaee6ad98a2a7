"""The 512-byte header MediaTek puts in front of kernels, ramdisks and bootloaders.

Little-endian: magic ``0x58881688`` (4), bytes that follow the header (4), name (32), the rest
``0xFF``. Seen on every MediaTek phone before Android 9; source: U-Boot ``tools/mtk_image.h``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.source import Slice, Source

MAGIC = b"\x88\x16\x88\x58"
HEADER_SIZE = 512

_HEADER = struct.Struct("<4sI32s")


@dataclass(frozen=True, slots=True)
class MtkHeader:
    """What follows the header: its name, such as ``KERNEL``, ``ROOTFS`` or ``LK``, and size."""

    name: str
    size: int


def strip_mtk_header(source: Source) -> tuple[MtkHeader | None, Source]:
    """Return the header and what follows it; None and ``source`` itself if there is no header.

    Raises:
        ImageError: The header names more bytes than there are.
    """
    if source.size < HEADER_SIZE or source.read_at(0, 4) != MAGIC:
        return None, source
    _, size, raw = _HEADER.unpack(source.read_at(0, _HEADER.size))
    if size > source.size - HEADER_SIZE:
        raise ImageError(f"MediaTek header of {size} bytes, {source.size} are there", offset=4)
    name = raw.split(b"\0")[0].decode("ascii", "replace")
    return MtkHeader(name, size), Slice(source, HEADER_SIZE, size)
