from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.arsc import parse_arsc
from rom_builder.formats.axml import Attribute, Element
from rom_builder.formats.overlay_apk import OverlayApk, OverlayResource, parse_overlay_apk
from rom_builder.formats.resource_config import encode_config
from rom_builder.keys import DEVELOPMENT, self_signed
from rom_builder.signers.apk import sign_app
from rom_builder.signers.signer import KeySigner, checked
from tests.fixtures.make_apks import APKS

TARGET = "com.example.messaging"
REFUSING = Element(
    "network-security-config",
    children=(
        Element("base-config", attributes=(Attribute.of("cleartextTrafficPermitted", False),)),
    ),
)
WHOLE = OverlayApk(
    "com.example.messaging.rombuilder.rro",
    TARGET,
    (
        OverlayResource("bool/cloud_messaging_default", False),
        OverlayResource("bool/cloud_messaging_default", True, "mcc310"),
        OverlayResource("integer/min_tls", -12),
        OverlayResource("string/server_url", "https://bücher.example/v3"),
        OverlayResource("xml/network_security_config", REFUSING),
    ),
    target_name="MessagingConfig",
    priority=900,
    target_sdk=34,
)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def apk(tmp_path: Path) -> str:
    path = tmp_path / "overlay.apk"
    path.write_bytes(WHOLE.encode())
    return str(path)


def test_the_same_overlay_gives_the_same_bytes_whatever_the_order() -> None:
    turned = OverlayApk(
        WHOLE.package, WHOLE.target, WHOLE.resources[::-1], WHOLE.target_name, 900, 34
    )
    assert turned.encode() == WHOLE.encode()


def test_what_is_written_is_read_back() -> None:
    read = parse_overlay_apk(WHOLE.encode())
    assert read.encode() == WHOLE.encode()
    assert (read.target, read.target_name, read.priority) == (TARGET, "MessagingConfig", 900)


def test_a_resource_given_again_loses_its_old_values() -> None:
    changed = WHOLE.with_resources([OverlayResource("bool/cloud_messaging_default", True)])
    values = [r.value for r in changed.resources if r.type_name == "bool"]
    assert values == [True]
    assert len(changed.resources) == len(WHOLE.resources) - 1


@pytest.mark.judge("aapt2")
def test_aapt2_reads_the_values_that_were_asked_for(apk: str) -> None:
    values = run("aapt2", "dump", "resources", apk)
    for lines in (
        "bool/cloud_messaging_default\n      () false\n      (mcc310) true\n",
        "integer/min_tls\n      () -12\n",
        'string/server_url\n      () "https://bücher.example/v3"\n',
        "xml/network_security_config\n      () (file) res/xml/network_security_config.xml type=XML",
    ):
        assert lines in values
    badging = run("aapt2", "dump", "badging", apk)
    assert (
        "overlay: targetPackage='com.example.messaging' priority='900' isStatic='true'" in badging
    )
    assert "targetSdkVersion:'34'" in badging
    manifest = run("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk)
    assert 'targetName(0x0101044d)="MessagingConfig"' in manifest
    assert "hasCode(0x0101000c)=false" in manifest
    config = run("aapt2", "dump", "xmltree", "--file", "res/xml/network_security_config.xml", apk)
    assert "A: cleartextTrafficPermitted=false" in config


@pytest.mark.judge("zipalign")
def test_zipalign_finds_it_aligned(apk: str) -> None:
    assert "Verification successful" in run("zipalign", "-c", "-v", "4", apk)


@pytest.mark.judge("apksigner", "zipalign")
@pytest.mark.parametrize("kind", ["rsa-4096", "p256", "p384"])
def test_apksigner_accepts_both_signatures(tmp_path: Path, kind: str) -> None:
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind in ("p256", "p384"):
        key = ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())
    else:
        key = rsa.generate_private_key(65537, 4096)
    signer = checked(KeySigner(key), self_signed(key, "overlays"), "test:apk")
    signed = sign_app(WHOLE.encode(), signer)
    path = tmp_path / "signed.apk"
    path.write_bytes(signed)
    said = run("apksigner", "verify", "-v", "--min-sdk-version", "24", str(path))
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in said
    assert "Number of signers: 1" in said
    assert "Verification successful" in run("zipalign", "-c", "-v", "4", str(path))
    assert parse_overlay_apk(signed).encode() == WHOLE.encode()
    if kind == "rsa-4096":
        assert sign_app(WHOLE.encode(), signer) == signed


