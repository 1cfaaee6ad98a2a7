"""Containers of files that are no file systems: a folder, a zip, and one with edits laid over it."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.edited_tree import EditedTree
from rom_builder.formats.folder import MAX_DEPTH, Folder
from rom_builder.formats.source import BytesSource
from rom_builder.formats.tree import NodeKind, Tree
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree


def listed(tree: Tree) -> list[tuple[str, NodeKind]]:
    return [(node.path, node.kind) for node in tree.walk()]


def content(tree: Tree, path: str) -> bytes:
    (node,) = (node for node in tree.walk() if node.path == path)
    source = tree.open(node)
    return source.read_at(0, source.size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/file").write_bytes(b"text")
    (tmp_path / "a").symlink_to("/outside")
    os.mkfifo(tmp_path / "c")
    return tmp_path


def test_a_folder_lists_everything_parents_first_and_sorted(folder: Path) -> None:
    tree = Folder(folder)
    assert listed(tree) == [
        ("a", NodeKind.SYMLINK),
        ("b", NodeKind.FOLDER),
        ("b/file", NodeKind.FILE),
        ("c", NodeKind.FIFO),
    ]
    assert content(tree, "b/file") == b"text"
    assert next(iter(tree.walk())).target == "/outside"
    assert tree.unread == []


def test_a_folder_that_is_too_deep_is_unread(tmp_path: Path) -> None:
    deepest = tmp_path
    for _ in range(MAX_DEPTH + 2):
        deepest /= "d"
    deepest.mkdir(parents=True)
    tree = Folder(tmp_path)
    assert len(listed(tree)) == MAX_DEPTH + 1
    (part,) = tree.unread
    assert part.reason == f"more than {MAX_DEPTH} folders deep"


def test_a_file_that_went_away_is_an_image_error(folder: Path) -> None:
    tree = Folder(folder)
    (node,) = (node for node in tree.walk() if node.path == "b/file")
    (folder / "b/file").unlink()
    with pytest.raises(ImageError, match="b/file: No such file"):
        tree.open(node)


def zip_tree() -> ZipTree:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("system/app/X.apk", b"app")
        archive.writestr("boot.img", b"boot")
        archive.writestr("empty/", b"")
        link = zipfile.ZipInfo("system/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "app/X.apk")
    return ZipTree(ZipArchive(BytesSource(file.getvalue())))


def test_a_zip_lists_files_folders_and_links() -> None:
    tree = zip_tree()
    kinds = dict(listed(tree))
    assert kinds["system/app/X.apk"] is NodeKind.FILE
    assert kinds["system/link"] is NodeKind.SYMLINK
    assert kinds["boot.img"] is NodeKind.FILE
    assert content(tree, "system/app/X.apk") == b"app"


def test_edits_are_laid_over_a_tree(folder: Path) -> None:
    tree = EditedTree(
        Folder(folder), {"b/file": (b"new", 0o600), "b/added": (b"more", 0o755), "a": None}
    )
    paths = [path for path, _ in listed(tree)]
    assert sorted(paths) == ["b", "b/added", "b/file", "c"]
    assert content(tree, "b/file") == b"new"
    assert content(tree, "b/added") == b"more"
    assert (folder / "b/file").read_bytes() == b"text"
