"""``keys check`` names what is wrong with a signing profile before a build needs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.keys import NewKey, known_keys, self_signed, spki_sha256
from rom_builder.keys.files import PrivateKey, encrypted_key, plain_key
from tests.signing_material import certificate, key

OTA, AVB = key("rsa-2048"), key("rsa-2048", 1)


def new(private: PrivateKey) -> NewKey:
    return NewKey(private, self_signed(private, "Test"))


def write(
    folder: Path, name: str, made: NewKey, passphrase: str | None = None
) -> dict[str, object]:
    """Write key and certificate; return what a profile says of them."""
    private = made.private_key
    pem = encrypted_key(private, passphrase.encode()) if passphrase else plain_key(private)
    (folder / f"{name}.pem").write_bytes(pem)
    (folder / f"{name}.pem").chmod(0o600)
    (folder / f"{name}.x509.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
    return {"signer": f"file:{name}.pem", "certificate": f"{name}.x509.pem"}


def profile(folder: Path, roles: dict[str, dict[str, object]]) -> str:
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": roles}
    (folder / "p.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return str(folder / "p.yaml")


def test_a_good_profile_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = {"ota": write(tmp_path, "ota", OTA), "avb": write(tmp_path, "avb", AVB)}
    assert main(["keys", "check", profile(tmp_path, roles)]) == 0
    out = capsys.readouterr().out
    assert out.count("ready") == 2
    assert spki_sha256(OTA.private_key.public_key()) in out
    assert "the key file is not encrypted" in out


def test_it_is_json_for_a_ci(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = {"ota": write(tmp_path, "ota", OTA), "avb": write(tmp_path, "avb", key("p256"))}
    path = profile(tmp_path, roles)
    assert main(["keys", "check", path, "--format", "json"]) == 1
    ota, avb = json.loads(capsys.readouterr().out)
    assert (ota["role"], ota["faults"], ota["key"]) == ("ota", [], "RSA-2048 e=65537")
    assert avb["faults"] == ["AVB takes RSA only"]
    assert main(["keys", "check", path, "--role", "ota"]) == 0
    assert main(["keys", "check", path, "--role", "apk"]) == 2


def missing(folder: Path) -> dict[str, dict[str, object]]:
    role = write(folder, "nothing", OTA)
    (folder / "nothing.pem").unlink()
    return {"ota": role}


def wrong_passphrase(folder: Path) -> dict[str, dict[str, object]]:
    (folder / "pass").write_text("not it")
    (folder / "pass").chmod(0o600)
    return {"ota": {**write(folder, "ota", OTA, "it"), "passphrase": {"file": "pass"}}}


def readable(folder: Path) -> dict[str, dict[str, object]]:
    role = write(folder, "ota", OTA)
    (folder / "ota.pem").chmod(0o644)
    return {"ota": role}


def another_key(folder: Path) -> dict[str, dict[str, object]]:
    role = write(folder, "ota", OTA)
    (folder / "ota.x509.pem").write_bytes(AVB.certificate.public_bytes(Encoding.PEM))
    return {"ota": role}


def unfit_for_recovery(folder: Path) -> dict[str, dict[str, object]]:
    return {"ota": write(folder, "ota", new(rsa.generate_private_key(65537, 3072)))}


def unfit_for_avb(folder: Path) -> dict[str, dict[str, object]]:
    return {"avb": write(folder, "avb", new(ec.generate_private_key(ec.SECP256R1())))}


def too_weak(folder: Path) -> dict[str, dict[str, object]]:
    return {"attestation": write(folder, "a", new(rsa.generate_private_key(65537, 1024)))}


def ended(folder: Path) -> dict[str, dict[str, object]]:
    old = certificate(OTA.private_key, hashes.SHA256())
    return {"ota": write(folder, "ota", NewKey(OTA.private_key, old))}


def one_key_for_two(folder: Path) -> dict[str, dict[str, object]]:
    return {"ota": write(folder, "ota", OTA), "avb": write(folder, "avb", OTA)}


def publicly_known(folder: Path) -> dict[str, dict[str, object]]:
    """The profile pins AOSP's test key, which the signer need not even have."""
    known = next(
        k for k in known_keys().values() if k.deny and k.key.startswith("RSA-2048 e=65537")
    )
    return {"ota": {**write(folder, "ota", OTA), "spki_sha256": known.spki_sha256}}


def unreachable(folder: Path) -> dict[str, dict[str, object]]:
    write(folder, "ota", OTA)
    return {"ota": {"signer": "exec:./no-such-helper", "certificate": "ota.x509.pem"}}


def refused_by_recovery_for_its_certificate(folder: Path) -> dict[str, dict[str, object]]:
    sha512 = certificate(OTA.private_key, hashes.SHA512())
    role = write(folder, "ota", NewKey(OTA.private_key, sha512))
    return {"ota": {**role, "not_after": "2199-12-31"}}


BROKEN = {
    missing: "nothing.pem: No such file",
    wrong_passphrase: "the passphrase is wrong",
    readable: "others can read this key file",
    another_key: "the key is not that of the certificate",
    unfit_for_recovery: "recovery knows 2048 and 4096",
    unfit_for_avb: "AVB takes RSA only",
    too_weak: "RSA with 1024 bits",
    ended: "ended on 20",
    one_key_for_two: "the same key as avb: every role needs its own",
    publicly_known: "publicly known: ",
    unreachable: "no-such-helper: program not found",
    refused_by_recovery_for_its_certificate: "its signature algorithm is 1.2.840.113549.1.1.13",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_the_fault_of_a_broken_profile_is_named(
    broken: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = profile(tmp_path, broken(tmp_path))  # type: ignore[operator]
    assert main(["keys", "check", path]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if "FAULT  " in line]
    assert any(BROKEN[broken] in fault for fault in faults), faults  # type: ignore[index]


def test_the_end_of_a_key_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    path = profile(tmp_path, {"ota": {**write(tmp_path, "ota", OTA), "not_after": day}})
    assert main(["keys", "check", path]) == 0
    assert "plan what follows it" in capsys.readouterr().out
    assert main(["keys", "check", path, "--days", "5"]) == 0
    assert "plan what follows it" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "a: [", "schema: rom-builder/signing/v1\nid: x\n"])
def test_a_profile_that_cannot_be_read_is_another_matter(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    assert main(["keys", "check", str(tmp_path / "p.yaml")]) == 2
    assert main(["keys", "check", "no-such-profile"]) == 2


def test_the_certificate_of_the_ota_key_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = spki_sha256(OTA.private_key.public_key())
    write(tmp_path, "ota", OTA)
    roles: dict[str, dict[str, object]] = {
        "ota": {"signer": "file:ota.pem", "spki_sha256": fingerprint},
        "avb": {"signer": "file:avb.pem", "spki_sha256": spki_sha256(AVB.private_key.public_key())},
    }
    write(tmp_path, "avb", AVB)
    assert main(["keys", "check", profile(tmp_path, roles)]) == 1
    assert capsys.readouterr().out.count("needs a certificate") == 1


def test_certificates_of_no_kind_we_sign_with_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private = ed25519.Ed25519PrivateKey.generate()
    odd: x509.Certificate = certificate(private)
    role = write(tmp_path, "ota", OTA)
    (tmp_path / "ota.x509.pem").write_bytes(odd.public_bytes(Encoding.PEM))
    assert main(["keys", "check", profile(tmp_path, {"ota": role})]) == 1
    assert "not that of the certificate" in capsys.readouterr().out
