"""A tree with some of its files replaced, added or removed, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.tree import Node, NodeKind, Tree, Unread


class EditedTree:
    """Another tree as it will be.

    Args:
        tree: The tree as it is.
        changes: New content and permission bits of files by their path in the tree; None removes one.
    """

    def __init__(self, tree: Tree, changes: Mapping[str, tuple[bytes, int] | None]) -> None:
        self._tree = tree
        self._changes = dict(changes)

    @property
    def unread(self) -> list[Unread]:
        return self._tree.unread

    def walk(self) -> Iterator[Node]:
        seen = set()
        for node in self._tree.walk():
            seen.add(node.path)
            if node.path not in self._changes:
                yield node
        for path in sorted(self._changes):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in seen:
                    seen.add(folder)
                    yield Node(folder, NodeKind.FOLDER)
            new = self._changes[path]
            if new is not None:
                yield Node(path, NodeKind.FILE, len(new[0]), new[1])

    def open(self, node: Node) -> Source:
        new = self._changes.get(node.path)
        return self._tree.open(node) if new is None else BytesSource(new[0])
