"""A SquashFS image as a tree of files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source
from rom_builder.formats.squashfs.inode import Inode, read_content, read_inode
from rom_builder.formats.squashfs.metadata import Cursor, Volume
from rom_builder.formats.squashfs.superblock import Superblock, read_superblock
from rom_builder.formats.squashfs.xattr import AttributeReader
from rom_builder.formats.tree import Node, NodeKind, Unread, UnreadParts, WalkedOnce, decoded

_NAMES_LIMIT = 1 << 20  # names in one walk; a ROM has some ten thousand
_PATH_LIMIT = 4096  # PATH_MAX of Linux

# A listing is runs of entries whose inodes lie in one metadata block:
# u32 entries - 1, u32 block, u32 number; each entry u16 offset, s16 number - that, u16 type,
# u16 name size - 1, name.
_RUN = struct.Struct("<3I")
_ENTRY = struct.Struct("<HhHH")
_RUN_LIMIT = 256


@dataclass(slots=True)
class _Walk:
    """What one walk has met so far."""

    names_left: int = _NAMES_LIMIT
    folders: set[int] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)


class Squashfs(WalkedOnce):
    """The files of a SquashFS image; made by :func:`open_squashfs`.

    Names, labels and link targets that are not UTF-8 keep their bytes as surrogates
    (``os.fsencode`` gives them back).

    Attributes:
        superblock: Facts about the file system.
        unread: What could not be read so far, without repetition.
    """

    def __init__(self, source: Source, superblock: Superblock) -> None:
        super().__init__()
        self.superblock = superblock
        self.unread = UnreadParts()
        self._volume = Volume(source, superblock)
        self._attributes = AttributeReader(self._volume)
        self._references: dict[int, int] = {}
        self._reached: set[int] | None = None
        if source.size < superblock.size:
            self.unread.note("", f"the image ends at {source.size} of {superblock.size} bytes")

    def root(self) -> Node:
        """Return the root folder, which a walk leaves out.

        Raises:
            ImageError: It is damaged.
        """
        inode = read_inode(self._volume, self.superblock.root)
        return self._node("", inode, self._read_attributes(inode))

    def _walk(self) -> Iterator[Node]:
        walk = _Walk()
        stack: list[Iterator[tuple[str, int, int]]] = []
        try:
            root = read_inode(self._volume, self.superblock.root)
            walk.folders.add(root.number)
            walk.numbers.add(root.number)
            stack.append(iter(self._entries_at("", root, walk)))
        except ImageError as error:
            self.unread.note("", f"the root folder: {error}")
        while stack:
            for path, reference, number in stack[-1]:
                inode = self._visit(path, reference, number, walk)
                if inode is None:
                    continue
                yield self._node(path, inode, self._noted_attributes(path, inode))
                if inode.kind is NodeKind.FOLDER:
                    stack.append(iter(self._entries_at(path, inode, walk)))
                    break
            else:
                stack.pop()
        self._reached = walk.numbers

    def open(self, node: Node) -> Source:
        """Return the content of a file that a walk met, read lazily; holes are zeros.

        Raises:
            ImageError: The file is damaged, or no walk of this image met it.
        """
        reference = None if node.inode is None else self._references.get(node.inode)
        if reference is None or node.kind is not NodeKind.FILE:
            raise ImageError(f"a {node.kind.value} without content", path=node.path)
        try:
            return read_content(self._volume, reference)
        except ImageError as error:
            raise error.within(node.path) from None

    def check_complete(self) -> list[Unread]:
        """Compare the inodes that names lead to with the superblock's count.

        Walks the tree first if no walk has come to its end yet.

        Returns:
            One item if they differ; empty if they agree.
        """
        if self._reached is None:
            for _ in self.walk():
                pass
        met, counted = len(self._reached or ()), self.superblock.inode_count
        if met == counted:
            return []
        return [Unread("", f"names lead to {met} inodes, the superblock counts {counted}")]

    def _visit(self, path: str, reference: int, number: int, walk: _Walk) -> Inode | None:
        """Return the inode that a name leads to; None, and a note, if it cannot be told."""
        walk.numbers.add(number)
        try:
            inode = read_inode(self._volume, reference)
        except ImageError as error:
            self.unread.note(path, str(error))
            return None
        if inode.number != number or self._references.setdefault(number, reference) != reference:
            self.unread.note(path, f"two inodes have the number {number}")
            return None
        if inode.kind is NodeKind.FOLDER:
            if number in walk.folders:
                self.unread.note(path, f"folder inode {number} has another place already")
                return None
            walk.folders.add(number)
        return inode

    def _read_attributes(self, inode: Inode) -> dict[str, bytes]:
        return {} if inode.attributes is None else self._attributes.read(inode.attributes)

    def _noted_attributes(self, path: str, inode: Inode) -> dict[str, bytes]:
        try:
            return self._read_attributes(inode)
        except ImageError as error:
            self.unread.note(path, f"its extended attributes: {error}")
            return {}

    def _node(self, path: str, inode: Inode, attributes: dict[str, bytes]) -> Node:
        return Node(
            path=path,
            kind=inode.kind,
            size=0 if inode.kind is NodeKind.FOLDER else inode.size,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime=inode.mtime,
            target=None if inode.target is None else decoded(inode.target),
            xattrs=dict(attributes),
            inode=inode.number,
        )

    def _entries_at(self, path: str, inode: Inode, walk: _Walk) -> list[tuple[str, int, int]]:
        """Return path, inode reference and number of everything in a folder, sorted by name."""
        found: dict[str, tuple[int, int]] = {}
        try:
            for name, reference, number in self._listing(inode, len(path)):
                if not walk.names_left:
                    self.unread.note("", f"there are more than {_NAMES_LIMIT} names")
                    break
                walk.names_left -= 1
                if name in found:
                    self.unread.note(f"{path}/{name}".lstrip("/"), "the folder has this name twice")
                found.setdefault(name, (reference, number))
        except ImageError as error:
            self.unread.note(path, str(error))
        prefix = f"{path}/" if path else ""
        return [(prefix + name, *found[name]) for name in sorted(found)]

    def _listing(self, inode: Inode, path_size: int) -> Iterator[tuple[str, int, int]]:
        """Yield name, inode reference and number of every entry of a folder."""
        place = self.superblock.directory_table + inode.start
        if inode.kind is not NodeKind.FOLDER or path_size > _PATH_LIMIT:
            raise ImageError("nested too deep, or no folder", offset=place)
        cursor = Cursor(self._volume, place, inode.offset)
        left = inode.size
        while left > 0:
            count, block, base = _RUN.unpack(cursor.read(_RUN.size))
            if count >= _RUN_LIMIT:
                raise ImageError(f"a run of {count + 1} names", offset=place)
            left -= _RUN.size
            for _ in range(count + 1):
                offset, delta, _kind, name_size = _ENTRY.unpack(cursor.read(_ENTRY.size))
                if name_size >= 256:
                    raise ImageError(f"a name of {name_size + 1} bytes", offset=place)
                name = cursor.read(name_size + 1)
                if b"/" in name or b"\0" in name or name in (b".", b".."):
                    raise ImageError(f"{name!r} is not a file name", offset=place)
                left -= _ENTRY.size + len(name)
                yield decoded(name), block << 16 | offset, base + delta
        if left:
            raise ImageError("a folder's names do not fill its listing", offset=place)


def open_squashfs(source: Source) -> Squashfs:
    """Open a SquashFS 4.0 image; nothing but its superblock is read yet.

    Raises:
        ImageError: The superblock is absent or damaged, or the codec is not read.
    """
    return Squashfs(source, read_superblock(source))
