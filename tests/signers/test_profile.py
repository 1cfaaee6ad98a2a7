from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import PolicyError, SigningError
from rom_builder.keys.files import PassphrasePrompt, encrypted_key, plain_key
from rom_builder.signers.profile import load_signing_profile, shipped_profile
from tests.signing_material import key

GOOD = """
schema: rom-builder/signing/v1
id: test
title: Test keys
roles:
  ota: {signer: "file:ota.pem", certificate: ota.x509.pem, passphrase: {file: pass}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test.yaml").write_text(GOOD)
    (tmp_path / "ota.pem").write_bytes(encrypted_key(key().private_key, b"pass phrase"))
    (tmp_path / "ota.x509.pem").write_bytes(key().certificate.public_bytes(Encoding.PEM))
    (tmp_path / "pass").write_text("pass phrase\n")
    for name in ("ota.pem", "pass"):
        (tmp_path / name).chmod(0o600)
    return tmp_path


def test_a_role_is_opened_from_the_profiles_folder(folder: Path) -> None:
    profile = load_signing_profile(folder / "test.yaml")
    assert profile.open("ota", folder).certificate == key().certificate


def test_a_role_that_is_not_there_is_missed_only_when_used(folder: Path) -> None:
    profile = load_signing_profile(folder / "test.yaml")
    with pytest.raises(SigningError, match="no key for the role avb"):
        profile.open("avb", folder)


def test_a_passphrase_may_be_asked_for(folder: Path) -> None:
    (folder / "test.yaml").write_text(GOOD.replace(", passphrase: {file: pass}", ""))
    profile = load_signing_profile(folder / "test.yaml")
    asked = PassphrasePrompt(lambda: "pass phrase")
    assert profile.open("ota", folder, prompt=asked).certificate == key().certificate
    with pytest.raises(SigningError, match="no passphrase"):
        profile.open("ota", folder)


def test_a_passphrase_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "test.yaml").write_text(GOOD.replace("{file: pass}", "{env: TEST_PROFILE_PASS}"))
    monkeypatch.setenv("TEST_PROFILE_PASS", "pass phrase")
    profile = load_signing_profile(folder / "test.yaml")
    assert profile.open("ota", folder).certificate == key().certificate


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_bad_certificate_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "ota.x509.pem"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SigningError, match=r"ota\.x509\.pem"):
        load_signing_profile(folder / "test.yaml").open("ota", folder)


def test_the_shipped_development_profile_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = shipped_profile("dev")
    profile = load_signing_profile(path)
    assert profile.open("ota", path.parent).development
    assert profile.open("avb", path.parent).development


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("schema: rom-builder/signing/v1", "schema: rom-builder/signing/v9"), "schema"),
        (("title: Test keys", "titel: Test keys"), "titel"),
        (("id: test", "id: Two Words"), "id"),
        (("ota: {", "oat: {"), "oat"),
        (('"file:ota.pem"', '"ota.pem"'), "signer"),
        (("{file: pass}", "{file: pass, env: PASS}"), "env or file"),
        (("{file: pass}", "{}"), "env or file"),
        (("title: Test keys", "title: [Test, keys]"), "title"),
        (("schema:", "- schema:"), ":"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said(
    change: tuple[str, str], message: str, folder: Path
) -> None:
    path = folder / "test.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(PolicyError, match=message) as caught:
        load_signing_profile(path)
    assert str(path) in str(caught.value)


def test_one_key_has_one_role(folder: Path) -> None:
    path = folder / "test.yaml"
    path.write_text(GOOD + '  avb: {signer: "file:ota.pem"}\n')
    with pytest.raises(PolicyError, match="own key"):
        load_signing_profile(path)


def test_a_secret_written_into_a_profile_is_not_repeated(folder: Path) -> None:
    path = folder / "test.yaml"
    for secret in ("hunter2", plain_key(key().private_key).decode().replace("\n", " ")):
        path.write_text(GOOD.replace("{file: pass}", f"'{secret}'"))
        with pytest.raises(PolicyError) as caught:
            load_signing_profile(path)
        assert secret[:40] not in str(caught.value)
        assert secret[:40] not in repr(caught.value)
