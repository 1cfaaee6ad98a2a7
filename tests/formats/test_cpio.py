import os
import subprocess
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.cpio import CpioTree, detect_cpio
from rom_builder.formats.tree import NodeKind
from tests.formats.builders.cpio import archive, entry
from tests.formats.damage import survives

FOLDER, LINK = 0o40755, 0o120777
GOOD = archive(
    entry(b"init", b"#!/bin/sh\n", mode=0o100750),
    entry(b"system", mode=FOLDER),
    entry(b"system/bin", b"/sbin", mode=LINK),
    entry(b"dev", mode=FOLDER),
    entry(b"dev/null", mode=0o20666, device=(1, 3)),
    entry(b"dev/ram0", mode=0o60600, device=(1, 0)),
    entry(b"a", inode=7, links=2),
    entry(b"b", b"shared", inode=7, links=2),
)


def content(tree: CpioTree, path: str) -> bytes:
    node = next(node for node in tree.walk() if node.path == path)
    source = tree.open(node)
    return source.read_at(0, source.size)


def test_every_kind_of_entry_is_read() -> None:
    assert detect_cpio(GOOD[:6])
    tree = CpioTree([GOOD])
    nodes = {node.path: node for node in tree.walk()}
    assert list(nodes) == ["a", "b", "dev", "dev/null", "dev/ram0", "init", "system", "system/bin"]
    assert tree.unread == []
    init = nodes["init"]
    assert (init.kind, init.mode, init.uid, init.gid) == (NodeKind.FILE, 0o750, 0, 2000)
    assert (init.size, init.mtime) == (10, 1_400_000_000)
    assert nodes["system/bin"].target == "/sbin"
    assert nodes["dev/null"].kind is NodeKind.CHARACTER_DEVICE
    assert nodes["dev/ram0"].kind is NodeKind.BLOCK_DEVICE
    assert content(tree, "init") == b"#!/bin/sh\n"


@pytest.mark.parametrize("where", [b"a", b"b"])
def test_hard_links_share_content_wherever_it_is_stored(where: bytes) -> None:
    data = archive(
        *(entry(name, b"shared" * (name == where), inode=7, links=2) for name in (b"a", b"b"))
    )
    tree = CpioTree([data])
    first, second = tree.walk()
    assert first.inode == second.inode is not None
    assert first.size == second.size == 6
    assert content(tree, "a") == content(tree, "b") == b"shared"


def test_later_archives_replace_what_earlier_ones_hold() -> None:
    first = archive(entry(b"init", b"old"), entry(b"etc", mode=FOLDER), entry(b"etc/x", b"x"))
    second = archive(entry(b"/init", b"new"), entry(b"./etc", mode=0o40700))
    for archives in [first, second], [first + bytes(512) + second]:
        tree = CpioTree(archives)
        assert content(tree, "init") == b"new"
        assert content(tree, "etc/x") == b"x"
        assert next(node for node in tree.walk() if node.path == "etc").mode == 0o700


def test_folders_that_are_only_implied_are_there() -> None:
    nodes = list(CpioTree([archive(entry(b"a/b/c", b"x"))]).walk())
    assert [node.path for node in nodes] == ["a", "a/b", "a/b/c"]
    assert nodes[0].mode is None


def test_paths_that_leave_the_archive_are_set_aside() -> None:
    data = archive(
        entry(b"../../etc/passwd", b"x"),
        entry(b"system", b"/", mode=LINK),
        entry(b"system/x", b"x"),
        entry(b"odd", b"x", mode=0o170644),
        entry(b"good", b"x"),
    )
    tree = CpioTree([data])
    assert [node.path for node in tree.walk()] == ["good", "system"]
    assert [(part.path, part.reason) for part in tree.unread] == [
        ("../../etc/passwd", "its path leaves the archive"),
        ("odd", "mode 0o170644"),
        ("system/x", "system is a symlink"),
    ]


def test_checksums_are_checked() -> None:
    good = entry(b"good", b"\1\2", magic=b"070702", checksum=3)
    tree = CpioTree([archive(good, entry(b"bad", b"\1\2", magic=b"070702", checksum=4))])
    assert [node.path for node in tree.walk()] == ["good"]
    assert tree.unread[0].path == "bad"


def test_damage_further_on_does_not_hide_what_comes_before() -> None:
    tree = CpioTree([GOOD[:300]])
    assert content(tree, "init") == b"#!/bin/sh\n"
    assert "no cpio header" in tree.unread[0].reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"070707" + bytes(200), "no cpio header"),
        (archive(entry(b"x")).replace(b"000081A4", b"0000 1A4"), "no cpio header"),
        (archive(entry(b"x" * 4096)), "name of 4097 bytes"),
        (entry(b"x", b"content")[:-4], "ends after its archive"),
        (entry(b"x").replace(b"x\0", b"xx"), "ends after its archive"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        CpioTree([data])


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        tree = CpioTree([data])
        for node in tree.walk():
            if node.kind is NodeKind.FILE:
                assert tree.open(node).size == node.size

    survives(read, GOOD, count=400)


@pytest.mark.judge("cpio")
@pytest.mark.parametrize("form", ["newc", "crc"])
def test_reads_what_cpio_writes(tmp_path: Path, form: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_bytes(b"/dev/block" * 99)
    (tmp_path / "etc/fstab").chmod(0o600)
    os.link(tmp_path / "etc/fstab", tmp_path / "fstab")
    (tmp_path / "link").symlink_to("etc/fstab")
    data = subprocess.run(
        ["cpio", "-o", "-H", form, "--quiet"],
        input=b"etc\netc/fstab\nfstab\nlink\n",
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    tree = CpioTree([data])
    assert tree.unread == []
    assert content(tree, "fstab") == content(tree, "etc/fstab") == b"/dev/block" * 99
    nodes = {node.path: node for node in tree.walk()}
    assert nodes["fstab"].inode == nodes["etc/fstab"].inode is not None
    assert nodes["etc/fstab"].mode == 0o600
    assert nodes["link"].target == "etc/fstab"