def test_a_key_that_apps_are_not_signed_with_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    signer = checked(KeySigner(key), self_signed(key, DEVELOPMENT), "test:apk")
    with pytest.raises(SigningError, match="RSA, P-256 or P-384"):
        sign_app(WHOLE.encode(), signer)


def test_every_configuration_of_a_real_table_is_kept() -> None:
    table = parse_arsc(zipfile.ZipFile(APKS / "messaging.apk").read("resources.arsc"))
    found = table.find("integer", "min_tls")
    assert found is not None
    resources = [OverlayResource("integer/min_tls", 12, v.raw_config) for v in table.values(found)]
    read = parse_overlay_apk(OverlayApk("a.b", TARGET, tuple(resources)).encode())
    assert {r.qualifiers for r in read.resources} == {
        "",
        "mcc262-mnc01-de-rDE-sw600dp-land-v26",
    }


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
INTEGERS = st.integers(-(1 << 31), (1 << 31) - 1)
CONFIGS = st.sampled_from(["", "mcc310", "mcc262-mnc01", "de", "mcc310-en-rUS"])


@st.composite
def resources(draw: st.DrawFn) -> Sequence[OverlayResource]:
    kinds = {"bool": st.booleans(), "integer": INTEGERS, "string": TEXTS}
    keys = st.tuples(st.sampled_from(sorted(kinds)), NAMES, CONFIGS)
    return [
        OverlayResource(f"{kind}/{name}", draw(kinds[kind]), config)
        for kind, name, config in draw(st.sets(keys, min_size=1, max_size=8))
    ]


@given(resources())
def test_any_values_survive(wanted: Sequence[OverlayResource]) -> None:
    read = parse_overlay_apk(OverlayApk("a.b", "c.d", tuple(wanted)).encode())
    assert {(r.name, r.qualifiers): r.value for r in read.resources} == {
        (r.name, r.config): r.value for r in wanted
    }


@pytest.mark.parametrize(
    ("overlay", "why"),
    [
        (OverlayApk("a.b", "c.d", ()), "without resources"),
        (OverlayApk("a.b", "c.d", (OverlayResource("bool/x", True),), priority=10000), "priority"),
        (OverlayApk("a.b", "c.d", (OverlayResource("bool", True),)), "no name of a resource"),
        (OverlayApk("a.b", "c.d", (OverlayResource("bool/../x", True),)), "no name of a resource"),
        (OverlayApk("a.b", "c.d", (OverlayResource("bool/x", True),) * 2), "given twice"),
        (
            OverlayApk("a.b", "c.d", (OverlayResource("bool/x", True, "land"),)),
            "cannot write a resource configuration",
        ),
        (
            OverlayApk("a.b", "c.d", (OverlayResource("bool/x", True, encode_config("") + b"\1"),)),
            "is not known",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_does_not_fit_is_refused(overlay: OverlayApk, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        overlay.encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a zip archive"),
        ((APKS / "messaging.apk").read_bytes(), "is no overlay"),
        ((APKS / "overlay-map.apk").read_bytes(), "not of the kind"),
        (WHOLE.encode()[:-30], "not a zip archive"),
    ],
    ids=["empty", "no_overlay", "with_a_map", "cut_off"],
)
def test_another_file_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        parse_overlay_apk(data)
