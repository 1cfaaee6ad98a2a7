"""Overlays from one end to the other: planned, shown, signed, written, checked."""

from __future__ import annotations

import subprocess
import zipfile
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.build import build, with_signed_apps
from rom_builder.check import check, check_rom
from rom_builder.cli import main
from rom_builder.errors import SigningError
from rom_builder.findings import Verdict
from rom_builder.formats.overlay_apk import parse_overlay_apk
from rom_builder.keys import NewKey, new_key
from rom_builder.mechanisms import binding_models
from rom_builder.plan import plan
from rom_builder.policy.load import Policies, load_policies
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import open_keyring
from rom_builder.signers.profile import open_role
from rom_builder.signers.signer import CheckedSigner
from tests.ab_package import SYSTEM, ab_package
from tests.fixtures.make_apks import APKS
from tests.roms import App, Content, overlay, sign_v2, write_rom

TODAY = date(2026, 11, 22)
MESSAGING = sign_v2((APKS / "messaging.apk").read_bytes())
OVERLAY = "overlay/com.example.messaging.rombuilder.messagingconfig.rro.apk"
PROFILE = {
    "schema": "rom-builder/profile/v1",
    "id": "messenger",
    "title": "A messenger",
    "packages": ["com.example.messaging"],
    "switches": [
        {
            "mechanism": "resource-overlay",
            "package": "com.example.messaging",
            "resource": "bool/cloud_messaging_default",
            "value_on": True,
            "value_off": False,
        }
    ],
    "transport": [
        {"mechanism": "network-security-config", "package": "com.example.messaging"},
    ],
}
STRICT = {"consent": {"mode": "opt-in"}, "transport": {"cleartext": "forbidden"}}


def policies_in(folder: Path, demands: dict[str, Any], profile: dict[str, Any]) -> Policies:
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    policy = {
        "schema": "rom-builder/policy/v1",
        "id": "policy",
        "title": "Off until the user turns it on",
        "services": [{"profile": profile["id"], **demands}],
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    (folder / "profiles" / f"{profile['id']}.yaml").write_text(yaml.safe_dump(profile))
    return load_policies([folder / "policy.yaml"], binding_models())


@cache
def apk_key() -> CheckedSigner:
    """A throw-away key for apps; opening it anew takes longer than signing with it."""
    return open_role("dev", "apk")


@pytest.fixture
def strict(tmp_path: Path) -> Policies:
    return policies_in(tmp_path / "strict", STRICT, PROFILE)


def phone(sdk: int, app: Content = MESSAGING, **files: Content) -> dict[str, Content]:
    return {
        "/system/app/M/M.apk": app,
        "/system/build.prop": f"ro.build.version.sdk={sdk}\n",
        "/vendor/build.prop": "ro.vendor.a=b\n",
        "/product/etc/build.prop": "ro.product.a=b\n",
        **files,
    }


# A whole package


@pytest.fixture(scope="module")
def maker() -> NewKey:
    return new_key("ota", "rsa-2048")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, maker: NewKey) -> Path:
    files = {
        **SYSTEM,
        "system/app/M/M.apk": MESSAGING,
        "system/product/etc/build.prop": b"ro.product.a=b\n",
    }
    otacert = maker.certificate.public_bytes(Encoding.PEM)
    return ab_package(
        tmp_path_factory.mktemp("base"), files, key=maker.private_key, otacert=otacert
    )


