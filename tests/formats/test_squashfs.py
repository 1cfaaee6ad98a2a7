"""SquashFS: what the reader tells must be what mksquashfs was given, and damage must be told."""

from __future__ import annotations

import lzma
import os
import random
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import lz4.block
import pytest
import zstandard

from rom_builder.errors import ImageError
from rom_builder.formats.f2fs import detect_f2fs
from rom_builder.formats.source import BytesSource, FileSource
from rom_builder.formats.squashfs import Squashfs, detect_squashfs, open_squashfs
from rom_builder.formats.squashfs.compression import find_decompress
from rom_builder.formats.tree import Node, NodeKind
from tests.formats.images import (
    MADE_AT,
    TREE,
    assert_is_folder,
    assert_is_tree,
    content_of,
    fixture,
    make_squashfs,
    nodes_of,
    read_everything,
    write_tree,
)

CODECS = ["gzip", "lz4", "xz", "zstd"]


def opened(image: bytes | bytearray) -> Squashfs:
    return open_squashfs(BytesSource(bytes(image)))


def reasons(reader: Squashfs) -> str:
    read_everything(reader)
    items = [*reader.unread, *reader.check_complete()]
    return "\n".join(f"{item.path}: {item.reason}" for item in items)


@pytest.mark.parametrize("codec", CODECS)
def test_reads_the_whole_tree(codec: str) -> None:
    image = fixture(f"squashfs-{codec}.img")
    assert detect_squashfs(image[:8192])
    reader = opened(image)
    assert reader.superblock.compression == codec
    assert_is_tree(reader)


def test_reads_metadata_that_is_stored_not_compressed() -> None:
    assert_is_tree(opened(fixture("squashfs-plain.img")))


def test_the_superblock_tells_the_facts_of_the_file_system() -> None:
    superblock = opened(fixture("squashfs-gzip.img")).superblock
    assert (superblock.block_size, superblock.made_at) == (4096, MADE_AT)
    assert superblock.inode_count == len(TREE) + 1


def test_the_root_has_a_node_of_its_own() -> None:
    root = opened(fixture("squashfs-gzip.img")).root()
    assert (root.path, root.kind, root.mode) == ("", NodeKind.FOLDER, 0o755)


def test_a_slice_of_a_file_is_that_slice() -> None:
    reader = opened(fixture("squashfs-lz4.img"))
    source = reader.open(nodes_of(reader)["spotted"])
    whole = TREE["spotted"].content
    for start, size in [(0, 1), (4095, 2), (4096, 9000), (source.size - 1, 1), (source.size, 0)]:
        assert source.read_at(start, size) == whole[start : start + size]
    with pytest.raises(ImageError):
        source.read_at(source.size, 1)


def test_a_node_of_no_file_does_not_open() -> None:
    reader = opened(fixture("squashfs-gzip.img"))
    nodes = nodes_of(reader)
    for node in (nodes["names"], nodes["link"], Node("stranger", NodeKind.FILE, inode=9999)):
        with pytest.raises(ImageError):
            reader.open(node)


def test_another_file_system_is_not_detected() -> None:
    assert not detect_squashfs(fixture("ext2.img")[:8192])
    assert not detect_squashfs(b"")


def test_f2fs_is_recognised() -> None:
    assert detect_f2fs(bytes(1024) + bytes.fromhex("1020f5f2") + bytes(7000))
    assert not detect_f2fs(fixture("ext2.img")[:8192])
    assert not detect_f2fs(b"")


# Damage and hostile images


@pytest.mark.parametrize(
    ("offset", "layout", "value", "message"),
    [
        (0, "4s", b"sqsh", "no SquashFS magic"),
        (28, "H", 3, "SquashFS 3.0 is not read"),
        (20, "H", 3, "with lzo is not read"),
        (20, "H", 2, "with lzma is not read"),
        (20, "H", 9, "with compression 9 is not read"),
        (12, "I", 4000, "a block of 4000 bytes"),
        (22, "H", 40, "a block of 4096 bytes, log2 40"),
        (64, "Q", 1 << 40, "a table at"),
        (48, "Q", 10, "a table at"),
    ],
)
def test_a_superblock_that_is_not_understood_is_refused(
    offset: int, layout: str, value: int | bytes, message: str
) -> None:
    image = bytearray(fixture("squashfs-gzip.img"))
    struct.pack_into(f"<{layout}", image, offset, value)
    with pytest.raises(ImageError, match=message):
        opened(image)


def test_a_missing_inode_is_told() -> None:
    image = bytearray(fixture("squashfs-gzip.img"))
    struct.pack_into("<I", image, 4, len(TREE) + 2)
    assert f"names lead to {len(TREE) + 1} inodes" in reasons(opened(image))


@pytest.mark.parametrize("codec", CODECS)
def test_random_damage_ends_in_an_image_error_or_a_note(codec: str) -> None:
    image = fixture(f"squashfs-{codec}.img")
    used = struct.unpack_from("<Q", image, 40)[0]
    rng = random.Random(codec)  # noqa: S311
    for _ in range(150):
        damaged = bytearray(image)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(used)] ^= 1 << rng.randrange(8)
        try:
            read_everything(opened(damaged))
        except ImageError:
            continue


