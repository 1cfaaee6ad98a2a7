"""EROFS content that is not compressed: plain, with an inline tail, or in chunks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.inode import CHUNKED, HOLE_BLOCK, INLINE, Inode
from rom_builder.formats.erofs.superblock import Superblock
from rom_builder.formats.source import Pieces, Slice, Source, check_range

_CHUNK_BITS = 0x1F
_CHUNK_INDEXES = 0x20
_CHUNK_FORMAT_KNOWN = _CHUNK_BITS | _CHUNK_INDEXES

# Content that an image does not have to hold (holes, compressed zeros) can be far larger than the
# image and than memory; whoever wants that much of it reads it in pieces.
READ_LIMIT = 1 << 30


def check_read(source: Source, offset: int, size: int) -> None:
    """Refuse to read outside ``source`` or more than ``READ_LIMIT`` bytes at once.

    Raises:
        ImageError: One of the two.
    """
    check_range(source, offset, size)
    if size > READ_LIMIT:
        raise ImageError(
            f"{size} bytes are more than one read may take", hint="read the content in pieces"
        )


READ_AHEAD = 256 << 10
"""Most bytes of the image read in one go: the clusters of a file mostly lie end to end."""


class ReadAhead:
    """Bytes of the image during one read, fetched in larger pieces than they are asked for.

    Attributes:
        wanted: Bytes of the file that are still to come: no more is fetched ahead.
    """

    def __init__(self, image: Source) -> None:
        self.wanted = 0
        self._image = image
        self._start = 0
        self._data = b""

    def read_at(self, offset: int, size: int) -> bytes:
        start = offset - self._start
        if start >= 0 and start + size <= len(self._data):
            return self._data[start : start + size]
        ahead = min(self.wanted, READ_AHEAD, self._image.size - offset)
        if ahead <= size:
            return self._image.read_at(offset, size)
        try:
            self._start, self._data = offset, self._image.read_at(offset, ahead)
        except ImageError:  # what is damaged need not be what is asked for
            self._data = b""
            return self._image.read_at(offset, size)
        return self._data[:size]


class Hole:
    """A source of zeros."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        check_read(self, offset, size)
        return bytes(size)


class ChunkedFile:
    """Content in chunks of equal size, each anywhere in the image or a hole.

    The chunk format is a u16: bits 0-4 log2 of blocks a chunk takes, bit 5 "8-byte elements",
    bit 6 "48-bit addresses" (not read). Elements follow the inode, aligned to their own size:

    =====  ==================================================================
    bytes  element
    =====  ==================================================================
    4      u32 block
    8      u16 block (high, 48-bit only), u16 device (0 is this image), u32 block
    =====  ==================================================================

    Block 0xFFFFFFFF is a hole.

    Attributes:
        map_end: Byte of the image behind the elements.

    Raises:
        ImageError: The format is unknown, or the elements do not lie inside the image.
    """

    def __init__(self, image: Source, superblock: Superblock, inode: Inode) -> None:
        chunk_format = (inode.start or 0) & 0xFFFF
        if chunk_format & ~_CHUNK_FORMAT_KNOWN:
            raise ImageError(f"chunk format {chunk_format:#x}", offset=inode.offset + 16)
        self.size = inode.size
        self._image = image
        self._block_size = superblock.block_size
        self._chunk_size = superblock.block_size << (chunk_format & _CHUNK_BITS)
        # the bits of a device number that a table of this length needs
        self._device_mask = (1 << superblock.extra_devices.bit_length()) - 1
        self._element = struct.Struct("<2xHI" if chunk_format & _CHUNK_INDEXES else "<I")
        align = self._element.size - 1
        self._elements_offset = (inode.end + align) & ~align
        count = -(-inode.size // self._chunk_size)
        check_range(image, self._elements_offset, count * self._element.size)
        self.map_end = self._elements_offset + count * self._element.size

    def chunks(self) -> Iterator[range]:
        """Yield the bytes of the image that hold content, in file order.

        Raises:
            ImageError: An element names another device.
        """
        for position in range(0, self.size, READ_LIMIT):
            for start, length in self._runs(position, min(READ_LIMIT, self.size - position)):
                if start is not None:
                    yield range(start, start + length)

    def read_at(self, offset: int, size: int) -> bytes:
        check_read(self, offset, size)
        parts = [
            bytes(length) if start is None else self._image.read_at(start, length)
            for start, length in self._runs(offset, size)
        ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _runs(self, offset: int, size: int) -> list[tuple[int | None, int]]:
        """Return where in the image the bytes lie: ``(start or None for a hole, length)``."""
        if not size:
            return []
        first = offset // self._chunk_size
        count = (offset + size - 1) // self._chunk_size - first + 1
        position = self._elements_offset + first * self._element.size
        elements = self._image.read_at(position, count * self._element.size)
        runs: list[tuple[int | None, int]] = []
        skip = offset - first * self._chunk_size
        for *device, block in self._element.iter_unpack(elements):
            length = min(self._chunk_size - skip, size)
            start = None if block == HOLE_BLOCK else block * self._block_size + skip
            if start is not None and device and device[0] & self._device_mask:
                raise ImageError(
                    f"content lies on extra device {device[0] & self._device_mask}",
                    offset=position,
                )
            if runs and _follows(runs[-1], start):
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((start, length))
            size -= length
            skip = 0
        return runs


def _follows(run: tuple[int | None, int], start: int | None) -> bool:
    """Say whether bytes from ``start`` on continue ``run``."""
    if run[0] is None or start is None:
        return run[0] is start
    return run[0] + run[1] == start


def open_uncompressed(image: Source, superblock: Superblock, inode: Inode) -> Source:
    """Return the content of an inode of layout ``PLAIN``, ``INLINE`` or ``CHUNKED``.

    ``PLAIN`` is contiguous from the start block. ``INLINE`` is too, but its last block, at most
    one block long, lies behind the inode without crossing a block boundary.

    Raises:
        ImageError: The content does not lie inside the image.
    """
    if inode.layout == CHUNKED:
        return ChunkedFile(image, superblock, inode)
    if inode.start is None:
        return Hole(inode.size)
    if not inode.size:
        return Pieces([])
    block_size = superblock.block_size
    start = inode.start * block_size
    if inode.layout != INLINE:
        return Slice(image, start, inode.size)
    tail_size = (inode.size - 1) % block_size + 1
    if inode.end % block_size + tail_size > block_size:
        raise ImageError(
            f"an inline tail of {tail_size} bytes crosses a block boundary", offset=inode.end
        )
    body_size = inode.size - tail_size
    tail = Slice(image, inode.end, tail_size)
    if not body_size:
        return tail
    return Pieces([(Slice(image, start, body_size), body_size), (tail, tail_size)])
