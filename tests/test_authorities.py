"""Certificate authorities: the known releases of AOSP, a policy's own set, and both stores of a ROM."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.check import check
from rom_builder.errors import PolicyError
from rom_builder.formats.x509 import parse_certificates
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from rom_builder.policy.merge import weaker
from rom_builder.readers.authorities import RELEASES, aosp_authorities, read_authorities
from rom_builder.rom.opening import open_rom
from tests.kinds import apex_module
from tests.roms import certificate, pem, write_rom

HEAD = "schema: rom-builder/policy/v1\nid: own\ntitle: Own\n"
STORE = "/system/etc/security/cacerts"
BUILD = {"/system/build.prop": "ro.build.version.sdk=33\n"}


def test_every_release_has_its_authorities() -> None:
    known = aosp_authorities()
    for release in RELEASES.values():
        assert 120 < sum(release in each.releases for each in known) < 145
    assert len({each.sha256 for each in known}) == len(known)
    assert any(not each.releases for each in known)


def test_the_names_and_fingerprints_are_those_of_the_certificates() -> None:
    """Mozilla's set, which pip brings along, has most of the authorities that Android 13 has."""
    bundle = pytest.importorskip("pip._vendor.certifi").where()
    mozilla = {c.cert_sha256: c.subject for c in parse_certificates(Path(bundle).read_bytes())}
    android = {each.sha256: each.subject for each in aosp_authorities() if "13" in each.releases}
    both = mozilla.keys() & android.keys()
    assert len(both) > 60
    assert all(mozilla[digest] == android[digest] for digest in both)


@pytest.mark.judge("mkfs.ext4")
def test_the_store_of_a_module_is_read_as_well(tmp_path: Path) -> None:
    store = tmp_path / "payload" / "cacerts"
    store.mkdir(parents=True)
    (store / "0123abcd.0").write_bytes(pem(certificate(name="In the module")))
    image = tmp_path / "payload.img"
    subprocess.run(
        ["mkfs.ext4", "-q", "-d", tmp_path / "payload", image, "1M"],
        check=True,
        capture_output=True,
    )
    key = rsa.generate_private_key(65537, 2048)
    module = apex_module(key, image.read_bytes(), "com.android.conscrypt")
    files = {
        **BUILD,
        f"{STORE}/fedcba98.0": pem(certificate(name="In the system")),
        "/system/apex/com.android.conscrypt.apex": module,
    }
    rom = open_rom(write_rom(tmp_path / "rom", files))
    assert [found.subject for found in read_authorities(rom)] == [
        "CN=In the module",
        "CN=In the system",
    ]
    assert rom.unread == []


def test_a_damaged_certificate_is_unread(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path / "rom", {**BUILD, f"{STORE}/0.0": "no certificate"}))
    assert list(read_authorities(rom)) == []
    assert [part.path for part in rom.unread] == [f"{STORE}/0.0".lstrip("/")]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no-such-folder", "own.yaml:4:44: .*no-such-folder: No such file"),
        ("empty", "empty: holds 0 files"),
        ("broken", "broken: a.pem neither a certificate in DER nor in PEM"),
        ("aosp-99", "own.yaml:4:44: no set of AOSP 99 is known; known: aosp-9, aosp-10"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.pem").write_text("x")
    policy = tmp_path / "own.yaml"
    policy.write_text(f"{HEAD}rom: {{certificate_authorities: {{reference: {reference}}}}}\n")
    rom = write_rom(tmp_path / "rom", {**BUILD, f"{STORE}/0.0": pem(certificate())})
    with pytest.raises(PolicyError, match=message):
        check(rom, load_policies([policy], binding_models()), today=date(2026, 1, 1))


def test_a_bundle_is_a_reference(tmp_path: Path) -> None:
    both = [pem(certificate(name="One")), pem(certificate(name="Two"))]
    (tmp_path / "set.pem").write_bytes(b"# ours\n" + b"\n".join(both))
    policy = tmp_path / "own.yaml"
    policy.write_text(f"{HEAD}rom: {{certificate_authorities: {{reference: set.pem}}}}\n")
    files = {f"{STORE}/{number}.0": data for number, data in enumerate(both)}
    rom = write_rom(tmp_path / "rom", {**BUILD, **files})
    report = check(rom, load_policies([policy], binding_models()), today=date(2026, 1, 1))
    assert [f.message for f in report.findings if f.rule == "ROM406"] == [
        "2 authorities, none unknown (compared with set.pem)"
    ]


def test_a_policy_may_not_let_in_more_than_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "schema: rom-builder/policy/v1\nid: base\ntitle: Base\n"
        "rom: {certificate_authorities: {reference: aosp-13}}\n"
    )
    policy = tmp_path / "own.yaml"
    rom = f"rom: {{certificate_authorities: {{also: [{'ab' * 32}]}}}}\n"
    policy.write_text(f"{HEAD}extends: [./base.yaml]\n{rom}")
    with pytest.raises(PolicyError, match="weakens rom.certificate_authorities.also"):
        load_policies([policy], binding_models())
    lowered = "weakens: [rom.certificate_authorities.also]\n"
    policy.write_text(f"{HEAD}extends: [./base.yaml]\n{lowered}{rom}")
    loaded = load_policies([policy], binding_models()).rom
    assert loaded is not None
    assert loaded.certificate_authorities is not None
    assert loaded.certificate_authorities.reference == "aosp-13"
    assert weaker("certificate_authorities.reference", "aosp-13", "ours")
