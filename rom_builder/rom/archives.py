"""The zip archives that a ROM holds: apps and programs, whose central directories are read once."""

from __future__ import annotations

from rom_builder.formats.source import Source
from rom_builder.formats.tree import Node
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import Directory

MAX_ENTRIES = 64_000
"""Entries of all directories that are kept; each takes about 400 bytes."""


class Archives:
    """Central directories by the identity of the file's node.

    A check opens each app four or five times, to read its manifest, its code and its signatures. Kept
    is what the directory says and not the open file, as a process may have few of those open.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Node, Directory]] = {}
        self._entries = 0

    def open(self, node: Node, source: Source) -> ZipArchive:
        """Return a file as an archive, read as Android does; safe to call from several threads.

        Raises:
            ImageError: It is no archive, or damaged.
        """
        known, directory = self._known.get(id(node), (None, None))
        if known is node:
            return ZipArchive(source, lenient=True, directory=directory)
        archive = ZipArchive(source, lenient=True)
        if self._entries + len(archive.entries) <= MAX_ENTRIES:
            self._entries += len(archive.entries)
            self._known[id(node)] = node, archive.directory
        return archive
