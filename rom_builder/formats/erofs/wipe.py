"""Zeroing the content of files that an edit took away, where nothing else uses the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.compressed import Cache, CompressedFile, open_compressed
from rom_builder.formats.erofs.data import ChunkedFile, open_uncompressed
from rom_builder.formats.erofs.inode import (
    COMPRESSED_COMPACT,
    COMPRESSED_FULL,
    INLINE,
    Inode,
    parse_inode,
)
from rom_builder.formats.erofs.superblock import Superblock
from rom_builder.formats.folder_edit import TreeIndex
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.image_edit import Remains
from rom_builder.formats.ranges import difference
from rom_builder.formats.source import Source
from rom_builder.formats.tree import Node, NodeKind


class _Stored(NamedTuple):
    """Where an inode and its content lie in the image."""

    content: list[range]
    about: range
    fragment_size: int


def wipe_released(
    image: Source,
    superblock: Superblock,
    index: TreeIndex,
    released: Iterable[Node],
    draft: Draft,
) -> tuple[Remains, ...]:
    """Zero the content of inodes that have lost their last name.

    Bytes that another file uses too (deduplicated content) stay, and so does what lies in the
    packed inode, compressed together with the ends of other files.

    Returns:
        What had to stay.

    Raises:
        ImageError: The map of a file's content is damaged.
    """
    names = {}
    lost: dict[int, int] = {}
    for node in released:
        if node.kind in (NodeKind.FILE, NodeKind.SYMLINK) and node.inode is not None:
            lost[node.inode] = lost.get(node.inode, 0) + 1
            names[node.inode] = node.path
    gone = {nid: path for nid, path in names.items() if lost[nid] == index.links[nid]}
    if not gone:
        return ()
    kept = {node.inode for node in (index.root, *index.nodes.values())} - gone.keys()
    used: list[range] = []
    for nid in (*kept, superblock.packed_nid):
        if nid is not None:
            stored = _stored(image, superblock, parse_inode(image, superblock, nid))
            used += [*stored.content, stored.about]
    remains = []
    for nid, path in gone.items():
        inode = parse_inode(image, superblock, nid)
        stored = _stored(image, superblock, inode)
        free = difference(stored.content, used)
        for part in free:
            draft.zero(part.start, len(part))
        shared = sum(map(len, difference(stored.content, []))) - sum(map(len, free))
        if shared:
            remains.append(Remains(path, shared, "other files use these bytes of the image, too"))
        if stored.fragment_size:
            reason = "it is compressed together with the ends of other files"
            remains.append(Remains(path, stored.fragment_size, reason))
    return tuple(remains)


def _stored(image: Source, superblock: Superblock, inode: Inode) -> _Stored:
    """Return where an inode, the maps behind it and its content lie."""
    if inode.kind not in (NodeKind.FILE, NodeKind.FOLDER, NodeKind.SYMLINK) or not inode.size:
        return _Stored([], range(inode.offset, inode.end), 0)
    if inode.layout in (COMPRESSED_FULL, COMPRESSED_COMPACT):
        content = open_compressed(image, superblock, inode, _no_packed, Cache())
        if not isinstance(content, CompressedFile):
            return _Stored([], range(inode.offset, inode.end), 0)
        found, fragment_size = [], 0
        for part, size in content.clusters():
            if part is None:
                fragment_size += size
            else:
                found.append(part)
        return _Stored(found, range(inode.offset, content.map_end), fragment_size)
    flat = open_uncompressed(image, superblock, inode)
    if isinstance(flat, ChunkedFile):
        return _Stored(list(flat.chunks()), range(inode.offset, flat.map_end), 0)
    return _Stored(list(_flat(superblock, inode)), range(inode.offset, inode.end), 0)


def _flat(superblock: Superblock, inode: Inode) -> Iterator[range]:
    """Yield where content lies that is one run of blocks, its end perhaps behind the inode."""
    if inode.start is None:
        return
    block_size = superblock.block_size
    tail_size = (inode.size - 1) % block_size + 1 if inode.layout == INLINE else 0
    start = inode.start * block_size
    if inode.size > tail_size:
        yield range(start, start + inode.size - tail_size)
    if tail_size:
        yield range(inode.end, inode.end + tail_size)


def _no_packed() -> Source:
    raise ImageError("the packed inode is not read here")
