from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli.verify import verify
from rom_builder.errors import ImageError
from rom_builder.formats.ota_signature import comment_for
from tests.signing_material import (
    certificate,
    key,
    openssl,
    signed_package,
    unsigned_package,
    write_key,
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(verify, [str(a) for a in arguments])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "ota.zip"
    path.write_bytes(signed_package(key()))
    return path


def cert(folder: Path, number: int = 0) -> Path:
    path = folder / f"{number}.x509.pem"
    path.write_bytes(key("p256", number).certificate.public_bytes(Encoding.PEM))
    return path


def otacerts(folder: Path, *certificates: x509.Certificate) -> Path:
    path = folder / "otacerts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, found in enumerate(certificates):
            archive.writestr(f"{number}.x509.pem", found.public_bytes(Encoding.PEM))
        archive.writestr("readme.txt", b"no certificate")
    return path


def test_a_package_of_the_trusted_key_is_valid(package: Path, tmp_path: Path) -> None:
    result = run(package, "--cert", cert(tmp_path))
    assert result.exit_code == 0
    assert f"{package}: valid\n" in result.output
    assert key().certificate.fingerprint(hashes.SHA256()).hex() in result.output
    assert "inside the package" not in result.output


def test_several_certificates_may_be_given(package: Path, tmp_path: Path) -> None:
    result = run(package, "--cert", cert(tmp_path, 1), "--cert", cert(tmp_path, 0))
    assert result.exit_code == 0


def test_otacerts_are_read_as_recovery_reads_them(package: Path, tmp_path: Path) -> None:
    good = [key("p256", 1).certificate, key().certificate]
    assert run(package, "--cert", otacerts(tmp_path, *good)).exit_code == 0
    bad = certificate(rsa.generate_private_key(65537, 3072), hashes.SHA256())
    result = run(package, "--cert", otacerts(tmp_path, *good, bad))
    assert result.exit_code == 1
    assert "drop all of them" in result.output


def test_without_certificate_only_integrity_is_proven(package: Path) -> None:
    result = run(package)
    assert result.exit_code == 0
    assert "not where it comes from" in result.output


def test_the_otacert_of_the_package_is_used(tmp_path: Path) -> None:
    path = tmp_path / "ota.zip"
    with zipfile.ZipFile(path, "w") as archive:
        other = key("p256", 1).certificate.public_bytes(Encoding.PEM)
        archive.writestr("META-INF/com/android/otacert", other)
    path.write_bytes(signed_package(key(), path.read_bytes()))
    assert "another key" in run(path).output
    result = run(path, "--cert", cert(tmp_path))
    assert result.exit_code == 1
    assert "otacert: is not the certificate of the key that signed the package" in result.output


def test_another_key_is_not_valid(package: Path, tmp_path: Path) -> None:
    result = run(package, "--cert", cert(tmp_path, 1))
    assert result.exit_code == 1
    assert "NOT valid: the package is signed by another key" in result.output


@pytest.mark.parametrize("offset", [40, -6, -1, -100, 185])
def test_an_altered_package_is_not_valid(package: Path, offset: int, tmp_path: Path) -> None:
    data = bytearray(package.read_bytes())
    data[offset] ^= 1
    package.write_bytes(data)
    assert run(package).exit_code == 1
    result = run(package, "--cert", cert(tmp_path))
    assert result.exit_code == 1
    assert "NOT valid" in result.output


@pytest.mark.parametrize("data", [unsigned_package(), b"", b"no zip at all"])
def test_an_unsigned_package_is_not_valid(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ota.zip"
    path.write_bytes(data)
    for arguments in ((path,), (path, "--cert", cert(tmp_path))):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "no whole-file signature" in result.output


def test_what_cannot_be_read_is_no_verdict(package: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "missing.zip").exit_code == 2
    assert run(package, "--cert", tmp_path / "missing.pem").exit_code == 2
    (tmp_path / "text").write_bytes(b"no certificate")
    result = run(package, "--cert", tmp_path / "text")
    assert isinstance(result.exception, ImageError)
    assert str(tmp_path / "text") in str(result.exception)


@pytest.mark.judge("openssl")
def test_sha1_is_valid_but_weak(tmp_path: Path) -> None:
    private_key, _, _ = write_key(tmp_path, key("rsa-2048"))
    old = tmp_path / "old.pem"
    old.write_bytes(openssl("req", "-x509", "-sha1", "-key", private_key, "-subj", "/CN=Old"))
    (tmp_path / "body").write_bytes(unsigned_package()[:-2])
    cms = openssl(
        *("cms", "-sign", "-binary", "-noattr", "-md", "sha1", "-outform", "DER"),
        *("-signer", old, "-inkey", private_key, "-in", tmp_path / "body"),
    )
    comment = comment_for(cms)
    path = tmp_path / "ota.zip"
    path.write_bytes(unsigned_package()[:-2] + len(comment).to_bytes(2, "little") + comment)
    result = run(path, "--cert", old)
    assert result.exit_code == 0
    assert "valid but weak" in result.output
    assert "SHA-1" in result.output
