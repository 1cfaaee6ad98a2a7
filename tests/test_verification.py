"""What verify says of packages that hold, that changed by a byte, and that lack something."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.cli import main
from rom_builder.cli.options import load
from rom_builder.errors import ImageError
from rom_builder.formats.ota_signature import parse_ota_signature, signed_size
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.packing.ab_pack import write_ab_package
from rom_builder.plan import plan, read_brought
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.package import sign_package
from rom_builder.signers.profile import open_role
from rom_builder.verification.package import verify_package
from tests.ab_package import BLOCK, SYSTEM, ab_package
from tests.formats.builders import device
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import NEW_KEY, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import SOURCE_COPY, Op, Part
from tests.signed_package import (
    KEY,
    OTACERT,
    Package,
    failed,
    flipped,
    run,
    signed,
    top,
    verified,
)
from tests.signing_material import unsigned_package

pytestmark = pytest.mark.judge("mkfs.erofs")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A package that rom-builder packed and signed with development keys."""
    folder = tmp_path_factory.mktemp("verification")
    ab_package(folder, SYSTEM, key=KEY.private_key, otacert=OTACERT)  # type: ignore[arg-type]
    (folder / "hosts").write_text("127.0.0.1 example\n")
    policy = folder / "policy.yaml"
    policy.write_text("schema: rom-builder/policy/v1\nid: covered\ntitle: Covered\n"
                      "rom: {verified_boot: required}\n")  # fmt: skip
    brought = read_brought([("/system/etc/hosts", folder / "hosts")], [])
    made = plan(rom := open_rom(folder / "base.zip"), load([str(policy)]), brought)
    ota, file = open_role("dev", "ota"), io.BytesIO()
    write_ab_package(rom, made, Keyring(ota, avb=open_role("dev", "avb")), file)
    package = file.getvalue()
    source = BytesSource(package)
    return package[: signed_size(source)] + sign_package(source, ota)


# What holds


def test_everything_in_a_package_of_our_own_holds(built: bytes, tmp_path: Path) -> None:
    found = verify_package(BytesSource(built))
    assert [check for check in found.checks if not check.ok] == []
    names = [check.name for check in found.checks]
    assert names == [
        "whole-file signature",
        "archive",
        "metadata signature",
        "payload signature",
        "payload rules",
        "operation data",
        "payload_properties.txt",
        "vbmeta image vbmeta",
        "vbmeta image boot",
        "vbmeta image vbmeta_system",
        "vbmeta image system",
        "verified boot covers",
        "partition boot",
        "partition system",
        "partition vbmeta",
        "partition vbmeta_system",
        "care_map.pb",
        "metadata",
    ]
    result = run(built, tmp_path)
    assert result.exit_code == 0
    assert "ota.zip: valid\n" in result.output
    assert "  holds        metadata signature          RSA-2048 e=65537, " in result.output
    assert "rollback index 7, location 2" in result.output
    assert "give --avb-key to demand" in result.output


def test_the_package_that_the_tests_below_change_holds(package: Package) -> None:
    assert failed(package.write()) == {}


def test_parity_is_computed_too(package: Package) -> None:
    assert failed(with_parity(package, 0).write()) == {}
    assert "parity" in failed(with_parity(package, 1).write())["partition system"]


def with_parity(package: Package, damage: int) -> Package:
    """Put a system partition with error correction into the package, its parity changed."""
    image, item = device.hashtree_image("system", fec=True)
    footer = int.from_bytes(image[-44:-36], "big")  # where the vbmeta image lies: after the parity
    changed = bytearray(image)
    changed[footer - 5] ^= damage
    chained = build.vbmeta(item, SYSTEM_KEY).ljust(16 * BLOCK, b"\0")
    package.images |= {"system": bytes(changed), "vbmeta_system": chained}
    return package


# Any byte


def regions(package: bytes) -> dict[str, range]:
    """Every structure of a package by name, in bytes."""
    archive = ZipArchive(BytesSource(package))
    found = {}
    for name, entry in archive.entries.items():
        start = archive.data_offset(entry)
        found[f"header of {name}"] = range(entry.header_offset, start)
        found[name] = range(start, start + entry.compressed_size)
    payload_range = found.pop("payload.bin")
    payload = Payload(archive.raw(archive.entries["payload.bin"]))
    start, end = payload_range.start, payload_range.stop
    blobs, last = start + payload.blob_offset, end - (payload.manifest.signatures_size or 0)
    signature = parse_ota_signature(BytesSource(package))
    assert signature is not None
    return found | {
        "payload header": range(start, start + 24),
        "manifest": range(start + 24, start + payload.metadata_size),
        "metadata signature": range(start + payload.metadata_size, blobs),
        "blobs": range(blobs, last),
        "payload signature": range(last, end),
        "central directory": range(archive.directory_offset, archive.eocd_offset),
        "end record": range(archive.eocd_offset, archive.eocd_offset + 22),
        "comment": range(signature.signed_size + 2, len(package)),
    }


