"""Damaged, hostile and partial inputs: what cannot be read is said, never passed over."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.findings import Report, Verdict
from rom_builder.rom.opening import open_rom
from tests.formats.builders import cpio, sparse, vbmeta
from tests.formats.builders.boot_image import boot_v0
from tests.formats.builders.payload import REPLACE, SOURCE_COPY, Op, Part, Spec, chunk
from tests.formats.builders.super_image import Lp
from tests.kinds import (
    BOOT,
    CONTENT,
    KINDS,
    disk,
    ext4_image,
    make,
    padded,
    payload,
    super_image,
    transfer,
    zipped,
)
from tests.test_rom import report_of

pytestmark = pytest.mark.judge("mkfs.ext4")
BOOT_OF_SYSTEM = "META-INF/com/google/android/updater-script"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ext4_image(tmp_path_factory.mktemp("image"))


def written(folder: Path, data: bytes, name: str = "rom.img") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def unread(report: Report) -> dict[str, str]:
    return {part.path: part.reason for part in report.unread}


def assert_incomplete(path: Path, place: str, reason: str) -> None:
    """The part is named with its reason, and the report cannot pass."""
    report = report_of(path)
    assert any(p.path == place and reason in p.reason for p in report.unread), report.unread
    assert report.verdict is not Verdict.COMPLIANT
    assert "ROM902" in {finding.rule for finding in report.findings}


@pytest.mark.parametrize("name", KINDS)
def test_an_input_that_is_cut_off_never_looks_whole(
    name: str, image: bytes, tmp_path: Path
) -> None:
    path = make(name, tmp_path, image)
    if path.is_dir():
        path = path / "system.img"
    data = path.read_bytes()
    for part in (3, 7, 9):
        path.write_bytes(data[: len(data) * part // 10])
        try:
            report = report_of(path)
        except ImageError:
            continue
        assert report.unread, part


def test_a_flipped_byte_in_an_operation_is_noticed(image: bytes, tmp_path: Path) -> None:
    data = bytearray(payload({"system": image}))
    place = bytes(data).find(b"ro.build.version.sdk")  # in an operation that is not compressed
    if place < 0:
        place = len(data) // 2
    data[place] ^= 1
    report = report_of(written(tmp_path, bytes(data), "payload.bin"))
    assert any("does not match its SHA-256" in part.reason for part in report.unread)
    assert report.verdict is not Verdict.COMPLIANT


def test_an_incremental_payload_is_said_to_be_one(tmp_path: Path) -> None:
    part = Part("system", bytes(8192), [Op(SOURCE_COPY, b"", [(0, 2)])])
    bare = written(tmp_path, Spec([part], minor=7).build(), "payload.bin")
    assert_incomplete(bare, "system", "is incremental")
    package = zipped(tmp_path / "ota.zip", {"payload.bin": bare.read_bytes()})
    assert_incomplete(package, "payload.bin!/system", "is incremental")


def test_a_partial_payload_names_what_it_leaves_out(image: bytes, tmp_path: Path) -> None:
    group = chunk(1, chunk(1, b"main") + chunk(3, b"system") + chunk(3, b"product"))
    data = payload({"system": image}, extra=chunk(15, group))
    path = written(tmp_path, data, "payload.bin")
    assert_incomplete(path, str(path), "a partial update: product stay as they are")


def test_blocks_that_no_operation_writes_are_named(image: bytes, tmp_path: Path) -> None:
    part = Part("system", image, [Op(REPLACE, image[:-4096], [(0, len(image) // 4096 - 1)])])
    path = written(tmp_path, Spec([part]).build(), "payload.bin")
    assert_incomplete(path, str(path), "blocks of system are written")


def test_a_block_based_package_without_its_data_is_incomplete(image: bytes, tmp_path: Path) -> None:
    commands, _ = transfer(image)
    entries = {"system.transfer.list": b"4\n0\n0\n0\n" + commands, BOOT_OF_SYSTEM: b"x();\n"}
    path = zipped(tmp_path / "ota.zip", entries)
    assert_incomplete(path, "system.transfer.list", "system.new.dat is missing")
    assert open_rom(path).kind == "block-based OTA"


def test_an_incremental_block_based_package_is_said_to_be_one(tmp_path: Path) -> None:
    entries = {
        "system.transfer.list": b"4\n1\n0\n0\nbsdiff 0 1 aa bb 2,0,1 1 2,0,1\n",
        "system.new.dat": b"",
    }
    path = zipped(tmp_path / "ota.zip", entries)
    assert_incomplete(path, "system.transfer.list", "the package is incremental")


def test_an_incremental_file_based_package_is_said_to_be_one(tmp_path: Path) -> None:
    script = b'apply_patch("/system/build.prop", "-", "aa", 1, "bb", package_extract_file("p"));\n'
    files = {BOOT_OF_SYSTEM: b'package_extract_dir("system", "/system");\n' + script}
    files["system/etc/hosts"] = b""
    path = zipped(tmp_path / "ota.zip", files)
    assert_incomplete(path, BOOT_OF_SYSTEM, "the package is incremental: it patches 1 files")


def test_the_backup_of_damaged_super_metadata_is_used_and_said(
    image: bytes, tmp_path: Path
) -> None:
    data = bytearray(super_image({"system_a": image}))
    data[12288 + 200] ^= 1
    path = written(tmp_path, bytes(data), "super.img")
    assert open_rom(path).find("/system/etc/hosts") is not None
    assert_incomplete(path, "", "primary metadata of slot 0")


def test_an_empty_super_image_alone_is_no_empty_system(image: bytes, tmp_path: Path) -> None:
    empty = Lp([("system_a", 1, 0), ("product_a", 1, 0)], [[], []]).empty_image()
    assert_incomplete(written(tmp_path, empty), str(tmp_path / "rom.img"), "system has no content")
    alone = zipped(tmp_path / "alone.zip", {"super_empty.img": empty, "boot.img": BOOT})
    assert_incomplete(alone, "super_empty.img", "system has no content here")
    beside = zipped(tmp_path / "b.zip", {"super_empty.img": empty, "system.img": image})
    assert unread(report_of(beside)) == {"super_empty.img": "product has no content here"}


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (bytes(1024) + (0xF2F52010).to_bytes(4, "little") + bytes(4096), "F2FS"),
        (b"unknown " * 1024, "a file system of an unknown kind"),
        (bytes(65536), "holds no file system"),
    ],
)
def test_a_partition_of_an_unread_kind_is_named(
    head: bytes, reason: str, image: bytes, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "rom.zip", {"system.img": image, "product.img": padded(head)})
    assert_incomplete(path, "product.img", reason)


def test_an_unknown_feature_of_a_file_system_is_refused_by_name(
    image: bytes, tmp_path: Path
) -> None:
    data = bytearray(image)
    data[1024 + 96 + 3] |= 0x40
    path = zipped(tmp_path / "rom.zip", {"system.img": bytes(data)})
    assert_incomplete(path, "system.img", "feature")


def test_inodes_that_no_name_leads_to_are_noticed(image: bytes, tmp_path: Path) -> None:
    data = bytearray(image)
    at = data.find(b"\x05\x01hosts")  # its entry: inode 4, length 2, name length 1, kind 1
    data[at - 6 : at - 2] = bytes(4)
    path = written(tmp_path, bytes(data), "system.img")
    assert_incomplete(path, str(path), "inodes in use that no name leads to")


def test_a_compressed_image_is_named(image: bytes, tmp_path: Path) -> None:
    entries = {"system.img": image, "product.img.xz": lzma.compress(b"x")}
    path = zipped(tmp_path / "rom.zip", entries)
    assert_incomplete(path, "product.img.xz", "a compressed image")


def test_a_missing_part_of_a_split_image_is_named(image: bytes, tmp_path: Path) -> None:
    part = sparse.sparse_image(sparse.raw(image))
    entries = {
        "system.img": image,
        "super.img_sparsechunk.0": part,
        "super.img_sparsechunk.2": part,
    }
    path = zipped(tmp_path / "rom.zip", entries)
    assert_incomplete(path, "super.img", "a part of it is missing")


def test_images_inside_images_end_somewhere(tmp_path: Path) -> None:
    data = b"deep" * 1024
    for _ in range(40):
        data = sparse.sparse_image(sparse.raw(padded(data)))
    path = zipped(tmp_path / "rom.zip", {"system.img": data, "boot.img": BOOT})
    assert_incomplete(path, "system.img", "containers in one another")


def test_a_zip_bomb_is_stopped(image: bytes, tmp_path: Path) -> None:
    path = zipped(tmp_path / "rom.zip", {"system.img": image, "product.img": bytes(1 << 20)})
    data = path.read_bytes()
    claimed = (1 << 20).to_bytes(4, "little")
    assert data.count(claimed) == 2
    path.write_bytes(data.replace(claimed, (0xFFFFFFF0).to_bytes(4, "little")))
    assert_incomplete(path, "product.img", "cannot come from")


@pytest.mark.parametrize("name", ["../system/etc/hosts", "/system/etc/hosts", "a/../../b"])
def test_names_that_leave_the_archive_are_refused(name: str, image: bytes, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        open_rom(zipped(tmp_path / "rom.zip", {"system.img": image, name: b"x"}))
    with tarfile.open(tmp_path / "rom.tar", "w") as file:
        for member, data in {"system.img": image, name: b"x"}.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    rom = open_rom(tmp_path / "rom.tar")
    assert [part.reason for part in rom.unread] == ["the name leaves the archive"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(image: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rom.zip", "w") as file:
        file.writestr("system.img", image)
        file.writestr("system.img", image[:-4096])
    with pytest.raises(ImageError, match="more than once"):
        open_rom(tmp_path / "rom.zip")
    inner = (tmp_path / "rom.zip").read_bytes()
    outer = zipped(tmp_path / "factory.zip", {"p/image-p.zip": inner, "p/boot.img": BOOT})
    assert "p/image-p.zip" in unread(report_of(outer))


def test_a_stored_file_that_does_not_match_its_checksum_is_noticed(tmp_path: Path) -> None:
    script = {BOOT_OF_SYSTEM: b'package_extract_dir("system", "/system");\n'}
    files = {f"system/{name}": data for name, data in CONTENT.items()}
    path = zipped(tmp_path / "ota.zip", script | files, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"ro.debuggable=0") + 14] = ord("1")
    path.write_bytes(data)
    assert_incomplete(path, "system/build.prop", "CRC-32")


def test_vbmeta_names_partitions_that_are_not_there(image: bytes, tmp_path: Path) -> None:
    tree = vbmeta.hashtree(b"product", b"salt", bytes(32), 4096, 4096, 0)
    other = vbmeta.hashed(b"dtbo", b"salt", bytes(32), 4096)
    files = {"vbmeta.img": vbmeta.vbmeta(tree + other), "system.img": image}
    path = zipped(tmp_path / "rom.zip", files)
    assert unread(report_of(path)) == {
        "vbmeta.img": "covers partition product, of which the input has no image"
    }


def test_a_mount_point_is_no_partition(tmp_path: Path) -> None:
    root = {f"system/{name}": data for name, data in CONTENT.items()}
    (tmp_path / "ext4/product").mkdir(parents=True)
    image = ext4_image(tmp_path, root)
    names = vbmeta.hashtree(b"product", b"salt", bytes(32), 4096, 4096, 0)
    files = {"vbmeta.img": vbmeta.vbmeta(names), "system.img": image}
    path = zipped(tmp_path / "rom.zip", files)
    assert open_rom(path).find("/product") is not None
    assert_incomplete(path, "vbmeta.img", "covers partition product")
    boot = boot_v0(b"kernel", gzip.compress(cpio.archive(cpio.entry(b"system", mode=0o40755))))
    path = written(tmp_path, boot, "boot.img")
    assert_incomplete(path, "/system", "no system partition")


def test_a_damaged_disk_table_is_said(image: bytes, tmp_path: Path) -> None:
    data = bytearray(disk({"system_a": image}))
    data[4096 + 30] ^= 1
    path = written(tmp_path, bytes(data), "disk.img")
    assert open_rom(path).find("/system/etc/hosts") is not None
    assert_incomplete(path, "", "primary partition table")


def test_a_ramdisk_that_cannot_be_read_is_named(image: bytes, tmp_path: Path) -> None:
    boot = bytearray(BOOT)
    boot[12288 + 20] ^= 0xFF
    path = zipped(tmp_path / "rom.zip", {"boot.img": bytes(boot), "system.img": image})
    assert "boot.img!/ramdisk" in unread(report_of(path))


def test_every_image_beside_a_damaged_one_is_read(image: bytes, tmp_path: Path) -> None:
    files: Mapping[str, bytes] = {"payload.bin": b"CrAU" + bytes(30), "system.img": image}
    path = zipped(tmp_path / "rom.zip", files)
    rom = open_rom(path)
    assert rom.find("/system/etc/hosts") is not None
    assert_incomplete(path, "payload.bin", "major version 0")
