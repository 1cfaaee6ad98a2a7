"""What a build writes beside its package, and how waivers decide on whether it may be written."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rom_builder.cli import main
from rom_builder.signers.signer import KeySigner
from tests.file_based import FIXED_APP, write_package
from tests.signing_material import key, write_key

APP = "/system/priv-app/Messaging/Messaging.apk"
ATTESTATION = key("p256", 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, its fixed app, and a signing profile with a key for attestations."""
    folder = tmp_path_factory.mktemp("proof")
    write_package(folder / "base.zip")
    shutil.copy(FIXED_APP, folder)
    write_key(folder, key("rsa-2048"))
    (folder / "audit.pem").write_bytes(
        ATTESTATION.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "audit.pem").chmod(0o600)
    (folder / "audit.x509.pem").write_bytes(ATTESTATION.certificate.public_bytes(Encoding.PEM))
    profile = {
        "schema": "rom-builder/signing/v1",
        "id": "test",
        "title": "Keys of a test",
        "roles": {
            "ota": {"signer": "file:key.pem", "certificate": "key.x509.pem"},
            "attestation": {"signer": "file:audit.pem", "certificate": "audit.x509.pem"},
        },
    }
    (folder / "signing.yaml").write_text(yaml.safe_dump(profile))
    return folder


@pytest.fixture(autouse=True)
def _new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01


def words(folder: Path, output: Path, *more: str, app: bool = True) -> list[str]:
    brought = ["--replace", f"{APP}={folder / 'Messaging-2.0.apk'}"] if app else []
    return [
        *("build", str(folder / "base.zip"), "-p", "messaging-opt-in"),
        *("-s", str(folder / "signing.yaml"), "-o", str(output), *brought, *more),
    ]


def statements(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [json.loads(base64.b64decode(line["payload"])) for line in lines]


def test_a_package_carries_proof_of_what_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zip"
    assert main(words(folder, out, "--builder-id", "https://ci.example.com/7")) == 0
    names = ["out.zip", "out.zip.cdx.json", "out.zip.intoto.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    origin, summary = statements(tmp_path / "out.zip.intoto.jsonl")
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    assert {s["subject"][0]["digest"]["sha256"] for s in (origin, summary)} == {sha256}
    definition = origin["predicate"]["buildDefinition"]
    digests = {d["name"]: d["digest"]["sha256"] for d in definition["resolvedDependencies"]}
    base = (folder / "base.zip").read_bytes()
    assert digests["base.zip"] == hashlib.sha256(base).hexdigest()
    assert digests[APP] == hashlib.sha256(FIXED_APP.read_bytes()).hexdigest()
    assert origin["predicate"]["runDetails"]["builder"]["id"] == "https://ci.example.com/7"
    assert set(definition["internalParameters"]["signedBy"]) == {"ota", "payload"}
    capsys.readouterr()
    options = ["--attestation", f"{out}.intoto.jsonl", "--beside", f"{out}.cdx.json"]
    audit = ["--attestation-key", str(folder / "audit.x509.pem"), "-p", "messaging-opt-in"]
    assert main(["verify", str(out), *options, *audit]) == 0
    assert "attested: met messaging-opt-in" in capsys.readouterr().out
    assert main(["verify", str(out), *options, *audit, "-f", "json"]) == 0
    attested = json.loads(capsys.readouterr().out)["attestation"]
    assert (attested["verdict"], attested["policies"]) == ("holds", ["messaging-opt-in"])


def test_a_changed_package_or_bill_of_materials_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bom = tmp_path / "out.zip", tmp_path / "out.zip.cdx.json"
    assert main(words(folder, out)) == 0
    options = ["--attestation", f"{out}.intoto.jsonl", "--beside", str(bom)]
    audit = ["--attestation-key", str(folder / "audit.x509.pem")]
    good = bom.read_bytes()
    bom.write_bytes(good.replace(b"firmware", b"hardware"))
    assert main(["verify", str(out), *options, *audit]) == 1
    capsys.readouterr()
    assert main(["verify", str(out), *options, *audit, "-f", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["attestation"]["verdict"]) == ("invalid", "fails")
    assert "is not what was written beside the package" in told["attestation"]["faults"][0]
    bom.write_bytes(good)
    other = tmp_path / "other.zip"
    assert main(words(folder, other, "--tree", str(empty_tree(tmp_path)))) == 0
    assert main(["verify", str(other), *options, *audit]) == 1


def empty_tree(folder: Path) -> Path:
    (folder / "tree" / "system" / "etc").mkdir(parents=True)
    (folder / "tree" / "system" / "etc" / "motd").write_text("another package\n")
    return folder / "tree"


def test_a_refused_package_leaves_nothing_beside_it(folder: Path, tmp_path: Path) -> None:
    assert main(words(folder, tmp_path / "out.zip", app=False)) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_for_attestations_there_are_none(folder: Path, tmp_path: Path) -> None:
    profile = yaml.safe_load((folder / "signing.yaml").read_text())
    del profile["roles"]["attestation"]
    (folder / "plain.yaml").write_text(yaml.safe_dump(profile))
    arguments = words(folder, tmp_path / "out.zip")
    arguments[arguments.index("-s") + 1] = str(folder / "plain.yaml")
    assert main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]


def test_a_key_that_fails_leaves_no_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attestation's signature is made last; the package must not be there without it."""
    sign = KeySigner.sign_digest

    def broken(self: KeySigner, *arguments: Any) -> bytes:
        if self.public_key == ATTESTATION.private_key.public_key():
            return bytes(64)
        return sign(self, *arguments)

    monkeypatch.setattr(KeySigner, "sign_digest", broken)
    assert main(words(folder, tmp_path / "out.zip")) == 2
    assert not (tmp_path / "out.zip").exists()


def test_the_same_inputs_give_the_same_bill_and_statements(folder: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert main(words(folder, tmp_path / name / "out.zip")) == 0
        made.append(
            (
                (tmp_path / name / "out.zip.cdx.json").read_bytes(),
                statements(tmp_path / name / "out.zip.intoto.jsonl"),
            )
        )
    assert made[0] == made[1]


def waivers(folder: Path, *rules: str) -> Path:
    entry = {"reason": "Borne until release 4.2", "expires": "2026-06-30", "approved_by": "Jane"}
    path = folder / "waivers.yaml"
    content = {
        "schema": "rom-builder/waivers/v1",
        "waivers": [{**entry, "rule": rule} for rule in rules],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_waived_failure_does_not_keep_a_package_back_and_is_attested(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zip"
    assert main(words(folder, out, "--report", f"json={tmp_path}/r.json", app=False)) == 1
    report = json.loads((tmp_path / "r.json").read_text())
    failed = {
        f["rule"]
        for f in report["findings"]
        if f["status"] == "fail" and f["severity"] in ("error", "critical")
    }
    path = waivers(tmp_path, *failed)
    assert main(words(folder, out, "--waivers", str(path), app=False)) == 0
    summary = statements(tmp_path / "out.zip.intoto.jsonl")[1]["predicate"]
    assert set(summary["waivedRules"]) == failed
    assert main(words(folder, out, "--waivers", str(path), "--no-waivers", app=False)) == 1
