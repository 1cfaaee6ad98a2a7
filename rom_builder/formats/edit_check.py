"""The last step of a plan: the image as it will be, read again and compared with what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.folder_edit import (
    Attributes,
    RootedTree,
    TreeIndex,
    attributes_of,
)
from rom_builder.formats.image_edit import pieces_of
from rom_builder.formats.source import Source
from rom_builder.formats.tree import NodeKind


@dataclass(frozen=True, slots=True)
class Expected:
    """What a plan promises.

    Attributes:
        files: Attributes and content of added and replaced files by path.
        folders: Attributes of folders that are made.
        removed: Paths that are gone.
    """

    files: Mapping[str, tuple[Attributes, Source]]
    folders: Mapping[str, Attributes]
    removed: frozenset[str]


def check_edit(before: TreeIndex, after: RootedTree, expected: Expected) -> None:
    """Compare an edited image with the old one and with what was asked for.

    Content of files that were not asked for is not read again: no byte of it is written.

    Raises:
        ImageError: They differ in more or less than what was asked for.
    """
    try:
        now = TreeIndex(after)
    except ImageError as error:
        raise _unsound(str(error)) from error
    touched = {*expected.files, *expected.folders}
    for path, node in before.nodes.items():
        if path not in touched and path not in expected.removed and now.nodes.get(path) != node:
            raise _unsound(f"{path} would change")
    if now.root != before.root:
        raise _unsound("the root folder would change")
    if now.nodes.keys() != (before.nodes.keys() - expected.removed) | touched:
        raise _unsound("it would hold other names")
    made = {path: (attributes, None) for path, attributes in expected.folders.items()}
    for path, (attributes, content) in {**expected.files, **made}.items():
        node = now.nodes[path]
        if attributes_of(node) != attributes:
            raise _unsound(f"{path} would have other attributes")
        if content is None:
            if node.kind is not NodeKind.FOLDER:
                raise _unsound(f"{path} would be no folder")
        elif node.size != content.size or not _equal(after.open(node), content):
            raise _unsound(f"{path} would have other content")


def _equal(left: Source, right: Source) -> bool:
    return all(a == b for a, b in zip(pieces_of(left), pieces_of(right), strict=True))


def _unsound(reason: str) -> ImageError:
    return ImageError(f"the edited image would not be sound: {reason}", hint="nothing was written")
