"""What an edit of an ext4 image frees, worked out from all inodes before anything is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.attribute_write import seal_block, users_of, with_users
from rom_builder.formats.ext4.groups import Groups
from rom_builder.formats.ext4.owners import Owners
from rom_builder.formats.ext4.record import Record
from rom_builder.formats.ext4.volume import Volume
from rom_builder.formats.ext4.xattr import AttributeReader
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.image_edit import Remains
from rom_builder.formats.ranges import difference
from rom_builder.formats.tree import Node, NodeKind


class Release:
    """Inodes that lose names or content.

    Args:
        volume: The image as it is.
        owners: The blocks of all its inodes.
        attributes: Reads the attributes of its inodes.
        links: Names of each inode that is no folder.
        removed: Nodes whose names go.
        replaced: Files that get other content.

    Attributes:
        in_use: Blocks of inodes that keep their content.
        emptied: Inodes of replaced files, to be used again for the new content.
        freed: Blocks that were freed.
        remains: Content of files that go which other files use, too.
    """

    def __init__(
        self,
        volume: Volume,
        owners: Owners,
        attributes: AttributeReader,
        links: Mapping[int, int],
        removed: list[Node],
        replaced: list[Node],
    ) -> None:
        self._volume = volume
        self._owners = owners
        self._attributes = attributes
        self._links = links
        self._lost = Counter(node.inode or 0 for node in (*removed, *replaced))
        kept = {number for number, count in self._lost.items() if links.get(number, 1) > count}
        self._kept = kept
        self._dropped = {
            node.inode or 0: node for node in (*removed, *replaced) if node.inode not in kept
        }
        self.in_use = owners.used_without(self._dropped)
        self.emptied: dict[int, Record] = {
            number: self.record(number)
            for number in (node.inode or 0 for node in replaced)
            if number not in kept and links[number] == 1
        }
        self.freed: list[range] = []
        self.remains: list[Remains] = []

    def record(self, number: int) -> Record:
        """Return an inode of the image for editing."""
        inode = self._volume.inode(number)
        size = self._volume.superblock.inode_size
        return Record(number, inode.offset, self._volume.source.read_at(inode.offset, size))

    def carry_out(self, draft: Draft, groups: Groups) -> None:
        """Free blocks and inodes, and count down the names of those that keep some.

        Raises:
            ImageError: Bitmaps, maps and counts disagree, or part of an inode cannot be told.
        """
        self._free_content(groups)
        for number, node in self._dropped.items():
            if number in self.emptied:
                continue
            record = self.record(number)
            if node.kind is not NodeKind.FOLDER:
                self._check_links(record)
            self.drop_attributes(record, draft, groups)
            groups.give_inode(number, folder=node.kind is NodeKind.FOLDER)
            draft.write(record.offset, bytes(len(record.raw)))
        for record in self.emptied.values():
            self._check_links(record)
        for number in sorted(self._kept):
            record = self.record(number)
            self._check_links(record)
            record.set("links", self._links[number] - self._lost[number])
            record.write(draft, self._volume.superblock)

    def drop_attributes(self, record: Record, draft: Draft, groups: Groups) -> None:
        """Free the block of an inode's attributes, or count down the inodes that share it.

        Raises:
            ImageError: Attributes stand in inodes of their own, or the count of users is wrong.
        """
        if self._attributes.read(self._volume.inode(record.number)).inodes:
            raise ImageError(
                f"inode {record.number} has attributes in other inodes, which are not edited"
            )
        number = record.get("attribute_block")
        if not number:
            return
        block_size = self._volume.block_size
        block = draft.read_at(number * block_size, block_size)
        place = [range(number, number + 1)]
        if users_of(block) > 1:
            block = with_users(block, users_of(block) - 1)
            draft.write(number * block_size, seal_block(block, number, self._volume.superblock))
        elif difference(place, self.in_use) != place or difference(place, groups.fixed) != place:
            raise ImageError(f"attribute block {number} has more users than it counts")
        else:
            groups.give_blocks(place[0])
            self.freed += place
        record.set("attribute_block", 0)

    def _check_links(self, record: Record) -> None:
        if record.get("links") != self._links[record.number]:
            raise ImageError(
                f"inode {record.number} has {self._links[record.number]} names and counts "
                f"{record.get('links')}",
                offset=record.offset,
            )

    def _free_content(self, groups: Groups) -> None:
        block_size = self._volume.block_size
        all_own: list[range] = []
        for number, node in self._dropped.items():
            own = self._owners.whole(number)
            runs = [*own.data, *own.nodes]
            all_own += runs
            shared = own.count - sum(map(len, difference(runs, self.in_use)))
            if shared:
                reason = "other files use these blocks of the image, too"
                self.remains.append(Remains(node.path, shared * block_size, reason))
        self.freed = difference(all_own, self.in_use)
        if difference(self.freed, groups.fixed) != self.freed:
            raise ImageError("a file claims blocks of the file system's own tables")
        for run in self.freed:
            groups.give_blocks(run)
