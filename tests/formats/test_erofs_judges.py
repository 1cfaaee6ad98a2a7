"""EROFS images of Debian's mkfs.erofs, read here and by fsck.erofs and dump.erofs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from rom_builder.formats.erofs import open_erofs
from rom_builder.formats.source import FileSource
from rom_builder.formats.tree import Node, NodeKind
from tests.formats.erofs_tree import text, write_tree
from tests.formats.image_model import TYPES


def run(*command: str | Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("erofs") / "tree"
    folder.mkdir()
    write_tree(folder)
    (folder / "app/Large.apk").write_bytes(text("large", 700_000) + bytes(9_000_000) + b"end")
    (folder / "app/Random.bin").write_bytes(os.urandom(70_001))
    many = folder / "many"
    many.mkdir()
    for number in range(400):  # a folder of several blocks
        (many / f"{'name' * (number % 9)}{number}").write_bytes(b"%d" % number)
    return folder


def described(node: Node) -> tuple[object, ...]:
    return node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, node.xattrs


def expected(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    target = os.fspath(path.readlink()) if kind is NodeKind.SYMLINK else None
    mode = stat.S_IMODE(status.st_mode)
    return kind, mode, status.st_uid, status.st_gid, int(status.st_mtime), target, xattrs


@pytest.mark.judge("mkfs.erofs")
@pytest.mark.judge("fsck.erofs")
@pytest.mark.parametrize(
    "options",
    [
        "",
        "-Enoinline_data",
        "-x-1",
        "-x0",
        "--chunksize=4096",
        "--chunksize=65536 -Eforce-chunk-indexes",
        "-zlz4",
        "-zlz4 -Elegacy-compress",
        "-zlz4hc -C65536",
        "-zlz4hc,12 -C1048576",
        "-zlz4hc -Eztailpacking",
        "-zlz4hc -C16384 -Eztailpacking",
        "-zlz4hc --max-extent-bytes=16384",
    ],
)
def test_images_of_mkfs(tree: Path, tmp_path: Path, options: str) -> None:
    image = tmp_path / "system.img"
    run("mkfs.erofs", *options.split(), image, tree)
    erofs = open_erofs(FileSource(image))
    nodes = {node.path: node for node in erofs.walk()}
    assert erofs.unread == []
    assert set(nodes) == {str(path.relative_to(tree)) for path in tree.rglob("*")}

    extracted = tmp_path / "extracted"
    run("fsck.erofs", f"--extract={extracted}", image)
    for path, node in nodes.items():
        found, truth = described(node), expected(tree / path)
        assert found == ((*truth[:-1], {}) if options == "-x-1" else truth), path
        if node.kind is NodeKind.FILE:
            source = erofs.open(node)
            content = source.read_at(0, source.size)
            assert content == (tree / path).read_bytes(), path
            assert content == (extracted / path).read_bytes(), path


@pytest.mark.judge("mkfs.erofs")
@pytest.mark.judge("dump.erofs")
def test_the_superblock_as_dump_sees_it(tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "system.img"
    run("mkfs.erofs", "-zlz4hc", "-T1700000000", image, tree)
    superblock = open_erofs(FileSource(image)).superblock
    dump = run("dump.erofs", "-s", image)
    facts = dict(re.findall(r"^Filesystem (.+?): +(.+?) *$", dump, re.MULTILINE))
    assert facts["UUID"] == str(superblock.uuid)
    assert facts["blocks"] == str(superblock.blocks)
    assert facts["root nid"] == str(superblock.root_nid)
    assert facts["inode count"] == str(superblock.inode_count)
    assert superblock.build_time == 1_700_000_000
