"""What every container of files looks like to the rest of the house: nodes and a way to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
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
        label: SELinux label without the trailing NUL, None if it has none.
        capabilities: The ``security.capability`` attribute, None if it has none.
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
    label: str | None = None
    capabilities: bytes | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)
    inode: int | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of an image that could not be read, and why; a report with one is never compliant."""

    path: str
    reason: str


class Tree(Protocol):
    """A container of files: a folder, a zip, a file-system image.

    ``unread`` grows while the tree is walked or opened: damage in one file must not hide the others.
    """

    unread: list[Unread]

    def walk(self) -> Iterator[Node]:
        """Yield every node below the root, parents before children, each folder sorted by name."""
        ...

    def open(self, node: Node) -> Source:
        """Return the content of a file, read lazily.

        Raises:
            ImageError: The content is damaged or of a kind that is not understood.
        """
        ...
