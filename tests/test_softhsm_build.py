"""A whole build whose keys lie in a token: package, payload and verified boot, judged by others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import Vbmeta, read_vbmeta
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import NewKey, new_key
from rom_builder.keys.files import plain_key
from rom_builder.signers.profile import shipped_profile
from tests.ab_package import SYSTEM, ab_package
from tests.signers.softhsm import PIN, SoftHsm, softhsm
from tests.signing_material import key, openssl

pytestmark = pytest.mark.judge("softhsm2-util", "mkfs.erofs", "openssl")
TODAY = "1795348800"
SIGNED = ("vbmeta", "vbmeta_system")
"""Partitions of the test package whose vbmeta images are sealed again, both with the role avb."""


@pytest.fixture(scope="module")
def keys() -> dict[str, NewKey]:
    return {
        "ota": key("rsa-4096"),
        "payload": key("rsa-4096", 1),
        "avb": new_key("avb", "rsa-4096"),
        "apk": key("rsa-2048"),
        "ota-p256": key("p256"),
    }


@pytest.fixture(scope="module")
def hsm(keys: dict[str, NewKey]) -> SoftHsm:
    made = softhsm()
    made.token("rom-ci", keys)
    shutil.copy(shipped_profile("softhsm"), made.folder / "softhsm.yaml")
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maker = key("rsa-2048", 9)
    otacert = maker.certificate.public_bytes(Encoding.PEM)
    folder = tmp_path_factory.mktemp("base")
    return ab_package(folder, SYSTEM, key=maker.private_key, otacert=otacert)  # type: ignore[arg-type]


def build(base: Path, profile: Path, output: Path, **environment: str) -> None:
    """Build as a CI does, in a process of its own."""
    words = ["build", str(base), "-p", "messaging-opt-in", "-p", "rom-baseline"]
    done = subprocess.run(
        [sys.executable, "-m", "rom_builder", *words, "-s", str(profile), "-o", str(output)],
        env={**os.environ, "SOURCE_DATE_EPOCH": TODAY, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert PIN not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(base: Path, hsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("built") / "ota.zip"
    build(base, hsm.folder / "softhsm.yaml", output, ROM_CI_PIN=PIN)
    return output


def public_key(folder: Path, made: NewKey) -> Path:
    path = folder / "key.pub.pem"
    form = PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(made.private_key.public_key().public_bytes(Encoding.PEM, form))
    return path


def openssl_verifies(folder: Path, made: NewKey, signature: bytes, data: bytes) -> None:
    (folder / "data").write_bytes(data)
    (folder / "signature").write_bytes(signature)
    command = ("dgst", "-sha256", "-verify", public_key(folder, made))
    openssl(*command, "-signature", folder / "signature", folder / "data")


def openssl_verifies_package(folder: Path, package: Path, made: NewKey) -> None:
    found = parse_ota_signature(FileSource(package))
    assert found is not None
    (folder / "cms").write_bytes(found.cms)
    (folder / "signed").write_bytes(package.read_bytes()[: found.signed_size])
    (folder / "cert.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
    openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "cms", "-noverify"),
        *("-content", folder / "signed", "-certfile", folder / "cert.pem", "-nointern"),
        *("-out", folder / "out"),
    )


def openssl_verifies_payload(folder: Path, package: Path, made: NewKey) -> None:
    """Take the payload apart by its header: metadata, its signature, blobs, their signature."""
    with zipfile.ZipFile(package) as archive:
        data = archive.read("payload.bin")
    payload = Payload(
        ZipArchive(FileSource(package)).open(ZipArchive(FileSource(package)).entries["payload.bin"])
    )
    size = 24 + int.from_bytes(data[12:20], "big")
    start = size + int.from_bytes(data[20:24], "big")
    for message, signed in (
        (payload.metadata_signatures(), data[:size]),
        (
            payload.payload_signatures(),
            data[:size] + data[start : start + (payload.manifest.signatures_offset or 0)],
        ),
    ):
        (found,) = message.signatures
        length = found.unpadded_signature_size or len(found.data or b"")
        openssl_verifies(folder, made, (found.data or b"")[:length], signed)


def vbmetas(package: Path) -> dict[str, Vbmeta]:
    archive = ZipArchive(FileSource(package))
    payload = Payload(archive.open(archive.entries["payload.bin"]))
    return {name: read_vbmeta(payload.partition(name)) for name in SIGNED}


def test_a_token_signs_package_payload_and_verified_boot(
    built: Path, keys: dict[str, NewKey], tmp_path: Path
) -> None:
    openssl_verifies_package(tmp_path, built, keys["ota"])
    openssl_verifies_payload(tmp_path, built, keys["payload"])
    for vbmeta in vbmetas(built).values():
        assert vbmeta.algorithm.name == "SHA256_RSA4096"
        openssl_verifies(tmp_path, keys["avb"], vbmeta.signature, vbmeta.signed_data())


def test_the_bytes_are_those_of_the_same_keys_in_files(
    built: Path, base: Path, keys: dict[str, NewKey], tmp_path: Path
) -> None:
    roles = {}
    for role in ("ota", "payload", "avb", "apk"):
        pem = keys[role].certificate.public_bytes(Encoding.PEM)
        (tmp_path / f"{role}.pem").write_bytes(plain_key(keys[role].private_key) + pem)
        (tmp_path / f"{role}.pem").chmod(0o600)
        roles[role] = {"signer": f"file:{role}.pem"}
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": roles}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
    build(base, tmp_path / "p.yaml", tmp_path / "ota.zip")
    assert (tmp_path / "ota.zip").read_bytes() == built.read_bytes()


def test_a_p256_key_in_a_token_signs_package_and_payload(
    base: Path, hsm: SoftHsm, keys: dict[str, NewKey], tmp_path: Path
) -> None:
    profile = yaml.safe_load((hsm.folder / "softhsm.yaml").read_text())
    del profile["roles"]["payload"]
    ota = profile["roles"]["ota"]
    ota["signer"] = ota["signer"].replace("object=ota", "object=ota-p256")
    ota["certificate"] = "ota-p256.x509.pem"
    path = hsm.folder / "p256.yaml"
    path.write_text(yaml.safe_dump(profile))
    build(base, path, tmp_path / "ota.zip", ROM_CI_PIN=PIN)
    openssl_verifies_package(tmp_path, tmp_path / "ota.zip", keys["ota-p256"])
    openssl_verifies_payload(tmp_path, tmp_path / "ota.zip", keys["ota-p256"])


def test_the_package_verifies_with_both_certificates(
    built: Path, hsm: SoftHsm, capsys: pytest.CaptureFixture[str]
) -> None:
    from rom_builder.cli import main

    certificates = [("--cert", str(hsm.folder / f"{name}.x509.pem")) for name in ("ota", "payload")]
    assert main(["verify", str(built), *(word for pair in certificates for word in pair)]) == 0
    assert main(["verify", str(built), *certificates[0]]) == 1
    assert "signature" in capsys.readouterr().out


@pytest.mark.judge("avbtool.py")
def test_avbtool_verifies_what_the_token_signed(
    built: Path, keys: dict[str, NewKey], tmp_path: Path
) -> None:
    for name, vbmeta in vbmetas(built).items():
        (tmp_path / f"{name}.img").write_bytes(vbmeta.encode())
    image = tmp_path / "vbmeta_system.img"
    info = subprocess.run(
        ["avbtool.py", "info_image", "--image", image], check=True, capture_output=True
    )
    assert b"SHA256_RSA4096" in info.stdout
    made = public_key(tmp_path, keys["avb"])
    out = tmp_path / "key.bin"
    subprocess.run(["avbtool.py", "extract_public_key", "--key", made, "--output", out], check=True)
    assert vbmetas(built)["vbmeta_system"].public_key == out.read_bytes()


def test_the_shipped_profiles_are_checked_before_a_build(
    hsm: SoftHsm, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rom_builder", "keys", "check", str(hsm.folder / "softhsm.yaml")],
        env={**os.environ, "ROM_CI_PIN": PIN},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ready") == 4
