"""Which build a ROM is: properties that init derives, and the places where its files may lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rom_builder.inspection import inspect_rom
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.rom.opening import open_rom
from tests.roms import Content, Link, write_rom

GENERIC = """\
ro.build.version.sdk=34
ro.build.version.release=14
ro.build.id=UD1A.230803.041
ro.build.version.incremental=10808477
ro.build.type=user
ro.build.tags=release-keys
ro.product.system.brand=Android
ro.product.system.name=mainline
ro.product.system.device=generic
ro.product.system.model=mainline
ro.system.build.fingerprint=Android/mainline/generic:14/A/1:user/release-keys
"""
PINE = """\
ro.product.{0}.brand=example
ro.product.{0}.name=pine_eu
ro.product.{0}.device=pine
ro.product.{0}.model=Pine 8
"""


def properties(folder: Path, files: Mapping[str, Content]) -> dict[str, tuple[str, str]]:
    platform = read_platform(open_rom(write_rom(folder, files)))
    return {key: (value, place.path) for key, (value, place) in platform.properties.items()}


@pytest.mark.parametrize(
    ("place", "partition"),
    [
        ("product/etc/build.prop", "product"),
        ("odm/etc/build.prop", "odm"),
        ("vendor/odm/etc/build.prop", "odm"),
        ("system/vendor/odm/etc/build.prop", "odm"),
        ("vendor/build.prop", "vendor"),
    ],
)
def test_a_generic_system_takes_the_product_from_the_other_partitions(
    place: str, partition: str, tmp_path: Path
) -> None:
    rom = write_rom(tmp_path, {"system/build.prop": GENERIC, place: PINE.format(partition)})
    build = inspect_rom(open_rom(rom)).build
    assert (build["device"], build["model"]) == ("pine", "Pine 8")
    assert build["fingerprint"] == (
        "example/pine_eu/pine:14/UD1A.230803.041/10808477:user/release-keys"
    )


def test_the_order_of_sources_is_the_builds_own(tmp_path: Path) -> None:
    order = "ro.product.property_source_order=system,product\n"
    files = {"system/build.prop": GENERIC + order, "product/build.prop": PINE.format("product")}
    assert properties(tmp_path, files)["ro.product.device"] == ("generic", "system/build.prop")


def test_empty_values_are_passed_over(tmp_path: Path) -> None:
    files = {
        "system/build.prop": GENERIC + "ro.product.model=\nro.build.fingerprint=\n",
        "product/build.prop": PINE.format("product").replace("Pine 8", ""),
        "vendor/build.prop": PINE.format("vendor"),
    }
    found = properties(tmp_path, files)
    assert found["ro.product.model"] == ("Pine 8", "vendor/build.prop")
    assert found["ro.build.fingerprint"][0].startswith("example/pine_eu/pine:14/")


def test_nothing_is_derived_before_android_10(tmp_path: Path) -> None:
    old = GENERIC.replace("sdk=34", "sdk=28")
    found = properties(
        tmp_path, {"system/build.prop": old, "product/build.prop": PINE.format("product")}
    )
    assert "ro.product.device" not in found
    assert "ro.build.fingerprint" not in found


@pytest.mark.parametrize("wrapper", ["", "pine_dump-main/"])
def test_an_unpacked_ramdisk_beside_an_old_system_is_its_root(wrapper: str, tmp_path: Path) -> None:
    files = {
        f"{wrapper}system/build.prop": "ro.build.version.sdk=22\n",
        f"{wrapper}boot/ramdisk/default.prop": "ro.debuggable=0\n",
    }
    found = properties(tmp_path, files)
    assert found["ro.debuggable"] == ("0", f"{wrapper}boot/ramdisk/default.prop")


def test_a_link_in_an_unpacked_ramdisk_is_passed_over(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "system/build.prop": "ro.build.version.sdk=27\n",
        "boot/ramdisk/default.prop": Link("prop.default"),
        "boot/ramdisk/prop.default": "ro.debuggable=0\n",
    }
    rom = open_rom(write_rom(tmp_path, files))
    assert read_platform(rom).get("ro.debuggable") == "0"
    assert rom.unread == []


def test_an_unpacked_ramdisk_beside_a_whole_root_is_recoverys(tmp_path: Path) -> None:
    files = {
        "system/init": "",
        "system/system/build.prop": "ro.build.version.sdk=29\n",
        "boot/ramdisk/prop.default": "ro.debuggable=1\n",
    }
    assert "ro.debuggable" not in properties(tmp_path, files)
