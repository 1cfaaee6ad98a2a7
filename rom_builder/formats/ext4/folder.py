"""Names in an ext4 folder, read block by block whether it is hashed or not.

Entry, little-endian (Linux ``Documentation/filesystems/ext4/directory.rst``)::

    u32 inode, 0 = unused; u16 entry size; u8 name size; u8 kind; name

Entries do not cross blocks. The index of a hashed folder looks like unused entries. With
``metadata_csum`` a block of entries ends in an unused entry of 12 bytes with kind 0xDE and a
CRC-32C, an index block in a CRC-32C after its room for index entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.inode import INDEX, Inode

_ENTRY = struct.Struct("<IHB")
_TAIL = b"\0\0\0\0\x0c\0\0\xde"


def parse_entries(block: bytes, offset: int) -> Iterator[tuple[str, int]]:
    """Yield name and inode number of every entry of one block but ``.`` and ``..``.

    Args:
        block: A folder's block, or the whole area of an inline folder.
        offset: Where it lies in the image.

    Raises:
        ImageError: An entry is damaged; those before it were yielded.
    """
    position = 0
    while position < len(block):
        if position + 8 > len(block):
            raise ImageError("a folder entry is cut off", offset=offset + position)
        inode, size, name_size = _ENTRY.unpack_from(block, position)
        if len(block) >= 65536:  # 16 bits are too few: the two low ones carry the high ones
            size = len(block) if size in (0, 65535) else size & 0xFFFC | (size & 3) << 16
        if size % 4 or size < 8 + name_size or position + size > len(block):
            raise ImageError(
                f"a folder entry of {size} bytes with a name of {name_size}",
                offset=offset + position,
            )
        if inode:
            name = block[position + 8 : position + 8 + name_size]
            if not name or b"/" in name or b"\0" in name:
                raise ImageError(f"{name!r} is not a file name", offset=offset + position)
            if name not in (b".", b".."):
                yield name.decode("utf-8", "surrogateescape"), inode
        position += size


def verify_folder_block(block: bytes, inode: Inode, offset: int) -> None:
    """Compare a folder's block with the checksum it carries.

    Args:
        block: The block.
        inode: The folder.
        offset: Where the block lies in the image.

    Raises:
        ImageError: They differ, or the block has none.
    """
    index = _index_offset(block) if inode.flags & INDEX else None
    if index is not None:
        room, count = struct.unpack_from("<HH", block, index)
        end, tail = index + 8 * count, index + 8 * room
        if count > room or tail + 8 > len(block):
            raise ImageError(f"a folder index of {count} in a room for {room}", offset=offset)
        computed = crc32c(inode.checksum_seed, block[:end])
        computed = crc32c(computed, block[tail : tail + 4] + bytes(4))
        stored = block[tail + 4 : tail + 8]
    else:
        computed = crc32c(inode.checksum_seed, block[:-12])
        stored = block[-4:] if block[-12:-4] == _TAIL else b""
    if stored != computed.to_bytes(4, "little"):
        raise ImageError(
            f"a block of folder inode {inode.number} does not match its checksum", offset=offset
        )


def is_index_block(block: bytes) -> bool:
    """Tell whether a block of a hashed folder holds index entries."""
    return _index_offset(block) is not None


def _index_offset(block: bytes) -> int | None:
    """Return where a hashed folder's index begins in a block, None if the block has none.

    An inner node is one unused entry as long as the block; in the root ``..`` takes all that
    ``.`` leaves, and 8 bytes about the hash stand before the index.
    """
    first, first_size = struct.unpack_from("<IH", block)
    (second_size,) = struct.unpack_from("<H", block, 16)
    if first == 0 and first_size == min(len(block), 65535):
        return 8
    if first_size == 12 and second_size == len(block) - 12:
        return 32
    return None
