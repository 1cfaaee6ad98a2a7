"""Edits of EROFS images: new inodes and folders behind the old end, nothing old moved.

Of the old bytes only these change: the superblock (blocks, inodes, checksum), the inode of each
folder whose names change (its content is written anew), the link count of a file that loses one of
several names, and, when asked for, the content of files that are gone. So the compression of the
image does not matter. A replaced file gets a new inode: other names of the old one keep the old
content.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.edit_check import Expected, check_edit
from rom_builder.formats.erofs.addition import Addition, place_additions
from rom_builder.formats.erofs.directory import DirectoryEntry, encode_directory
from rom_builder.formats.erofs.inode import link_count, parse_inode, with_content, with_links
from rom_builder.formats.erofs.superblock import (
    SB_CHKSUM,
    SUPERBLOCK_OFFSET,
    Superblock,
    checksummed_size,
    superblock_checksum,
)
from rom_builder.formats.erofs.tree import open_erofs
from rom_builder.formats.erofs.wipe import wipe_released
from rom_builder.formats.folder_edit import (
    FolderEdit,
    TreeIndex,
    arrange,
    attributes_of,
    encoded,
    file_attributes,
    folder_attributes,
    removed_below,
)
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.image_edit import (
    FileChange,
    ImagePlan,
    LabelOf,
    check_limit,
    refuse_footer,
)
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.tree import Node, NodeKind

_FOLDER_LIMIT = 64 << 20


def plan_edits(
    image: Source,
    changes: Iterable[FileChange],
    *,
    label_of: LabelOf | None = None,
    wipe: bool = False,
    size_limit: int | None = None,
) -> ImagePlan:
    """Return the bytes that make changes to the files of an EROFS image.

    The image is read to its end before and, as it will be, after; nothing is written.

    Args:
        image: The file system without hashtree and footer; what it has behind its last block stays.
        changes: Each path once, in any order.
        label_of: Knows the SELinux labels of new files and folders.
        wipe: Zero the content of removed and replaced files where no other file uses the bytes.
        size_limit: Bytes that the image may have afterwards.

    Raises:
        ImageError: The image is damaged, or a change cannot be made safely.
        ValueError: A path is named twice.
    """
    refuse_footer(image)
    tree = open_erofs(image)
    index = TreeIndex(tree)
    edits = arrange(index, changes)
    edit = _Edit(image, tree.superblock, index, label_of)
    edit.collect(edits)
    draft = Draft(image, tree.superblock.block_size)
    if edits:
        edit.write(draft)
    remains = wipe_released(image, tree.superblock, index, edit.released, draft) if wipe else ()
    seal(draft, tree.superblock)
    check_limit(draft.size, size_limit)
    plan = draft.plan(remains)
    if plan.writes:
        check_edit(index, open_erofs(plan.apply(image)), edit.expected())
    return plan


@dataclass(slots=True)
class _Folder:
    """A folder with its names as they will be; ``old`` is None for one that is made."""

    old: Node | None
    entries: dict[bytes, tuple[Node | Addition, NodeKind]]
    made: Addition | None
    parent: _Folder | None
    links_change: int = 0


@dataclass(slots=True)
class _Edit:
    """One edit of one image, from the names to the bytes."""

    image: Source
    superblock: Superblock
    index: TreeIndex
    label_of: LabelOf | None
    additions: dict[str, Addition] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)
    released: list[Node] = field(default_factory=list)
    removed: list[Node] = field(default_factory=list)

    def collect(self, edits: Iterable[FolderEdit]) -> None:
        """Take down what is new, what goes, and the names of every folder that changes."""
        for edit in edits:
            folder = self._folder(edit)
            inherited = (
                folder.made.attributes
                if folder.made
                else attributes_of(folder.old or self.index.root)
            )
            for name in edit.removed:
                del folder.entries[encoded(name)]
            for node in edit.removed.values():
                folder.links_change -= node.kind is NodeKind.FOLDER
            self.removed += removed_below(self.index, edit)
            for name, change in edit.files.items():
                attributes = file_attributes(self.index, change, inherited, self.label_of)
                addition = Addition(change.path, NodeKind.FILE, attributes, change.content)
                if (old := self.index.get(change.path)) is not None:
                    self.released.append(old)
                self._add(folder, name, addition)
            for name, made in edit.folders.items():
                attributes = folder_attributes(made.path, inherited, self.label_of)
                empty = BytesSource(b"")
                self._add(folder, name, Addition(made.path, NodeKind.FOLDER, attributes, empty))
                folder.links_change += 1
        self.released += self.removed

    def write(self, draft: Draft) -> None:
        """Write all that is new, and the counts of the superblock."""
        superblock = self.superblock
        block = max(superblock.blocks, -(-self.image.size // superblock.block_size))
        for folder in self.folders.values():
            if folder.made is not None:
                folder.made.content = BytesSource(self._encode(folder))
                folder.made.links = 2 + folder.links_change
        additions = list(self.additions.values())
        for number, addition in enumerate(additions, superblock.inode_count + 1):
            addition.number = number & 0xFFFFFFFF
        metadata_block = block
        block = place_additions(superblock, additions, block)
        for folder in self.folders.values():
            content = self._encode(folder)
            if folder.made is not None:
                folder.made.content = BytesSource(content)
            elif folder.old is not None:
                self._move_folder(draft, folder.old, content, block, folder.links_change)
                block += -(-len(content) // superblock.block_size)
        for addition in additions:
            addition.write(draft, superblock, metadata_block)
        released = self._release(draft)
        if block >= 0xFFFFFFFF:
            raise ImageError(f"an EROFS image cannot have {block} blocks")
        inode_count = superblock.inode_count + len(additions) - released
        draft.write(SUPERBLOCK_OFFSET + 16, struct.pack("<Q", inode_count))
        draft.write(SUPERBLOCK_OFFSET + 36, struct.pack("<I", block))

    def expected(self) -> Expected:
        """Return what the edited image must hold."""
        added = self.additions.items()
        return Expected(
            {p: (a.attributes, a.content) for p, a in added if a.kind is NodeKind.FILE},
            {p: a.attributes for p, a in added if a.kind is NodeKind.FOLDER},
            frozenset(node.path for node in self.removed),
        )

    def _folder(self, edit: FolderEdit) -> _Folder:
        parent = self.folders.get(edit.path.rpartition("/")[0]) if edit.path else None
        children = self.index.children(edit.path).items() if edit.old else ()
        folder = self.folders[edit.path] = _Folder(
            edit.old,
            {encoded(name): (node, node.kind) for name, node in children},
            None if edit.old else self.additions[edit.path],
            parent,
        )
        return folder

    def _add(self, folder: _Folder, name: str, addition: Addition) -> None:
        self.additions[addition.path] = addition
        folder.entries[encoded(name)] = (addition, addition.kind)

    def _encode(self, folder: _Folder) -> bytes:
        """Return a folder's content; before additions have their place only its size is right."""
        entries = [
            DirectoryEntry(name, node.nid if isinstance(node, Addition) else node.inode or 0, kind)
            for name, (node, kind) in folder.entries.items()
        ]
        if folder.made is not None:
            here, above = folder.made.nid, self._nid(folder.parent)
            dots = [(b".", here), (b"..", above)]
        else:
            old = folder.old or self.index.root
            above_path = old.path.rpartition("/")[0]
            above_node = self.index.get(above_path) or self.index.root
            dots = [(b"..", above_node.inode or 0)]
            inode = parse_inode(self.image, self.superblock, old.inode or 0)
            if not inode.dot_omitted:
                dots.append((b".", inode.nid))
        entries += [DirectoryEntry(name, nid, NodeKind.FOLDER) for name, nid in dots]
        content = encode_directory(entries, self.superblock.block_size)
        if len(content) > _FOLDER_LIMIT:
            raise ImageError(f"a folder of {len(content)} bytes")
        return content

    def _nid(self, folder: _Folder | None) -> int:
        if folder is None:
            raise AssertionError("a folder that is made has no folder above it")
        if folder.made is not None:
            return folder.made.nid
        return (folder.old or self.index.root).inode or 0

    def _move_folder(
        self, draft: Draft, folder: Node, content: bytes, block: int, links_change: int
    ) -> None:
        inode = parse_inode(self.image, self.superblock, folder.inode or 0)
        raw = draft.read_at(inode.offset, inode.xattr_offset - inode.offset)
        draft.write(inode.offset, with_content(raw, len(content), block, links_change))
        draft.place(block, BytesSource(content))

    def _release(self, draft: Draft) -> int:
        """Count down the links of inodes that lose names; return how many lose their last one."""
        gone = 0
        for nid, count in Counter(node.inode or 0 for node in self.released).items():
            inode = parse_inode(self.image, self.superblock, nid)
            kept = self.index.links.get(nid, count) - count
            if not kept:
                gone += 1
                continue
            raw = draft.read_at(inode.offset, inode.xattr_offset - inode.offset)
            if link_count(raw) != kept + count:
                raise ImageError(
                    f"inode {nid} has {kept + count} names and counts {link_count(raw)}",
                    offset=inode.offset,
                )
            draft.write(inode.offset, with_links(raw, kept))
        return gone


def seal(draft: Draft, superblock: Superblock) -> None:
    """Make the superblock's checksum right again, if it has one."""
    if superblock.compat & SB_CHKSUM:
        data = draft.read_at(SUPERBLOCK_OFFSET, checksummed_size(superblock.block_size))
        draft.write(SUPERBLOCK_OFFSET + 4, struct.pack("<I", superblock_checksum(data)))
