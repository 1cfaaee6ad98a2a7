"""Reading EROFS: every fixture holds the same tree, stored in another way."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.erofs import Erofs, detect_erofs, open_erofs
from rom_builder.formats.source import BytesSource
from rom_builder.formats.tree import Node, NodeKind, Unread
from tests.formats.erofs_tree import (
    CAPABILITIES,
    DEFAULT_LABEL,
    DEVICE,
    EXTRA_XATTRS,
    FILES,
    FOLDERS,
    HARD_LINK,
    LABELS,
    LINKS,
    ODD_NAME,
    OPTIONS,
    fixture,
    fixture_source,
    unsealed,
)

COMPLETE = [name for name in OPTIONS if name != "device"]
COMPRESSED = [name for name in COMPLETE if name not in ("plain", "chunks")]


def nodes_of(tree: Erofs) -> dict[str, Node]:
    return {node.path: node for node in tree.walk()}


def content_of(tree: Erofs, node: Node) -> bytes:
    source = tree.open(node)
    return source.read_at(0, source.size)


@pytest.mark.parametrize("name", COMPLETE)
def test_every_file_is_read(name: str) -> None:
    tree = open_erofs(fixture_source(name))
    nodes = nodes_of(tree)
    expected = {*FILES, *LINKS, *FOLDERS, HARD_LINK[0], DEVICE, os.fsdecode(ODD_NAME)}
    assert set(nodes) == expected
    contents = {path: content_of(tree, nodes[path]) for path in FILES}
    assert contents == FILES
    assert {path: nodes[path].size for path in FILES} == {k: len(v) for k, v in FILES.items()}
    assert {path: nodes[path].target for path in LINKS} == LINKS
    assert nodes["long"].size == len(LINKS["long"])
    assert tree.unread == []


@pytest.mark.parametrize("name", COMPLETE)
def test_owners_modes_and_labels(name: str) -> None:
    nodes = nodes_of(open_erofs(fixture_source(name)))
    assert nodes["bin/ping"].mode == 0o4755
    assert nodes["tmp"].mode == 0o1770
    assert (nodes["empty"].uid, nodes["empty"].gid) == (70_000, 2_000)
    assert nodes["build.prop"].mtime == 1_700_000_000
    assert nodes[DEVICE].kind is NodeKind.CHARACTER_DEVICE
    assert nodes["bin/ping"].label == LABELS["bin/ping"]
    assert nodes["bin/ping"].capabilities == CAPABILITIES
    assert nodes["etc"].capabilities is None
    others = set(nodes) - {*HARD_LINK}
    assert {nodes[path].label for path in others} == {DEFAULT_LABEL}
    for path, xattrs in EXTRA_XATTRS.items():
        label = {"security.selinux": DEFAULT_LABEL.encode() + b"\0"}
        assert nodes[path].xattrs == xattrs | label


@pytest.mark.parametrize("name", COMPLETE)
def test_content_is_read_at_any_offset(name: str) -> None:
    tree = open_erofs(fixture_source(name))
    nodes = nodes_of(tree)
    for path, data in FILES.items():
        source = tree.open(nodes[path])
        for offset in reversed(range(0, len(data), 997)):
            for size in (1, 600, 9_000):
                size = min(size, len(data) - offset)
                assert source.read_at(offset, size) == data[offset : offset + size]
        with pytest.raises(ImageError):
            source.read_at(len(data), 1)


def test_parents_come_first_and_names_are_sorted() -> None:
    paths = [node.path for node in open_erofs(fixture_source("plain")).walk()]
    assert paths == sorted(paths, key=lambda path: os.fsencode(path).split(b"/"))


def test_hard_links_share_an_inode() -> None:
    nodes = nodes_of(open_erofs(fixture_source("plain")))
    assert nodes[HARD_LINK[0]].inode == nodes[HARD_LINK[1]].inode
    assert nodes["build.prop"].inode != nodes["empty"].inode


def test_walking_twice_gives_the_same() -> None:
    tree = open_erofs(fixture_source("device"))
    assert list(tree.walk()) == list(tree.walk())
    assert len(tree.unread) == 1


def test_facts_of_the_superblock() -> None:
    plain = open_erofs(fixture_source("plain")).superblock
    assert plain.label == "adam"
    assert plain.uuid == uuid.UUID("00000000-1111-2222-3333-444444444444")
    assert plain.block_size == 4096
    assert plain.inode_count == 19  # the root, less a hard link
    assert plain.build_time == 1_700_000_000
    assert plain.features == ("sb_chksum", "mtime", "xattr_filter")
    assert plain.algorithms == ()
    assert open_erofs(fixture_source("lz4-blocks-512")).superblock.block_size == 512
    fragments = open_erofs(fixture_source("zstd-fragments")).superblock
    assert "fragments/dedupe" in fragments.features
    assert "xattr_prefixes" in fragments.features


@pytest.mark.parametrize("name", COMPRESSED)
def test_algorithms_are_named(name: str) -> None:
    algorithm = name.split("-")[0]
    expected = algorithm if algorithm in ("lzma", "deflate", "zstd") else "lz4"
    assert open_erofs(fixture_source(name)).superblock.algorithms == (expected,)


def test_an_image_may_be_longer_than_its_file_system() -> None:
    tree = open_erofs(BytesSource(fixture("lz4") + bytes(100_000)))
    assert len(list(tree.walk())) == len(nodes_of(tree))
    assert tree.unread == []


def test_the_second_algorithm_of_a_file() -> None:
    """No mkfs.erofs writes HEAD2, so every HEAD1 of a full index is turned into one."""
    image = unsealed("legacy")
    tree = open_erofs(BytesSource(bytes(image)))
    node = nodes_of(tree)["app/Big.apk"]
    index = (inode_offset(tree, node) + 64 - 32 + 16 + 7) & ~7  # compact inode, a shared xattr
    assert image[index + 6] == 0
    image[index + 6] = 0xF0  # HEAD2 uses an algorithm that does not exist
    for entry in range(index + 16, index + 16 + 8 * -(-node.size // 4096), 8):
        if image[entry] & 3 == 1:
            image[entry] |= 3
    damaged = open_erofs(BytesSource(bytes(image)))
    with pytest.raises(ImageError, match="algorithm 15"):
        content_of(damaged, node)
    image[index + 6] = 0x0F  # and now only HEAD1, which no cluster is any more
    assert content_of(open_erofs(BytesSource(bytes(image))), node) == FILES["app/Big.apk"]


def inode_offset(tree: Erofs, node: Node) -> int:
    assert node.inode is not None
    return tree.superblock.metadata_offset + 32 * node.inode


def test_content_on_another_device_is_unread() -> None:
    tree = open_erofs(fixture_source("device"))
    nodes = nodes_of(tree)
    assert tree.unread == [Unread("", "content on 1 extra devices is not here")]
    with pytest.raises(ImageError, match="extra device 1"):
        content_of(tree, nodes["build.prop"])


def test_only_files_are_opened() -> None:
    tree = open_erofs(fixture_source("plain"))
    with pytest.raises(ValueError, match="etc is not a file"):
        tree.open(nodes_of(tree)["etc"])


def test_detection() -> None:
    assert detect_erofs(fixture("plain")[:1028])
    assert not detect_erofs(bytes(4096))
    assert not detect_erofs(b"")


@pytest.mark.parametrize(("library", "name"), [("lz4.block", "lz4"), ("zstandard", "zstd")])
def test_a_missing_library_is_named(library: str, name: str) -> None:
    script = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from rom_builder.formats.erofs import open_erofs\n"
        "from tests.formats.erofs_tree import fixture_source\n"
        f"tree = open_erofs(fixture_source({name!r}))\n"
        "node = next(node for node in tree.walk() if node.path == 'app/Big.apk')\n"
        "try:\n    tree.open(node).read_at(0, 1)\n"
        "except Exception as error:\n    print(type(error).__name__, error.hint)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"ImageError pip install {library.partition('.')[0]}"
