"""Trees that are walked once, and ahead."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.tree import Node, NodeKind, Unread, WalkedOnce, walk_ahead

NODES = [Node("etc", NodeKind.FOLDER), Node("etc/hosts", NodeKind.FILE, 3)]


class Counting(WalkedOnce):
    """A tree that counts how often it was read; the first times may fail."""

    def __init__(self, failing: int = 0) -> None:
        super().__init__()
        self.unread: list[Unread] = []
        self.reads = 0
        self.failing = failing
        self.done = Event()

    def _walk(self) -> Iterator[Node]:
        self.reads += 1
        if self.reads <= self.failing:
            self.done.set()
            raise ImageError("damaged")
        yield from NODES
        self.done.set()

    def open(self, node: Node) -> Source:
        return BytesSource(node.path.encode())


def test_a_tree_is_read_once_however_often_it_is_walked() -> None:
    tree = Counting()
    next(tree.walk())
    assert [list(tree.walk()) for _ in range(3)] == [NODES] * 3
    assert tree.reads == 1


def test_trees_are_walked_ahead() -> None:
    trees = [Counting() for _ in range(20)]
    walk_ahead(trees)
    assert all(tree.done.wait(20) for tree in trees)
    assert [list(tree.walk()) for tree in trees] == [NODES] * 20
    assert {tree.reads for tree in trees} == {1}


def test_what_a_walk_ahead_raises_comes_up_again_where_it_is_wanted() -> None:
    trees = [Counting(failing=2), Counting()]
    walk_ahead(trees)
    assert all(tree.done.wait(20) for tree in trees)
    with pytest.raises(ImageError, match="damaged"):
        trees[0].walk()
    assert list(trees[0].walk()) == NODES
    assert list(trees[1].walk()) == NODES
