"""ext4: no damage and no hostile image goes untold, crashes or runs on."""

from __future__ import annotations

import random
import struct

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.ext4 import Ext4, open_ext4
from rom_builder.formats.source import BytesSource
from tests.formats.images import (
    EXT4_OPTIONS,
    TREE,
    content_of,
    fixture,
    nodes_of,
    read_everything,
)

ALL = sorted(EXT4_OPTIONS)


def opened(image: bytes | bytearray) -> Ext4:
    return open_ext4(BytesSource(bytes(image)))


def inode_offset(reader: Ext4, path: str) -> int:
    number = nodes_of(reader)[path].inode
    assert number is not None
    return reader.inode(number).offset


def first_block(reader: Ext4, path: str) -> int:
    number = nodes_of(reader)[path].inode if path else 2
    assert number is not None
    run = reader.map_blocks(reader.inode(number))[0]
    return run.physical * reader.superblock.block_size


def reasons(reader: Ext4) -> str:
    """Walk and open everything; return all that was noted."""
    read_everything(reader)
    items = [*reader.unread, *reader.check_complete()]
    return "\n".join(f"{item.path}: {item.reason}" for item in items)


# Damage


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("superblock", 1024 + 120),
        ("group descriptor", 2048 + 16),
        ("names/05-nnnnn", "inode"),
        ("names", "block"),
        ("", "block"),
    ],
)
def test_a_flipped_byte_in_a_checksummed_structure_is_told(path: str, place: int | str) -> None:
    image = bytearray(fixture("ext4-checksums.img"))
    reader = opened(image)
    if place == "inode":
        place = inode_offset(reader, path) + 8  # access time: nothing else would notice
    elif place == "block":
        place = first_block(reader, path) + 44
    assert isinstance(place, int)
    image[place] ^= 0xFF
    try:
        told = reasons(opened(image))
    except ImageError as error:
        told = str(error)
    assert "checksum" in told


def test_damage_in_one_folder_leaves_the_others_readable() -> None:
    image = bytearray(fixture("ext4-checksums.img"))
    image[first_block(opened(image), "names") + 8] ^= 1
    reader = opened(image)
    nodes = nodes_of(reader)
    assert content_of(reader, nodes["build.prop"]) == TREE["build.prop"].content
    assert {item.path for item in reader.unread} == {"names"}


def test_damaged_attributes_do_not_hide_the_file() -> None:
    image = bytearray(fixture("ext4-android.img"))
    place = inode_offset(opened(image), "build.prop") + 128 + 32 + 4
    struct.pack_into("<H", image, place + 2, 0x4000)  # the label's value
    reader = opened(image)
    node = nodes_of(reader)["build.prop"]
    assert (node.label, node.size) == (None, 16)
    assert [item.path for item in reader.unread] == ["build.prop"]


@pytest.mark.parametrize("name", ["ext4-checksums.img", "ext4-inline.img"])
def test_no_flipped_byte_changes_a_node_without_being_told(name: str) -> None:
    """Only the content of files has no checksum."""
    image = fixture(name)
    good = nodes_of(opened(image))
    used = [place for place in range(len(image)) if image[place]]
    rng = random.Random(4)
    for place in rng.sample(used, 250):
        damaged = bytearray(image)
        damaged[place] ^= 1 << rng.randrange(8)
        try:
            reader = opened(damaged)
            nodes = nodes_of(reader)
        except ImageError:
            continue
        told = reader.unread or reader.check_complete()
        targets = {path for path in nodes if nodes[path].target != good[path].target}
        assert told or nodes == good or targets <= {"link60", "link300"}, hex(place)


@pytest.mark.parametrize("name", ALL)
def test_random_damage_ends_in_an_image_error_or_a_note(name: str) -> None:
    image = fixture(name)
    used = [place for place in range(len(image)) if image[place]]
    rng = random.Random(name)
    for _ in range(60):
        damaged = bytearray(image)
        for place in rng.sample(used, 12):
            damaged[place] = rng.choice((0, 0xFF, 0x7F, rng.randrange(256)))
        try:
            read_everything(opened(damaged))
        except ImageError:
            continue


@pytest.mark.parametrize("name", ALL)
def test_a_truncated_image_is_told(name: str) -> None:
    image = fixture(name)
    for size in [0, 1, 1023, 1024, 1500, 2047, 2048, 5000, 40_000, 200_000, len(image) - 1]:
        try:
            reader = opened(image[:size])
        except ImageError:
            assert size < 2048
            continue
        assert f"the image ends at {size} of {len(image)} bytes" in reasons(reader)


