"""Verdicts hang on no name of the service's own code: neither in a build nor in this project."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from rom_builder.check import check
from rom_builder.findings import Report
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from tests.fixtures.make_dex import CASES, MANIFEST, RENAMED
from tests.roms import axml, write_rom, zipped

from .look_alikes import DEX

PROFILE = """schema: rom-builder/profile/v1
id: look-alike
title: A look-alike
packages: [com.example]
code_files: [/system/framework/vendor.jar]
hosts: [api.example.com, encrypted.example.com, wrapped.example.com, dead.example.com]
switches:
  - {mechanism: preference-xml, package: com.example, key: enable_box, value_on: true, value_off: false}
code:
  gates: [{string: consent_given}]
  sinks:
    - {id: contact-lookup, string: externalId, sends: [recipient-number]}
    - {id: registration, string: simId}
  choices: [{string: extra_manually}]
  boxes: [{string: enable_box}, {string: page_state}]
  upgrades: [{string: old_consent}]
  hashes: [com.vendor.Coder.hash]
  encrypted_by: [SecureRequest]
"""
POLICY = """schema: rom-builder/policy/v1
id: strict
title: Strict
services:
  - profile: look-alike
    consent:
      mode: opt-in
      before: [contact-lookup, registration]
      preselected: forbidden
      on_upgrade: ask
      off_switch: required
    transport: {cleartext: forbidden, hosts: [api.example.com]}
    data: {allowed: [recipient-number], forbidden: [imei, imsi]}
"""
PAGE = (
    '<PreferenceScreen xmlns:android="http://schemas.android.com/apk/res/android">'
    '<CheckBoxPreference android:key="enable_box" android:defaultValue="false"/></PreferenceScreen>'
)
NAMES = json.loads((RENAMED / "names.json").read_text())
COMPONENTS = {"": ".LookupService", " boot": ".BootReceiver", " page": "Main"}


def report(
    folder: Path,
    name: str,
    dex: Path,
    components: dict[str, str],
    container: bytes | None = None,
    *,
    place: str = "oat/arm64/LookAlike.vdex",
    boot: bytes | None = None,
) -> Report:
    """Judge a ROM with a look-alike, whose code may have been taken out into a container.

    Args:
        folder: Where to write it.
        name: Of the look-alike.
        dex: Where its code is.
        components: Other names of what the manifest names.
        container: Holds the code instead.
        place: Where the container is, beside the app.
        boot: Holds the library's code instead.
    """
    manifest = MANIFEST.strip()
    code = {} if container else {"classes.dex": (dex / f"{name}.dex").read_bytes()}
    beside = {f"/system/app/{place}": container} if container else {}
    if boot:
        beside["/system/framework/arm/boot.oat"] = boot
    for old, new in components.items():
        manifest = manifest.replace(f'android:name="{old}"', f'android:name="{new}"')
    rom = write_rom(
        folder / "rom",
        {
            "/system/build.prop": "ro.build.version.sdk=21\n",
            "/system/framework/vendor.jar": zipped(
                {"x": b""} if boot else {"classes.dex": (DEX / "library.dex").read_bytes()}
            ),
            "/system/app/LookAlike.apk": zipped(
                {
                    "AndroidManifest.xml": axml(manifest, {}),
                    "res/xml/page.xml": axml(PAGE, {}),
                    **code,
                }
            ),
            **beside,
        },
    )
    (folder / "profiles").mkdir()
    (folder / "profiles" / "look-alike.yaml").write_text(PROFILE)
    (folder / "strict.yaml").write_text(POLICY)
    policies = load_policies([folder / "strict.yaml"], binding_models())
    return check(rom, policies, today=date(2026, 1, 1))


def verdicts(found: Report) -> tuple[object, ...]:
    rows = [
        (row.name, row.status, sorted(row.layers.items(), key=str)) for row in found.requirements
    ]
    findings = [
        (f.rule, f.status, f.severity, f.layer, f.selector, len(f.evidence)) for f in found.findings
    ]
    return found.verdict, rows, sorted(findings, key=str), found.unread


@pytest.mark.parametrize("name", [name for name in CASES if name != "library"])
def test_other_names_of_classes_fields_and_methods_change_no_verdict(
    tmp_path: Path, name: str
) -> None:
    new = {
        old: NAMES[f"{name}{kind}"][1:-1].replace("/", ".")
        for kind, old in COMPONENTS.items()
        if NAMES[f"{name}{kind}"]
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = report(tmp_path / "a", name, DEX, {})
    other = report(tmp_path / "b", name, RENAMED, new)
    assert verdicts(plain) == verdicts(other)
    assert plain.unread == ()
    texts = " ".join(e.text for f in other.findings for e in f.evidence)
    assert "com.example.Lookup" not in texts.replace("'com.example.Lookup'", "")


def test_the_renamed_files_have_none_of_the_old_names() -> None:
    for path in sorted(RENAMED.glob("*.dex")):
        left = set(re.findall(rb"Lcom/example/(\w+);", path.read_bytes()))
        # Http is called and never defined, like a class of a library.
        assert left <= {b"Http"}, path.stem


def test_no_code_names_the_real_case() -> None:
    """Names of the case of 2014 stand in its profile and its policy, and nowhere in the program."""
    root = Path(__file__).parent.parent.parent / "rom_builder"
    profile = (root.parent / "policies" / "profiles" / "miui-cloud-messaging.yaml").read_text()
    anchors = re.findall(
        r"(?:string|call|key|resource|package|mechanism): \"?([\w./ :]{5,}?)\"?[,}]", profile
    )
    public = {"preference-xml", "system-property", "com.android.mms", "network_operator"}
    names = {a for a in anchors if a not in public} | {
        "xiaomi",
        "miui",
        "xmsf",
        "micloud",
        "mitalk",
    }
    assert len(names) > 20
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert [name for name in names if name.casefold() in text.casefold()] == [], path
