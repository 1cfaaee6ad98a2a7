"""Apps as odd and as hostile as they come: the exact answer of the platform, or unknown."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack_into, unpack_from

import pytest

from rom_builder.errors import ImageError
from rom_builder.facts import Package
from rom_builder.formats.axml import ANDROID_NAMESPACE, Attribute, Element
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.readers.packages import Apk, Packages
from rom_builder.rom import Rom
from rom_builder.rom.opening import open_rom
from tests.fixtures.make_apks import APKS
from tests.formats.test_axml import ODD
from tests.formats.test_axml import document as axml_document
from tests.formats.test_axml import element as axml_element
from tests.roms import App, Content, axml, write_rom, zipped

GOOD = (APKS / "messaging.apk").read_bytes()
MANIFEST = "AndroidManifest.xml"
LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"


def opened(tmp_path: Path, apk: Content) -> tuple[Rom, list[Package]]:
    files = {"/system/build.prop": "ro.build.version.sdk=29\n", "/system/app/A.apk": apk}
    rom = open_rom(write_rom(tmp_path / "rom", files))
    return rom, [package for _, package in Packages(rom).described]


def headers_of(data: bytes, name: str) -> tuple[int, int]:
    """Return where the local and the central header of an entry start."""
    central = -1
    while True:
        central = data.index(CENTRAL, central + 1)
        size = unpack_from("<H", data, central + 28)[0]
        if data[central + 46 : central + 46 + size].decode() == name:
            return unpack_from("<I", data, central + 42)[0], central


def encrypted(data: bytes) -> bytes:
    """Set the flag and encrypt nothing, which tools refuse and the platform does not look at."""
    changed = bytearray(data)
    local, central = headers_of(data, MANIFEST)
    changed[local + 6] |= 1
    changed[central + 8] |= 1
    return bytes(changed)


def bogus_method(data: bytes) -> bytes:
    """Store the manifest and name a compression method that does not exist."""
    old = zipfile.ZipFile(io.BytesIO(data))
    stored = bytearray(zipped({name: old.read(name) for name in old.namelist()}))
    local, central = headers_of(bytes(stored), MANIFEST)
    pack_into("<H", stored, local + 8, 0x1C01)
    pack_into("<H", stored, central + 10, 0x1C01)
    return bytes(stored)


def local_header_lies(data: bytes) -> bytes:
    """Give the manifest another name and method in its local header."""
    changed = bytearray(data)
    local, _ = headers_of(data, MANIFEST)
    pack_into("<H", changed, local + 8, 12)
    changed[local + 30] ^= 1
    return bytes(changed)


def prepended(data: bytes) -> bytes:
    """Put bytes before the archive and mend its offsets, as a program that unpacks itself has."""
    old = zipfile.ZipFile(io.BytesIO(data))
    file = io.BytesIO()
    file.write(b"#!/bin/sh\n" * 9)
    with zipfile.ZipFile(file, "a") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


def prepended_without_care(data: bytes) -> bytes:
    return b"#!/bin/sh\n" + data


def repeated(name: str) -> Callable[[bytes], bytes]:
    def add(data: bytes) -> bytes:
        file = io.BytesIO(data)
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(name, axml('<manifest package="com.example.other"/>'))
        return file.getvalue()

    return add


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data,
        encrypted,
        bogus_method,
        local_header_lies,
        prepended,
        lambda data: data + b"junk" * 30,
        repeated("assets/readme"),
    ],
    ids=["clean", "encrypted", "method", "local header", "prepended", "junk", "new entry"],
)
def test_an_odd_archive_is_read_as_the_platform_reads_it(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rom, (package,) = opened(tmp_path, change(GOOD))
    assert (package.name, package.target_sdk) == ("com.example.messaging", 28)
    assert (package.cleartext, package.debuggable) == (False, False)
    assert package.has_network_security_config
    assert rom.unread == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (repeated(MANIFEST), "more than once"),
        (prepended_without_care, "central directory is damaged"),
        (lambda data: data[:-30], "zip"),
        (lambda data: zipped({"other": b""}), "not in the app"),
        (lambda data: zipped({MANIFEST: b"<manifest/>"}), "11 are left"),
        (lambda data: zipped({MANIFEST: b""}), "does not fit"),
    ],
    ids=["two manifests", "offsets wrong", "cut", "no manifest", "text", "empty"],
)
def test_what_cannot_be_known_is_unread(
    change: Callable[[bytes], bytes], reason: str, tmp_path: Path
) -> None:
    rom, packages = opened(tmp_path, change(GOOD))
    assert packages == []
    (part,) = rom.unread
    assert part.path.startswith("system/app/A.apk")
    assert re.search(reason, part.reason)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_manifest_is_that_of_a_debuggable_app(name: str, tmp_path: Path) -> None:
    rom = open_rom(
        write_rom(tmp_path / "rom", {"/system/app/A.apk": zipped({MANIFEST: ODD[name]})})
    )
    (file,) = rom.with_suffix(".apk")
    flag = Apk(rom, file).manifest.attribute(0x0101000F)
    assert flag is not None
    assert flag.as_bool(False)


def uses_sdk(*levels: dict[str, int]) -> bytes:
    ids = {"minSdkVersion": 0x0101020C, "targetSdkVersion": 0x01010270}
    children = tuple(
        Element(
            "uses-sdk",
            attributes=tuple(
                Attribute.of(name, level, ids[name], ANDROID_NAMESPACE)
                for name, level in each.items()
            ),
        )
        for each in levels
    )
    package = Attribute.of("package", "com.example.a")
    return encode_axml(Element("manifest", attributes=(package,), children=children))


@pytest.mark.parametrize(
    ("levels", "target"),
    [
        ((), 1),
        (({},), 1),
        (({"minSdkVersion": 9},), 9),
        (({"minSdkVersion": 9, "targetSdkVersion": 28},), 28),
        (({"targetSdkVersion": 11}, {"targetSdkVersion": 12}), 12),
        (({"targetSdkVersion": 28}, {"minSdkVersion": 9}), 9),
        (({"targetSdkVersion": 28}, {}), 1),
    ],
)
def test_the_last_uses_sdk_counts(
    levels: tuple[dict[str, int], ...], target: int, tmp_path: Path
) -> None:
    _, (package,) = opened(tmp_path, zipped({MANIFEST: uses_sdk(*levels)}))
    assert package.target_sdk == target


def test_a_level_may_be_a_resource(tmp_path: Path) -> None:
    manifest = axml(
        f'<manifest xmlns:android="{ANDROID_NAMESPACE}" package="com.example.a">'
        '<uses-sdk android:targetSdkVersion="@integer/level"/></manifest>',
        {"integer/level": 0x7F010000},
    )
    app = App("com.example.a", entries={MANIFEST: manifest}, bools={"level": True})
    _, (package,) = opened(tmp_path, app)
    assert package.target_sdk == -1  # a boolean's data: all bits


@pytest.mark.parametrize(
    ("bools", "reason"),
    [
        ({"debug": "@bool/debug"}, "refers to itself"),
        ({"debug": "@bool/other", "other": "@bool/debug"}, "refers to itself"),
        ({}, "refers to 0x7fffffff, which is not in the app"),
    ],
    ids=["to itself", "in a circle", "nowhere"],
)
def test_a_hostile_reference_makes_the_app_unread(
    bools: dict[str, str], reason: str, tmp_path: Path
) -> None:
    app = App("com.example.a", bools=bools, application={"debuggable": "@bool/debug"})
    rom, packages = opened(tmp_path, app)
    assert packages == []
    (part,) = rom.unread
    assert reason in part.reason


def test_a_config_that_is_missing_is_unread_and_not_a_pass(tmp_path: Path) -> None:
    rom, (package,) = opened(
        tmp_path,
        App("com.example.a", application={"networkSecurityConfig": "@xml/gone"}),
    )
    assert package.has_network_security_config
    (apk,) = Packages(rom).named("com.example.a")
    with pytest.raises(ImageError, match="not in the app"):
        apk.xml("res/xml/gone.xml")


def test_deep_and_wide_manifests_end(tmp_path: Path) -> None:
    deep = axml_document(*[axml_element(2)] * 5000)
    rom, packages = opened(tmp_path, zipped({MANIFEST: deep}))
    assert packages == []
    assert "levels" in rom.unread[0].reason