def test_no_byte_is_free(built: bytes) -> None:
    rng = random.Random(1)
    for name, region in regions(built).items():
        for at in rng.sample(region, min(8, len(region))):
            changed = bytearray(built)
            changed[at] ^= 1 << rng.randrange(8)
            found = verify_package(BytesSource(bytes(changed)), quick=True)
            assert found.failed, f"byte {at} of {name}"


def test_no_byte_of_the_payload_is_free_to_who_can_sign_the_package(package: Package) -> None:
    good = package.write()
    spans, rng = regions(good), random.Random(2)
    start = spans["payload header"].start
    for name, skip in (("manifest", 0), ("blobs", 0), ("metadata signature", 8), ("payload signature", 8)):  # fmt: skip
        region = spans[name][skip : skip + 256 if skip else len(spans[name])]
        for at in rng.sample(region, 6):
            changed = lambda data, at=at: flipped(data, at - start)  # noqa: E731
            try:
                made = package.write(changed)
            except ImageError:  # whoever writes the properties reads the manifest, too
                assert name == "manifest"
            else:
                found = verified(made)
                assert found.signature is not None
                assert found.failed, f"byte {at} of {name}"


@pytest.mark.parametrize("size", [0, 21, 4000, -700, -1])
def test_a_package_cut_short_fails(built: bytes, size: int) -> None:
    assert verify_package(BytesSource(built[:size])).failed


# What cannot be found out is no pass


@pytest.mark.parametrize("name", ["vbmeta", "vbmeta_system", "system"])
def test_what_is_missing_leaves_the_answer_open(
    package: Package, name: str, tmp_path: Path
) -> None:
    del package.images[name]
    data = package.write()
    found = verified(data)
    assert found.unknown
    if name != "system":  # the care map speaks of it
        assert not found.failed
        result = run(data, tmp_path)
        assert result.exit_code == 2
        assert "could not be" in result.output


def test_an_incremental_partition_is_not_checked(package: Package, tmp_path: Path) -> None:
    image = package.images["system"]
    package.parts = {"system": Part("system", image, [Op(SOURCE_COPY, b"", [(0, len(image) // BLOCK)])])}  # fmt: skip
    found = {check.name: check for check in verified(package.write()).checks}
    assert found["partition system"].ok is None
    assert "the build before" in found["partition system"].detail


# The command


def test_the_key_of_verified_boot_can_be_demanded(package: Package, tmp_path: Path) -> None:
    data = package.write()
    blob, pem, other = tmp_path / "key.bin", tmp_path / "key.pem", tmp_path / "other.bin"
    blob.write_bytes(build.key_blob(TOP_KEY))
    pem.write_bytes(
        TOP_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    other.write_bytes(build.key_blob(NEW_KEY))
    assert run(data, tmp_path, "--avb-key", blob).exit_code == 0
    assert run(data, tmp_path, "--avb-key", other, "--avb-key", pem).exit_code == 0
    result = run(data, tmp_path, "--avb-key", other)
    assert result.exit_code == 1
    assert "NOT valid: vbmeta image vbmeta: its key is not" in result.output
    assert "give --avb-key" not in result.output
    blob.write_bytes(b"no key")
    assert main(["verify", str(tmp_path / "ota.zip"), "--avb-key", str(blob)]) == 2


def test_quick_says_what_it_leaves_out(package: Package, tmp_path: Path) -> None:
    result = run(package.write(), tmp_path, "--quick")
    assert result.exit_code == 0
    assert "partition system" not in result.output
    assert "left out (--quick)" in result.output


def test_a_failure_is_said_first(package: Package, tmp_path: Path) -> None:
    package.images["vbmeta"] = top(flags=2)
    result = run(package.write(), tmp_path)
    assert result.exit_code == 1
    assert result.output.splitlines()[0].endswith(
        "NOT valid: vbmeta image vbmeta: flags 2 switch protection off"
    )
    assert "  FAILS        vbmeta image vbmeta " in result.output


def test_packages_of_other_kinds_are_checked_as_a_whole(tmp_path: Path) -> None:
    result = run(signed(unsigned_package()), tmp_path)
    assert result.exit_code == 0
    assert "payload" not in result.output
