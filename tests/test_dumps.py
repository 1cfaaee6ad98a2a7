"""Folders that somebody unpacked and published: what they lack is never taken for absent on the phone."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from rom_builder.check import check
from rom_builder.findings import Report, Verdict
from rom_builder.inspection import inspect_rom
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom
from tests.kinds import CONTENT, ext4_image
from tests.roms import App, Content, write_rom

PROPERTIES = "ro.build.version.sdk=29\nro.debuggable=0\n"
WHOLE: dict[str, Content] = {
    "system/build.prop": PROPERTIES,
    "system/etc/hosts": "",
    "product/app/A/A.apk": App("com.example.a"),
    "recovery/ramdisk/init": "",
}
LISTED = "all_files.txt\nproduct/app/A/A.apk\nsystem/[SYS]/Journal\nsystem/build.prop\nsystem/etc/hosts\n"


def report_of(folder: Path, files: Mapping[str, Content]) -> Report:
    policies = load_policies(["rom-baseline"], binding_models())
    return check(write_rom(folder, files), policies, today=date(2026, 1, 1))


def unread(report: Report) -> list[str]:
    return [f"{part.path}: {part.reason}" for part in report.unread]


def test_a_dump_that_has_all_that_its_list_names_is_whole(tmp_path: Path) -> None:
    report = report_of(tmp_path / "dump", {**WHOLE, "all_files.txt": LISTED})
    assert unread(report) == []


@pytest.mark.parametrize("size", ["", "1234\t"])
def test_what_the_list_of_a_dump_names_and_it_lacks_is_unread(size: str, tmp_path: Path) -> None:
    lost = ["product/app/B/B.apk", "product/priv-app/C/C.apk", "vendor/etc/d.xml"]
    listed = [*LISTED.splitlines(), *lost, "system/lib/libart.so", "boot/kernel", "README.md"]
    text = "".join(f"{size}{name}\n" for name in listed)
    report = report_of(tmp_path / "dump", {**WHOLE, "all_files.txt": text})
    assert unread(report) == [
        "all_files.txt: lists 3 files of the device that are not here (first: product/app/B/B.apk)"
    ]
    assert report.verdict is not Verdict.COMPLIANT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "B.apk.aa",
            "product/app/B/B.apk.aa: the first part of a file that was split; join them first",
        ),
        ("B.apk.xz", "product/app/B/B.apk.xz: a compressed file; unpack it first"),
    ],
)
def test_files_that_a_dump_has_in_another_form_are_unread(
    name: str, said: str, tmp_path: Path
) -> None:
    files = {**WHOLE, f"product/app/B/{name}": "x", "product/app/B/B.apk.ab": "x"}
    report = report_of(
        tmp_path / "dump", {**files, "all_files.txt": f"{LISTED}product/app/B/B.apk\n"}
    )
    assert said in unread(report)


def test_an_app_of_which_only_the_compiled_code_is_there_is_unread(tmp_path: Path) -> None:
    files = {
        **WHOLE,
        "system/priv-app/B/oat/arm64/B.odex": "x",
        "system/priv-app/B/oat/arm64/B.vdex": "x",
        "product/app/A/oat/arm64/A.odex": "x",
    }
    report = report_of(tmp_path / "dump", files)
    assert unread(report) == ["system/priv-app/B/B.apk: is not here, but its compiled code is"]


def test_a_dump_without_the_platforms_resources_lacks_other_files_too(tmp_path: Path) -> None:
    files = {**WHOLE, "system/framework/framework.jar": "x", "system/framework/services.jar": "x"}
    report = report_of(tmp_path / "dump", files)
    assert unread(report) == [
        "system/framework/framework-res.apk: is not here; without it no device starts, so files are missing"
    ]


def test_a_package_without_the_platforms_resources_is_remarked_on(tmp_path: Path) -> None:
    """It says itself what it installs, so that its content can be judged."""
    script = 'package_extract_dir("system", "/system");\n'
    files = {**WHOLE, "META-INF/com/google/android/updater-script": script}
    report = report_of(tmp_path / "ota", {**files, "system/framework/framework.jar": "x"})
    assert unread(report) == []
    assert report.notes == (
        "system/framework/framework-res.apk is not there, without which no device starts",
    )


def test_an_image_without_the_platforms_resources_is_remarked_on(tmp_path: Path) -> None:
    """Its file system counts what it holds, so that none of it is missing."""
    files = {"build.prop": PROPERTIES.encode(), "framework/framework.jar": b"x"}
    image = tmp_path / "system.img"
    image.write_bytes(ext4_image(tmp_path, files))
    report = check(image, load_policies(["rom-baseline"], binding_models()), today=date(2026, 1, 1))
    assert unread(report) == []
    assert report.notes == (
        "framework/framework-res.apk is not there, without which no device starts",
    )


def test_an_app_that_the_vendor_compressed_is_read(tmp_path: Path) -> None:
    """Since Android 9 the platform unpacks ``X.apk.gz`` at its first start, beside a stub."""
    files = {
        **WHOLE,
        "product/app/B-Stub/B-Stub.apk": App("com.example.b"),
        "product/app/B/B.apk.gz": gzip.compress(App("com.example.b", debuggable=True).encode()),
    }
    rom = open_rom(write_rom(tmp_path / "dump", files))
    assert [a.file.name for a in Packages(rom).named("com.example.b")] == [
        "product/app/B-Stub/B-Stub.apk",
        "product/app/B/B.apk.gz",
    ]
    report = report_of(tmp_path / "again", files)
    assert unread(report) == []
    assert [
        e.location.path
        for f in report.findings
        for e in f.evidence
        if f.message == "1 debuggable app"
    ] == ["product/app/B/B.apk.gz!/AndroidManifest.xml"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_around_the_dump_makes_no_difference(packed: bool, tmp_path: Path) -> None:
    """Archives that GitHub makes of a branch have one."""
    write_rom(
        tmp_path / "outer" / "pine_dump-user-10",
        {**WHOLE, "all_files.txt": LISTED + "product/x.apk\n"},
    )
    path = tmp_path / "outer"
    if packed:
        path = tmp_path / "pine.zip"
        with zipfile.ZipFile(path, "w") as file:
            for each in sorted((tmp_path / "outer").rglob("*")):
                file.write(each, each.relative_to(tmp_path / "outer"))
    rom = open_rom(path)
    assert rom.files["/product/app/A/A.apk"].name == "pine_dump-user-10/product/app/A/A.apk"
    inspection = inspect_rom(rom)
    assert inspection.build["api_level"] == "29"
    assert [part.path for part in inspection.unread] == ["pine_dump-user-10/all_files.txt"]


VENDORS_OWN: dict[str, Content] = {
    "oppo_product/build.prop": "ro.product.product.device=pine\n",
    "oppo_product/priv-app/B/B.apk": App("com.example.b", debuggable=True),
    "system_other/system/app/A/oat/arm/A.odex": "",
}


def test_a_vendors_own_partition_with_apps_counts_in_a_folder(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, {**WHOLE, **VENDORS_OWN}))
    assert "/oppo_product/build.prop" in rom.files
    assert [path for path in rom.files if path.startswith("/system_other")] == []
    assert [a.file.path for a in Packages(rom).named("com.example.b")] == [
        "/oppo_product/priv-app/B/B.apk"
    ]


@pytest.mark.judge("mkfs.ext4")
def test_a_vendors_own_partition_with_apps_counts_as_an_image(tmp_path: Path) -> None:
    own = {"etc/build.prop": b"", "priv-app/B/B.apk": App("com.example.b").encode()}
    product = {"etc/build.prop": b"a=b\n", "overlay/C/C.apk": App("com.example.c").encode()}
    for name, files in {"oppo_product": own, "product": product, "system": CONTENT}.items():
        (tmp_path / name).mkdir()
        image = ext4_image(tmp_path / name, files)
        (tmp_path / "rom").mkdir(exist_ok=True)
        (tmp_path / "rom" / f"{name}.img").write_bytes(image)
    rom = open_rom(tmp_path / "rom")
    assert rom.files["/product/overlay/C/C.apk"].name == "product.img!/overlay/C/C.apk"
    assert rom.files["/oppo_product/priv-app/B/B.apk"].name == "oppo_product.img!/priv-app/B/B.apk"
    assert rom.unmounted == []