@pytest.mark.judge("mkfs.erofs", "fsck.erofs", "apksigner", "aapt2")
def test_a_package_gets_a_signed_overlay_and_passes(
    base: Path, strict: Policies, tmp_path: Path
) -> None:
    assert check(base, strict, today=TODAY).verdict is Verdict.NON_COMPLIANT
    keys = open_keyring("dev")
    outputs = [tmp_path / "1.zip", tmp_path / "2.zip"]
    for output in outputs:
        build(base, strict, keys, output, brought={}, today=TODAY)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert check(outputs[0], strict, today=TODAY).verdict is Verdict.COMPLIANT
    rom = open_rom(outputs[0])
    file = rom.find(f"/system/product/{OVERLAY}")
    assert file is not None
    assert (file.node.mode, file.node.uid) == (0o644, 0)
    apk = tmp_path / "overlay.apk"
    apk.write_bytes(rom.read(file))
    said = run("apksigner", "verify", "-v", "--print-certs", "--min-sdk-version", "24", str(apk))
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in said
    values = run("aapt2", "dump", "resources", str(apk))
    assert "bool/cloud_messaging_default\n      () false\n      (mcc310) false\n" in values
    before = open_rom(base).find("/system/app/M/M.apk")
    after = rom.find("/system/app/M/M.apk")
    assert before is not None
    assert after is not None
    assert rom.read(after) == open_rom(base).read(before)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.judge("mkfs.erofs")
def test_without_a_key_for_apps_nothing_is_written(
    base: Path, strict: Policies, tmp_path: Path
) -> None:
    keys = replace(open_keyring("dev"), apk=None)
    output = tmp_path / "out.zip"
    with pytest.raises(SigningError, match="has to be signed and there is no key") as caught:
        build(base, strict, keys, output, brought={}, today=TODAY)
    assert caught.value.hint == "add roles.apk to the signing profile"
    assert not output.exists()


SCRIPT = """package_extract_dir("system", "/system");
set_metadata_recursive("/system", "uid", 0, "gid", 0, "dmode", 0755, "fmode", 0644);
symlink("/system/vendor", "/vendor");
"""


def test_a_file_based_package_gets_one_too(strict: Policies, tmp_path: Path) -> None:
    files = {
        "META-INF/com/google/android/updater-script": SCRIPT,
        "system/build.prop": "ro.build.version.sdk=27\nro.product.device=pine\n",
        "system/vendor/build.prop": "ro.vendor.a=b\n",
        "system/app/M/M.apk": MESSAGING,
    }
    folder = write_rom(tmp_path / "rom", files)
    output = tmp_path / "out.zip"
    made = build(folder, strict, open_keyring("dev"), output, brought={}, today=TODAY)
    path = "system/vendor/overlay/com.example.messaging.rombuilder.rro.apk"
    assert [edit.path for edit in made.plan.edits] == [f"/{path}"]
    with zipfile.ZipFile(output) as archive:
        assert archive.read(path) == made.plan.edits[0].new.data  # type: ignore[union-attr]
    assert check(output, strict, today=TODAY).verdict is Verdict.COMPLIANT


# The plan

WITH_SCRIPT: dict[str, Content] = {
    "META-INF/com/google/android/updater-script": "".join(
        f'package_extract_dir("{name}", "/{name}");\n' for name in ("system", "vendor", "product")
    )
}


