"""Images too large to be fuzzed byte by byte: the input is a list of changes to one of them.

=========== ====== ===============================================================================
offset      size   content
=========== ====== ===============================================================================
0           1      which image
1 + 5 * n   4      where, little-endian, counted in the bytes that lie near something
5 + 5 * n   1      the new byte
=========== ====== ===============================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.formats.builders import gpt
from tests.formats.builders.super_image import FIRST_SECTOR, Lp

TESTS = Path(__file__).parent.parent / "tests"
LINE = 32
"""Bytes of a line; lines of nothing but zeros are left alone."""
CHANGE = struct.Struct("<IB")
MAX_CHANGES = 64


@dataclass
class PatchedImages:
    """Images made on first use, and what makes a changed one whole again.

    Attributes:
        make: Returns the images, always the same.
        seal: Sets checksums that would else refuse every change; works in place.
    """

    make: Callable[[], list[bytes]]
    seal: Callable[[bytearray], None] = lambda _image: None

    @cached_property
    def images(self) -> list[tuple[bytes, list[int]]]:
        """Every image and where its lines start that are not empty."""
        return [(image, _lines(image)) for image in self.make()]

    def patched(self, data: bytes) -> bytes:
        """Return the image that an input stands for."""
        base, lines = self.images[(data[0] if data else 0) % len(self.images)]
        image = bytearray(base)
        end = 1 + min(len(data) - 1, MAX_CHANGES * CHANGE.size) // CHANGE.size * CHANGE.size
        for place, value in CHANGE.iter_unpack(data[1:end]):
            line, column = divmod(place % (len(lines) * LINE), LINE)
            image[min(lines[line] + column, len(image) - 1)] = value
        self.seal(image)
        return bytes(image)


def _lines(image: bytes) -> list[int]:
    empty = bytes(LINE)
    return [
        at for at in range(0, len(image), LINE) if image[at : at + LINE] != empty[: len(image) - at]
    ]


def fixture_images(folder: str, pattern: str) -> PatchedImages:
    """Return the file systems that the tests read."""

    def make() -> list[bytes]:
        paths = sorted((TESTS / folder).glob(f"{pattern}.img.gz"))
        return [_unsealed(gzip.decompress(path.read_bytes())) for path in paths]

    return PatchedImages(make)


def _unsealed(image: bytes) -> bytes:
    """Take the checksum off an EROFS superblock."""
    if image[1024:1028] != b"\xe2\xe1\xf5\xe0":
        return image
    return image[:1032] + bytes([image[1032] & ~1]) + image[1033:]


def disk_images() -> PatchedImages:
    """Return disks of two partitions whose tables are sealed after a change."""
    return PatchedImages(
        lambda: [gpt.disk_image([("a", 8, 8), ("b", 9, 9)], blocks=16)], _seal_disk
    )


def _seal_disk(image: bytearray) -> None:
    for start in (4096, len(image) - 4096):
        first, count, size = struct.unpack_from("<QII", image, start + 72)
        entries = image[first * 4096 : first * 4096 + min(count * size, len(image))]
        struct.pack_into("<I", image, start + 88, zlib.crc32(entries))
        head_size = min(int.from_bytes(image[start + 12 : start + 16], "little"), 4096)
        struct.pack_into("<I", image, start + 16, 0)
        checksum = zlib.crc32(image[start : start + head_size])
        struct.pack_into("<I", image, start + 16, checksum)


def super_images() -> PatchedImages:
    """Return super images, full and empty, whose metadata is sealed after a change."""

    def make() -> list[bytes]:
        size = (FIRST_SECTOR + 16) * 512
        lp = Lp(
            [("system_a", 1, 1), ("system_b", 1, 0), ("vendor", 3, 0)],
            [[(8, 0, FIRST_SECTOR, 0), (4, 1, 0, 0)], [], [(8, 0, FIRST_SECTOR + 8, 0)]],
            groups=[("default", 0, 0), ("main_a", 0, 1 << 20)],
            devices=[("super", size)],
            metadata_size=2048,
        )
        return [lp.image({FIRST_SECTOR: b"content"}), lp.empty_image()]

    return PatchedImages(make, _seal_super)


def _seal_super(image: bytearray) -> None:
    if image[:4] == b"gDla":
        geometries, copies = [0], [4096]
    else:
        geometries, copies = [4096, 8192], [12288 + 2048 * copy for copy in range(4)]
    for start in geometries:
        _digest(image, start, start + 8, 52)
    for start in copies:
        header = int.from_bytes(image[start + 8 : start + 12], "little") & 0xFFF
        tables = int.from_bytes(image[start + 44 : start + 48], "little") & 0xFFFF
        body = image[start + header : start + header + tables]
        image[start + 48 : start + 80] = hashlib.sha256(body).digest()
        _digest(image, start, start + 12, header)


def _digest(image: bytearray, start: int, at: int, size: int) -> None:
    image[at : at + 32] = bytes(32)
    image[at : at + 32] = hashlib.sha256(image[start : start + size]).digest()