# Hostile images, made of ones without checksums


def android() -> tuple[bytearray, Ext4]:
    image = bytearray(fixture("ext4-android.img"))
    return image, opened(image)


def entry_of(image: bytearray, name: bytes, kind: int = 1) -> int:
    """Return where a folder entry begins; kinds: 1 file, 2 folder, 7 symlink."""
    return image.index(bytes([len(name), kind]) + name) - 6


def test_a_folder_inside_itself_ends() -> None:
    image, reader = android()
    struct.pack_into("<I", image, entry_of(image, b"er", 2), nodes_of(reader)["deep"].inode)
    reader = opened(image)
    nodes = nodes_of(reader)
    assert "deep" in nodes
    assert "deep/er" not in nodes
    assert "has another place already" in reasons(reader)
    assert "no name leads to" in reasons(reader)


def test_a_second_name_for_the_root_is_told() -> None:
    image, _ = android()
    struct.pack_into("<I", image, entry_of(image, b"er", 2), 2)
    assert "deep/er: inode 2 is not for files" in reasons(opened(image))


def test_a_name_that_leads_to_a_reserved_inode_is_told() -> None:
    image, _ = android()
    struct.pack_into("<I", image, entry_of(image, b"build.prop"), 8)
    assert "build.prop: inode 8" in reasons(opened(image))


@pytest.mark.parametrize("name", [b"build/prop", b"build\0prop"])
def test_a_name_with_a_slash_is_refused(name: bytes) -> None:
    image, _ = android()
    place = entry_of(image, b"build.prop")
    image[place + 8 : place + 18] = name
    assert "is not a file name" in reasons(opened(image))


def test_a_name_that_stands_twice_in_a_folder_is_told() -> None:
    image, _ = android()
    place = entry_of(image, b"link59", 7)
    image[place + 8 : place + 14] = b"link60"
    assert "link60: the folder has this name twice" in reasons(opened(image))


def test_a_folder_that_ends_early_is_told() -> None:
    image, _ = android()
    struct.pack_into("<H", image, entry_of(image, b"build.prop") + 4, 4000)
    assert "no name leads to" in reasons(opened(image))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ((0xF30A, 1, 4, 6), "an extent node of depth 6"),
        ((0xF30A, 0, 4, 1), "without entries"),
        ((0xF30A, 5, 4, 0), "5 entries in a room for 4"),
        ((0xF30A, 1, 400, 0), "no extent header"),
        ((0x1234, 1, 4, 0), "no extent header"),
    ],
)
def test_a_hostile_extent_header_is_refused(
    header: tuple[int, int, int, int], message: str
) -> None:
    image, reader = android()
    struct.pack_into("<4H", image, inode_offset(reader, "spotted") + 40, *header)
    reader = opened(image)
    with pytest.raises(ImageError, match=message):
        reader.open(nodes_of(reader)["spotted"])


@pytest.mark.parametrize("depth", [1, 5])
def test_an_extent_block_that_points_to_itself_ends(depth: int) -> None:
    image, reader = android()
    block = first_block(reader, "spotted") // 4096
    root = inode_offset(reader, "spotted") + 40
    struct.pack_into("<4H4xIIHH", image, root, 0xF30A, 1, 4, depth, 0, block, 0, 0)
    node = struct.pack("<4H4xIIHH", 0xF30A, 1, 340, depth - 1, 0, block, 0, 0)
    image[block * 4096 : block * 4096 + len(node)] = node
    reader = opened(image)
    with pytest.raises(ImageError, match=r"twice in one extent tree|an extent of 0 blocks|outside"):
        reader.open(nodes_of(reader)["spotted"])


@pytest.mark.parametrize(("start", "length"), [(255, 2), (1 << 31, 1), (0, 59), (40, 0)])
def test_an_extent_outside_the_image_is_refused(start: int, length: int) -> None:
    image, reader = android()
    place = inode_offset(reader, "spotted") + 52
    struct.pack_into("<IHHI", image, place, 0, length, 0, start)
    reader = opened(image)
    with pytest.raises(ImageError):
        reader.open(nodes_of(reader)["spotted"])


def test_an_unwritten_extent_is_zeros() -> None:
    image, reader = android()
    place = inode_offset(reader, "spotted") + 56
    (length,) = struct.unpack_from("<H", image, place)
    struct.pack_into("<H", image, place, length | 0x8000)
    reader = opened(image)
    node = nodes_of(reader)["spotted"]
    assert content_of(reader, node) == bytes(node.size)


