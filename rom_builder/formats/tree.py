"""What every container of files looks like to the rest of the house: nodes and a way to read them."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock, Thread
from typing import Protocol

from rom_builder.formats.source import Source


class NodeKind(Enum):
    """Kind of a file-system object."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"
    SOCKET = "socket"


FILE_TYPES = {
    stat.S_IFREG: NodeKind.FILE,
    stat.S_IFDIR: NodeKind.FOLDER,
    stat.S_IFLNK: NodeKind.SYMLINK,
    stat.S_IFCHR: NodeKind.CHARACTER_DEVICE,
    stat.S_IFBLK: NodeKind.BLOCK_DEVICE,
    stat.S_IFIFO: NodeKind.FIFO,
    stat.S_IFSOCK: NodeKind.SOCKET,
}
"""Kind by the file type in a mode (``S_IFMT``), as POSIX's ``sys/stat.h`` has it."""


def decoded(raw: bytes) -> str:
    """Decode a name, label or link target; bytes that are not UTF-8 stay as surrogates.

    ``os.fsencode`` gives them back.
    """
    return raw.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Node:
    """One file-system object of a tree.

    Attributes:
        path: Where it lies, relative to the tree's root, ``/`` between parts, no leading slash;
            the root itself is ``""``.
        kind: What it is.
        size: Bytes of content; for a symlink the length of its target, else 0.
        mode: Permission bits with setuid, setgid and sticky (``0o7777``); None if the container
            does not say (an OTA zip).
        uid: Owner; None if the container does not say.
        gid: Group; None if the container does not say.
        mtime: Seconds since 1970; None if unknown.
        target: Where a symlink points, as written; else None.
        xattrs: Every extended attribute by full name (``security.selinux`` ...).
        inode: Number that hard links of one file share; None where the container has none.
    """

    path: str
    kind: NodeKind
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    target: str | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)
    inode: int | None = None

    @property
    def label(self) -> str | None:
        """SELinux label without the trailing NUL, None if it has none."""
        raw = self.xattrs.get("security.selinux")
        return None if raw is None else decoded(raw.removesuffix(b"\0"))

    @property
    def capabilities(self) -> bytes | None:
        """The ``security.capability`` attribute, None if it has none."""
        return self.xattrs.get("security.capability")


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of an image that could not be read, and why; a report with one is never compliant."""

    path: str
    reason: str


class UnreadParts(list[Unread]):
    """What could not be read of one container, each part and reason once."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[Unread] = set()

    def note(self, path: str, reason: str) -> None:
        """Add a part, unless it is there for the same reason."""
        item = Unread(path, reason)
        if item not in self._known:
            self._known.add(item)
            self.append(item)


class Tree(Protocol):
    """A container of files: a folder, a zip, a file-system image.

    ``unread`` grows while the tree is walked or opened: damage in one file must not hide the others.
    """

    @property
    def unread(self) -> list[Unread]:
        """What could not be read so far."""
        ...

    def walk(self) -> Iterator[Node]:
        """Yield every node below the root, parents before children, each folder sorted by name."""
        ...

    def open(self, node: Node) -> Source:
        """Return the content of a file, read lazily.

        Raises:
            ImageError: The content is damaged or of a kind that is not understood.
        """
        ...


class WalkedOnce(ABC):
    """A tree that is read by one walk and kept, as reading costs decoding; threads may share it."""

    def __init__(self) -> None:
        self._nodes: list[Node] | None = None
        self._walking = Lock()

    def walk(self) -> Iterator[Node]:
        """Yield every node below the root, parents before children, each folder sorted by name.

        Damage is noted in ``unread`` and the walk goes on. A node whose attributes are damaged
        comes without them.
        """
        with self._walking:
            if self._nodes is None:
                self._nodes = list(self._walk())
        return iter(self._nodes)

    @abstractmethod
    def _walk(self) -> Iterator[Node]:
        """Yield what :meth:`walk` does, read from the image."""


def walk_ahead(trees: Iterable[Tree]) -> None:
    """Start to walk trees, as many at a time as there are processors.

    An interrupt does not wait for the walks. What one of them raises is raised again by whoever walks
    the tree next.
    """
    waiting = [tree for tree in trees if isinstance(tree, WalkedOnce)]

    def run() -> None:
        with suppress(IndexError):
            while True:
                tree = waiting.pop(0)
                with suppress(Exception):
                    tree.walk()

    for _ in range(min(len(waiting), os.cpu_count() or 1)):
        Thread(target=run, daemon=True).start()
