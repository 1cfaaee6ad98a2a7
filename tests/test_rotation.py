"""Three releases from old keys to new ones: planned, refused where devices would be stranded, built."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.packing.update_certificates import read_copy
from rom_builder.rom.opening import open_rom
from rom_builder.signers.profile import read_certificate
from tests.file_based import write_package
from tests.signing_material import certificate, key
from tests.two_step import BROUGHT, OPT_IN, build, write_profiles

OLD, NEW = key("rsa-2048"), key("rsa-4096", 1)
PARTNER = key("p256", 8)
OTACERTS = "/system/etc/security/otacerts.zip"


def write(path: Path, found: x509.Certificate) -> str:
    path.write_bytes(found.public_bytes(Encoding.PEM))
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Return the words for a transition that works."""
    old = write(tmp_path / "old.pem", OLD.certificate)
    return ["keys", "rotate", "--old", old, "--new", write(tmp_path / "new.pem", NEW.certificate)]


def held(path: Path) -> set[x509.Certificate | None]:
    return {item.certificate for item in read_copy(path.read_bytes(), path.name)}


def test_each_step_has_its_certificates(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current = tmp_path / "otacerts.zip"
    with zipfile.ZipFile(current, "w") as archive:
        for name, made in (("a.x509.pem", OLD), ("b.x509.pem", PARTNER)):
            archive.writestr(name, made.certificate.public_bytes(Encoding.PEM))
    steps = tmp_path / "steps"
    assert main([*pair, "--otacerts", str(current), "-o", str(steps)]) == 0
    both = {OLD.certificate, NEW.certificate, PARTNER.certificate}
    assert held(steps / "1-otacerts.zip") == held(steps / "2-otacerts.zip") == both
    assert held(steps / "3-otacerts.zip") == both - {OLD.certificate}
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("release")] == [
        "release n: devices learn the new keys from one they trust",
        "release n + 1: devices without n must get n first",
        "release n + 2: devices forget the old keys",
    ]


def odd(name: str, folder: Path) -> x509.Certificate:
    match name:
        case "rsa-3072":
            return certificate(rsa.generate_private_key(65537, 3072), hashes.SHA256())
        case "sha-384":
            return certificate(OLD.private_key, hashes.SHA384())  # type: ignore[arg-type]
        case "ed25519":
            return certificate(ed25519.Ed25519PrivateKey.generate())
        case "same key":
            return OLD.certificate
        case "ended":
            return certificate(NEW.private_key, hashes.SHA256())  # type: ignore[arg-type]
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rsa-3072", "its RSA key has 3072 bits"),
        ("sha-384", "its signature algorithm is 1.2.840.113549.1.1.12"),
        ("ed25519", "recovery refuses this certificate"),
        ("same key", "same key as an old one"),
        ("ended", "ended on"),
    ],
)
def test_what_would_strand_devices_is_refused(
    name: str, said: str, pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair[-1] = write(tmp_path / "odd.pem", odd(name, tmp_path))
    assert main([*pair, "-o", str(tmp_path / "steps")]) == 2
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "steps").exists()


def test_an_old_certificate_that_devices_do_not_have_is_refused(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current = tmp_path / "otacerts.zip"
    with zipfile.ZipFile(current, "w") as archive:
        archive.writestr("b.x509.pem", PARTNER.certificate.public_bytes(Encoding.PEM))
    assert main([*pair, "--otacerts", str(current)]) == 2
    assert "is not in the otacerts.zip given" in capsys.readouterr().err


def accepted(package: Path) -> set[x509.Certificate | None]:
    rom = open_rom(package)
    file = rom.find(OTACERTS)
    assert file is not None
    return {item.certificate for item in read_copy(rom.read(file), OTACERTS)}


def test_the_three_releases_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795348800")
    for name, made in (("old", OLD), ("new", NEW)):
        (tmp_path / name).mkdir()
        write_profiles(tmp_path / name, {"ota": made})
    old, new = tmp_path / "old" / "with.yaml", tmp_path / "new" / "with.yaml"
    certs = [tmp_path / name / "ota.x509.pem" for name in ("old", "new")]
    base = tmp_path / "base.zip"
    write_package(base)
    steps = (
        (old, ["--otacert", str(certs[1])], {OLD.certificate, NEW.certificate}, certs[0]),
        (new, [], {OLD.certificate, NEW.certificate}, certs[1]),
        (new, ["--drop-otacert", str(certs[0])], {NEW.certificate}, certs[1]),
    )
    for number, (profile, options, certificates, signed_by) in enumerate(steps, 1):
        output = tmp_path / f"{number}.zip"
        words = (*OPT_IN, *BROUGHT, "--replace-otacerts", *options)
        assert build(base, profile, output, *words) == 0
        assert accepted(output) & {OLD.certificate, NEW.certificate} == certificates
        assert main(["verify", str(output), "--cert", str(signed_by)]) == 0
        assert read_certificate(signed_by) in (accepted(base) if number > 1 else {OLD.certificate})
        base = output


def test_the_certificate_that_signs_cannot_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795348800")
    write_profiles(tmp_path, {"ota": OLD})
    write_package(tmp_path / "base.zip")
    words = (*OPT_IN, *BROUGHT, "--replace-otacerts")
    dropped = ("--drop-otacert", str(tmp_path / "ota.x509.pem"))
    output = tmp_path / "out.zip"
    assert build(tmp_path / "base.zip", tmp_path / "with.yaml", output, *words, *dropped) == 2
    assert "signs this package" in capsys.readouterr().err
    assert not output.exists()
