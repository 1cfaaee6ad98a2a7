"""A package whose file signature holds, and in which something else is wrong: payload and metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from tests import roms
from tests.ab_package import REPLACE
from tests.formats.builders.payload import Part, full_ops
from tests.signed_package import (
    OTACERT,
    Package,
    entry_changed,
    failed,
    failed_any,
    metadata_changed,
    resigned,
    run,
)

pytestmark = pytest.mark.judge("mkfs.erofs")


@pytest.mark.parametrize("where", ["metadata", "payload"])
def test_each_signature_of_the_payload_counts(package: Package, where: str) -> None:
    faults = failed(package.write(resigned(where)))
    assert list(faults) == [f"{where} signature"]
    assert "none of 1 keys made" in faults[f"{where} signature"]


def test_a_payload_without_signatures_fails(package: Package) -> None:
    package.sign_payload = False
    faults = failed(package.write())
    assert list(faults) == ["metadata signature", "payload signature", "payload rules"]


def test_a_partition_digest_of_another_image_fails(package: Package) -> None:
    image = package.images["vbmeta_system"]
    other = bytes(len(image))
    package.parts = {"vbmeta_system": Part("vbmeta_system", other, full_ops(image, [REPLACE], 64))}
    faults = failed(package.write())
    assert list(faults) == ["partition vbmeta_system"]
    assert "SHA-256 of partition vbmeta_system is" in faults["partition vbmeta_system"]


def test_a_wrong_operation_digest_fails_even_quickly(package: Package) -> None:
    image = package.images["system"]
    (first, *rest) = full_ops(image, [REPLACE], 64)
    first.digest = bytes(32)
    package.parts = {"system": Part("system", image, [first, *rest])}
    assert "operation 0 of partition system" in failed_any(package.write(), quick=True)["operation data"]  # fmt: skip


def test_a_block_that_is_not_written_breaks_the_rules(package: Package) -> None:
    image = package.images["system"]
    package.parts = {"system": Part("system", image, full_ops(image, [REPLACE], 64)[1:])}
    assert "block 0 of system" in failed_any(package.write())["payload rules"]


@pytest.mark.parametrize("key_", ["FILE_HASH", "FILE_SIZE", "METADATA_HASH", "METADATA_SIZE"])
def test_properties_must_be_those_of_the_payload(package: Package, key_: str) -> None:
    good = package.write()
    archive = ZipArchive(BytesSource(good))
    lines = archive.read(archive.entries["payload_properties.txt"]).decode().splitlines()
    (line,) = [line for line in lines if line.startswith(key_ + "=")]
    at = len(key_) + 2
    other = line[:at] + ("7" if line[at] != "7" else "8") + line[at + 1 :]
    faults = failed(entry_changed(good, "payload_properties.txt", line.encode(), other.encode()))
    assert faults == {"payload_properties.txt": f"{key_} is not that of the payload"}


# The package


def test_property_files_must_tell_the_places(package: Package) -> None:
    good = package.write()
    archive = ZipArchive(BytesSource(good))
    text = archive.read(archive.entries["META-INF/com/android/metadata"])
    token = text[text.index(b"payload.bin:") :].split(b",")[0]
    moved = token[:-1] + (b"1" if token[-1:] != b"1" else b"2")
    assert "payload.bin is not where it says" in failed(metadata_changed(good, token, moved))["metadata"]  # fmt: skip
    token = text[text.index(b"payload_metadata.bin:") :].split(b",")[0]
    moved = token[:-1] + (b"1" if token[-1:] != b"1" else b"2")
    assert "payload_metadata.bin has" in failed(metadata_changed(good, token, moved))["metadata"]


def test_both_forms_of_the_metadata_must_agree(package: Package) -> None:
    changed = metadata_changed(
        package.write(), b"pre-device=pine", b"pre-device=oaks", "META-INF/com/android/metadata"
    )
    assert "pre-device differs" in failed(changed)["metadata"]


def test_a_second_end_record_in_the_comment_fails(package: Package) -> None:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    hidden = b"PK\5\6" + bytes(18)
    comment = hidden + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    size = len(comment).to_bytes(2, "little")
    faults = failed_any(good[: signature.signed_size] + size + comment)
    assert "second end-of-central-directory record" in faults["archive"]


def test_anything_else_in_the_comment_fails(package: Package) -> None:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    comment = b"signed by SignApk\0 and more" + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    size = len(comment).to_bytes(2, "little")
    faults = failed_any(good[: signature.signed_size] + size + comment)
    assert "covered by nothing" in faults["whole-file signature"]


def test_a_publicly_known_otacert_fails_unless_allowed(package: Package, tmp_path: Path) -> None:
    package.otacert = roms.pem(roms.certificate("testkey"))
    data = package.write()
    assert "publicly known" in failed(data)["package key"]
    assert list(failed(data, allow_public_key=True)) == ["META-INF/com/android/otacert"]
    cert = tmp_path / "cert.pem"
    cert.write_bytes(OTACERT)
    assert run(data, tmp_path, "--cert", cert).exit_code == 1
    result = run(data, tmp_path, "--cert", cert, "--allow-public-key")
    assert "as allowed" in result.output
