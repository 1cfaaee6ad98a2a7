"""An EROFS image as a tree of files."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.compressed import Cache, open_compressed
from rom_builder.formats.erofs.data import open_uncompressed
from rom_builder.formats.erofs.directory import DirectoryEntry, parse_directory_block
from rom_builder.formats.erofs.inode import (
    COMPRESSED_COMPACT,
    COMPRESSED_FULL,
    Inode,
    parse_inode,
)
from rom_builder.formats.erofs.superblock import Superblock, parse_superblock
from rom_builder.formats.erofs.xattr import Xattrs
from rom_builder.formats.source import Source
from rom_builder.formats.tree import Node, NodeKind, UnreadParts, WalkedOnce, decoded

# Linux's PATH_MAX: no program reaches a longer path or follows a longer target.
_MAX_PATH_SIZE = 4096

# Folders of a sound image do not overlap, so all of them together are smaller than the image
# unless they are compressed; damaged ones can list each other's entries without end.
_FOLDER_RATIO = 4


class Erofs(WalkedOnce):
    """The files of an EROFS image, read lazily from the image.

    Names and symlink targets that are not UTF-8 keep their bytes through ``surrogateescape``.

    Attributes:
        superblock: What the image says about itself.
        unread: Parts that could not be read; grows while the tree is walked.
    """

    def __init__(self, image: Source, superblock: Superblock) -> None:
        super().__init__()
        self.superblock = superblock
        self.unread = UnreadParts()
        self._image = image
        self._cache = Cache()
        self._packed_content: Source | None = None
        self._xattrs = Xattrs(image, superblock, self._packed)
        self._root = self._inode(superblock.root_nid)
        if self._root.kind is not NodeKind.FOLDER:
            raise ImageError(f"the root is a {self._root.kind.value}", offset=self._root.offset)
        size = superblock.blocks * superblock.block_size
        if image.size < size:
            self.unread.note("", f"the image has {image.size} bytes, its file system {size}")
        if superblock.extra_devices:
            self.unread.note("", f"content on {superblock.extra_devices} extra devices is not here")

    def root(self) -> Node:
        """Return the root folder, which a walk leaves out."""
        return self._node("", self._root)

    def _walk(self) -> Iterator[Node]:
        root = self._root
        walk = _Walk(self._image.size * _FOLDER_RATIO)
        walk.reached.add(root.nid)
        walk.folders[root.nid] = ""
        stack = [self._entries("", root, root.nid, walk)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
                continue
            node, inode, parent = found
            yield node
            if node.kind is NodeKind.FOLDER:
                known = walk.folders.setdefault(inode.nid, node.path)
                if known is not node.path:
                    self.unread.note(node.path, f"the folder is {known or 'the root'} once more")
                else:
                    stack.append(self._entries(node.path, inode, parent, walk))
        expected = self.superblock.inode_count - (self.superblock.packed_nid is not None)
        if len(walk.reached) != expected:
            self.unread.note(
                "", f"{len(walk.reached)} inodes were reached, the superblock counts {expected}"
            )

    def open(self, node: Node) -> Source:
        if node.inode is None or node.kind is not NodeKind.FILE:
            raise ValueError(f"{node.path} is not a file of an EROFS image")
        return self._content(self._inode(node.inode))

    def _inode(self, nid: int) -> Inode:
        return parse_inode(self._image, self.superblock, nid)

    def _content(self, inode: Inode) -> Source:
        if inode.layout in (COMPRESSED_FULL, COMPRESSED_COMPACT):
            return open_compressed(self._image, self.superblock, inode, self._packed, self._cache)
        return open_uncompressed(self._image, self.superblock, inode)

    def _packed(self) -> Source:
        """Return the content of the packed inode, which has no fragments itself."""
        if self._packed_content is None:
            if self.superblock.packed_nid is None:
                raise ImageError("a fragment of a packed inode, and there is none")
            inode = self._inode(self.superblock.packed_nid)
            if inode.layout in (COMPRESSED_FULL, COMPRESSED_COMPACT):
                self._packed_content = open_compressed(
                    self._image, self.superblock, inode, _no_packed, self._cache
                )
            else:
                self._packed_content = open_uncompressed(self._image, self.superblock, inode)
        return self._packed_content

    def _entries(
        self, path: str, folder: Inode, parent: int, walk: _Walk
    ) -> Iterator[tuple[Node, Inode, int]]:
        """Yield the nodes of one folder, their inodes, and the folder's own nid."""
        for entry in self._list(path, folder, parent, walk):
            name = decoded(entry.name)
            child = f"{path}/{name}" if path else name
            walk.reached.add(entry.nid)
            if len(child) > _MAX_PATH_SIZE:
                self.unread.note(path, "a path in this folder is longer than 4096 bytes")
                continue
            try:
                inode = self._inode(entry.nid)
                node = self._node(child, inode)
            except ImageError as error:
                self.unread.note(child, str(error))
                continue
            if entry.kind not in (None, inode.kind):
                self.unread.note(
                    child, f"its folder calls the {inode.kind.value} a {entry.kind.value}"
                )
            yield node, inode, folder.nid

    def _list(self, path: str, folder: Inode, parent: int, walk: _Walk) -> Iterator[DirectoryEntry]:
        """Yield the entries of a folder block by block, without ``.`` and ``..``."""
        walk.budget -= folder.size
        if walk.budget < 0:
            self.unread.note(path, f"folders take more than {_FOLDER_RATIO} times the image's size")
            return
        expected = {b"..": parent} if folder.dot_omitted else {b".": folder.nid, b"..": parent}
        last = b""
        block_size = self.superblock.block_size
        try:
            content = self._content(folder)
        except ImageError as error:
            self.unread.note(path, str(error))
            return
        for offset in range(0, folder.size, block_size):
            try:
                block = content.read_at(offset, min(block_size, folder.size - offset))
                entries = parse_directory_block(block, last)
            except ImageError as error:
                self.unread.note(path, str(error))
                continue
            for entry in entries:
                if entry.name not in (b".", b".."):
                    yield entry
                elif expected.pop(entry.name, entry.nid) != entry.nid:
                    self.unread.note(path, f"{entry.name.decode()} is inode {entry.nid}")
            last = entries[-1].name
        for name in expected:
            self.unread.note(path, f"{name.decode()} is missing")

    def _node(self, path: str, inode: Inode) -> Node:
        try:
            xattrs = self._xattrs.read(inode)
        except ImageError as error:
            self.unread.note(path, f"extended attributes: {error}")
            xattrs = {}
        target = self._target(inode) if inode.kind is NodeKind.SYMLINK else None
        return Node(
            path=path,
            kind=inode.kind,
            size=inode.size if inode.kind in (NodeKind.FILE, NodeKind.SYMLINK) else 0,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime=inode.mtime,
            target=target,
            xattrs=xattrs,
            inode=inode.nid,
        )

    def _target(self, inode: Inode) -> str:
        if not 0 < inode.size <= _MAX_PATH_SIZE:
            raise ImageError(f"a symlink target of {inode.size} bytes", offset=inode.offset)
        return decoded(self._content(inode).read_at(0, inode.size))


class _Walk:
    """What one walk has seen: inodes, folders by nid, and bytes of folders it may still read."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.reached: set[int] = set()
        self.folders: dict[int, str] = {}


def open_erofs(image: Source) -> Erofs:
    """Open an EROFS image.

    Args:
        image: The image, from the file system's first byte on; it may be longer.

    Raises:
        ImageError: Not EROFS, a damaged superblock, or a feature this reader does not know.
    """
    return Erofs(image, parse_superblock(image))


def _no_packed() -> Source:
    raise ImageError("the packed inode has a fragment of itself")
