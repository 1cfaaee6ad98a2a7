"""What an adversary, or a careless tool, could change in a package that is signed again afterwards.

Every signature holds, with the right keys, as far as the change leaves one: verify has to see each of
these for itself, and to say what it is in one line.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.formats.ab_metadata import (
    CareMap,
    CarePartition,
    DeviceState,
    OtaMetadata,
    metadata_files,
)
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter
from tests.ab_package import BLOCK, REPLACE, hash_of
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import BOOT_KEY, SALT, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import Op, Part, full_ops
from tests.formats.damage import noise
from tests.signed_package import Package, failed_any, run, signed, top, verified
from tests.signing_material import key

pytestmark = pytest.mark.judge("mkfs.erofs")

METADATA, METADATA_PROTO = "META-INF/com/android/metadata", "META-INF/com/android/metadata.pb"
OTACERT_ENTRY = "META-INF/com/android/otacert"
PROPERTIES = "payload_properties.txt"
PINE = OtaMetadata(
    type=1,
    precondition=DeviceState(device=("pine",)),
    postcondition=DeviceState(device=("pine",), timestamp=1_700_000_000, sdk_level="34"),
)
Tamper = Callable[[Package], bytes]


def content(package: bytes) -> dict[str, bytes]:
    archive = ZipArchive(BytesSource(package))
    return {name: archive.read(entry) for name, entry in archive.entries.items()}


def packed(
    files: Mapping[str, bytes],
    metadata: OtaMetadata | None = PINE,
    change: Callable[[dict[str, bytes]], None] = lambda made: None,
) -> bytes:
    """Pack and sign entries as releasetools does; ``change`` is made in the metadata."""
    made_anew = METADATA if metadata else "nothing"
    others = {name: data for name, data in files.items() if not name.startswith(made_anew)}
    sizes = [(name, len(data)) for name, data in others.items() if name != OTACERT_ENTRY]
    made: dict[str, bytes] = {}
    if metadata is not None:
        offset = Payload(BytesSource(files["payload.bin"])).blob_offset
        made = metadata_files(metadata, {}, sizes, offset)
        change(made)
    out = io.BytesIO()
    writer = ZipWriter(out)
    for name, data in {**made, **others}.items():
        writer.add(name, data, compress=name == OTACERT_ENTRY)
    writer.close()
    return signed(out.getvalue())


def without(name: str) -> Tamper:
    def tamper(package: Package) -> bytes:
        files = content(package.write())
        del files[name]
        return packed(files, None)

    return tamper


# The archive


def test_what_the_tests_below_pack_holds(package: Package) -> None:
    found = verified(packed(content(package.write())))
    assert [check for check in found.checks if not check.ok] == []
    assert failed_any(sealed_system(package).write()) == {}


def hidden_entry(package: Package) -> bytes:
    """Put a file between the entries and the central directory, which does not list it."""
    good = package.write()
    archive = ZipArchive(BytesSource(good))
    head = (0x04034B50, 10, 0, 0, 0, 0, zlib.crc32(b"evil"), 4, 4, 8, 0)
    hidden = struct.pack("<IHHHHHIIIHH", *head) + b"evil.txt" + b"evil"
    at = archive.directory_offset
    changed = bytearray(good[:at] + hidden + good[at:])
    struct.pack_into("<I", changed, archive.eocd_offset + len(hidden) + 16, at + len(hidden))
    return signed(bytes(changed))


def duplicate(package: Package) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as file:
        warnings.simplefilter("ignore")
        for name, data in content(package.write()).items():
            file.writestr(name, data)
        file.writestr(PROPERTIES, b"another")
    return signed(out.getvalue())


def local(offset: int) -> Tamper:
    """Change a field of a local header."""

    def tamper(package: Package) -> bytes:
        changed = bytearray(package.write())
        entry = ZipArchive(BytesSource(bytes(changed))).entries["care_map.pb"]
        changed[entry.header_offset + offset] ^= 8
        return signed(bytes(changed))

    return tamper


def otacert_of(*numbers: int) -> Tamper:
    def tamper(package: Package) -> bytes:
        others = (key("rsa-2048", number).certificate for number in numbers)
        pems = [other.public_bytes(Encoding.PEM) for other in others]
        package.otacert = b"".join(pems)
        return package.write()

    return tamper


ARCHIVE: dict[str, tuple[Tamper, str, str]] = {
    "hidden entry": (hidden_entry, "archive", "42 bytes belong to no entry"),
    "duplicate": (duplicate, "archive", "occurs more than once"),
    "trailing bytes": (lambda p: p.write() + b"x", "whole-file signature", "no whole-file"),
    "local flags": (local(6), "archive", "local header differs"),
    "local method": (local(8), "archive", "local header has method"),
    "local time": (local(10), "archive", "local header differs"),
    "local CRC-32": (local(14), "archive", "another size or CRC-32"),
    "local size": (local(22), "archive", "another size or CRC-32"),
    "local name": (local(31), "archive", "another name"),
    "another otacert": (otacert_of(5), OTACERT_ENTRY, "not the certificate of the key"),
    "one otacert more": (otacert_of(0, 5), OTACERT_ENTRY, "not the certificate of the key"),
}

# The metadata


def told(metadata: OtaMetadata, change: Callable[[bytes], bytes] = bytes) -> Tamper:
    """Write metadata; ``change`` is made in the text form, which must keep its size."""

    def edit(made: dict[str, bytes]) -> None:
        lines = change(made[METADATA]).splitlines(keepends=True)
        assert len(b"".join(lines)) == len(made[METADATA])
        made[METADATA] = b"".join(sorted(lines))

    return lambda package: packed(content(package.write()), metadata, edit)


def renamed(key_: bytes) -> Callable[[bytes], bytes]:
    return lambda text: text.replace(key_ + b"=", b"x" * len(key_) + b"=")


def post(**values: object) -> OtaMetadata:
    return replace(PINE, postcondition=replace(PINE.postcondition, **values))  # type: ignore[type-var]


def hidden_downgrade(text: bytes) -> bytes:
    return text.replace(b"ota-required-cache=0\n", b"ota-downgrade=yes\nx=\n")


TOLD: dict[str, tuple[Tamper, str, str]] = {
    "wipe in one form": (
        told(replace(PINE, wipe=True), renamed(b"ota-wipe")), "metadata", "ota-wipe differs"),
    "downgrade in one form": (
        told(replace(PINE, downgrade=True), renamed(b"ota-downgrade")),
        "metadata", "ota-downgrade differs"),
    "downgrade in the other": (told(PINE, hidden_downgrade), "metadata", "ota-downgrade differs"),
    "device in one form": (told(PINE, renamed(b"pre-device")), "metadata", "pre-device differs"),
    "property files in one form": (
        told(PINE, renamed(b"ota-property-files")), "metadata", "ota-property-files differs"),
    "of another kind": (told(replace(PINE, type=2)), "metadata", "ota-type is BLOCK"),
    "another day": (told(post(timestamp=1_900_000_000)), "metadata", "max_timestamp 1700000000"),
    "no payload": (without("payload.bin"), "metadata", "it says A/B"),
    "no text form": (without(METADATA), "metadata", "is missing"),
    "no properties": (without(PROPERTIES), PROPERTIES, "is missing"),
    "wipes unsaid": (
        lambda p: packed(
            (files := content(p.write())) | {PROPERTIES: files[PROPERTIES] + b"POWERWASH=1\n"}
        ),
        "metadata", "says that user data is wiped"),
    "keeps unsaid": (told(replace(PINE, wipe=True)), "metadata", "says that user data is kept"),
    "care map twice": (
        lambda p: packed(content(p.write()) | {"care_map.pb": care_map("2,0,20", "2,0,20")}),
        "care_map.pb", "names system twice"),
    "care map backwards": (
        lambda p: packed(content(p.write()) | {"care_map.pb": care_map("2,5,2")}),
        "care_map.pb", "ranges"),
    "damaged second payload": (
        lambda p: packed(content(p.write()) | {"secondary/payload.bin": b"CrAU" + bytes(99)}),
        "secondary/payload.bin", "major version 0"),
}  # fmt: skip


def care_map(*ranges: str) -> bytes:
    return CareMap(tuple(CarePartition("system", each, "a", "x") for each in ranges)).encode()


# The payload


def part(package: Package, name: str, *, drop: int = 0, more: tuple[Op, ...] = ()) -> Package:
    image = package.images[name]
    ops = full_ops(image, [REPLACE], 8)[drop:]
    package.parts = {**package.parts, name: Part(name, image, [*ops, *more])}
    return package


def twice(package: Package) -> bytes:
    image = package.images["boot"]
    package.images["boot "] = image
    package.parts = {"boot ": Part("boot", image, full_ops(image, [REPLACE], 64))}
    return package.write()


def swapped(package: Package) -> bytes:
    images = package.images
    images["vbmeta"], images["vbmeta_system"] = images["vbmeta_system"], images["vbmeta"]
    return package.write()


def one_block(at: int) -> Op:
    return Op(REPLACE, bytes(BLOCK), [(at, 1)])


def named(name: str) -> Tamper:
    def tamper(package: Package) -> bytes:
        package.images[name] = noise(4 * BLOCK, 9)
        return package.write()

    return tamper


def in_super(package: Package) -> bytes:
    """Add a partition that nothing covers to those that are mounted from super."""
    package.images["my_apps"] = noise(4 * BLOCK, 9)
    package.dynamic = ("system", "my_apps")
    return package.write()


PAYLOAD: dict[str, tuple[Tamper, str, str]] = {
    "partition twice": (twice, "payload rules", "2 partitions are named boot"),
    "swapped": (swapped, "verified boot covers", "nothing covers boot"),
    "written twice": (
        lambda p: part(p, "system", more=(one_block(0),)).write(), "payload rules", "exactly once"),
    "not written": (
        lambda p: part(p, "system", drop=1).write(), "payload rules", "exactly once"),
    "past the end": (
        lambda p: part(p, "vbmeta", more=(one_block(2),)).write(), "payload rules", "3 of 2 blocks"),
    "not written, said to be no full payload": (
        lambda p: part(p, "system", drop=1).write(minor=4), "partition system", "no operation"),
    "path for a name": (named("../evil"), "payload rules", "is no name of a partition"),
    "nothing covers it": (in_super, "verified boot covers", "nothing covers my_apps"),
    "no max_timestamp": (
        lambda p: p.write(max_timestamp=None), "payload rules", "nothing stops a downgrade"),
    "trailing bytes": (lambda p: p.write(trailer=b"x"), "payload signature", "unsigned bytes"),
}  # fmt: skip

# Verified boot, in images that its keys signed


def sealed_system(
    package: Package, *, size: int = 0, tree_at: int = 0, footer: int = 0, after: bytes = b""
) -> Package:
    """Seal system anew: ``size`` bytes are hashed, ``after`` follows the tree."""
    whole = package.images["system"]
    end = int.from_bytes(whole[-52:-44], "big")
    data = whole[:end]
    tree = build_hashtree(BytesSource(data[: size or end]), SALT)
    item = bytearray(
        build.hashtree(b"system", SALT, tree.root_digest, size or end, len(tree.tree), 0)
    )
    item[28:36] = (tree_at or end).to_bytes(8, "big")
    image = data.ljust(tree_at or end, b"\xee") + tree.tree + after
    image = build.with_footer(image, build.vbmeta(bytes(item)), 0)
    image = image[:-64].ljust(len(whole) - 64, b"\0") + image[-64:]
    image = image[:-52] + (footer or end).to_bytes(8, "big") + image[-44:]
    chained = build.vbmeta(bytes(item), SYSTEM_KEY, rollback_index=7).ljust(16 * BLOCK, b"\0")
    package.images |= {"system": image, "vbmeta_system": chained}
    return package


def short_boot(footer: int) -> Tamper:
    """Cover only the first block of boot by its hash."""

    def tamper(package: Package) -> bytes:
        boot = package.images["boot"][: 8 * BLOCK]
        item = build.hashed(b"boot", SALT, hash_of(SALT + boot[:BLOCK]), BLOCK)
        image = build.with_footer(boot, build.vbmeta(item, BOOT_KEY, rollback_index=5), 32 * BLOCK)
        package.images["boot"] = image[:-52] + footer.to_bytes(8, "big") + image[-44:]
        return package.write()

    return tamper


def located(boot: int) -> Tamper:
    def tamper(package: Package) -> bytes:
        chains = build.chain(b"boot", boot, build.key_blob(BOOT_KEY))
        chains += build.chain(b"vbmeta_system", 2, build.key_blob(SYSTEM_KEY))
        package.images["vbmeta"] = build.vbmeta(chains, TOP_KEY).ljust(2 * BLOCK, b"\0")
        return package.write()

    return tamper


def second_descriptor(package: Package) -> bytes:
    package.images["vbmeta"] = top(extra=build.hashed(b"boot", SALT, bytes(32), BLOCK))
    return package.write()


BOOT: dict[str, tuple[Tamper, str, str]] = {
    "half a hash tree": (
        lambda p: sealed_system(p, size=25 * BLOCK).write(), "partition system", "nothing covers"),
    "gap before the tree": (
        lambda p: sealed_system(p, tree_at=60 * BLOCK).write(),
        "partition system", "nothing covers"),
    "content after the tree": (
        lambda p: sealed_system(p, after=noise(4 * BLOCK, 2)).write(),
        "partition system", "covers no byte from here on"),
    "another size in the footer": (
        lambda p: sealed_system(p, footer=BLOCK).write(), "partition system", "the footer of an"),
    "half a boot image": (short_boot(8 * BLOCK), "partition boot", "the footer of an image"),
    "half a boot image, consistent": (
        short_boot(BLOCK), "partition boot", "covers no byte from here on"),
    "one rollback location for two": (located(2), "vbmeta image boot", "that of another image"),
    "the top image's rollback location": (
        located(0), "vbmeta image boot", "that of another image"),
    "a second descriptor": (second_descriptor, "partition boot", "a descriptor speaks of 4096"),
}  # fmt: skip

TAMPERED = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("archive", ARCHIVE),
        ("metadata", TOLD),
        ("payload", PAYLOAD),
        ("verified boot", BOOT),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_fails_with_one_line_on_it(name: str, package: Package) -> None:
    tamper, check, message = TAMPERED[name]
    assert message in failed_any(tamper(package))[check]


# What is odd and not wrong


def test_a_second_payload_is_no_fault(package: Package) -> None:
    """Property files name the first one, although both have the same basename."""
    files = content(package.write())
    second = {f"secondary/{name}": files[name] for name in ("payload.bin", PROPERTIES)}
    assert failed_any(packed(files | second)) == {}


def test_parts_of_super_are_not_taken_for_partitions(package: Package) -> None:
    """With retrofitted dynamic partitions a payload's system is a part of super, not what vbmeta means."""
    files = content(package.write())
    split = packed(files, replace(PINE, retrofit_dynamic_partitions=True))
    found = {check.name: check for check in verified(split).checks if check.ok is not True}
    assert list(found) == ["partition system"]
    assert found["partition system"].ok is None
    assert "a part of super" in found["partition system"].detail


def test_an_updater_beside_the_payload_is_not_passed_over(package: Package, tmp_path: Path) -> None:
    updater = {"META-INF/com/google/android/update-binary": b"\x7fELF"}
    result = run(packed(content(package.write()) | updater), tmp_path)
    assert result.exit_code == 2
    assert "a device without slots would run it" in result.output


def test_firmware_that_nothing_covers_is_named(package: Package) -> None:
    (covers,) = [
        check for check in verified(named("modem")(package)).checks if "covers" in check.name
    ]
    assert covers.ok
    assert covers.detail.endswith("; not modem")


def test_a_downgrade_that_says_so_may_have_another_day(package: Package) -> None:
    metadata = replace(post(timestamp=1_600_000_000), downgrade=True)
    assert failed_any(told(metadata)(package)) == {}
