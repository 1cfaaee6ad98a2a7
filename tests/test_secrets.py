"""No run leaves a secret anywhere: output, errors, tracebacks, files, arguments, other programs."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.keys.files import PrivateKey, encrypted_key, plain_key
from tests.ab_package import SYSTEM, ab_package
from tests.signers.softhsm import PIN, softhsm
from tests.signing_material import key, write_key

pytestmark = pytest.mark.judge("softhsm2-util", "mkfs.erofs", "openssl")

PASSPHRASE = "planted-passphrase-1f0c"
TOKEN = "pkcs11:token=secrets;object=apk?module-name=softhsm2"
WRONG = "planted-wrong-guess-77ab"
OTA, PAYLOAD, AVB, APK = key("p256", 5), key("rsa-2048", 6), key("rsa-2048", 7), key("p256", 8)

HELPER = """#!/bin/sh
# A program that a build starts: it looks at all that it can see of the build, and signs.
{{ tr '\\0' '\\n' < /proc/$PPID/cmdline; env; cat /proc/$PPID/limits; }} >> {seen}/processes
cp -r {tmp} {seen}/tmp-$$
exec openssl rsautl -sign -raw -inkey {key} -in /dev/stdin
"""


def traces(private: PrivateKey) -> set[bytes]:
    """What a private key looks like where it should not be: PEM, base64, numbers."""
    pem = plain_key(private)
    lines = {line for line in pem.splitlines() if len(line) > 30 and b"---" not in line}
    numbers = private.private_numbers()
    if isinstance(numbers, rsa.RSAPrivateNumbers):
        secrets = (numbers.d, numbers.p, numbers.q)
    else:
        assert isinstance(numbers, ec.EllipticCurvePrivateNumbers)
        secrets = (numbers.private_value,)
    for number in secrets:
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        lines |= {str(number).encode(), raw.hex().encode(), raw.hex().upper().encode(), raw}
    return lines | {base64.b64encode(pem)[40:120]}


def planted() -> set[bytes]:
    words = {secret.encode() for secret in (PASSPHRASE, PIN, WRONG)}
    words |= {base64.b64encode(word) for word in words} | {word.hex().encode() for word in words}
    return words.union(*(traces(made.private_key) for made in (OTA, PAYLOAD, APK)))


@dataclass
class Place:
    """A folder in which a build is run, with all its files, and what was said and seen."""

    folder: Path
    profile: dict[str, dict[str, object]]
    environment: dict[str, str]
    said: list[bytes] = field(default_factory=list)

    def run(self, *words: str, debug: bool = False, **environment: str) -> int:
        data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": self.profile}
        (self.folder / "keys" / "p.yaml").write_text(yaml.safe_dump(data))
        done = subprocess.run(
            [sys.executable, "-m", "rom_builder", *(["--debug"] if debug else []), *words],
            env={**self.environment, **environment},
            capture_output=True,
            cwd=self.folder / "out",
        )
        self.said += [done.stdout, done.stderr]
        return done.returncode

    def build(self, **more: object) -> int:
        words = ("build", "../base.zip", "-p", "messaging-opt-in", "-s", "../keys/p.yaml")
        report = ("--report", "json=report.json")
        return self.run(*words, *report, "-o", "ota.zip", **more)  # type: ignore[arg-type]

    def leaks(self) -> list[str]:
        """Name where a planted secret is, its own folder aside."""
        files = [
            path
            for folder in ("out", "tmp", "seen")
            for path in (self.folder / folder).rglob("*")
            if path.is_file()
        ]
        texts = {str(path): path.read_bytes() for path in files}
        texts |= {f"output {n}": text for n, text in enumerate(self.said)}
        return [
            f"{where}: {word!r}"
            for where, text in texts.items()
            for word in planted()
            if word in text
        ]


@pytest.fixture(scope="module")
def token() -> None:
    softhsm().token("secrets", {"apk": APK})


@pytest.fixture
def place(tmp_path: Path, token: None) -> Place:
    for name in ("out", "tmp", "seen", "keys", "avb"):
        (tmp_path / name).mkdir()
    pem, _, _ = write_key(tmp_path / "avb", AVB)
    helper = tmp_path / "keys" / "helper"
    helper.write_text(HELPER.format(seen=tmp_path / "seen", tmp=tmp_path / "tmp", key=pem))
    helper.chmod(0o755)
    for name, made in (("ota", OTA), ("payload", PAYLOAD), ("avb", AVB), ("apk", APK)):
        path = tmp_path / "keys" / f"{name}.x509.pem"
        path.write_bytes(made.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "keys" / "ota.pem").write_bytes(encrypted_key(OTA.private_key, PASSPHRASE.encode()))
    (tmp_path / "keys" / "ota.pem").chmod(0o600)
    profile: dict[str, dict[str, object]] = {
        "ota": {"signer": "file:ota.pem", "passphrase": {"env": "OTA_PASSPHRASE"}},
        "payload": {"signer": "env:PAYLOAD_KEY"},
        "avb": {"signer": "exec-avb:./helper"},
        "apk": {"signer": TOKEN, "passphrase": {"env": "TOKEN_PIN"}},
    }
    for name, role in profile.items():
        role["certificate"] = f"{name}.x509.pem"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SOURCE_DATE_EPOCH": "1795348800",
        "TMPDIR": str(tmp_path / "tmp"),
        "OTA_PASSPHRASE": PASSPHRASE,
        "PAYLOAD_KEY": base64.b64encode(plain_key(PAYLOAD.private_key)).decode(),
        "TOKEN_PIN": PIN,
    }
    return Place(tmp_path, profile, environment)


def test_a_build_with_every_kind_of_secret_leaves_none(place: Place) -> None:
    maker = key("rsa-2048", 9)
    certificate = maker.certificate.public_bytes(Encoding.PEM)
    ab_package(place.folder, SYSTEM, key=maker.private_key, otacert=certificate)  # type: ignore[arg-type]
    assert place.build(debug=True) == 0, place.said
    assert (place.folder / "out" / "ota.zip").exists()
    seen = (place.folder / "seen" / "processes").read_text()
    assert seen.count("rom_builder") >= 2, "the helper saw the build more than once"
    assert all(line.split()[4] == "0" for line in seen.splitlines() if "Max core file size" in line)
    assert list((place.folder / "seen").glob("tmp-*"))
    assert place.leaks() == []
    assert list((place.folder / "tmp").iterdir()) == []


def test_the_search_finds_what_is_there(place: Place) -> None:
    (place.folder / "out" / "x").write_bytes(plain_key(PAYLOAD.private_key))
    (place.folder / "tmp" / "y").write_text(f"PIN {PIN}")
    place.said.append(f"{OTA.private_key.private_numbers().private_value}".encode())  # type: ignore[union-attr]
    assert {leak.partition(":")[0].rpartition("/")[2] for leak in place.leaks()} == {
        "x",
        "y",
        "output 0",
    }


FAILURES: dict[str, tuple[dict[str, str], dict[str, dict[str, object]]]] = {
    "a wrong passphrase": ({"OTA_PASSPHRASE": WRONG}, {}),
    "a key that is none": ({"PAYLOAD_KEY": WRONG}, {}),
    "half a key": (
        {"PAYLOAD_KEY": base64.b64encode(plain_key(PAYLOAD.private_key)[:900]).decode()},
        {},
    ),
    "a wrong pin": ({"TOKEN_PIN": WRONG}, {}),
    "another certificate": ({}, {"payload": {"certificate": "avb.x509.pem"}}),
    "a passphrase in the profile": ({}, {"ota": {"passphrase": PASSPHRASE}}),
    "a passphrase for a variable's name": (
        {},
        {"ota": {"passphrase": {"file": "none", "evn": PASSPHRASE}}},
    ),
    "a pin in the profile": (
        {},
        {"apk": {"signer": f"pkcs11:object=apk?module-name=softhsm2&pin-value={PIN}"}},
    ),
    "a pin in a wrong place": ({}, {"apk": {"signer": f"pkcs11:object=apk;pin-value={PIN}"}}),
    "a role of no kind": ({}, {"aqk": {"signer": f"pkcs11:object=apk?pin-value={PIN}"}}),
}


ROLES_BY_VARIABLE = {"OTA_PASSPHRASE": "ota", "PAYLOAD_KEY": "payload", "TOKEN_PIN": "apk"}


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_goes_wrong_no_secret_is_told(failure: str, place: Place) -> None:
    environment, changes = FAILURES[failure]
    for role, change in changes.items():
        place.profile.setdefault(role, {}).update(change)
    place.environment.update(environment)
    assert place.build() != 0
    place.run("keys", "check", "../keys/p.yaml", debug=True)
    (place.folder / "out" / "digest").write_bytes(bytes(32))
    words = ("sign", "digest", "-s", "../keys/p.yaml", "-in", "digest", "-out", "signature")
    role = next(iter(changes), ROLES_BY_VARIABLE.get(next(iter(environment), ""), "ota"))
    assert place.run(*words, "--role", role, debug=True) != 0
    assert not (place.folder / "out" / "ota.zip").exists()
    assert place.leaks() == []
    assert list((place.folder / "tmp").iterdir()) == []
