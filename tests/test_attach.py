"""Signatures that come back are attached only to what was asked for, and for the keys of a profile."""

from __future__ import annotations

import json
import shutil
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.errors import SigningError
from rom_builder.keys import known_keys
from rom_builder.signing_requests.request import RequestedApp
from tests.signing_material import key
from tests.test_known_keys import certificate_of, public_keys
from tests.two_step import BROUGHT, KEYS, OPT_IN, TODAY, build, file_based, write_profiles

SIGNED = ("ota",)


@pytest.fixture(autouse=True)
def _day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TODAY)


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    """Return a package that waits for the signature of one key, which lies beside it."""
    profiles = write_profiles(tmp_path, {name: KEYS[name] for name in SIGNED})
    package = tmp_path / "two.zip"
    options = (*OPT_IN, *BROUGHT, "--unsigned")
    assert build(file_based(tmp_path), profiles / "without.yaml", package, *options) == 0
    sign = ["sign", "digest", "-s", str(profiles / "with.yaml"), "--role", "ota"]
    request = Path(f"{package}.signing.json")
    assert main(["sign", "show", str(request), "--digests", str(tmp_path)]) == 0
    words = ["-in", str(tmp_path / "ota.bin"), "-out", str(tmp_path / "ota.sig")]
    assert main([*sign, *words]) == 0
    shutil.rmtree(profiles / "secret")
    return package


def attach(package: Path, *options: str) -> int:
    output = package.with_name("out.zip")
    signature = package.with_name("ota.sig")
    return main(["sign", "attach", str(package), str(signature), "-o", str(output), *options])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    return line


def test_the_keys_of_a_profile_are_demanded(unsigned: Path) -> None:
    assert attach(unsigned, "-s", str(unsigned.with_name("without.yaml"))) == 0
    cert = unsigned.with_name("ota.x509.pem")
    assert main(["verify", str(unsigned.with_name("out.zip")), "--cert", str(cert)]) == 0


def test_a_request_for_other_keys_than_the_profile_s_is_refused(
    unsigned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package is whole and the signature good: somebody else made both."""
    (unsigned.parent / "release").mkdir()
    mine = write_profiles(unsigned.parent / "release", {"ota": key("rsa-2048", 7)})
    capsys.readouterr()
    assert attach(unsigned, "-s", str(mine / "without.yaml")) == 2
    assert "the request wants the key" in said(capsys)
    assert not unsigned.with_name("out.zip").exists()
    assert attach(unsigned) == 0  # nobody said whose key it has to be
    assert "give -s" in capsys.readouterr().err


def test_another_certificate_of_the_same_key_is_not_the_profile_s(
    unsigned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = certificate_of(KEYS["ota"].private_key.public_key())  # type: ignore[arg-type]
    unsigned.with_name("ota.x509.pem").write_bytes(other.public_bytes(Encoding.PEM))
    capsys.readouterr()
    assert attach(unsigned, "-s", str(unsigned.with_name("without.yaml"))) == 2
    assert "another certificate for the role ota" in said(capsys)
    assert not unsigned.with_name("out.zip").exists()


def test_a_certificate_of_an_unknown_curve_is_refused(
    unsigned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(f"{unsigned}.signing.json")
    request = json.loads(path.read_text())
    certificate = key("p256").certificate.public_bytes(Encoding.DER)
    curve = bytes.fromhex("2a8648ce3d030107")
    other = certificate.replace(curve, curve[:-1] + b"\x09")
    request["keys"]["ota"]["certificate"] = ssl.DER_cert_to_PEM_cert(other)
    path.write_text(json.dumps(request))
    capsys.readouterr()
    assert attach(unsigned) == 2
    assert "the request's key for the role ota is damaged" in said(capsys)


@pytest.mark.parametrize("content", ["é", "====", "AAA"])
def test_an_app_that_is_no_base64_is_refused(content: str) -> None:
    with pytest.raises(SigningError, match="its content is no base64"):
        _ = RequestedApp(path="/system/app/A.apk", content=content).data


@pytest.mark.parametrize("fault", ["wrong", "missing", "surplus", "large"])
def test_wrong_signatures_are_refused(
    fault: str, unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "signatures"
    folder.mkdir()
    signature = Path(shutil.copy(unsigned.with_name("ota.sig"), folder))
    good = signature.read_bytes()
    match fault:
        case "wrong":
            signature.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        case "missing":
            signature.unlink()
        case "surplus":
            (folder / "other.sig").write_bytes(bytes(256))
        case "large":
            signature.write_bytes(bytes(5000))
    message = {
        "wrong": "no signature of the key",
        "missing": "there is no signature",
        "surplus": "other.sig: signs nothing that the request asks for",
        "large": "no signature: it has 4097 bytes",
    }[fault]
    before = set(tmp_path.iterdir())
    capsys.readouterr()
    assert main(["sign", "attach", str(unsigned), str(folder), "-o", str(tmp_path / "o.zip")]) == 2
    assert message in said(capsys)
    assert set(tmp_path.iterdir()) == before


def test_a_publicly_known_key_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = next(x for x in known_keys().values() if x.deny and x.key == "RSA-4096 e=65537")
    certificate = certificate_of(public_keys()[known.spki_sha256])
    profiles = write_profiles(tmp_path, {"ota": KEYS["ota"]})
    (tmp_path / "ota.x509.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    package = tmp_path / "two.zip"
    options = (*OPT_IN, *BROUGHT, "--unsigned", "--allow-public-key")
    assert build(file_based(tmp_path), profiles / "without.yaml", package, *options) == 0
    (tmp_path / "ota.sig").write_bytes(bytes(512))
    capsys.readouterr()
    assert attach(package) == 2
    assert "publicly known" in said(capsys)
    assert attach(package, "--allow-public-key") == 2  # then it is the signature that is wrong
    assert "no signature of the key" in said(capsys)