@pytest.mark.parametrize("codec", CODECS)
def test_a_truncated_image_is_told(codec: str) -> None:
    image = fixture(f"squashfs-{codec}.img")
    used = struct.unpack_from("<Q", image, 40)[0]
    for size in [0, 4, 95, 96, 200, used // 2, used - 1]:
        try:
            reader = opened(image[:size])
        except ImageError:
            assert size < 96
            continue
        assert f"the image ends at {size} of {used} bytes" in reasons(reader)


def plain() -> tuple[bytearray, Squashfs]:
    """Return an image whose inodes and names are stored, so that a test can change them."""
    image = bytearray(fixture("squashfs-plain.img"))
    return image, opened(image)


def test_a_name_with_a_slash_is_refused() -> None:
    image, _ = plain()
    place = image.rindex(b"build.prop")  # a link to it comes before
    image[place : place + 10] = b"../ld.prop"
    assert "is not a file name" in reasons(opened(image))


def test_a_name_that_stands_twice_in_a_folder_is_told() -> None:
    image, _ = plain()
    place = image.index(b"link59")
    image[place : place + 6] = b"link60"
    assert "link60: the folder has this name twice" in reasons(opened(image))


def test_a_folder_inside_itself_ends() -> None:
    image, reader = plain()
    nodes = nodes_of(reader)
    inner, outer = nodes["deep/er"].inode, nodes["deep"].inode
    assert inner is not None
    assert outer is not None
    # An entry: u16 offset, s16 number, u16 type 1, u16 name size - 1, name.
    inner_entry = image.index(b"\1\0\1\0er") - 4
    outer_entry = image.index(b"\1\0\3\0deep") - 4
    offset, number = struct.unpack_from("<Hh", image, inner_entry)
    image[inner_entry : inner_entry + 2] = image[outer_entry : outer_entry + 2]
    assert offset != struct.unpack_from("<H", image, inner_entry)[0]
    assert f"two inodes have the number {inner}" in reasons(opened(image))
    struct.pack_into("<h", image, inner_entry + 2, number + outer - inner)
    assert f"deep/er: folder inode {outer} has another place" in reasons(opened(image))


def test_a_file_of_absurd_size_is_refused() -> None:
    image, _ = plain()
    size = len(TREE["spotted"].content).to_bytes(8, "little")
    assert image.count(size) == 1
    struct.pack_into("<Q", image, image.index(size), 1 << 62)
    reader = opened(image)
    with pytest.raises(ImageError, match="claims 4611686018427387904 bytes"):
        reader.open(nodes_of(reader)["spotted"])


@pytest.mark.parametrize("codec", CODECS)
def test_a_few_bytes_cannot_fill_the_memory(codec: str) -> None:
    zeros = bytes(50 << 20)
    packed = {
        "gzip": zlib.compress,
        "lz4": lambda data: lz4.block.compress(data, store_size=False),
        "xz": lambda data: lzma.compress(data, preset=0),
        "zstd": zstandard.compress,
    }[codec](zeros)
    decompress = find_decompress(codec)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            decompress(packed, 8192)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# Foreign tools


@pytest.mark.judge("mksquashfs")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-no-xattrs"],
        ["-no-fragments", "-no-exports"],
        ["-always-use-fragments", "-b", "4096"],
        ["-noI", "-noD", "-noF", "-noX", "-noId"],
        ["-comp", "lz4", "-Xhc", "-b", "1M"],
        ["-comp", "zstd", "-Xcompression-level", "1"],
        ["-comp", "xz", "-Xbcj", "arm,x86", "-b", "64K"],
    ],
    ids=" ".join,
)
def test_reads_what_mksquashfs_writes(options: list[str], tmp_path: Path) -> None:
    source, image = tmp_path / "source", tmp_path / "image"
    source.mkdir()
    write_tree(source)
    (source / "large").write_bytes(bytes(range(256)) * 3000)
    make_squashfs(source, image, options)
    has_attributes = "-no-xattrs" not in options
    assert_is_folder(open_squashfs(FileSource(image)), source, has_attributes=has_attributes)


@pytest.mark.judge("unsquashfs")
@pytest.mark.parametrize("codec", CODECS)
def test_unsquashfs_reads_the_same_tree(codec: str, tmp_path: Path) -> None:
    image, out = tmp_path / "image", tmp_path / "out"
    image.write_bytes(fixture(f"squashfs-{codec}.img"))
    subprocess.run(
        ["unsquashfs", "-no-progress", "-d", out, image], capture_output=True, check=False
    )
    reader = open_squashfs(FileSource(image))
    for path, node in nodes_of(reader).items():
        place = out / path
        if node.kind is NodeKind.FILE:
            assert content_of(reader, node) == place.read_bytes(), path
        elif node.kind is NodeKind.SYMLINK:
            assert node.target == str(place.readlink())
        if os.geteuid() == 0:
            status = place.lstat()
            assert (node.uid, node.gid) == (status.st_uid, status.st_gid), path
            assert node.xattrs == {
                name: os.getxattr(place, name, follow_symlinks=False)
                for name in os.listxattr(place, follow_symlinks=False)
            }, path
