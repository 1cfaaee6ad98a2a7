"""What is weak in how a key file is encrypted is told of files that OpenSSL made."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)

from rom_builder.keys.encryption import weaknesses
from rom_builder.keys.files import PassphrasePrompt, encrypted_key, plain_key, read_key_file
from tests.signing_material import key, openssl, write_key

PASS = ("-passout", "pass:secret")
OPENSSL = {
    "plain": (["pkcs8", "-topk8", "-nocrypt"], "not encrypted"),
    "2048 rounds": (["pkcs8", "-topk8", "-v2", "aes-256-cbc", *PASS], "2048 rounds of PBKDF2"),
    "600000 rounds": (["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "600000", *PASS], None),
    "scrypt": (["pkcs8", "-topk8", "-scrypt", *PASS], None),
    "cheap scrypt": (["pkcs8", "-topk8", "-scrypt", "-scrypt_N", "1024", *PASS], "cost 1024"),
    "pbes1": (["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", *PASS], "PKCS#12 cipher of 1999"),
    "old pem": (["rsa", "-aes128", "-traditional", *PASS], "old PEM way"),
}


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("name", OPENSSL)
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_files_of_openssl(name: str, form: str, tmp_path: Path) -> None:
    command, expected = OPENSSL[name]
    if (name, form) == ("old pem", "DER"):
        return  # this encryption is one of PEM
    plain, _, _ = write_key(tmp_path, key("rsa-2048"))
    path = tmp_path / "made"
    openssl(*command, "-in", plain, "-outform", form, "-out", path)
    path.chmod(0o600)
    found = read_key_file(path, PassphrasePrompt(lambda: "secret")).weaknesses
    if expected is None:
        assert found == ()
    else:
        assert len(found) == 1
        assert expected in found[0]


@pytest.mark.judge("openssl")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-iter", "2048"], ["2048 rounds of PBKDF2", "MAC with 2048 rounds"]),
        (["-iter", "600000"], []),
        (["-iter", "600000", "-keypbe", "NONE"], ["not encrypted"]),
        (["-iter", "600000", "-keypbe", "PBE-SHA1-3DES"], ["PKCS#12 cipher of 1999"]),
    ],
)
def test_pkcs12_files_of_openssl(options: list[str], expected: list[str], tmp_path: Path) -> None:
    pem, _, certificate = write_key(tmp_path, key())
    path = tmp_path / "made"
    openssl("pkcs12", "-export", "-inkey", pem, "-in", certificate, "-out", path, *PASS, *options)
    found = weaknesses(path.read_bytes())
    assert len(found) == len(expected)
    assert all(text in said for text, said in zip(expected, found, strict=True))


def test_what_we_write_is_strong_and_what_the_library_writes_is_not() -> None:
    made = key().private_key
    assert weaknesses(encrypted_key(made, b"secret")) == ()
    assert weaknesses(plain_key(made)) == ("the key file is not encrypted",)
    library = made.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    assert "2048 rounds" in weaknesses(library)[0]
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(600_000)
        .hmac_hash(SHA256())
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .build(b"secret")
    )
    store = pkcs12.serialize_key_and_certificates(b"k", made, key().certificate, None, encryption)
    assert all("rounds of PBKDF2" not in said for said in weaknesses(store))


@pytest.mark.parametrize(
    "data", [b"", b"0\x80", b"-----BEGIN X-----", bytes(99), b"0\x03\x02\x01\x03"]
)
def test_what_cannot_be_read_is_not_judged(data: bytes) -> None:
    assert weaknesses(data) == ()


def test_half_a_file_is_not_judged_and_breaks_nothing() -> None:
    whole = encrypted_key(key().private_key, b"secret")
    for size in range(0, len(whole), 7):
        weaknesses(whole[:size])
