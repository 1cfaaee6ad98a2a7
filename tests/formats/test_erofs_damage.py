"""Damaged and hostile EROFS images are refused or reported as unread, and quickly."""

from __future__ import annotations

import random
import struct
import zlib

import lz4.block
import pytest
import zstandard

from rom_builder.errors import ImageError
from rom_builder.formats.erofs import Erofs, open_erofs
from rom_builder.formats.erofs.decompress import decompress
from rom_builder.formats.erofs.superblock import DEFLATE, LZ4, LZMA, ZSTD
from rom_builder.formats.source import BytesSource
from rom_builder.formats.tree import Node, NodeKind
from tests.formats.erofs_tree import FILES, OPTIONS, fixture, unsealed

SUPERBLOCK = 1024


def opened(image: bytes | bytearray) -> Erofs:
    return open_erofs(BytesSource(bytes(image)))


def find(tree: Erofs, path: str) -> Node:
    return next(node for node in tree.walk() if node.path == path)


def inode_offset(image: bytes | bytearray, path: str) -> int:
    tree = opened(image)
    number = find(tree, path).inode
    assert number is not None
    return tree.superblock.metadata_offset + 32 * number


def read(tree: Erofs, node: Node) -> bytes:
    source = tree.open(node)
    return b"".join(
        source.read_at(start, min(1 << 20, source.size - start))
        for start in range(0, source.size, 1 << 20)
    )


def reasons(tree: Erofs) -> dict[str, str]:
    """Walk, and return the unread parts: every reason by path."""
    list(tree.walk())
    found: dict[str, str] = {}
    for unread in tree.unread:
        found[unread.path] = "; ".join(filter(None, [found.get(unread.path), unread.reason]))
    return found


def drain(tree: Erofs) -> None:
    """Walk and read, as much of each file as a sound one of the fixtures has."""
    for node in tree.walk():
        if node.kind is NodeKind.FILE:
            try:
                source = tree.open(node)
                for offset in range(0, min(source.size, 200_000), 16_384):
                    source.read_at(offset, min(16_384, source.size - offset))
            except ImageError:
                pass


# The superblock


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"\0\0\0\0", "no EROFS superblock"),
        (12, b"\x08", "block size 1 << 8"),
        (12, b"\xff", "block size 1 << 255"),
        (80, b"\x80\0\0\0", "not supported: 48bit"),
        (80, b"\0\x01\0\0", "not supported: metabox"),
        (80, b"\0\x02\0\x80", "not supported: 0x200, 0x80000000"),
        (80, b"\x02\0\0\0\x10\0", "algorithms are not supported: 0x10"),
        (80, b"\x02\0\0\0\x02\0", "lzma configuration"),
        (80, b"\x08\0\0\0\0\0\xff\xff\0\xff", "bytes are wanted"),
        (90, b"\x01", "directory blocks of 2 blocks"),
        (14, b"\xff\xff", "behind the end of the image"),
        (40, b"\xff\xff\xff\xff", "behind the end of the image"),
    ],
)
def test_a_superblock_that_is_refused(offset: int, value: bytes, message: str) -> None:
    image = unsealed("plain")
    image[SUPERBLOCK + offset : SUPERBLOCK + offset + len(value)] = value
    with pytest.raises(ImageError, match=message) as caught:
        opened(image)
    assert caught.value.offset is not None


@pytest.mark.parametrize("offset", [1024 + 64, 2000, 4095])
def test_the_checksum_covers_the_first_block(offset: int) -> None:
    image = bytearray(fixture("plain"))
    image[offset] ^= 1
    with pytest.raises(ImageError, match="superblock checksum"):
        opened(image)


@pytest.mark.parametrize("size", [0, 1000, 1026, 1100, 1151])
def test_an_image_that_ends_in_the_superblock(size: int) -> None:
    with pytest.raises(ImageError):
        opened(unsealed("plain")[:size])


def test_an_image_cut_short_is_reported() -> None:
    image = unsealed("plain")
    assert "its file system" in reasons(opened(image[:-4096]))[""]


def test_inodes_that_are_missing_are_reported() -> None:
    image = unsealed("plain")
    image[SUPERBLOCK + 16] += 1
    assert reasons(opened(image)) == {"": "19 inodes were reached, the superblock counts 20"}


# Folders


