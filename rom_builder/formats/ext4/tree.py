"""An ext2, ext3 or ext4 image as a tree of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.blocks import Run, map_blocks, mapped_content
from rom_builder.formats.ext4.complete import check_used_inodes
from rom_builder.formats.ext4.folder import parse_entries, verify_folder_block
from rom_builder.formats.ext4.inode import EA_INODE, ENCRYPT, EXTENTS, INLINE_DATA, Inode
from rom_builder.formats.ext4.superblock import ROOT_INODE, Superblock, read_superblock
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.ext4.xattr import AttributeReader, Attributes
from rom_builder.formats.source import BytesSource, Pieces, Source
from rom_builder.formats.tree import Node, NodeKind, Unread, UnreadParts, WalkedOnce, decoded

_NAMES_LIMIT = 1 << 20  # names in one walk; a ROM has some ten thousand
_PATH_LIMIT = 4096  # PATH_MAX of Linux
_NO_ATTRIBUTES = Attributes({}, None, frozenset())


@dataclass(slots=True)
class _Walk:
    """What one walk has met so far."""

    blocks_left: int
    names_left: int = _NAMES_LIMIT
    folders: set[int] = field(default_factory=lambda: {ROOT_INODE})
    inodes: set[int] = field(default_factory=lambda: {ROOT_INODE})


class Ext4(WalkedOnce):
    """The files of an ext2, ext3 or ext4 image; made by :func:`open_ext4`.

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
        self._reached: set[int] | None = None
        if source.size < superblock.size:
            self.unread.note("", f"the image ends at {source.size} of {superblock.size} bytes")
        if "needs_recovery" in superblock.features:
            self.unread.note("", "the journal holds changes that the image does not show yet")

    def root(self) -> Node:
        """Return the root folder, which a walk leaves out.

        Raises:
            ImageError: It is damaged.
        """
        inode = self.inode(ROOT_INODE)
        return self._node("", inode, self._attributes.read(inode))

    def _walk(self) -> Iterator[Node]:
        walk = _Walk(blocks_left=self.superblock.block_count)
        stack = [iter(self._entries_at("", ROOT_INODE, walk))]
        while stack:
            for path, number in stack[-1]:
                node = self._visit(path, number, walk)
                if node is None:
                    continue
                yield node
                if node.kind is NodeKind.FOLDER:
                    stack.append(iter(self._entries_at(path, number, walk)))
                    break
            else:
                stack.pop()
        self._reached = walk.inodes

    def open(self, node: Node) -> Source:
        """Return the content of a file, read lazily; holes are zeros.

        Raises:
            ImageError: The file is damaged, encrypted, or larger than the file system.
        """
        if node.inode is None or node.kind is not NodeKind.FILE:
            raise ImageError(f"a {node.kind.value} has no content", path=node.path)
        try:
            return self._content(self.inode(node.inode))
        except ImageError as error:
            raise error.within(node.path) from None

    def inode(self, number: int) -> Inode:
        """Return an inode by number, with the flags that :class:`Node` has no room for.

        Raises:
            ImageError: There is none with that number, or it is damaged.
        """
        return self._volume.inode(number)

    def map_blocks(self, inode: Inode) -> list[Run]:
        """Return where an inode's content lies in the image, in file order without the holes.

        Raises:
            ImageError: The map is damaged.
        """
        return map_blocks(self._volume, inode)

    def check_complete(self) -> list[Unread]:
        """Compare the inodes that names lead to with the inodes that the image counts as used.

        Walks the tree first if no walk has come to its end yet.

        Returns:
            One item for each way in which they differ; empty if they agree.
        """
        if self._reached is None:
            for _ in self.walk():
                pass
        return check_used_inodes(self._volume, self._reached or set())

    def _visit(self, path: str, number: int, walk: _Walk) -> Node | None:
        """Return the node that a name leads to; None, and a note, if it cannot be told."""
        walk.inodes.add(number)
        try:
            inode = self._named_inode(number)
        except ImageError as error:
            self.unread.note(path, str(error))
            return None
        if inode.kind is NodeKind.FOLDER:
            if number in walk.folders:
                self.unread.note(path, f"folder inode {number} has another place already")
                return None
            walk.folders.add(number)
        if inode.flags & ENCRYPT:
            self.unread.note(path, f"the {inode.kind.value} is encrypted")
        attributes = _NO_ATTRIBUTES
        try:
            attributes = self._attributes.read(inode)
        except ImageError as error:
            self.unread.note(path, f"its extended attributes: {error}")
        walk.inodes |= attributes.inodes
        try:
            return self._node(path, inode, attributes)
        except ImageError as error:
            self.unread.note(path, str(error))
            return None

    def _named_inode(self, number: int) -> Inode:
        inode = self.inode(number)
        if number < self.superblock.first_inode or inode.flags & EA_INODE:
            raise ImageError(f"inode {number} is not for files", offset=inode.offset)
        return inode

    def _node(self, path: str, inode: Inode, attributes: Attributes) -> Node:
        is_symlink = inode.kind is NodeKind.SYMLINK
        return Node(
            path=path,
            kind=inode.kind,
            size=inode.size if is_symlink or inode.kind is NodeKind.FILE else 0,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime=inode.mtime,
            target=self._target(inode) if is_symlink else None,
            xattrs=dict(attributes.values),
            inode=inode.number,
        )

    def _target(self, inode: Inode) -> str:
        if inode.size >= _PATH_LIMIT:
            raise ImageError(f"a link's target of {inode.size} bytes", offset=inode.offset + 4)
        # Up to 59 bytes stand where the block map would.
        if inode.size < len(inode.block) and not inode.flags & (EXTENTS | INLINE_DATA):
            target = inode.block[: inode.size]
        else:
            target = self._content(inode).read_at(0, inode.size)
        if not target or b"\0" in target:
            raise ImageError(f"{target!r} is no link target", offset=inode.offset + 40)
        return decoded(target)

    def _content(self, inode: Inode) -> Source:
        if inode.flags & ENCRYPT:
            raise ImageError("the content is encrypted", offset=inode.offset)
        if inode.flags & INLINE_DATA:
            data = self._attributes.read_inline_data(inode)
            return Pieces([(BytesSource(data), len(data)), (None, inode.size - len(data))])
        return mapped_content(self._volume, inode)

    def _entries_at(self, path: str, number: int, walk: _Walk) -> list[tuple[str, int]]:
        """Return path and inode number of everything in a folder, sorted by name."""
        found: dict[str, int] = {}
        try:
            for area, offset in self._folder_areas(path, self.inode(number), walk):
                self._collect(found, path, area, offset, walk)
        except ImageError as error:
            self.unread.note(path, str(error))
        prefix = f"{path}/" if path else ""
        return [(prefix + name, found[name]) for name in sorted(found)]

    def _collect(
        self, found: dict[str, int], path: str, area: bytes, offset: int, walk: _Walk
    ) -> None:
        """Add the entries of one area of a folder to ``found``, up to the first damaged one."""
        try:
            for name, number in parse_entries(area, offset):
                if not walk.names_left:
                    self.unread.note("", f"there are more than {_NAMES_LIMIT} names")
                    return
                walk.names_left -= 1
                if name in found:
                    self.unread.note(f"{path}/{name}".lstrip("/"), "the folder has this name twice")
                found.setdefault(name, number)
        except ImageError as error:
            self.unread.note(path, str(error))

    def _folder_areas(self, path: str, inode: Inode, walk: _Walk) -> Iterator[tuple[bytes, int]]:
        """Yield each undamaged area of entries and its offset in the image."""
        if inode.kind is not NodeKind.FOLDER or inode.flags & ENCRYPT or len(path) > _PATH_LIMIT:
            raise ImageError(
                "its names cannot be read: encrypted, nested too deep or no folder",
                offset=inode.offset,
            )
        if inode.flags & INLINE_DATA:
            content = self._attributes.read_inline_data(inode)
            yield content[4:60], inode.offset + 44  # after the number of the parent
            yield content[60:], inode.offset
            return
        block_size = self._volume.block_size
        # Each block belongs to one folder: all of them cannot have more than there are.
        walk.blocks_left -= -(-inode.size // block_size)
        if walk.blocks_left < 0:
            raise ImageError("folders share blocks", offset=inode.offset + 4)
        next_block = 0
        for run in map_blocks(self._volume, inode):
            if run.logical != next_block:
                break
            next_block += run.count
            for block in range(run.physical, run.physical + run.count):
                try:
                    area = self._volume.block(block)
                    if self.superblock.has_checksums:
                        verify_folder_block(area, inode, block * block_size)
                except ImageError as error:
                    self.unread.note(path, str(error))
                else:
                    yield area, block * block_size
        if next_block * block_size != inode.size:
            raise ImageError(
                f"the folder has {next_block * block_size} of {inode.size} bytes",
                offset=inode.offset + 4,
            )


def open_ext4(source: Source) -> Ext4:
    """Open an ext2, ext3 or ext4 image; nothing but its superblock is read yet.

    Raises:
        ImageError: The superblock is absent or damaged, or names a feature that is not read.
    """
    return Ext4(source, read_superblock(source))
