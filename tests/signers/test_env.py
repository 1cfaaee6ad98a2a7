"""``env:`` keys out of a CI's secret variables."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rom_builder.errors import SigningError
from rom_builder.keys.files import PassphrasePrompt, encrypted_key, plain_key
from rom_builder.signers import open_signer
from tests.signing_material import key

PEM = plain_key(key().private_key)
DER = key().private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "value",
    [PEM, base64.b64encode(PEM), base64.b64encode(DER), base64.encodebytes(DER)],
    ids=["pem", "pem in base64", "der in base64", "in lines"],
)
def test_every_form_of_a_secret_signs(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", value.decode())
    signer = open_signer("env:A_KEY", key().certificate)
    signer.probe()
    assert signer.remarks == ()
    assert "A_KEY" not in os.environ
    open_signer("env:A_KEY", key().certificate).probe()


def test_an_encrypted_key_takes_a_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B_KEY", encrypted_key(key().private_key, b"secret").decode())
    asked = PassphrasePrompt(lambda: "secret")
    open_signer("env:B_KEY", key().certificate, passphrase=asked).probe()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "environment variable C_KEY is empty"),
        ("hunter2!", "neither PEM nor base64"),
        ("aHVudGVyMg==", "not a private key"),
        (PEM.decode()[:100], "not a private key"),
    ],
    ids=["empty", "text", "base64", "half a key"],
)
def test_what_is_no_key_is_named_and_not_shown(
    value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C_KEY", value)
    with pytest.raises(SigningError, match=message) as caught:
        open_signer("env:C_KEY", key().certificate)
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SigningError, match="NOT_SET_AT_ALL is not set"):
        open_signer("env:NOT_SET_AT_ALL", key().certificate)


def test_a_process_that_holds_a_key_leaves_no_core_dump() -> None:
    program = (
        "import resource\n"
        "from rom_builder.signers import open_signer\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "try: open_signer('env:D_KEY')\n"
        "except Exception: pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    environment = {**os.environ, "D_KEY": PEM.decode()}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True
    ).stdout
    assert printed == b"0\n"
