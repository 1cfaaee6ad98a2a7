import struct
import subprocess
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.boot_image import (
    BootImage,
    RamdiskKind,
    detect_boot_image,
    open_boot_image,
)
from rom_builder.formats.mtk_header import strip_mtk_header
from rom_builder.formats.source import BytesSource, Source
from tests.formats.builders import boot_image as build
from tests.formats.builders.vbmeta import vbmeta, with_footer
from tests.formats.damage import noise, survives

KERNEL, RAMDISK, DTB = noise(5000), noise(3000, 8), noise(2500, 9)
LONG_CMDLINE = "console=ttyHSL0,115200,n8 " * 30


def opened(data: bytes) -> BootImage:
    return open_boot_image(BytesSource(data))


def whole(source: Source | None) -> bytes | None:
    return None if source is None else source.read_at(0, source.size)


def test_version_0_is_read() -> None:
    data = build.boot_v0(KERNEL, RAMDISK, cmdline=LONG_CMDLINE.encode())
    assert detect_boot_image(data[:8])
    boot = opened(data)
    assert (boot.is_vendor, boot.header_version, boot.page_size) == (False, 0, 2048)
    assert whole(boot.kernel) == KERNEL
    assert [whole(ramdisk.content) for ramdisk in boot.ramdisks] == [RAMDISK]
    assert boot.cmdline == LONG_CMDLINE
    assert boot.name == "board"
    assert boot.os_version == boot.os_patch_level == ""
    assert boot.second is boot.dtb is boot.footer is None


def test_a_qualcomm_device_tree_of_old_images_is_found() -> None:
    boot = opened(build.boot_v0(KERNEL, RAMDISK, device_tree=DTB))
    assert boot.header_version == 0
    assert whole(boot.dtb) == DTB


def test_mediatek_headers_are_taken_off_and_said() -> None:
    data = build.boot_v0(build.mtk(b"KERNEL", KERNEL), build.mtk(b"ROOTFS", RAMDISK))
    boot = opened(data)
    assert whole(boot.kernel) == KERNEL
    assert whole(boot.ramdisks[0].content) == RAMDISK
    assert boot.kernel_mtk_header is not None
    assert boot.kernel_mtk_header.name == "KERNEL"
    assert boot.ramdisks[0].mtk_header is not None
    assert boot.ramdisks[0].mtk_header.name == "ROOTFS"


def test_a_mediatek_header_that_claims_too_much_is_refused() -> None:
    source = BytesSource(build.mtk(b"LK", KERNEL)[:-1])
    with pytest.raises(ImageError, match="MediaTek header of 5000 bytes"):
        strip_mtk_header(source)


@pytest.mark.parametrize("version", [1, 2])
def test_versions_1_and_2_have_overlays_for_recovery(version: int) -> None:
    dtb = DTB if version == 2 else b""
    boot = opened(build.boot_v1(KERNEL, RAMDISK, b"second", noise(4097), dtb))
    assert boot.header_version == version
    assert whole(boot.ramdisks[0].content) == RAMDISK
    assert whole(boot.second) == b"second"
    assert whole(boot.recovery_dtbo) == noise(4097)
    assert whole(boot.dtb) == (dtb or None)


def test_version_4_is_read_with_its_signature() -> None:
    signature = vbmeta(b"").ljust(4096, b"\0")
    data = build.boot_v4(KERNEL, RAMDISK, signature, os_version=14 << 25 | 24 << 4 | 6)
    boot = opened(data)
    assert (boot.header_version, boot.page_size, boot.cmdline) == (4, 4096, "quiet")
    assert (boot.os_version, boot.os_patch_level) == ("14.0.0", "2024-06")
    assert whole(boot.kernel) == KERNEL
    assert whole(boot.signature) == signature


def test_init_boot_has_no_kernel() -> None:
    boot = opened(build.boot_v4(b"", RAMDISK))
    assert boot.kernel is boot.signature is None
    assert whole(boot.ramdisks[0].content) == RAMDISK


def test_an_avb_footer_is_recognised() -> None:
    image = build.boot_v4(KERNEL, RAMDISK)
    boot = opened(with_footer(image, vbmeta(b""), 1 << 17))
    assert boot.footer is not None
    assert boot.footer.original_image_size == len(image)


