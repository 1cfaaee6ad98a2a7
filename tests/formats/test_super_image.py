from dataclasses import replace

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource
from rom_builder.formats.super_image import (
    METADATA_OFFSET,
    Attributes,
    HeaderFlags,
    SuperImage,
    detect_super,
)
from tests.formats.builders.super_image import SECTOR, Lp
from tests.formats.damage import noise, survives

SYSTEM = noise(24 * SECTOR)
VENDOR = noise(8 * SECTOR, 8)
CONTENT = {2048: SYSTEM[: 16 * SECTOR], 4096: SYSTEM[16 * SECTOR :], 3000: VENDOR}
LP = Lp(
    partitions=[("system_a", 1, 1), ("system_b", 1, 2), ("vendor", 3, 1)],
    extents=[
        [(16, 0, 2048, 0), (4, 1, 0, 0), (8, 0, 4096, 0)],
        [],
        [(8, 0, 3000, 0)],
    ],
    groups=[("default", 0, 0), ("main_a", 0, 7 << 20), ("main_b", 0, 7 << 20)],
)


def opened(data: bytes) -> SuperImage:
    return SuperImage(BytesSource(data))


def content(image: SuperImage, name: str, slot: int = 0) -> bytes:
    source = image.partition(name, slot)
    return source.read_at(0, source.size)


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_partitions_read_back(minor: int) -> None:
    data = replace(LP, minor=minor).image(CONTENT)
    assert detect_super(data[:4100])
    image = opened(data)
    assert image.problems == []
    assert (
        content(image, "system_a")
        == SYSTEM[: 16 * SECTOR] + bytes(4 * SECTOR) + SYSTEM[16 * SECTOR :]
    )
    assert content(image, "system_b") == b""
    metadata = image.metadata()
    assert metadata.flags == (HeaderFlags.VIRTUAL_AB_DEVICE if minor == 2 else 0)
    assert [group.maximum_size for group in metadata.groups] == [0, 7 << 20, 7 << 20]
    assert metadata.partitions[0].group == "main_a"
    assert metadata.partitions[0].size == 28 * SECTOR
    assert metadata.block_devices[0].name == "super"


def test_slot_suffixed_names_get_the_suffix_of_their_slot() -> None:
    image = opened(LP.image(CONTENT))
    assert content(image, "vendor_a", 0) == VENDOR
    assert content(image, "vendor_b", 1) == VENDOR
    assert Attributes.SLOT_SUFFIXED in image.metadata().partitions[2].attributes


def test_an_empty_super_image_lists_its_partitions() -> None:
    data = LP.empty_image()
    assert detect_super(data[:4100])
    image = opened(data)
    assert [item.name for item in image.metadata().partitions] == [
        "system_a",
        "system_b",
        "vendor_a",
    ]
    with pytest.raises(ImageError):
        image.partition("system_a")


@pytest.mark.parametrize("position", [4100, METADATA_OFFSET + 50, METADATA_OFFSET + 300])
def test_a_damaged_primary_is_read_from_its_backup_and_said(position: int) -> None:
    data = bytearray(LP.image(CONTENT))
    data[position] ^= 1
    image = opened(bytes(data))
    assert content(image, "vendor_a") == VENDOR
    assert len(image.problems) == 1
    assert "SHA-256" in image.problems[0]


def test_a_slot_with_no_good_copy_is_refused_and_the_other_read() -> None:
    data = bytearray(LP.image(CONTENT))
    for copy in 0, 2:
        data[METADATA_OFFSET + copy * LP.metadata_size + 300] ^= 1
    image = opened(bytes(data))
    assert image.slots[0] is None
    with pytest.raises(ImageError, match="no readable metadata slot 0"):
        image.partition("vendor_a")
    assert content(image, "vendor_b", 1) == VENDOR
    with pytest.raises(ImageError, match="slot 2"):
        image.metadata(2)


def test_copies_that_differ_and_shared_sectors_are_said() -> None:
    other = replace(LP, extents=[[(16, 0, 2048, 0)], [(1, 0, 2060, 0)], []])
    data = bytearray(LP.image(CONTENT))
    data[METADATA_OFFSET : METADATA_OFFSET + LP.metadata_size] = other.metadata()
    assert opened(bytes(data)).problems == [
        "slot 0: primary and backup metadata differ",
        "slot 0: partitions system_a and system_b share sectors",
    ]


def test_extents_on_another_block_device_are_refused_by_name() -> None:
    lp = replace(
        LP,
        devices=[("super", 8 << 20), ("cust", 4 << 20)],
        extents=[[(16, 0, 2048, 1)], [], [(8, 0, 3000, 0)]],
    )
    image = opened(lp.image(CONTENT))
    with pytest.raises(ImageError, match="system_a continues on block device cust"):
        image.partition("system_a")
    assert content(image, "vendor_a") == VENDOR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minor": 3}, "version 10.3"),
        ({"metadata_size": 1 << 20}, "metadata of 1048576 bytes"),
        ({"metadata_size": 4096 + 100}, "metadata of 4196 bytes"),
        ({"slots": 0}, "0 super metadata slots"),
        ({"slots": 33}, "33 super metadata slots"),
        ({"partitions": [("a", 0, 9), ("b", 0, 0), ("c", 0, 0)]}, "in group 9"),
        ({"partitions": [("a", 0, 0), ("a", 0, 0), ("c", 0, 0)]}, "two partitions are named a"),
        ({"partitions": [("ä", 0, 0), ("b", 0, 0), ("c", 0, 0)]}, "not ASCII"),
        ({"extents": [[(1, 2, 2048, 0)], [], []]}, "extent type 2"),
        ({"extents": [[(1, 0, 2048, 1)], [], []]}, "block device 1"),
        ({"extents": [[(1, 0, 2047, 0)], [], []]}, "outside its block device"),
        ({"extents": [[(1 << 60, 0, 2048, 0)], [], []]}, "outside its block device"),
        ({"devices": []}, "without block devices"),
    ],
)
def test_damage_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        opened(replace(LP, **change).empty_image())  # type: ignore[arg-type]


def test_a_zero_extent_of_any_size_is_bounded() -> None:
    image = opened(replace(LP, extents=[[(1 << 60, 1, 0, 0)], [], []]).image({}))
    with pytest.raises(ImageError, match="too large"):
        image.partition("system_a")


def test_other_images_are_refused() -> None:
    for data in b"", bytes(4096), bytes(20000):
        assert not detect_super(data)
        with pytest.raises(ImageError):
            opened(data)


def test_random_damage_raises_only_image_error() -> None:
    extents = [[(16, 0, 2048, 0), (4, 1, 0, 0)], [], [(8, 0, 2100, 0)]]
    lp = replace(LP, metadata_size=4096, devices=[("super", 3 << 20)], extents=extents)

    def read(data: bytes) -> None:
        image = opened(data)
        for slot, metadata in enumerate(image.slots):
            for partition in metadata.partitions if metadata else ():
                content(image, partition.name, slot)

    image = lp.image({2048: SYSTEM[: 16 * SECTOR], 2100: VENDOR})[: 2200 * SECTOR]
    assert 20 < survives(read, image, within=30000, count=100) < 120
    assert survives(read, lp.empty_image(), within=4700, count=300) > 100
