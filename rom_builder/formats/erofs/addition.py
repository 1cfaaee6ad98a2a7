"""Inodes that an edit adds to an EROFS image, and where they and their content go."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.inode import HOLE_BLOCK, INLINE, PLAIN, encode_inode
from rom_builder.formats.erofs.superblock import Superblock
from rom_builder.formats.erofs.xattr import encode_xattrs
from rom_builder.formats.folder_edit import Attributes
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.source import Slice, Source
from rom_builder.formats.tree import NodeKind

_INODE_SIZE = 64
_SLOT_SIZE = 32
_TYPES = {NodeKind.FILE: stat.S_IFREG, NodeKind.FOLDER: stat.S_IFDIR}


@dataclass(slots=True, eq=False)
class Addition:
    """A file or folder that is not yet in the image.

    Attributes:
        path: Where it will be.
        kind: File or folder.
        attributes: What it says about itself.
        content: Of a folder, its entries; their size is right before their numbers are.
        links: Names that lead to it.
        number: What 32-bit programs see as its number.
        nid: Its number; 0 until it has a place.
        offset: Byte of the image at which it will lie.
        start: First block of the content that does not stand behind the inode.
        tail_size: Bytes of content behind the inode.
    """

    path: str
    kind: NodeKind
    attributes: Attributes
    content: Source
    links: int = 1
    number: int = 0
    nid: int = 0
    offset: int = 0
    start: int = HOLE_BLOCK
    tail_size: int = 0

    def write(self, draft: Draft, superblock: Superblock, first_block: int) -> None:
        """Write inode, attributes and content to where :func:`place_additions` put them."""
        attributes, content = self.attributes, self.content
        xattrs = encode_xattrs(attributes.xattrs)
        inode = encode_inode(
            mode=_TYPES[self.kind] | attributes.mode,
            links=self.links,
            size=content.size,
            uid=attributes.uid,
            gid=attributes.gid,
            mtime=attributes.mtime,
            layout=INLINE if self.tail_size else PLAIN,
            start=self.start,
            number=self.number,
            xattr_size=len(xattrs),
        )
        body_size = content.size - self.tail_size
        if self.offset < first_block * superblock.block_size:
            raise AssertionError(f"{self.path} would lie inside the old image")
        draft.write(self.offset, inode + xattrs + content.read_at(body_size, self.tail_size))
        if body_size:
            draft.place(self.start, Slice(content, 0, body_size))


def place_additions(superblock: Superblock, additions: Iterable[Addition], block: int) -> int:
    """Give additions their places from ``block`` on and return the block behind them.

    First come all inodes, each in one block with its attributes and, where it fits, the last part
    of its content; then the content that is left, each from a block's begin.

    Raises:
        ImageError: The attributes of one are longer than a block.
    """
    block_size = superblock.block_size
    position = block * block_size
    waiting: list[Addition] = []
    for addition in additions:
        head = _INODE_SIZE + len(encode_xattrs(addition.attributes.xattrs))
        if head > block_size:
            raise ImageError(
                f"its extended attributes take {head - _INODE_SIZE} bytes, more than a block",
                path=addition.path,
            )
        tail = addition.content.size % block_size
        addition.tail_size = tail if head + tail <= block_size else 0
        size = head + addition.tail_size
        if position % block_size + size > block_size:
            position += -position % block_size
        addition.offset = position
        addition.nid = (position - superblock.metadata_offset) // _SLOT_SIZE
        position += size + -size % _SLOT_SIZE
        waiting.append(addition)
    block = -(-position // block_size)
    for addition in waiting:
        body_size = addition.content.size - addition.tail_size
        if body_size:
            addition.start = block
            block += -(-body_size // block_size)
        elif addition.tail_size:
            addition.start = 0
    return block
