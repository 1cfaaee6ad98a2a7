"""``exec:`` programs that sign, good, slow, silly and hostile."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.errors import SigningError
from rom_builder.keys import NewKey
from rom_builder.keys.files import PassphraseVariable
from rom_builder.signers import open_signer
from rom_builder.signers.padding import digest_in, padded, parse_algorithm
from rom_builder.signers.signer import DIGEST_INFO, PROBE, KeySigner
from tests.signing_material import key, write_key

RSA = key("rsa-2048")
PAYLOAD_SIGNER = "openssl pkeyutl -sign -inkey {key} -pkeyopt digest:sha256"
"""What AOSP's own payload signer runs."""
RAW = "openssl rsautl -sign -raw -inkey {key}"
HELPER = f"#!/bin/sh\nexec {RAW} -in /dev/stdin\n"
HELPER_WITH_FILES = f'#!/bin/sh\n{RAW} -in "$3" -out "$3.new" && cat "$3.new" > "$3"\n'

needs_openssl = pytest.mark.judge("openssl")


def script(folder: Path, text: str, name: str = "helper") -> Path:
    path = folder / name
    path.write_text(text.format(key=folder / "key.pem"))
    path.chmod(0o755)
    return path


@needs_openssl
@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_openssl_signs_as_a_payload_signer(kind: str, tmp_path: Path) -> None:
    pem, _, _ = write_key(tmp_path, key(kind))
    command = PAYLOAD_SIGNER.format(key=pem)
    signer = open_signer(f"exec:{command}", key(kind).certificate)
    signature = signer.sign_digest(PROBE)
    if kind == "rsa-2048":
        assert signature == KeySigner(key(kind).private_key).sign_digest(PROBE)


@needs_openssl
@pytest.mark.parametrize(
    ("uri", "text"),
    [("exec-avb:./helper", HELPER), ("exec-avb-files:./helper", HELPER_WITH_FILES)],
)
def test_openssl_signs_as_a_helper_of_avbtool(uri: str, text: str, tmp_path: Path) -> None:
    write_key(tmp_path, RSA)
    script(tmp_path, text)
    signer = open_signer(uri, RSA.certificate, folder=tmp_path)
    file = KeySigner(RSA.private_key)
    assert signer.sign_digest(PROBE) == file.sign_digest(PROBE)
    assert signer.sign_digest(bytes(64), "sha512") == file.sign_digest(bytes(64), "sha512")


def test_a_helper_of_avbtool_gets_algorithm_and_public_key(tmp_path: Path) -> None:
    text = (
        f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat "$3" > {tmp_path}/key\ncat > {tmp_path}/in\n'
    )
    script(tmp_path, text)
    with pytest.raises(SigningError, match="returned 0 bytes"):
        open_signer("exec-avb:./helper --slot 3", RSA.certificate, folder=tmp_path)
    words = (tmp_path / "words").read_text().split()
    assert words[:3] == ["--slot", "3", "SHA256_RSA2048"]
    assert (tmp_path / "in").read_bytes() == padded(PROBE, "sha256", 256)


OTHER = "#!/bin/sh\nexec openssl pkeyutl -sign -inkey {key} -pkeyopt digest:sha256 $*\n"
FAULTS = {
    "hangs": ("#!/bin/sh\nsleep 600\n", "no answer after 1 s"),
    "fails": ("#!/bin/sh\necho no card in reader >&2; exit 7\n", "exit code 7: no card in reader"),
    "writes nothing": ("#!/bin/sh\n", "wrote no signature"),
    "writes an empty file": ('#!/bin/sh\n: > "$4"\n', "returned 0 bytes"),
    "writes garbage": ('#!/bin/sh\nhead -c 256 /dev/zero > "$4"\n', "returned 256 bytes"),
    "writes too few bytes": ('#!/bin/sh\nhead -c 9 /dev/zero > "$4"\n', "returned 9 bytes"),
    "writes without end": ('#!/bin/sh\nhead -c 9000000 /dev/zero > "$4"\n', "more than 4096"),
    "floods its error output": ("#!/bin/sh\nyes | head -c 9000000 >&2; exit 1\n", "exit code 1"),
    "has another key": (OTHER, "returned 256 bytes that the key in the profile does not verify"),
    "cannot be run": ("no program at all", "helper"),
}