def test_the_plan_shows_what_the_overlay_sets_without_a_key(
    strict: Policies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_rom(tmp_path / "rom", phone(34, **WITH_SCRIPT))
    assert main(["plan", str(folder), "-p", str(tmp_path / "strict" / "policy.yaml")]) == 0
    shown = capsys.readouterr().out
    for line in (
        f"# add /product/{OVERLAY}: messenger: bool/cloud_messaging_default is to be false: by a static "
        "overlay on product, as Android 14 (API level 34) applies it; messenger: cleartext is to be "
        "forbidden: by a static overlay on product, as Android 14 (API level 34) applies it",
        "static overlay of com.example.messaging, its overlayable MessagingConfig, priority 1",
        "# build signs it with the key of the role apk",
        "+bool/cloud_messaging_default = false\n",
        "+bool/cloud_messaging_default (mcc310) = false\n",
        "+xml/network_security_config\n",
        '<base-config cleartextTrafficPermitted="false"',
        "1 file would change; nothing else is needed",
    ):
        assert line in shown


@pytest.mark.parametrize("sdk", [21, 23, 25])
def test_before_android_8_the_plan_names_what_is_needed(
    strict: Policies, tmp_path: Path, capsys: pytest.CaptureFixture[str], sdk: int
) -> None:
    folder = write_rom(tmp_path / "rom", phone(sdk, **WITH_SCRIPT))
    assert main(["plan", str(folder), "-p", str(tmp_path / "strict" / "policy.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "turns no overlay on by itself; the first is Android 8" in shown
    assert "bring a new version of the app: --replace /system/app/M/M.apk=FILE" in shown
    assert "1 file must be brought in a new version" in shown


# The round trip


@pytest.mark.parametrize("sdk", range(26, 37))
def test_what_build_writes_passes_on_every_platform(
    strict: Policies, tmp_path: Path, sdk: int
) -> None:
    rom = open_rom(write_rom(tmp_path / "rom", phone(sdk)))
    assert check_rom(rom, strict, today=TODAY).verdict is Verdict.NON_COMPLIANT
    made = with_signed_apps(plan(rom, strict, {}), apk_key())
    assert made.obstacles == ()
    report = check_rom(rom.with_edits(made.edits), strict, today=TODAY)
    assert report.verdict is Verdict.COMPLIANT
    (passed,) = [f for f in report.findings if f.rule == "ROM101"]
    assert {str(e.strength) for e in passed.evidence} == {"effective"}
    assert passed.evidence[0].chain[-1].location.path.endswith("rro.apk!/resources.arsc")
    assert plan(rom.with_edits(made.edits), strict, {}).edits == ()


SWITCHES = {
    "resource-overlay": {"resource": "bool/cloud_messaging_default"},
    "resource-bool": {"resource": "cloud_messaging_default", "read_by": "com.example.messaging"},
    "manifest-flag": {"component": ".BootReceiver", "attribute": "exported"},
    "preference-xml": {"key": "cloud_messaging_service"},
}


@pytest.mark.parametrize("sdk", [21, 25, 26, 28, 29, 30, 33, 34, 36])
@pytest.mark.parametrize("mechanism", SWITCHES)
def test_each_way_into_an_app_passes_or_names_what_is_needed(
    tmp_path: Path, mechanism: str, sdk: int
) -> None:
    """Each of these places is on, at least for the networks of one country."""
    switch = {
        "mechanism": mechanism,
        "package": "com.example.messaging",
        "value_on": True,
        "value_off": False,
        **SWITCHES[mechanism],
    }
    profile = {**PROFILE, "switches": [switch], "transport": []}
    policies = policies_in(tmp_path / "policy", {"consent": {"mode": "opt-in"}}, profile)
    rom = open_rom(write_rom(tmp_path / "rom", phone(sdk)))
    made = with_signed_apps(plan(rom, policies, {}), apk_key())
    by_overlay = mechanism.startswith("resource-") and sdk >= 26
    report = check_rom(rom.with_edits(made.edits), policies, today=TODAY)
    if by_overlay:
        assert [edit.path.rpartition("/")[2][-8:] for edit in made.edits] == [".rro.apk"]
        assert made.obstacles == ()
        assert report.verdict is Verdict.COMPLIANT
    else:
        assert made.edits == ()
        obstacle, *others = made.obstacles
        # What a settings page shows decides nothing: that is said as well.
        assert [o.why.partition(": ")[2][:22] for o in others] == (
            ["no setting that the pr"] if mechanism == "preference-xml" else []
        )
        assert obstacle.hint == "bring a new version of the app: --replace /system/app/M/M.apk=FILE"
        assert report.verdict is not Verdict.COMPLIANT


def test_a_value_for_one_network_is_reported_and_no_pass(strict: Policies, tmp_path: Path) -> None:
    """The app as aapt2 made it is off by default, and on for the networks of one country."""
    app = App(
        "com.example.messaging",
        bools={"cloud_messaging_default": {"": False, "mcc310": True}},
        target_sdk=34,
    )
    report = check(write_rom(tmp_path / "rom", phone(34, app)), strict, today=TODAY)
    (failed,) = [f for f in report.findings if f.rule == "ROM101"]
    assert str(failed.status) == "fail"
    assert failed.message == (
        "the service is on by default (bool/cloud_messaging_default (mcc310)); the policy demands opt-in"
    )


RESOURCES = {
    "bool/one": st.booleans(),
    "bool/two": st.booleans(),
    "integer/level": st.sampled_from([0, 1, 7]),
    "string/state": st.sampled_from(["on", "off", ""]),
}
OFF = {"bool/one": False, "bool/two": False, "integer/level": 0, "string/state": "off"}
ON = {"bool/one": True, "bool/two": True, "integer/level": 1, "string/state": "on"}
CONFIG = '<config><overlay package="x.y" mutable="true" enabled="true"/></config>'


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), sdk=st.integers(21, 36))
def test_whatever_is_demanded_either_passes_or_is_refused(
    data: st.DataObject, sdk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("case")
    named = data.draw(st.sets(st.sampled_from(sorted(RESOURCES)), min_size=1))
    values = {name: data.draw(RESOURCES[name]) for name in RESOURCES}
    app = App(
        "com.example.messaging",
        bools={
            "one": {"": values["bool/one"], "mcc310": data.draw(st.booleans())},
            "two": values["bool/two"],
        },
        strings={"state": values["string/state"]},
        integers={"level": values["integer/level"]},
        target_sdk=data.draw(st.sampled_from([26, 29, 34])),
    )
    files = phone(sdk, app)
    for number, name in enumerate(sorted(data.draw(st.sets(st.sampled_from(sorted(RESOURCES)))))):
        partition = data.draw(st.sampled_from(["vendor", "product"]))
        priority = data.draw(st.integers(0, 30))
        value = data.draw(RESOURCES[name])
        files[f"/{partition}/overlay/{number}.apk"] = overlay(
            f"other.n{number}", "com.example.messaging", {name: value}, priority
        )
    if data.draw(st.booleans()):
        files["/product/overlay/config/config.xml"] = "<config/>"
    switches = [
        {
            "mechanism": "resource-overlay",
            "package": "com.example.messaging",
            "resource": name,
            "value_on": ON[name],
            "value_off": OFF[name],
        }
        for name in sorted(named)
    ]
    profile = {**PROFILE, "switches": switches, "transport": []}
    consent = {"consent": {"mode": "opt-in"}}
    policies = policies_in(folder / "strict", consent, profile)
    lax = policies_in(folder / "lax", {"consent": {"mode": "opt-out"}}, profile)
    rom = open_rom(write_rom(folder / "rom", files))

    made = with_signed_apps(plan(rom, policies, {}), apk_key())
    edited = rom.with_edits(made.edits)
    report = check_rom(edited, policies, today=TODAY)
    if made.obstacles:
        assert sdk < 26 or "wins over" in made.obstacles[0].why or "same" in made.obstacles[0].why
        assert report.verdict is not Verdict.COMPLIANT
    else:
        assert report.verdict is Verdict.COMPLIANT
        assert plan(edited, policies, {}).edits == ()
    # What a lax policy leaves as it is fails the strict one, unless it was off already.
    assert plan(rom, lax, {}).edits == ()
    was_off = check_rom(rom, policies, today=TODAY).verdict is Verdict.COMPLIANT
    assert was_off == (made.edits == () and not made.obstacles)


def test_an_overlay_of_an_earlier_build_is_extended(tmp_path: Path, strict: Policies) -> None:
    first = policies_in(tmp_path / "first", {"consent": {"mode": "opt-in"}}, PROFILE)
    rom = open_rom(write_rom(tmp_path / "rom", phone(34)))
    key = apk_key()
    once = with_signed_apps(plan(rom, first, {}), key)
    built = rom.with_edits(once.edits)
    twice = plan(built, strict, {})
    (edit,) = twice.edits
    assert edit.new is not None
    assert {r.name for r in parse_overlay_apk(edit.new.data).resources} == {
        "bool/cloud_messaging_default",
        "xml/network_security_config",
    }
    again = built.with_edits(with_signed_apps(replace(twice), key).edits)
    assert check_rom(again, strict, today=TODAY).verdict is Verdict.COMPLIANT
