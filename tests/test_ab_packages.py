"""A full A/B package from end to end: planned, edited, sealed, packed, signed, judged and verified."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.build import Built, build
from rom_builder.check import check
from rom_builder.errors import RomBuilderError
from rom_builder.findings import Verdict
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.payload import (
    InstallOperation,
    Payload,
    problems,
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import read_footer, read_vbmeta, verify_vbmeta
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import NewKey, new_key
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import Policies, load_policies
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.profile import open_role
from tests.ab_package import SYSTEM, ab_package

TODAY = date(2026, 11, 22)
EDITED = {"system", "vbmeta", "vbmeta_system"}

pytestmark = pytest.mark.judge("mkfs.erofs", "fsck.erofs")


@pytest.fixture(scope="module")
def maker() -> NewKey:
    return new_key("ota", "rsa-2048")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, maker: NewKey) -> Path:
    folder = tmp_path_factory.mktemp("base")
    otacert = maker.certificate.public_bytes(Encoding.PEM)
    return ab_package(folder, SYSTEM, key=maker.private_key, otacert=otacert)


@pytest.fixture(scope="module")
def policies() -> Policies:
    return load_policies(["messaging-opt-in", "rom-baseline"], binding_models())


def built(base: Path, policies: Policies, output: Path) -> Built:
    signer, avb = open_role("dev", "ota"), open_role("dev", "avb")
    return build(base, policies, Keyring(signer, avb=avb), output, brought={}, today=TODAY)


def payload_of(package: Path) -> Payload:
    archive = ZipArchive(FileSource(package))
    return Payload(archive.open(archive.entries[PAYLOAD_NAME]))


def blobs(payload: Payload, name: str) -> list[bytes]:
    return [
        payload.source.read_at(payload.blob_offset + (op.data_offset or 0), op.data_length or 0)
        for op in payload.update(name).operations
    ]


def test_a_package_that_fails_becomes_one_that_passes(
    base: Path, policies: Policies, tmp_path: Path
) -> None:
    assert check(base, policies, today=TODAY).verdict is Verdict.NON_COMPLIANT
    output = tmp_path / "out.zip"
    built(base, policies, output)
    assert check(output, policies, today=TODAY).verdict is Verdict.COMPLIANT

    before, after = payload_of(base), payload_of(output)
    assert problems(after) == []
    key = open_role("dev", "ota").certificate.public_key()
    verify_metadata_signature(after, [key])
    verify_payload_signature(after, [key])
    for name in after.names:
        after.verify_partition(name)
    assert blobs(after, "boot") == blobs(before, "boot")

    for name in ("vbmeta", "vbmeta_system"):
        old, new = read_vbmeta(before.partition(name)), read_vbmeta(after.partition(name))
        verify_vbmeta(new)
        assert (new.rollback_index, new.flags) == (old.rollback_index, old.flags)


def test_untouched_operations_keep_their_bytes(
    base: Path, policies: Policies, tmp_path: Path
) -> None:
    """Whatever an operation of the base writes that is written still: same type, place and data."""
    output = tmp_path / "out.zip"
    built(base, policies, output)
    before, after = payload_of(base), payload_of(output)
    kept = encoded = 0
    for name in before.names:
        old, new = before.partition(name), after.partition(name)
        made = {op.dst_extents: op for op in after.update(name).operations}
        for op in before.update(name).operations:
            (extent,) = op.dst_extents
            start, size = (extent.start_block or 0) * 4096, (extent.num_blocks or 0) * 4096
            if start + size > new.size or old.read_at(start, size) != new.read_at(start, size):
                encoded += 1
                continue
            kept += 1
            again = made[op.dst_extents]
            assert (again.type, again.data_sha256_hash) == (op.type, op.data_sha256_hash)
            assert data_of(after, again) == data_of(before, op)
    assert kept > 2
    assert encoded > 2


def data_of(payload: Payload, op: InstallOperation) -> bytes:
    return payload.source.read_at(payload.blob_offset + (op.data_offset or 0), op.data_length or 0)


def test_fsck_finds_nothing_and_untouched_files_are_as_before(
    base: Path, policies: Policies, tmp_path: Path
) -> None:
    output = tmp_path / "out.zip"
    built(base, policies, output)
    system = payload_of(output).partition("system")
    footer = read_footer(system)
    assert footer is not None
    image = tmp_path / "system.img"
    image.write_bytes(system.read_at(0, footer.original_image_size))
    subprocess.run(["fsck.erofs", image], check=True, capture_output=True)
    old, new = open_rom(base), open_rom(output)
    for path, data in SYSTEM.items():
        file = new.find(f"/{path}")
        assert file is not None
        if path != "system/build.prop":
            assert new.read(file) == data
            before = old.find(f"/{path}")
            assert before is not None
            assert (file.node.mode, file.node.uid, file.node.mtime) == (
                before.node.mode,
                before.node.uid,
                before.node.mtime,
            )


def test_the_same_base_gives_the_same_bytes(base: Path, policies: Policies, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    built(base, policies, first)
    built(base, policies, second)
    assert first.read_bytes() == second.read_bytes()


def test_without_a_key_for_verified_boot_nothing_is_written(
    base: Path, policies: Policies, tmp_path: Path
) -> None:
    output = tmp_path / "out.zip"
    with pytest.raises(RomBuilderError, match="verified boot"):
        build(base, policies, Keyring(open_role("dev", "ota")), output, brought={}, today=TODAY)
    assert list(tmp_path.iterdir()) == []