def root_entries(image: bytearray) -> dict[bytes, int]:
    """Return where the entries of the root lie; its folder is one inline block."""
    tree = opened(image)
    start = image.index(b"...appbinbuild.prop") - 12 * 9
    assert struct.unpack_from("<H", image, start + 8) == (12 * 9,)
    assert tree.superblock.block_size == 4096
    names = [b".", b"..", b"app", b"bin", b"build.prop", b"empty", b"etc", b"long", b"tmp"]
    return {name: start + 12 * index for index, name in enumerate(names)}


def test_a_folder_that_holds_itself() -> None:
    image = unsealed("plain")
    entries = root_entries(image)
    image[entries[b"app"] : entries[b"app"] + 8] = image[entries[b"."] : entries[b"."] + 8]
    assert "the folder is the root once more" in reasons(opened(image))["app"]


def test_two_names_for_one_folder() -> None:
    image = unsealed("plain")
    entries = root_entries(image)
    image[entries[b"etc"] : entries[b"etc"] + 8] = image[entries[b"app"] : entries[b"app"] + 8]
    found = reasons(opened(image))
    assert found["etc"] == "the folder is app once more"
    assert "inodes were reached" in found[""]


def test_an_inode_behind_the_end_hides_nothing_else() -> None:
    image = unsealed("plain")
    entries = root_entries(image)
    image[entries[b"bin"] : entries[b"bin"] + 8] = b"\xff" * 8
    tree = opened(image)
    paths = {node.path for node in tree.walk()}
    assert "bin" not in paths
    assert {"app/Big.apk", "etc/hosts"} <= paths
    assert "behind the end" in {entry.path: entry.reason for entry in tree.unread}["bin"]


def test_a_folder_that_names_the_wrong_parent() -> None:
    image = unsealed("plain")
    entries = root_entries(image)
    image[entries[b".."] : entries[b".."] + 8] = image[entries[b"etc"] : entries[b"etc"] + 8]
    assert ".. is inode" in reasons(opened(image))[""]


def test_a_folder_that_calls_a_file_a_symlink() -> None:
    image = unsealed("plain")
    image[root_entries(image)[b"empty"] + 10] = 7
    assert reasons(opened(image)) == {"empty": "its folder calls the file a symlink"}


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        (b"appbinbuild", b"appapqbuild", None),
        (b"appbinbuild", b"appappbuild", "stands behind"),
        (b"appbinbuild", b"zppbinbuild", "stands behind"),
        (b"appbinbuild", b"a/pbinbuild", "is named"),
        (b"appbinbuild", b"a\0pbinbuild", "is named"),
    ],
)
def test_names_that_no_folder_may_have(
    name: bytes, replacement: bytes, message: str | None
) -> None:
    image = unsealed("plain")
    at = image.index(name)
    image[at : at + len(name)] = replacement
    found = reasons(opened(image))
    assert message in found[""] if message else found == {}


@pytest.mark.parametrize("offset", [0, 5, 12, 4095, 65_535])
def test_names_that_lie_elsewhere(offset: int) -> None:
    image = unsealed("plain")
    entries = root_entries(image)
    struct.pack_into("<H", image, entries[b"."] + 8, offset)
    assert "" in reasons(opened(image))


# Inodes and content


@pytest.mark.parametrize(
    ("path", "offset", "value", "message"),
    [
        ("etc/hosts", 0, b"\x20\0", "format 0x20"),
        ("etc/hosts", 0, b"\x0a\0", "format 0xa"),
        ("etc/hosts", 4, b"\0\0", "mode 0"),
        ("long", 8, b"\x01\x10\0\0", "symlink target of 4097 bytes"),
        ("long", 8, b"\0\0\0\0", "symlink target of 0 bytes"),
        ("tmp", 8, b"\0\0\0\x80", "folders take more than 4 times the image's size"),
        ("etc/hosts", 2, b"\xff\xff", "extended attributes: "),
    ],
)
def test_an_inode_that_is_reported(path: str, offset: int, value: bytes, message: str) -> None:
    image = unsealed("plain")
    at = inode_offset(image, path) + offset
    image[at : at + len(value)] = value
    assert message in reasons(opened(image))[path]


