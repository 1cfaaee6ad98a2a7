"""``verify -f json`` says every signature and every digest, in the form of its schema."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rom_builder.keys import spki_sha256
from tests import roms
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import TOP_KEY
from tests.signed_package import KEY, OTACERT, Package, flipped, resigned, run, signed, top
from tests.signing_material import unsigned_package

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "verification.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
needs_erofs = pytest.mark.judge("mkfs.erofs")


def told(package: bytes, folder: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    result = run(package, folder, "-f", "json", *options)
    document = json.loads(result.output)
    VALIDATOR.validate(document)
    assert result.output.isascii()
    return result.exit_code, document


def check(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in document["checks"] if each["name"] == name]
    return dict(found)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@needs_erofs
def test_every_signature_and_digest_of_a_good_package(package: Package, tmp_path: Path) -> None:
    data = package.write()
    (tmp_path / "cert.pem").write_bytes(OTACERT)
    (tmp_path / "avb.bin").write_bytes(build.key_blob(TOP_KEY))
    demand = ("--cert", tmp_path / "cert.pem", "--avb-key", tmp_path / "avb.bin")
    code, document = told(data, tmp_path, *demand)
    assert (code, document["verdict"]) == (0, "valid")
    assert document["package"]["sha256"] == hashlib.sha256(data).hexdigest()
    own = spki_sha256(KEY.certificate.public_key())
    avb = hashlib.sha1(build.key_blob(TOP_KEY)).hexdigest()
    assert document["demanded"] == {"certificates": [own], "avb_keys": [avb], "quick": False}
    assert document["signer"]["spki_sha256"] == own
    signatures = {
        each["name"]: each["signature"]
        for each in document["checks"]
        if each["kind"] == "signature"
    }
    for name in ("whole-file signature", "metadata signature", "payload signature"):
        assert signatures[name]["spki_sha256"] == own
        assert signatures[name]["key"] == "RSA-2048 e=65537"
    assert signatures["vbmeta image vbmeta"]["avb_sha1"] == avb
    assert signatures["vbmeta image vbmeta"]["algorithm"] == "SHA256_RSA2048"
    assert signatures["vbmeta image system"] is None  # its image is unsigned
    digests = [digest for each in document["checks"] for digest in each["digests"]]
    assert all(digest["computed"] == (digest["expected"] or digest["computed"]) for digest in digests)  # fmt: skip
    images = package.images
    assert {
        f"partition {name}": hashlib.sha256(image).hexdigest() for name, image in images.items()
    }.items() <= {digest["of"]: digest["computed"] for digest in digests}.items()
    assert {"hash tree of system", "content of boot", "payload.bin", "whole file"} <= {
        digest["of"] for digest in digests
    }


@needs_erofs
def test_what_fails_has_both_digests(package: Package, tmp_path: Path) -> None:
    package.images["boot"] = flipped(package.images["boot"], 5000)
    code, document = told(package.write(), tmp_path)
    assert (code, document["verdict"]) == (1, "invalid")
    failed = [each for each in document["checks"] if each["verdict"] == "fails"]
    assert [each["name"] for each in failed] == ["partition boot"]
    whole, content = failed[0]["digests"]
    assert whole["computed"] == whole["expected"]
    assert content["of"] == "content of boot"
    assert content["computed"] != content["expected"]
    assert content["computed"] in failed[0]["detail"]


@needs_erofs
def test_a_signature_of_another_key_fails(package: Package, tmp_path: Path) -> None:
    code, document = told(package.write(resigned("payload")), tmp_path, "--quick")
    assert code == 1
    assert check(document, "payload signature")["verdict"] == "fails"
    assert check(document, "metadata signature")["verdict"] == "holds"
    assert document["demanded"]["quick"]


@needs_erofs
def test_a_publicly_known_key_is_named(package: Package, tmp_path: Path) -> None:
    package.otacert = roms.pem(roms.certificate("testkey"))
    package.images["vbmeta"] = top(flags=2)
    _, document = told(package.write(), tmp_path, "--cert", cert(tmp_path))
    assert "publicly known: build/make" in check(document, "package key")["detail"]
    assert check(document, "vbmeta image vbmeta")["signature"]["avb_sha1"]


def cert(folder: Path) -> Path:
    (folder / "cert.pem").write_bytes(OTACERT)
    return folder / "cert.pem"


@needs_erofs
def test_what_cannot_be_found_out_is_unknown(package: Package, tmp_path: Path) -> None:
    del package.images["vbmeta_system"]
    code, document = told(package.write(), tmp_path)
    assert (code, document["verdict"]) == (2, "unknown")
    assert check(document, "vbmeta image vbmeta_system")["verdict"] == "not-checked"


@pytest.mark.parametrize("change", [0, 1, 60])
def test_every_broken_package_has_a_form(change: int, tmp_path: Path) -> None:
    good = signed(unsigned_package())
    code, document = told(good[:-change] if change else good, tmp_path)
    assert code == bool(change)
    assert (document["signer"] is None) == bool(change)
    assert document["attestation"] is None
