"""The blocks of one folder being edited; layout in ``folder.py``.

A block is written anew only if its names change. A name goes to the first block that has room for
it. A folder with a hashed index keeps it while names only go; a new name makes it an ordinary
folder: the index blocks look like unused entries and become just that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.folder import is_index_block
from rom_builder.formats.tree import NodeKind

_ENTRY = struct.Struct("<IHBB")
_TAIL = struct.Struct("<IHBBI")
_TAIL_KIND = 0xDE

# EXT4_FT_* of Linux
KINDS = {
    NodeKind.FILE: 1,
    NodeKind.FOLDER: 2,
    NodeKind.CHARACTER_DEVICE: 3,
    NodeKind.BLOCK_DEVICE: 4,
    NodeKind.FIFO: 5,
    NodeKind.SOCKET: 6,
    NodeKind.SYMLINK: 7,
}


@dataclass(slots=True)
class Entry:
    """One name; ``kind`` as stored, 0 where the file system keeps none."""

    name: bytes
    inode: int
    kind: int

    @property
    def size(self) -> int:
        """Bytes it needs."""
        return _ENTRY.size + (len(self.name) + 3 & ~3)


def parse_area(area: bytes) -> list[Entry]:
    """Return the used entries of a block or inline area, ``.`` and ``..`` too.

    Raises:
        ImageError: An entry is damaged.
    """
    entries = []
    position = 0
    while position + _ENTRY.size <= len(area):
        inode, size, name_size, kind = _ENTRY.unpack_from(area, position)
        if size < _ENTRY.size + name_size or size % 4 or position + size > len(area):
            raise ImageError(f"a folder entry of {size} bytes with a name of {name_size}")
        if inode:
            start = position + _ENTRY.size
            entries.append(Entry(area[start : start + name_size], inode, kind))
        position += size
    return entries


class FolderBlocks:
    """The names of one folder, block by block.

    Args:
        blocks: The folder's blocks as they are.
        block_size: Bytes of a block.
        checksummed: Blocks end in a checksum.
        indexed: The folder has a hashed index.
        kinds: Entries tell the kind of what they name.

    Attributes:
        indexed: Whether it still has.

    Raises:
        ImageError: A block is damaged.
    """

    def __init__(
        self,
        blocks: list[bytes],
        block_size: int,
        *,
        checksummed: bool,
        indexed: bool = False,
        kinds: bool = True,
    ) -> None:
        self._room = block_size - (_TAIL.size if checksummed else 0)
        self._checksummed = checksummed
        self._kinds = kinds
        self.indexed = indexed
        self._blocks = [parse_area(block) for block in blocks]
        self._index = [indexed and is_index_block(block) for block in blocks]
        self._used = [sum(entry.size for entry in entries) for entries in self._blocks]
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._blocks)

    def remove(self, name: bytes) -> None:
        """Take a name away."""
        for number, entries in enumerate(self._blocks):
            for entry in entries:
                if entry.name == name:
                    entries.remove(entry)
                    self._used[number] -= entry.size
                    self._changed.add(number)
                    return
        raise ImageError(f"the folder does not hold {name!r}")

    def repoint(self, name: bytes, inode: int, kind: NodeKind) -> None:
        """Let a name lead to another inode."""
        for number, entries in enumerate(self._blocks):
            for entry in entries:
                if entry.name == name:
                    entry.inode, entry.kind = inode, self._kind(kind)
                    self._changed.add(number)
                    return
        raise ImageError(f"the folder does not hold {name!r}")

    def add(self, name: bytes, inode: int, kind: NodeKind) -> None:
        """Add a name, in a new block at the end if no other has room."""
        self.append(Entry(name, inode, self._kind(kind)))

    def append(self, entry: Entry) -> None:
        """Add an entry that is as stored; see :meth:`add`."""
        if self.indexed:
            self.indexed = False
            if self._checksummed:  # index blocks end otherwise
                self._changed.update(n for n, is_index in enumerate(self._index) if is_index)
        fitting = (n for n, used in enumerate(self._used) if used + entry.size <= self._room)
        number = next(fitting, len(self._blocks))
        if number == len(self._blocks):
            self._blocks.append([])
            self._used.append(0)
        self._blocks[number].append(entry)
        self._used[number] += entry.size
        self._changed.add(number)

    def changed(self, checksum_seed: int) -> list[tuple[int, bytes]]:
        """Return number, counted in the folder, and bytes of each block to be written."""
        found = []
        for number in sorted(self._changed):
            block = self._encode(self._blocks[number])
            if self._checksummed:
                checksum = crc32c(checksum_seed, block)
                block += _TAIL.pack(0, _TAIL.size, 0, _TAIL_KIND, checksum)
            found.append((number, block))
        return found

    def _encode(self, entries: list[Entry]) -> bytes:
        if not entries:
            return _ENTRY.pack(0, self._room, 0, 0).ljust(self._room, b"\0")
        parts = []
        left = self._room
        for entry in entries:
            size = left if entry is entries[-1] else entry.size
            head = _ENTRY.pack(entry.inode, size, len(entry.name), entry.kind)
            parts.append((head + entry.name).ljust(size, b"\0"))
            left -= size
        return b"".join(parts)

    def _kind(self, kind: NodeKind) -> int:
        return KINDS[kind] if self._kinds else 0