@needs_openssl
@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_goes_wrong_is_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FAULTS[fault]
    monkeypatch.setattr("rom_builder.signers.exec.TIMEOUT", 1.0 if fault == "hangs" else 60.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    write_key(tmp_path, key("rsa-2048", 1))
    script(tmp_path, text)
    with pytest.raises(SigningError, match=message) as caught:
        open_signer("exec:./helper", RSA.certificate, folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800
    assert str(caught.value).startswith("exec:./helper: ")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "made", "message"),
    [
        ("exec:no-such-program-here", RSA, "program not found"),
        ("exec:./none", RSA, "program not found"),
        ("exec:'", RSA, "not a command line"),
        ("exec: ", RSA, "names no program"),
        ("exec:true", None, "nothing says which key"),
        ("exec-avb:true", key("p256"), "RSA keys only"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    uri: str, made: NewKey | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SigningError, match=message):
        open_signer(uri, made.certificate if made else None, folder=tmp_path)


@needs_openssl
def test_a_public_key_is_enough(tmp_path: Path) -> None:
    pem, _, _ = write_key(tmp_path, RSA)
    public = RSA.private_key.public_key()
    command = PAYLOAD_SIGNER.format(key=pem)
    assert open_signer(f"exec:{command}", public_key=public).public_key == public
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_program_inherits_no_secret_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_PASSPHRASE", "hunter2-exec")
    monkeypatch.setenv("VAULT_TOKEN", "meant for the program")
    PassphraseVariable("SOME_PASSPHRASE").read()
    script(tmp_path, f"#!/bin/sh\nenv > {tmp_path}/environment\n")
    with pytest.raises(SigningError, match="no signature"):
        open_signer("exec:./helper", RSA.certificate, folder=tmp_path)
    environment = (tmp_path / "environment").read_text()
    assert "hunter2-exec" not in environment
    assert "meant for the program" in environment
    assert "SOME_PASSPHRASE" not in os.environ


# Padded digests


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 32), ("sha512", 64)])
def test_a_padded_digest_is_read_back(algorithm: str, size: int) -> None:
    digest = os.urandom(size)
    block = padded(digest, algorithm, 512)  # type: ignore[arg-type]
    assert len(block) == 512
    assert digest_in(block, algorithm, 512) == digest  # type: ignore[arg-type]


def test_whatever_is_no_padded_digest_is_not_signed() -> None:
    block = padded(bytes(32), "sha256", 256)
    end = len(block) - 32
    for index in range(end):
        broken = bytearray(block)
        broken[index] ^= 1
        with pytest.raises(SigningError, match="no sha256 digest"):
            digest_in(bytes(broken), "sha256", 256)
    for wrong in (b"", block[1:], block + b"\0", padded(bytes(64), "sha512", 256)):
        with pytest.raises(SigningError):
            digest_in(wrong, "sha256", 256)
    # Bleichenbacher's forgery: few FF, then what the forger likes.
    forged = b"\0\1" + b"\xff" * 8 + b"\0" + DIGEST_INFO["sha256"] + bytes(32)
    with pytest.raises(SigningError):
        digest_in(forged.ljust(256, b"\0"), "sha256", 256)


@pytest.mark.parametrize("name", ["", "SHA256_RSA3072", "SHA1_RSA2048", "NONE", "sha256_rsa2048"])
def test_an_algorithm_that_avb_has_not_is_refused(name: str) -> None:
    with pytest.raises(SigningError, match="no algorithm"):
        parse_algorithm(name)


def test_python_itself_can_be_the_program(tmp_path: Path) -> None:
    text = f"#!{sys.executable}\nimport sys\nsys.exit('Bad PIN: \\x1b[2J try\\nagain')\n"
    script(tmp_path, text.replace("{", "{{").replace("}", "}}"))
    with pytest.raises(SigningError, match="Bad PIN") as caught:
        open_signer("exec:./helper", RSA.certificate, folder=tmp_path)
    assert "\n" not in str(caught.value)