@pytest.mark.parametrize(
    ("name", "path", "offset", "value"),
    [
        ("plain", "app/Big.apk", 8, b"\0\0\0\x80"),  # size
        ("plain", "app/Big.apk", 16, b"\xff\xff\xff\x7f"),  # start block
        ("plain", "etc/hosts", 8, b"\0\x0f\0\0"),  # inline tail
        ("chunks", "app/Big.apk", 8, b"\xff\xff\xff\xff"),  # size, so more elements than the image
        ("chunks", "app/Big.apk", 16, b"\x60\0"),  # 48-bit chunks
        ("zstd", "app/Big.apk", 8, b"\xff\xff\xff\xff"),  # size, so a larger index
        ("zstd-fragments", "app/Big.apk", 8, b"\xff\xff\xff\xff"),
    ],
)
def test_content_that_leaves_the_image(name: str, path: str, offset: int, value: bytes) -> None:
    image = unsealed(name)
    at = inode_offset(image, path) + offset
    image[at : at + len(value)] = value
    tree = opened(image)
    with pytest.raises(ImageError):
        read(tree, find(tree, path))


def test_a_huge_hole_is_read_in_pieces_only() -> None:
    image = unsealed("chunks")
    at = inode_offset(image, "empty")  # an extended inode; its owner does not fit a compact one
    struct.pack_into("<H", image, at, 4 << 1 | 1)
    struct.pack_into("<QI", image, at + 8, 1 << 42, 31)
    element = at + 64 + 16
    image[element : element + 4] = b"\xff" * 4
    tree = opened(image)
    source = tree.open(find(tree, "empty"))
    assert source.size == 1 << 42
    assert source.read_at((1 << 42) - 5000, 5000) == bytes(5000)
    with pytest.raises(ImageError, match="more than one read"):
        source.read_at(0, source.size)


@pytest.mark.parametrize("name", ["lz4", "lzma", "deflate", "zstd", "lz4-blocks-512", "legacy"])
def test_damaged_streams_never_give_other_sizes(name: str) -> None:
    image = unsealed(name)
    for position in range(len(image) // 2, len(image), 64):
        image[position] ^= 0x55
    tree = opened(image)
    for node in tree.walk():
        if node.path in FILES:
            try:
                assert len(read(tree, node)) == node.size
            except ImageError:
                continue


@pytest.mark.parametrize("algorithm", [LZ4, LZMA, DEFLATE, ZSTD])
@pytest.mark.parametrize("data", [b"", bytes(4096), b"\xff" * 4096, bytes(range(1, 256)) * 16])
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("zero_padded", [False, True])
def test_a_cluster_that_is_no_stream(
    algorithm: int, data: bytes, partial: bool, zero_padded: bool
) -> None:
    with pytest.raises(ImageError) as caught:
        decompress(
            algorithm, data, 100_000, partial=partial, zero_padded=zero_padded, offset=0x7000
        )
    assert caught.value.offset == 0x7000


def test_a_cluster_that_holds_more_than_it_should() -> None:
    data = b"messaging " * 500_000
    encoder = zlib.compressobj(9, zlib.DEFLATED, -15)
    streams = {
        LZ4: lz4.block.compress(data, store_size=False),
        DEFLATE: encoder.compress(data) + encoder.flush(),
        ZSTD: zstandard.ZstdCompressor().compress(data),
    }
    for algorithm, stream in streams.items():
        with pytest.raises(ImageError):
            decompress(algorithm, stream, 4096, partial=False, zero_padded=True, offset=0)
        first = decompress(algorithm, stream, 4096, partial=True, zero_padded=True, offset=0)
        assert first == data[:4096]


# Any damage


@pytest.mark.parametrize("name", OPTIONS)
def test_random_damage(name: str) -> None:
    pristine = unsealed(name)
    written = [position for position, byte in enumerate(pristine) if byte]
    for seed in range(60):
        choice = random.Random(f"{name} {seed}")
        image = bytearray(pristine)
        for _ in range(choice.choice([1, 4, 32])):
            image[choice.choice(written)] = choice.choice([0, 1, 0x7F, 0x80, 0xFF])
        try:
            drain(opened(image))
        except ImageError:
            continue


@pytest.mark.parametrize("name", OPTIONS)
def test_truncation_is_never_silent(name: str) -> None:
    pristine = unsealed(name)
    for size in range(0, len(pristine), len(pristine) // 20):
        try:
            tree = opened(pristine[:size])
        except ImageError:
            continue
        drain(tree)
        assert tree.unread