def test_vendor_boot_has_several_named_ramdisks() -> None:
    ramdisks = [(b"", 1, RAMDISK), (b"recovery", 2, KERNEL), (b"dlkm", 3, DTB)]
    data = build.vendor_boot_v4(ramdisks, DTB, b"androidboot.x=1\n")
    assert detect_boot_image(data[:8])
    boot = opened(data)
    assert (boot.is_vendor, boot.header_version, boot.cmdline) == (True, 4, "vendor=1")
    assert [(item.name, item.kind, whole(item.content)) for item in boot.ramdisks] == [
        ("", RamdiskKind.PLATFORM, RAMDISK),
        ("recovery", RamdiskKind.RECOVERY, KERNEL),
        ("dlkm", RamdiskKind.DLKM, DTB),
    ]
    assert whole(boot.dtb) == DTB
    assert whole(boot.bootconfig) == b"androidboot.x=1\n"


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"X", "not a boot image"),
        (8, b"\xff\xff\xff", "kernel of 16777215 bytes ends after"),
        (16, b"\xff\xff\xff", "ramdisk of 16777215 bytes ends after"),
        (36, struct.pack("<I", 3000), "pages of 3000 bytes"),
        (36, struct.pack("<I", 0), "pages of 0 bytes"),
        (40, struct.pack("<I", 1 << 24), "DTB of 16777216 bytes"),
    ],
)
def test_damage_is_named(position: int, value: bytes, message: str) -> None:
    data = bytearray(build.boot_v0(KERNEL, RAMDISK))
    data[position : position + len(value)] = value
    with pytest.raises(ImageError, match=message):
        opened(bytes(data))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (8, struct.pack("<I", 5), "version 5"),
        (2116, struct.pack("<I", 65), "65 entries"),
        (2116, struct.pack("<I", 3), "3 entries of 108 bytes in 216"),
        (2120, struct.pack("<I", 107), "of 107 bytes"),
        (2112, struct.pack("<I", 1 << 20), "table of 1048576 bytes ends after"),
        (3 * 4096, struct.pack("<I", 1 << 20), "the data ends"),
    ],
)
def test_damaged_ramdisk_tables_are_named(position: int, value: bytes, message: str) -> None:
    data = bytearray(build.vendor_boot_v4([(b"a", 1, RAMDISK), (b"b", 2, b"x")], DTB))
    data[position : position + len(value)] = value
    with pytest.raises(ImageError, match=message):
        opened(bytes(data))


def test_random_damage_raises_only_image_error() -> None:
    ramdisks = [(b"a", 1, RAMDISK), (b"b", 2, b"x")]
    for good in (
        build.boot_v0(build.mtk(b"KERNEL", KERNEL), RAMDISK, device_tree=DTB),
        build.boot_v4(KERNEL, RAMDISK),
        build.vendor_boot_v4(ramdisks, DTB),
    ):
        assert survives(opened, good, within=2200) > 20


@pytest.mark.judge("mkbootimg")
@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_reads_what_mkbootimg_writes(tmp_path: Path, version: int) -> None:
    for name, data in ("kernel", KERNEL), ("ramdisk", RAMDISK), ("dtb", DTB), ("second", b"two"):
        (tmp_path / name).write_bytes(data)
    command = ["mkbootimg", "--kernel", "kernel", "--ramdisk", "ramdisk", "-o", "boot.img"]
    command += ["--header_version", str(version), "--cmdline", LONG_CMDLINE.strip()]
    command += ["--os_version", "9.1.2", "--os_patch_level", "2019-07"]
    if version < 3:
        command += ["--second", "second", "--board", "b1", "--pagesize", "4096"]
    if version == 2:
        command += ["--dtb", "dtb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    boot = opened((tmp_path / "boot.img").read_bytes())
    assert boot.header_version == version
    assert whole(boot.kernel) == KERNEL
    assert whole(boot.ramdisks[0].content) == RAMDISK
    assert whole(boot.second) == (b"two" if version < 3 else None)
    assert whole(boot.dtb) == (DTB if version == 2 else None)
    assert boot.cmdline == LONG_CMDLINE.strip()
    assert (boot.os_version, boot.os_patch_level) == ("9.1.2", "2019-07")


@pytest.mark.judge("mkbootimg")
def test_reads_a_vendor_boot_that_mkbootimg_writes(tmp_path: Path) -> None:
    (tmp_path / "ramdisk").write_bytes(RAMDISK)
    (tmp_path / "dtb").write_bytes(DTB)
    command = ["mkbootimg", "--vendor_boot", "vendor_boot.img", "--vendor_ramdisk", "ramdisk"]
    command += ["--dtb", "dtb", "--header_version", "3", "--vendor_cmdline", "v=1", "--board", "b"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    boot = opened((tmp_path / "vendor_boot.img").read_bytes())
    assert (boot.header_version, boot.cmdline, boot.name) == (3, "v=1", "b")
    assert whole(boot.ramdisks[0].content) == RAMDISK
    assert whole(boot.dtb) == DTB
