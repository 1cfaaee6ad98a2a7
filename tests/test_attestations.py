"""Attestations: what they say of a package, and that nothing changed, swapped or forged passes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.check import check
from rom_builder.cli import main
from rom_builder.errors import ImageError
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import Policies, load_policies
from rom_builder.provenance.attestations import (
    Artifact,
    Origin,
    attestations,
    provenance,
    summary,
    verify_attestations,
)
from tests.cases import TODAY, files_of, load_case
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER
from tests.signing_material import key, signed_package, signer

KEY = key("p256", 7)
PACKAGE = signed_package(key("p256"))
SHA256 = hashlib.sha256(PACKAGE).hexdigest()
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
BOM = b'{"bomFormat": "CycloneDX"}\n'


@pytest.fixture(scope="module")
def policies() -> Policies:
    return load_policies(["messaging-opt-in"], binding_models())


@pytest.fixture(scope="module")
def envelopes(policies: Policies, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    rom = write_rom(tmp_path_factory.mktemp("rom"), files_of(load_case(FOLDER / "reference.yaml")))
    report = check(rom, policies, today=TODAY)
    package = Artifact("out.zip", SHA256)
    origin = Origin(
        base=Artifact("base.zip", "1" * 64),
        policies=policies,
        brought=(Artifact("/system/app/X.apk", "2" * 64),),
        signed_by={"ota": "3" * 64},
        builder="https://ci.example.com/runs/7",
        moment=MOMENT,
    )
    beside = [Artifact("out.zip.cdx.json", hashlib.sha256(BOM).hexdigest())]
    made = (
        provenance(package, origin, beside),
        summary(package, report, policies, MOMENT, origin.builder),
    )
    return attestations(made, signer(KEY), SHA256)


def statements(data: bytes) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in data.splitlines()]
    return [json.loads(base64.b64decode(line["payload"])) for line in lines]


def test_provenance_names_everything_the_package_was_made_from(envelopes: bytes) -> None:
    said, _ = statements(envelopes)
    assert said["subject"] == [{"name": "out.zip", "digest": {"sha256": SHA256}}]
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = said["predicate"]["buildDefinition"]
    names = [each["name"] for each in definition["resolvedDependencies"]]
    assert names == [
        "base.zip",
        "messaging-opt-in.yaml",
        "reference-messaging.yaml",
        "/system/app/X.apk",
    ]
    details = said["predicate"]["runDetails"]
    assert details["builder"]["id"] == "https://ci.example.com/runs/7"
    assert details["metadata"] == {"finishedOn": "2026-01-01T00:00:00Z"}


def test_the_summary_names_the_policies_that_were_met(envelopes: bytes) -> None:
    _, said = statements(envelopes)
    predicate = said["predicate"]
    assert said["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert predicate["verificationResult"] == "PASSED"
    assert predicate["verifiedLevels"] == ["ROM_BUILDER_MESSAGING_OPT_IN"]
    assert predicate["policy"]["digest"] == predicate["policies"][0]["digest"]


def files(folder: Path, envelopes: bytes) -> tuple[str, list[str]]:
    (folder / "out.zip").write_bytes(PACKAGE)
    (folder / "out.zip.intoto.jsonl").write_bytes(envelopes)
    (folder / "out.zip.cdx.json").write_bytes(BOM)
    (folder / "key.x509.pem").write_bytes(KEY.certificate.public_bytes(Encoding.PEM))
    options = ["--attestation", f"{folder}/out.zip.intoto.jsonl"]
    return f"{folder}/out.zip", [*options, "--attestation-key", f"{folder}/key.x509.pem"]


def test_verify_demands_what_it_is_told_to(
    envelopes: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, options = files(tmp_path, envelopes)
    beside = ["--beside", f"{tmp_path}/out.zip.cdx.json"]
    assert main(["verify", package, *options, "-p", "messaging-opt-in", *beside]) == 0
    assert "attested: met messaging-opt-in" in capsys.readouterr().out
    assert main(["verify", package, *options, "-p", "rom-baseline"]) == 1
    assert "FAILS: rom-baseline is not among the policies" in capsys.readouterr().out
    (tmp_path / "out.zip.cdx.json").write_bytes(BOM + b" ")
    assert main(["verify", package, *options, *beside]) == 1
    assert "is not what was written beside the package" in capsys.readouterr().out


def test_attestations_of_another_package_or_key_fail(
    envelopes: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, options = files(tmp_path, envelopes)
    (tmp_path / "out.zip").write_bytes(signed_package(key("p256", 1)))
    assert main(["verify", package, *options]) == 1
    assert "speaks of another file (out.zip), not of this package" in capsys.readouterr().out
    (tmp_path / "out.zip").write_bytes(PACKAGE)
    other = key("p256", 8).certificate.public_bytes(Encoding.PEM)
    (tmp_path / "key.x509.pem").write_bytes(other)
    assert main(["verify", package, *options]) == 1
    assert "no signature is that of the key" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (b"", "holds 0 attestations"),
        (b"\n" * 9, "holds 0 attestations"),
        (b"x\n", "attestation 1: is no DSSE envelope"),
        (b"{}\n" * 17, "holds 17 attestations"),
    ],
)
def test_what_is_no_attestation_fails(
    change: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, options = files(tmp_path, change)
    assert main(["verify", package, *options]) == 1
    assert f"attestation FAILS: {message}" in capsys.readouterr().out


def test_provenance_alone_says_nothing_of_a_policy(envelopes: bytes) -> None:
    with pytest.raises(ImageError, match="no attestation says which policies"):
        verify_attestations(envelopes.splitlines()[0], SHA256, KEY.certificate.public_key())  # type: ignore[arg-type]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_changes_nothing_that_is_believed(
    data: st.DataObject, envelopes: bytes
) -> None:
    public: Any = KEY.certificate.public_key()
    believed = verify_attestations(envelopes, SHA256, public)
    at = data.draw(st.integers(0, len(envelopes) - 1))
    changed = bytearray(envelopes)
    changed[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ImageError):
        assert verify_attestations(bytes(changed), SHA256, public) == believed


def test_options_that_need_each_other(tmp_path: Path, envelopes: bytes) -> None:
    package, options = files(tmp_path, envelopes)
    assert main(["verify", package, *options[:2]]) == 2
    assert main(["verify", package, "-p", "messaging-opt-in"]) == 2