@pytest.mark.parametrize("name", ["ext2.img", "ext4-android.img"])
def test_a_file_larger_than_the_file_system_is_refused(name: str) -> None:
    image = bytearray(fixture(name))
    struct.pack_into("<I", image, inode_offset(opened(image), "spotted") + 108, 0x1000)
    reader = opened(image)
    with pytest.raises(ImageError, match="the whole file system has"):
        reader.open(nodes_of(reader)["spotted"])


def test_an_indirect_block_that_points_to_itself_ends() -> None:
    image = bytearray(fixture("ext2.img"))
    reader = opened(image)
    inode = inode_offset(reader, "spotted")
    (block,) = struct.unpack_from("<I", image, inode + 40 + 4 * 12)
    image[block * 1024 : (block + 1) * 1024] = struct.pack("<I", block) * 256
    struct.pack_into("<I", image, inode + 40 + 4 * 14, block)
    reader = opened(image)
    assert len(content_of(reader, nodes_of(reader)["spotted"])) == 240_000


def test_folders_that_share_their_blocks_end() -> None:
    image, reader = android()
    block = first_block(reader, "names") // 4096
    for path, count in (("names", 200), ("deep", 100)):
        inode = inode_offset(reader, path)
        struct.pack_into("<I", image, inode + 4, count * 4096)
        root = struct.pack("<4H4xIHHI", 0xF30A, 1, 4, 0, 0, 50, 0, block)
        image[inode + 40 : inode + 40 + len(root)] = root
    told = reasons(opened(image))
    assert "deep: the folder has 204800 of 409600 bytes" in told
    assert "names: folders share blocks" in told


@pytest.mark.parametrize(
    ("offset", "layout", "value", "message"),
    [
        (24, "I", 7, "the block size is 2"),
        (32, "I", 0, "groups of 0"),
        (40, "I", 0, "0 inodes in a group"),
        (40, "I", 0xFFFFFFFF, "inodes in a group"),
        (0, "I", 0xFFFFFFFF, "inodes are not"),
        (4, "I", 0xFFFFFFFF, "contradicts itself"),
        (88, "H", 300, "an inode of 300 bytes"),
        (84, "I", 0, "first ordinary inode"),
        (56, "H", 0, "no ext4 magic"),
    ],
)
def test_a_superblock_that_contradicts_itself_is_refused(
    offset: int, layout: str, value: int, message: str
) -> None:
    image, _ = android()
    struct.pack_into(f"<{layout}", image, 1024 + offset, value)
    with pytest.raises(ImageError, match=message):
        opened(image)


@pytest.mark.parametrize(
    ("bit", "name"),
    [(0x1, "compression"), (0x8, "journal_dev"), (0x1000, "dirdata"), (0x80000, "0x80000")],
)
def test_an_unknown_incompatible_feature_is_refused_by_name(bit: int, name: str) -> None:
    image, _ = android()
    (features,) = struct.unpack_from("<I", image, 1024 + 96)
    struct.pack_into("<I", image, 1024 + 96, features | bit)
    with pytest.raises(ImageError, match=name):
        opened(image)


def test_a_journal_that_was_not_replayed_is_told() -> None:
    image, _ = android()
    image[1024 + 96] |= 4
    assert "journal" in reasons(opened(image))


def test_encrypted_files_and_folders_are_told_not_shown_empty() -> None:
    image, reader = android()
    for path in ("build.prop", "names", "link"):
        image[inode_offset(reader, path) + 33] |= 0x08
    reader = opened(image)
    nodes = nodes_of(reader)
    with pytest.raises(ImageError, match="encrypted"):
        reader.open(nodes["build.prop"])
    assert {"build.prop", "names", "link"} <= {item.path for item in reader.unread}
    assert nodes["names"].inode is not None
    assert "encrypt" in reader.inode(nodes["names"].inode).flag_names


def test_years_past_2038_and_before_1970_are_told_apart() -> None:
    image, reader = android()
    inode = inode_offset(reader, "empty")
    struct.pack_into("<i", image, inode + 16, -5)
    assert nodes_of(opened(image))["empty"].mtime == -5
    struct.pack_into("<I", image, inode + 136, 1)
    assert nodes_of(opened(image))["empty"].mtime == (1 << 32) - 5
