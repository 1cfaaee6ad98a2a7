from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli.keys import keys
from rom_builder.errors import SigningError
from rom_builder.keys import spki_sha256
from rom_builder.keys.files import PassphraseFile, read_key_file
from tests.signing_material import key


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(keys, [str(a) for a in arguments], env=environment)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "pass"
    path.write_text("hunter2 and more\n")
    path.chmod(0o600)
    return path


def test_new_writes_an_encrypted_key_and_its_certificate(tmp_path: Path, passphrase: Path) -> None:
    result = run(
        *("new", tmp_path / "ota", "--role", "ota", "--kind", "p256"),
        *("--subject", "Example OTA", "--passphrase-file", passphrase),
    )
    assert result.exit_code == 0, result.output
    found = read_key_file(tmp_path / "ota.pem", PassphraseFile(passphrase))
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "ota.pem").read_bytes()
    assert found.certificate is not None
    assert found.certificate.subject.rfc4514_string() == "CN=Example OTA"
    pem = found.certificate.public_bytes(Encoding.PEM)
    assert (tmp_path / "ota.x509.pem").read_bytes() == pem
    assert (tmp_path / "ota.pem").stat().st_mode & 0o777 == 0o600
    assert spki_sha256(found.private_key.public_key()) in result.output
    assert "hunter2" not in result.output


def test_new_takes_the_passphrase_from_the_environment(tmp_path: Path, passphrase: Path) -> None:
    variable = passphrase.read_text().strip()
    result = run(
        *("new", tmp_path / "k", "--role", "apk", "--kind", "p256"), ROM_BUILDER_PASSPHRASE=variable
    )
    assert result.exit_code == 0
    assert read_key_file(tmp_path / "k.pem", PassphraseFile(passphrase))


def test_new_writes_an_unencrypted_key_only_when_told(tmp_path: Path) -> None:
    asked = ("new", tmp_path / "k", "--role", "ota", "--kind", "p256")
    refused = run(*asked)
    assert isinstance(refused.exception, SigningError)
    assert "nobody to ask" in str(refused.exception)
    assert not list(tmp_path.iterdir())
    assert run(*asked, "--no-passphrase").exit_code == 0
    assert read_key_file(tmp_path / "k.pem")


@pytest.mark.parametrize("existing", ["k.pem", "k.x509.pem"])
def test_new_overwrites_nothing(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    result = run("new", tmp_path / "k", "--role", "ota", "--kind", "p256", "--no-passphrase")
    assert isinstance(result.exception, SigningError)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_new_refuses_what_devices_refuse(tmp_path: Path) -> None:
    result = run("new", tmp_path / "k", "--role", "ota", "--kind", "rsa-3072", "--no-passphrase")
    assert isinstance(result.exception, SigningError)
    assert not list(tmp_path.iterdir())


def test_a_role_is_required(tmp_path: Path) -> None:
    assert run("new", tmp_path / "k").exit_code == 2


def test_inspect_says_what_a_certificate_is(tmp_path: Path) -> None:
    path = tmp_path / "k.x509.pem"
    path.write_bytes(key().certificate.public_bytes(Encoding.PEM))
    result = run("inspect", path)
    assert result.exit_code == 0
    for said in (
        "EC P-256",
        "CN=Test 0",
        "fit for         ota, payload, apk, attestation",
        "AVB takes RSA",
        "days left",
    ):
        assert said in result.output
    assert spki_sha256(key().private_key.public_key()) in result.output
    assert "PUBLICLY" not in result.output


def test_inspect_shows_no_private_half(tmp_path: Path, passphrase: Path) -> None:
    name = tmp_path / "k"
    run("new", name, "--role", "ota", "--kind", "p256", "--passphrase-file", passphrase)
    result = run("inspect", tmp_path / "k.pem", "--passphrase-file", passphrase)
    assert result.exit_code == 0
    found = read_key_file(tmp_path / "k.pem", PassphraseFile(passphrase))
    secret = found.private_key.private_numbers().private_value  # type: ignore[union-attr]
    assert f"{secret:x}" not in result.output
    assert str(secret) not in result.output
    assert "hunter2" not in result.output


def test_inspect_of_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    assert run("inspect", tmp_path / "nothing").exit_code == 2
