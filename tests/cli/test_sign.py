"""``sign digest`` serves AOSP's tools as an external signer."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.keys import NewKey
from rom_builder.keys.files import plain_key
from rom_builder.signers.padding import padded
from rom_builder.signers.signer import KeySigner, verifies
from tests.signing_material import key

OTA, AVB, SYSTEM = key("p256"), key("rsa-2048"), key("rsa-2048", 1)
DIGEST = hashlib.sha256(b"a payload").digest()
PROGRAM = [sys.executable, "-m", "rom_builder"]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    roles = {}
    for role, made in (("ota", OTA), ("avb", AVB), ("avb.vbmeta_system", SYSTEM)):
        path = tmp_path / f"{role}.pem"
        path.write_bytes(plain_key(made.private_key) + made.certificate.public_bytes(Encoding.PEM))
        path.chmod(0o600)
        public(tmp_path, role, made)
        roles[role] = {"signer": f"file:{path.name}"}
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": roles}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "p.yaml"


def public(folder: Path, role: str, made: NewKey) -> Path:
    path = folder / f"{role}.pub.pem"
    spki = PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(made.private_key.public_key().public_bytes(Encoding.PEM, spki))
    return path


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*PROGRAM, "sign", "digest", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True)


def test_it_signs_as_releasetools_call_their_payload_signer(profile: Path, tmp_path: Path) -> None:
    given, returned = tmp_path / "sig-1.bin", tmp_path / "signed-1.bin"
    given.write_bytes(DIGEST)
    returned.touch()  # releasetools make the file before they name it
    done = run("-s", profile, "-in", given, "-out", returned)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert verifies(OTA.private_key.public_key(), returned.read_bytes(), DIGEST, "sha256")


@pytest.mark.parametrize("role", ["avb", "avb.vbmeta_system"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("with_files", [False, True])
def test_it_signs_as_avbtool_calls_its_helpers(
    role: str, algorithm: str, with_files: bool, profile: Path, tmp_path: Path
) -> None:
    made = AVB if role == "avb" else SYSTEM
    digest = hashlib.new(algorithm, b"vbmeta").digest()
    block = padded(digest, algorithm, 256)  # type: ignore[arg-type]
    words = (f"{algorithm.upper()}_RSA2048", tmp_path / f"{role}.pub.pem")
    expected = KeySigner(made.private_key).sign_digest(digest, algorithm)  # type: ignore[arg-type]
    if not with_files:
        done = run("-s", profile, *words, stdin=block)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
        return
    file = tmp_path / "block.bin"
    file.write_bytes(block)
    with file.open("rb") as opened:  # as avbtool does, which reads on through its own handle
        done = run("-s", profile, *words, file)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert opened.read() == expected


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (["-in", "digest"], b"", "give -in and -out"),
        ([], b"", "give -in and -out"),
        (["-in", "digest", "-out", "x", "SHA256_RSA2048", "avb.pub.pem"], b"", "give -in and -out"),
        (["SHA256_RSA2048"], b"", "ALGORITHM PUBLIC_KEY"),
        (["-in", "text", "-out", "x"], b"", "9 bytes to sign are no digest"),
        (["-in", "large", "-out", "x"], b"", "larger than 4096 bytes"),
        (["-in", "none", "-out", "x"], b"", "none: No such file"),
        (["-in", "digest", "-out", "x", "--role", "oat"], b"", "no role 'oat'"),
        (["-in", "digest", "-out", "x", "--role", "apk"], b"", "no key for the role apk"),
        (["SHA256_RSA2048", "avb.pub.pem"], b"a block", "no sha256 digest, padded for RSA-2048"),
        (["SHA256_RSA2048", "avb.pub.pem"], bytes(9000), "more than 4096 bytes"),
        (["SHA256_RSA4096", "avb.pub.pem"], padded(DIGEST, "sha256", 512), "not a key for SHA256"),
        (["SHA256_RSA2048", "other.pub.pem"], padded(DIGEST, "sha256", 256), "is this one"),
        (["SHA256_RSA2048", "ota.pub.pem"], padded(DIGEST, "sha256", 256), "not a key for"),
        (["SHA256_RSA2048", "p.yaml"], padded(DIGEST, "sha256", 256), "not a public key"),
        (["SHA1_RSA2048", "avb.pub.pem"], b"", "no algorithm that Android Verified Boot"),
    ],
)
def test_what_it_does_not_sign_is_one_line(
    words: list[str], stdin: bytes, message: str, profile: Path, tmp_path: Path
) -> None:
    (tmp_path / "digest").write_bytes(DIGEST)
    (tmp_path / "text").write_bytes(b"some text")
    (tmp_path / "large").write_bytes(bytes(9000))
    public(tmp_path, "other", key("rsa-2048", 2))
    files = {path.name for path in tmp_path.iterdir()}
    done = subprocess.run(
        [*PROGRAM, "sign", "digest", "-s", "p.yaml", *words],
        input=stdin,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert {path.name for path in tmp_path.iterdir()} == files


@pytest.mark.judge("avbtool.py", "openssl")
@pytest.mark.parametrize("helper", ["--signing_helper", "--signing_helper_with_files"])
def test_avbtool_itself_signs_through_it(helper: str, profile: Path, tmp_path: Path) -> None:
    script = tmp_path / "helper"
    script.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} sign digest -s {profile} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    made = tmp_path / "vbmeta.img"
    avbtool = ["avbtool.py", "make_vbmeta_image", "--algorithm", "SHA256_RSA2048"]
    named = [helper, script, "--key", tmp_path / "avb.pub.pem", "--output", made]
    done = subprocess.run([*avbtool, *map(str, named)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verify = ["avbtool.py", "verify_image", "--image", made, "--key", tmp_path / "avb.pub.pem"]
    subprocess.run(list(map(str, verify)), check=True, capture_output=True)
