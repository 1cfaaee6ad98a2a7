"""One ext4 image being edited: files and folders are put into and taken from a draft of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.attribute_write import encode_block, encode_body
from rom_builder.formats.ext4.blocks import map_blocks
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.extent_tree import encode_tree, node_count, split
from rom_builder.formats.ext4.folder_blocks import FolderBlocks, parse_area
from rom_builder.formats.ext4.growth import GrowingGroups
from rom_builder.formats.ext4.inode import INDEX, INLINE_DATA, Inode
from rom_builder.formats.ext4.owners import Owners
from rom_builder.formats.ext4.record import MAX_LINKS, Record, new_record
from rom_builder.formats.ext4.release import Release
from rom_builder.formats.ext4.superblock import ROOT_INODE, Superblock
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.ext4.xattr import AttributeReader
from rom_builder.formats.folder_edit import Attributes, encoded
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.image_edit import Remains
from rom_builder.formats.ranges import difference
from rom_builder.formats.source import Slice, Source
from rom_builder.formats.tree import Node, NodeKind

_HUGE_FILE = 0x40000
_SECTOR_SIZE = 512


@dataclass(slots=True)
class Folder:
    """A folder being edited.

    Attributes:
        record: Its inode.
        names: Its blocks of names.
        runs: Where those blocks lie that are in the image already.
        nodes: Blocks of its extent tree.
    """

    record: Record
    names: FolderBlocks
    runs: list[range] = field(default_factory=list)
    nodes: list[range] = field(default_factory=list)

    def remove(self, name: str, *, is_folder: bool) -> None:
        """Take a name away."""
        self.names.remove(encoded(name))
        if is_folder:
            self._add_links(-1)

    def add(self, name: str, inode: int, kind: NodeKind) -> None:
        """Add a name."""
        self.names.add(encoded(name), inode, kind)
        if kind is NodeKind.FOLDER:
            self._add_links(1)

    def _add_links(self, more: int) -> None:
        links = self.record.get("links")
        if links > 1:  # 1: folders are not counted
            if links + more > MAX_LINKS:
                raise ImageError(f"folder inode {self.record.number} holds {links - 2} folders")
            self.record.set("links", links + more)


class Editor:
    """Changes to one image, in memory.

    Args:
        image: The image as it is, read without fault.
        superblock: Its superblock.
        nodes: All its nodes.
        removed: Nodes whose names go.
        replaced: Files that get other content.
        links: Names of each inode that is no folder.

    Attributes:
        draft: The image as it will be.

    Raises:
        ImageError: A file that goes cannot be released safely.
    """

    def __init__(
        self,
        image: Source,
        superblock: Superblock,
        nodes: Iterable[Node],
        *,
        removed: Iterable[Node],
        replaced: Iterable[Node],
        links: Mapping[int, int],
    ) -> None:
        self.draft = Draft(image, superblock.block_size)
        self._superblock = superblock
        self._block_size = superblock.block_size
        self._volume = Volume(image, superblock)
        self._attributes = AttributeReader(self._volume)
        self._owners = Owners(self._volume, {ROOT_INODE, *(node.inode or 0 for node in nodes)})
        self._made: dict[int, Folder] = {}
        self._taken: list[range] = []
        self._release = Release(
            self._volume, self._owners, self._attributes, links, [*removed], [*replaced]
        )
        self._groups = GrowingGroups(self.draft, self._volume, self._release.in_use)
        self._release.carry_out(self.draft, self._groups)

    def folder(self, number: int) -> Folder:
        """Return a folder to be edited: one of the image, or one made here.

        Raises:
            ImageError: It cannot be edited safely.
        """
        if (made := self._made.get(number)) is not None:
            return made
        inode = self._volume.inode(number)
        record = self._release.record(number)
        if inode.flags & INLINE_DATA:
            return self._inline_folder(inode, record)
        own = self._owners.whole(number)
        if self._owners.is_shared([*own.data, *own.nodes]):
            raise ImageError(f"folder inode {number} shares blocks with another file")
        runs = [range(r.physical, r.physical + r.count) for r in map_blocks(self._volume, inode)]
        blocks = [self._volume.block(block) for run in runs for block in run]
        if len(blocks) * self._block_size != inode.size or sum(map(len, own.data)) != len(blocks):
            raise ImageError(f"folder inode {number} has blocks behind its end")
        names = self._names(blocks, indexed=bool(inode.flags & INDEX))
        return Folder(record, names, runs, own.nodes)

    def make_folder(self, parent: Folder, name: str, attributes: Attributes) -> int:
        """Make an empty folder and return its inode's number.

        Raises:
            ImageError: There is no room.
        """
        record = self._new_inode(parent, NodeKind.FOLDER, attributes)
        record.set("links", 2)
        names = self._names([])
        names.add(b".", record.number, NodeKind.FOLDER)
        names.add(b"..", parent.record.number, NodeKind.FOLDER)
        parent.add(name, record.number, NodeKind.FOLDER)
        self._made[record.number] = Folder(record, names)
        return record.number

    def put_file(
        self, folder: Folder, name: str, old: Node | None, attributes: Attributes, content: Source
    ) -> None:
        """Put a file into a folder, in place of ``old`` if that is not None.

        Raises:
            ImageError: There is no room, or it cannot be stored.
        """
        record = self._release.emptied.get(old.inode or 0) if old is not None else None
        if record is None:
            record = self._new_inode(folder, NodeKind.FILE, attributes)
            record.set("links", 1)
            if old is None:
                folder.add(name, record.number, NodeKind.FILE)
            else:
                folder.names.repoint(encoded(name), record.number, NodeKind.FILE)
        else:
            inline = record.get("flags") & INLINE_DATA  # part of it stands among the attributes
            if inline or old is None or attributes.xattrs != old.xattrs:
                self._release.drop_attributes(record, self.draft, self._groups)
                self._set_xattrs(record, attributes.xattrs)
            record.set_attributes(NodeKind.FILE, attributes)
        self._set_content(record, content)
        record.write(self.draft, self._superblock)

    def store_folder(self, folder: Folder) -> None:
        """Write a folder's blocks that changed, new ones behind them, and its inode.

        Raises:
            ImageError: There is no room.
        """
        record, names = folder.record, folder.names
        if not names.indexed:
            record.set("flags", record.get("flags") & ~INDEX)
        more = len(names) - sum(map(len, folder.runs))
        if more:
            for node in folder.nodes:
                self._groups.give_blocks(node)
            runs = folder.runs + self._take(more, record)
            self._set_map(record, runs)
            record.set("size", len(names) * self._block_size)
            folder.runs = runs
        places = [block for run in folder.runs for block in run]
        for number, block in names.changed(self._seed(record)):
            self.draft.write(places[number] * self._block_size, block)
        record.write(self.draft, self._superblock)

    def finish(self, *, wipe: bool) -> tuple[Remains, ...]:
        """Write bitmaps, counts and checksums; zero what was freed if asked to.

        Returns:
            Content that had to stay although it was to be zeroed.
        """
        self._groups.seal()
        if not wipe:
            return ()
        for run in difference(self._release.freed, self._taken):
            self.draft.zero(run.start * self._block_size, len(run) * self._block_size)
        return tuple(self._release.remains)

    def _inline_folder(self, inode: Inode, record: Record) -> Folder:
        """Return a folder whose names stand in its inode, as one that needs a block for them."""
        content = self._attributes.read_inline_data(inode)
        names = self._names([])
        names.add(b".", inode.number, NodeKind.FOLDER)
        names.add(b"..", int.from_bytes(content[:4], "little"), NodeKind.FOLDER)
        for area in (content[4:60], content[60:]):
            for entry in parse_area(area):
                names.append(entry)
        xattrs = self._attributes.read(inode).values
        self._release.drop_attributes(record, self.draft, self._groups)
        self._set_xattrs(record, xattrs)
        return Folder(record, names)

    def _names(self, blocks: list[bytes], *, indexed: bool = False) -> FolderBlocks:
        return FolderBlocks(
            blocks,
            self._block_size,
            checksummed=self._superblock.has_checksums,
            indexed=indexed,
            kinds="filetype" in self._superblock.features,
        )

    def _new_inode(self, folder: Folder, kind: NodeKind, attributes: Attributes) -> Record:
        """Return a new inode with its attributes, near its folder."""
        number = self._groups.take_inode(self._goal(folder.record), folder=kind is NodeKind.FOLDER)
        record = new_record(number, self._groups.inode_offset(number), self._superblock)
        record.set_attributes(kind, attributes)
        record.set_made(attributes.mtime)
        self._set_xattrs(record, attributes.xattrs)
        return record

    def _set_xattrs(self, record: Record, xattrs: Mapping[str, bytes]) -> None:
        """Store attributes in an inode that has none in a block."""
        if xattrs and "ext_attr" not in self._superblock.features:
            raise ImageError("this image has no extended attributes")
        size = len(record.raw) - 128 - record.extra_size if record.extra_size else 0
        body = encode_body(xattrs, size)
        if body is None:
            (place,) = self._take(1, record)
            block = encode_block(xattrs, place.start, self._superblock)
            self.draft.write(place.start * self._block_size, block)
            record.set("attribute_block", place.start)
            self._count_blocks(record, 1)
            body = bytes(size)
        if body:
            record.raw[-len(body) :] = body

    def _set_content(self, record: Record, content: Source) -> None:
        """Give an inode without content its blocks."""
        if content.size >> 31 and "large_file" not in self._superblock.features:
            raise ImageError(f"this image cannot hold a file of {content.size} bytes")
        count = -(-content.size // self._block_size)
        runs = self._take(count, record) if count else []
        for logical, run in self._set_map(record, runs):
            start = logical * self._block_size
            size = min(len(run) * self._block_size, content.size - start)
            self.draft.place(run.start, Slice(content, start, size))
        record.set("size", content.size)

    def _set_map(self, record: Record, runs: list[range]) -> list[tuple[int, range]]:
        """Write an extent tree and return its extents."""
        extents = split(runs)
        count = node_count(len(extents), self._block_size)
        nodes = [block for run in self._take(count, record) for block in run]
        record.set("flags", record.get("flags") & ~_HUGE_FILE)
        record.use_extents()
        record.block = encode_tree(
            extents,
            nodes,
            self._block_size,
            self._seed(record) if self._superblock.has_checksums else None,
            lambda number, block: self.draft.write(number * self._block_size, block),
        )
        self._count_blocks(record, sum(map(len, runs)) + count)
        return extents

    def _count_blocks(self, record: Record, count: int) -> None:
        """Say how many blocks an inode has besides that of its attributes, which is added."""
        count += 1 if record.get("attribute_block") else 0
        record.set("sectors", count * (self._block_size // _SECTOR_SIZE))

    def _seed(self, record: Record) -> int:
        if not self._superblock.has_checksums:
            return 0
        return crc32c(self._superblock.checksum_seed, record.checksum_start)

    def _goal(self, record: Record) -> int:
        return (record.number - 1) // self._superblock.inodes_per_group

    def _take(self, count: int, near: Record) -> list[range]:
        """Take blocks near an inode."""
        taken = self._groups.take_blocks(count, self._goal(near)) if count else []
        self._taken += taken
        return taken
