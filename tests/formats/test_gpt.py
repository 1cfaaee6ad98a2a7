import re
import subprocess
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.gpt import DiskImage, detect_gpt
from rom_builder.formats.source import BytesSource
from tests.formats.builders.gpt import TYPE, disk_image
from tests.formats.damage import survives

PARTITIONS = [("boot_a", 8, 9), ("system", 10, 40), ("Größe", 41, 41)]
GOOD = disk_image(PARTITIONS)


def opened(data: bytes) -> DiskImage:
    return DiskImage(BytesSource(data))


@pytest.mark.parametrize("block", [512, 4096])
def test_partitions_read_back(block: int) -> None:
    data = disk_image([("boot_a", 20, 21), ("system", 22, 40)], block=block)
    assert detect_gpt(data[:4104])
    disk = opened(data)
    assert disk.problems == []
    assert disk.block_size == block
    assert disk.partitions[0].type_id == TYPE
    source = disk.partition("system")
    assert source.size == 19 * block
    assert source.read_at(0, 12) == b"systemsystem"


def test_names_are_utf_16() -> None:
    assert opened(GOOD).partition("Größe").read_at(0, 7) == "Größe".encode()


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (4096 + 60, "primary .* header does not match its CRC-32"),
        (2 * 4096 + 60, "primary .* entries do not match their CRC-32"),
        (63 * 4096 + 60, "backup .* header does not match its CRC-32"),
    ],
)
def test_one_damaged_copy_is_said_and_the_other_read(position: int, said: str) -> None:
    data = bytearray(GOOD)
    data[position] ^= 1
    disk = opened(bytes(data))
    assert [partition.name for partition in disk.partitions] == ["boot_a", "system", "Größe"]
    assert len(disk.problems) == 1
    assert re.search(said, disk.problems[0])


def test_a_table_without_its_disk_lists_partitions_but_opens_none() -> None:
    disk = opened(GOOD[: 6 * 4096])
    assert "backup" in disk.problems[0]
    assert len(disk.partitions) == 3
    with pytest.raises(ImageError, match="the data ends"):
        disk.partition("system")


def test_missing_and_ambiguous_names_are_refused() -> None:
    with pytest.raises(ImageError, match="no partitions named vendor"):
        opened(GOOD).partition("vendor")
    with pytest.raises(ImageError, match="2 partitions named x"):
        opened(disk_image([("x", 8, 8), ("x", 9, 9)])).partition("x")


def test_both_copies_damaged_and_other_files_are_refused() -> None:
    data = bytearray(GOOD)
    data[4096 + 60] ^= 1
    data[63 * 4096 + 60] ^= 1
    with pytest.raises(ImageError, match=r"primary .*; backup"):
        opened(bytes(data))
    for other in b"", bytes(10_000):
        assert not detect_gpt(other)
        with pytest.raises(ImageError, match="no GUID partition table"):
            opened(other)


def test_copies_that_differ_are_said() -> None:
    other = disk_image([("boot_b", 8, 9)])
    assert opened(GOOD[: 32 * 4096] + other[32 * 4096 :]).problems == [
        "primary and backup partition table differ"
    ]


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        disk = opened(data)
        for partition in disk.partitions:
            disk.partition(partition.name).read_at(0, 1)

    survives(read, GOOD, within=3 * 4096, count=200)
    without_backup = GOOD[: 42 * 4096]
    assert survives(read, without_backup, within=3 * 4096, count=200) > 40


# parted syncs the file that it wrote; sgdisk and sfdisk sync every disk of the machine.
@pytest.mark.judge("parted")
def test_reads_what_parted_writes(tmp_path: Path) -> None:
    disk_file = tmp_path / "disk.img"
    disk_file.write_bytes(bytes(4 << 20))
    tables = ["mklabel", "gpt", "mkpart", "boot_a", "1MiB", "2MiB"]
    tables += ["mkpart", "userdata", "2MiB", "100%"]
    subprocess.run(["parted", "-s", disk_file, *tables], check=True, capture_output=True)
    disk = opened(disk_file.read_bytes())
    assert disk.problems == []
    boot, userdata = disk.partitions
    assert (boot.name, boot.offset, boot.size) == ("boot_a", 1 << 20, 1 << 20)
    assert userdata.name == "userdata"


@pytest.mark.judge("parted")
def test_parted_accepts_the_tables_of_these_tests(tmp_path: Path) -> None:
    disk_file = tmp_path / "disk.img"
    disk_file.write_bytes(disk_image([("boot_a", 40, 50)], blocks=8192, block=512))
    command = ["parted", "-sm", disk_file, "unit", "s", "print"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "1:40s:50s:11s::boot_a:;" in said.stdout
    assert said.stderr == ""
