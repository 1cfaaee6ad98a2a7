"""A zip archive as a tree: an OTA package, a target-files zip."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source
from rom_builder.formats.tree import Node, NodeKind, UnreadParts
from rom_builder.formats.zip import ZipArchive

MAX_TARGET = 4096
"""Longest target of a link: Linux's PATH_MAX."""


class ZipTree:
    """The entries of an archive, folders that only names imply included."""

    def __init__(self, archive: ZipArchive) -> None:
        self.archive = archive
        self.unread = UnreadParts()

    def walk(self) -> Iterator[Node]:
        folders: set[str] = set()
        for name in sorted(self.archive.entries):
            parts = name.rstrip("/").split("/")
            for depth in range(1, len(parts) + name.endswith("/")):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    yield Node(folder, NodeKind.FOLDER)
            entry = self.archive.entries[name]
            if entry.is_folder:
                continue
            mode = None if entry.mode is None else stat.S_IMODE(entry.mode)
            if entry.is_symlink:
                try:
                    target = self.archive.read(entry, limit=MAX_TARGET).decode()
                except (ImageError, UnicodeDecodeError) as error:
                    self.unread.note(name, f"link without a readable target: {error}")
                    continue
                yield Node(name, NodeKind.SYMLINK, len(target), mode, target=target)
            else:
                yield Node(name, NodeKind.FILE, entry.size, mode)

    def open(self, node: Node) -> Source:
        """Return the content of an entry; the CRC-32 of small ones is checked when they are read.

        Raises:
            ImageError: It is damaged.
        """
        return self.archive.open(self.archive.entries[node.path])
