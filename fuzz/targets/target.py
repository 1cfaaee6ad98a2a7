"""A reader of hostile input as one call, and what calls have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from fuzz.images import PatchedImages
from rom_builder.errors import ImageError, PolicyError
from rom_builder.formats.source import Source
from rom_builder.formats.tree import NodeKind, Tree

DOCUMENTED = (ImageError, PolicyError)
"""What a reader may raise."""
MAX_FILES = 200
MAX_READ = 1 << 19
"""Bytes read of one file or partition: its size is what the input claims, and holes cost nothing."""
STEP = 1 << 16

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        images: Images that the input is a list of changes to; None if the input is the file itself.
    """

    name: str
    read: Read
    images: PatchedImages | None = None

    def __call__(self, data: bytes) -> bool:
        """Read the input; return whether it was accepted."""
        if self.images is not None:
            data = self.images.patched(data)
        try:
            self.read(data)
        except DOCUMENTED:
            return False
        return True


TARGETS: dict[str, Target] = {}


def target(name: str, images: PatchedImages | None = None) -> Callable[[Read], Read]:
    """Return a decorator that adds a reader under the name of its format."""

    def join(read: Read) -> Read:
        TARGETS[name] = Target(name, read, images)
        return read

    return join


def drain(source: Source) -> None:
    """Read a source from its start, up to a measure, and its end."""
    for offset in range(0, min(source.size, MAX_READ), STEP):
        source.read_at(offset, min(STEP, source.size - offset))
    source.read_at(max(0, source.size - 100), min(100, source.size))


def drain_tree(tree: Tree) -> None:
    """Walk a tree and read its files; one that is damaged does not hide the others."""
    files = 0
    for node in tree.walk():
        if node.kind is NodeKind.FILE and files < MAX_FILES:
            files += 1
            with suppress(ImageError):
                drain(tree.open(node))


def each(calls: Iterable[Callable[[], object]]) -> None:
    """Make every call, whether or not the one before was refused."""
    for call in calls:
        with suppress(*DOCUMENTED):
            call()
