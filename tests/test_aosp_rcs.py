"""RCS of an Android 14 as AOSP sets it up: the base fails, the plan shows an overlay, the built OTA passes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.build import build
from rom_builder.check import check
from rom_builder.cli import main
from rom_builder.errors import SigningError
from rom_builder.findings import Report, Severity, Verdict
from rom_builder.keys import NewKey, new_key
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import Policies, load_policies
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import open_keyring
from tests.ab_package import SYSTEM, ab_package
from tests.fixtures.make_apks import APKS
from tests.roms import sign_v2

TODAY = date(2026, 11, 22)
APP = "system/system_ext/priv-app/CarrierConfig/CarrierConfig.apk"
OVERLAY = "/system/product/overlay/com.android.carrierconfig.rombuilder.rro.apk"
ROM = {
    **SYSTEM,
    APP: sign_v2((APKS / "carrier-config.apk").read_bytes()),
    # What a maker's overlay replaces stays in the built package.
    "system/product/overlay/CarrierConfigOverlay.apk": sign_v2(
        (APKS / "carrier-config-overlay.apk").read_bytes()
    ),
}

pytestmark = pytest.mark.judge("mkfs.erofs", "apksigner", "aapt2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maker: NewKey = new_key("ota", "rsa-2048")
    otacert = maker.certificate.public_bytes(Encoding.PEM)
    return ab_package(tmp_path_factory.mktemp("base"), ROM, key=maker.private_key, otacert=otacert)


@pytest.fixture(scope="module")
def policies() -> Policies:
    return load_policies(["aosp-rcs"], binding_models())


def messages(report: Report, rule: str) -> list[str]:
    return sorted(
        evidence.text
        for finding in report.failures(Severity.ERROR)
        if finding.rule == rule
        for evidence in finding.evidence
    )


def test_the_base_fails_and_every_operator_that_is_on_is_named(
    base: Path, policies: Policies
) -> None:
    report = check(base, policies, today=TODAY)
    assert report.verdict is Verdict.NON_COMPLIANT
    assert report.unread == ()
    key = "ims.enable_presence_publish_bool"
    assert messages(report, "ROM101") == [
        f"{key} for MCC 001 MNC 01 with gid1=BA01 is true",
        f"{key} for Pine Wireless (carrier id 1839) is true",
        f"{key} for SIMs with mcc=262 mnc=01 is true",
    ]
    (plain,) = [text for text in messages(report, "ROM201") if "allowed" in text]
    assert plain == "cleartext by rcs_config_server_url_string for Oak (carrier id 1) is allowed"


def test_the_plan_shows_the_overlay(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(base), "-p", "aosp-rcs"]) == 0
    out = capsys.readouterr().out
    assert OVERLAY in out
    assert "ims.enable_presence_publish_bool is to be false for every SIM" in out
    assert "Android 14" in out


def test_the_built_package_passes(base: Path, policies: Policies, tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    made = build(base, policies, open_keyring("dev"), output, brought={}, today=TODAY)
    assert made.report.verdict is Verdict.COMPLIANT
    report = check(output, policies, today=TODAY)
    assert report.verdict is Verdict.COMPLIANT
    (passed,) = [f for f in report.findings if f.rule == "ROM101"]
    assert all("for every SIM is false" in evidence.text for evidence in passed.evidence)

    rom = open_rom(output)
    file = rom.find(OVERLAY)
    assert file is not None
    apk = tmp_path / "overlay.apk"
    apk.write_bytes(rom.read(file))
    verify = ["apksigner", "verify", "--min-sdk-version", "29", str(apk)]
    subprocess.run(verify, check=True, capture_output=True)
    dump = ["aapt2", "dump", "xmltree", str(apk), "--file", "res/xml/vendor.xml"]
    text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    assert "config_ims_rtt_mode_bool" in text
    assert "https://rcs.oak.example/config" in text
    blocks = text.split("E: carrier_config ")
    (last,) = [block for block in blocks if "ims.enable_presence_publish_bool" in block][-1:]
    assert last.startswith("(line=0)\n        E: boolean")  # no filter: for every SIM
    assert 'value="false"' in last


def test_without_a_key_for_apps_nothing_is_written(
    base: Path, policies: Policies, tmp_path: Path
) -> None:
    output = tmp_path / "out.zip"
    keys = replace(open_keyring("dev"), apk=None)
    with pytest.raises(SigningError, match="has to be signed"):
        build(base, policies, keys, output, brought={}, today=TODAY)
    assert not output.exists()
