"""An unpacked folder as a tree; nothing outside it is ever opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rom_builder.errors import ImageError
from rom_builder.formats.source import FileSource
from rom_builder.formats.tree import FILE_TYPES, Node, NodeKind, UnreadParts, WalkedOnce

MAX_DEPTH = 64
"""Folders in folders; deeper trees are not ROMs."""


class Folder(WalkedOnce):
    """The files below one folder of the host, as they were when it was first walked.

    Symbolic links are nodes and are never followed here, so a link that points out of the folder
    leads nowhere. Owners and times are the host's, not the device's, and are left out.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self.unread = UnreadParts()

    def _walk(self) -> Iterator[Node]:
        return self._below("", 0)

    def _below(self, folder: str, depth: int) -> Iterator[Node]:
        try:
            with os.scandir(self._root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.unread.note(folder, error.strerror or "cannot be listed")
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                path.encode()
            except UnicodeEncodeError:
                self.unread.note(ascii(path), "the name is not UTF-8")
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                target = str(Path(entry.path).readlink()) if entry.is_symlink() else None
            except OSError as error:
                self.unread.note(path, error.strerror or "cannot be read")
                continue
            kind = FILE_TYPES[stat.S_IFMT(status.st_mode)]
            size = status.st_size if kind is NodeKind.FILE else len(target or "")
            yield Node(path, kind, size, stat.S_IMODE(status.st_mode), target=target)
            if kind is NodeKind.FOLDER:
                if depth >= MAX_DEPTH:
                    self.unread.note(path, f"more than {MAX_DEPTH} folders deep")
                else:
                    yield from self._below(path, depth + 1)

    def open(self, node: Node) -> FileSource:
        """Return the content of a file.

        Raises:
            ImageError: It cannot be opened.
        """
        try:
            return FileSource(self._root / node.path)
        except OSError as error:
            raise ImageError(error.strerror or "cannot be opened", path=node.path) from error
