"""ext4 images with features of all kinds, made by mkfs.ext4, and the verdict of e2fsck."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

from rom_builder.formats.ext4 import open_ext4
from rom_builder.formats.source import BytesSource
from tests.formats.image_model import Items, read_items, run
from tests.formats.images import hash_folders, make_ext4, write_tree

_PLAIN = "^has_journal,^resize_inode,^metadata_csum,^uninit_bg"
LAYOUTS: dict[str, list[str]] = {
    "plain": ["-b", "4096", "-O", f"{_PLAIN},^64bit"],
    "no-flex": ["-b", "1024", "-g", "512", "-O", f"{_PLAIN},^64bit,^flex_bg"],
    "checksums": ["-b", "4096", "-O", "^has_journal,metadata_csum,64bit"],
    "checksums-32": ["-b", "1024", "-g", "512", "-O", "^has_journal,metadata_csum,^64bit"],
    "checksum-seed": ["-b", "2048", "-O", "^has_journal,metadata_csum,metadata_csum_seed"],
    "uninit": ["-b", "1024", "-g", "512", "-O", "^has_journal,^metadata_csum,uninit_bg"],
    "small-inodes": ["-b", "1024", "-I", "128", "-O", "^has_journal,metadata_csum"],
    "inline": ["-b", "4096", "-O", "^has_journal,inline_data,metadata_csum"],
    "inline-uninit": ["-b", "1024", "-O", "^has_journal,inline_data,^metadata_csum,uninit_bg"],
    "sparse2": ["-b", "1024", "-g", "512", "-O", "^has_journal,^resize_inode,sparse_super2"],
}


def make(folder: Path, options: list[str], *, size: str = "3M", names: int = 0) -> bytes:
    """Return an image of the usual tree, its large folders hashed; ``names`` more in one of them."""
    source, image = folder / "source", folder / "image"
    if not source.exists():
        source.mkdir()
        write_tree(source)
        for number in range(names):
            (source / f"names/more{number:05}{'x' * 200}").write_bytes(b"%d" % number)
    image.unlink(missing_ok=True)
    # The last -N wins.
    make_ext4(source, image, [*options, "-N", str(400 + names)], size)
    hash_folders(image)
    return image.read_bytes()


def items_of(image: bytes) -> Items:
    tree = open_ext4(BytesSource(image))
    items = read_items(tree)
    assert tree.check_complete() == []
    return items


def judge(image: bytes, path: Path) -> None:
    """Let e2fsck find nothing at all: a wrong group checksum alone leaves its exit code 0."""
    path.write_bytes(image)
    said = run("e2fsck", "-fn", path)
    assert not re.search(r"Fix\?|IGNORED|invalid|differ|Clear\?|WARNING|error", said), said


def share_blocks(image: bytes, path: Path, kept: str, twin: str) -> bytes:
    """Return an image without checksums in which two equal files have the same blocks.

    No tool outside of Android makes such images: the twin's block map becomes that of the other,
    debugfs frees the twin's own blocks, and the feature bit is set.
    """
    tree = open_ext4(BytesSource(image))
    nodes = {node.path: node for node in tree.walk()}
    first, second = (tree.inode(nodes[name].inode or 0) for name in (kept, twin))
    changed = bytearray(image)
    changed[second.offset + 40 : second.offset + 100] = first.block
    (features,) = struct.unpack_from("<I", changed, 1024 + 100)
    struct.pack_into("<I", changed, 1024 + 100, features | 0x4000)
    path.write_bytes(changed)
    for part in tree.map_blocks(second):
        done = subprocess.run(
            ["debugfs", "-w", "-R", f"freeb {part.physical} {part.count}", path],
            capture_output=True,
            text=True,
            check=True,
        )
        with path.open("r+b") as file:
            file.seek(part.physical * tree.superblock.block_size)
            file.write(bytes(part.count * tree.superblock.block_size))
        assert "not" not in done.stderr.split("\n", 1)[1], done.stderr
    repaired = subprocess.run(["e2fsck", "-fy", path], capture_output=True, check=False)
    assert repaired.returncode == 1, repaired.stdout  # debugfs does not count the freed blocks
    return path.read_bytes()
