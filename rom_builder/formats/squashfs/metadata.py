"""Blocks of a SquashFS image: metadata, tables and data.

Metadata block: u16 little-endian size of what follows, bit 15 set if that is not compressed; it
gives 8192 bytes, the last one of a table fewer. A table is an array of u64 positions of metadata
blocks, which hold its entries. A data block has a word, u32: its size, bit 24 set if it is not
compressed; the word 0 stands for a block of zeros.
"""

from __future__ import annotations

from functools import lru_cache

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source, check_range
from rom_builder.formats.squashfs.compression import find_decompress
from rom_builder.formats.squashfs.superblock import Superblock

_METADATA_SIZE = 8192
_METADATA_KEPT = 128
_DATA_CACHE_SIZE = 4 << 20
_STORED = 1 << 24


class Volume:
    """A SquashFS image by position; metadata of 1 MiB and data of 4 MiB read last are kept.

    Args:
        source: The image.
        superblock: Its superblock.

    Raises:
        ImageError: Its codec is not read.
    """

    def __init__(self, source: Source, superblock: Superblock) -> None:
        self.superblock = superblock
        self._source = source
        self._decompress = find_decompress(superblock.compression)
        self.metadata = lru_cache(_METADATA_KEPT)(self._read_metadata)
        self.data = lru_cache(max(4, _DATA_CACHE_SIZE // superblock.block_size))(self._read_data)

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the part of the image that is in use.

        Raises:
            ImageError: They lie outside.
        """
        if position + size > self.superblock.size:
            raise ImageError(
                f"{size} bytes at {position:#x} lie outside the image of {self.superblock.size:#x}",
                offset=position,
            )
        return self._source.read_at(position, size)

    def _read_metadata(self, position: int) -> tuple[bytes, int]:
        """Return the content of a metadata block and the position of the next."""
        header = int.from_bytes(self.read(position, 2), "little")
        size = header & 0x7FFF
        if not 0 < size <= _METADATA_SIZE:
            raise ImageError(f"a metadata block of {size} bytes", offset=position)
        data = self.read(position + 2, size)
        if not header & 0x8000:
            data = self._decode(data, _METADATA_SIZE, position)
        if not data:
            raise ImageError("a metadata block is empty", offset=position)
        return data, position + 2 + size

    def _read_data(self, position: int, word: int) -> bytes:
        """Return the content of a data block, given its position and its u32 of size and flag."""
        size, limit = word & ~_STORED, self.superblock.block_size
        if not 0 < size <= limit:
            raise ImageError(f"a data block of {size} bytes", offset=position)
        data = self.read(position, size)
        return data if word & _STORED else self._decode(data, limit, position)

    def _decode(self, data: bytes, limit: int, position: int) -> bytes:
        try:
            return self._decompress(data, limit)
        except ImageError as error:
            raise ImageError(error.message, offset=position) from None

    def table_entry(self, table: int, index: int, size: int) -> bytes:
        """Return entry ``index`` of ``size`` bytes of a table.

        Args:
            table: Where the table's array of positions begins.
            index: Checked by the caller against the number of entries.
            size: A divisor of 8192.

        Raises:
            ImageError: The table is damaged.
        """
        block, start = divmod(index * size, _METADATA_SIZE)
        position = int.from_bytes(self.read(table + 8 * block, 8), "little")
        entry = self.metadata(position)[0][start : start + size]
        if len(entry) < size:
            raise ImageError(f"a table ends before its entry {index}", offset=position)
        return entry


class Cursor:
    """Reads metadata on from one block into the next.

    Args:
        volume: Where to read.
        position: The first metadata block.
        offset: Where to begin in its content.
    """

    def __init__(self, volume: Volume, position: int, offset: int) -> None:
        self._volume = volume
        self._position = position
        self._offset = offset

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes.

        Raises:
            ImageError: A block is damaged.
        """
        pieces: list[bytes] = []
        while True:
            block, following = self._volume.metadata(self._position)
            if self._offset > len(block):
                raise ImageError(
                    f"a reference to byte {self._offset} of {len(block)}", offset=self._position
                )
            piece = block[self._offset : self._offset + size]
            self._offset += len(piece)
            if len(piece) == size and not pieces:
                return piece
            pieces.append(piece)
            size -= len(piece)
            if not size:
                return b"".join(pieces)
            self._position, self._offset = following, 0


class FileContent:
    """The content of one file; a :class:`rom_builder.formats.source.Source`.

    Args:
        volume: Where to read.
        size: Bytes of the file.
        position: Where its first data block lies.
        words: Size and flag of every data block.
        tail: The fragment block's position, its word, and where the file's end begins in it; None
            if the file has no fragment.
    """

    def __init__(
        self,
        volume: Volume,
        size: int,
        position: int,
        words: tuple[int, ...],
        tail: tuple[int, int, int] | None,
    ) -> None:
        self.size = size
        self._volume = volume
        self._words = words
        self._tail = tail
        self._positions = []
        for word in words:
            self._positions.append(position)
            position += word & ~_STORED

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        block_size = self._volume.superblock.block_size
        pieces: list[bytes] = []
        while size:
            index, start = divmod(offset, block_size)
            piece = self._block(index)[start : start + size]
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, index: int) -> bytes:
        block_size = self._volume.superblock.block_size
        expected = min(block_size, self.size - index * block_size)
        if index < len(self._words):
            position, word = self._positions[index], self._words[index]
            if not word:
                return bytes(expected)
            block = self._volume.data(position, word)
        elif self._tail is not None:
            position, word, start = self._tail
            block = self._volume.data(position, word)[start : start + expected]
        else:
            raise ImageError(f"a file of {self.size} bytes has no block {index}")
        if len(block) != expected:
            raise ImageError(
                f"a data block gives {len(block)} of {expected} bytes", offset=position
            )
        return block
