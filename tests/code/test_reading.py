"""From a ROM with a look-alike to verdicts: programs, facts and rules together."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml

from rom_builder.check import check
from rom_builder.code.programs import Program, read_components
from rom_builder.code.reading import read_service_code
from rom_builder.facts.code import CodeRead, CodeUrl, ConsentCheck, Outcome
from rom_builder.findings import Finding, Severity, Status
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom

from .look_alikes import DEX, scope

PROFILE = """schema: rom-builder/profile/v1
id: look-alike
title: A look-alike
packages: [com.example]
code_files: [/system/framework/vendor.jar]
hosts: [api.example.com, encrypted.example.com, wrapped.example.com, dead.example.com]
code:
  gates: [{string: consent_given}]
  sinks: [{id: contact-lookup, string: externalId, sends: [recipient-number]}]
  choices: [{string: extra_manually}]
  hashes: [com.vendor.Coder.hash]
  encrypted_by: [SecureRequest]
"""
POLICY = """schema: rom-builder/policy/v1
id: strict
title: Strict
services:
  - profile: look-alike
    consent: {mode: opt-in, before: [contact-lookup]}
    transport: {cleartext: forbidden}
    data: {forbidden: [imei, imsi]}
"""


def make_rom(folder: Path, name: str, *, library: bool = True) -> Path:
    rom = folder / "rom" / "system"
    (rom / "app").mkdir(parents=True)
    (rom / "framework").mkdir()
    (rom / "build.prop").write_text("ro.build.version.sdk=21\n")
    with zipfile.ZipFile(rom / "app" / "LookAlike.apk", "w") as apk:
        apk.write(DEX / "AndroidManifest.xml", "AndroidManifest.xml")
        apk.write(DEX / f"{name}.dex", "classes.dex")
    if library:
        with zipfile.ZipFile(rom / "framework" / "vendor.jar", "w") as jar:
            jar.write(DEX / "library.dex", "classes.dex")
    return rom.parent


def findings(folder: Path, name: str, profile: str = PROFILE) -> dict[str, list[Finding]]:
    rom = make_rom(folder, name)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "look-alike.yaml").write_text(profile)
    (folder / "strict.yaml").write_text(POLICY)
    policies = load_policies([folder / "strict.yaml"], binding_models())
    report = check(rom, policies, today=date(2026, 1, 1))
    assert report.unread == ()
    found: dict[str, list[Finding]] = {}
    for each in report.findings:
        found.setdefault(each.rule, []).append(each)
    return found


def statuses(found: dict[str, list[Finding]], rule: str) -> list[Status]:
    return [each.status for each in found.get(rule, [])]


def test_the_manifest_says_what_the_system_starts(tmp_path: Path) -> None:
    rom = open_rom(make_rom(tmp_path, "boot"))
    (apk,) = Packages(rom).named("com.example")
    assert [(c.kind, c.name, c.exported, c.actions) for c in read_components(apk)] == [
        ("application", "Lcom/example/App;", False, ()),
        ("activity", "Lcom/example/Main;", False, ()),
        ("service", "Lcom/example/LookupService;", True, ("com.example.LOOK_UP",)),
        ("service", "Lcom/example/Inner;", False, ()),
        ("receiver", "Lcom/example/BootReceiver;", True, ("android.intent.action.BOOT_COMPLETED",)),
    ]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("gate_dominates", Status.PASS),
        ("gate_after_sink", Status.FAIL),
        ("reflection", Status.UNKNOWN),
        ("handler", Status.UNKNOWN),
        ("library", Status.UNKNOWN),
    ],
)
def test_consent_before_send(tmp_path: Path, name: str, status: Status) -> None:
    assert statuses(findings(tmp_path, name), "ROM104") == [status]


def test_a_failure_shows_the_path(tmp_path: Path) -> None:
    (failed,) = findings(tmp_path, "gate_after_sink")["ROM104"]
    assert failed.message == (
        "contact-lookup can start without a consent check: the system calls "
        "com.example.LookupService.onHandleIntent of the service com.example.LookupService"
    )
    assert [e.location.path for e in failed.evidence] == [
        "system/app/LookAlike.apk!/classes.dex"
    ] * 3
    assert all(e.location.offset for e in failed.evidence)


def test_without_a_gate_in_the_code_nothing_is_said(tmp_path: Path) -> None:
    profile = PROFILE.replace("consent_given", "no_such_setting")
    (unknown,) = findings(tmp_path, "gate_dominates", profile)["ROM104"]
    assert unknown.status is Status.UNKNOWN
    assert unknown.message == "no gate of the profile for contact-lookup was found in the code"


def test_consent_to_something_else_earns_a_warning(tmp_path: Path) -> None:
    profile = PROFILE.replace("consent_given}", "consent_given, agrees_to: another service}")
    found = findings(tmp_path, "gate_dominates", profile)["ROM104"]
    assert [(each.status, each.severity) for each in found] == [
        (Status.FAIL, Severity.WARNING),
        (Status.PASS, Severity.ERROR),
    ]


@pytest.mark.parametrize(
    ("name", "status"),
    [("boot", Status.FAIL), ("boot_asked", Status.PASS), ("gate_result_ignored", Status.PASS)],
)
def test_automatic_activation(tmp_path: Path, name: str, status: Status) -> None:
    assert statuses(findings(tmp_path, name), "ROM107") == [status]


def test_a_constant_choice_alone_is_a_note(tmp_path: Path) -> None:
    found = findings(tmp_path, "choice")["ROM107"]
    assert [(each.status, each.severity) for each in found] == [
        (Status.FAIL, Severity.NOTE),
        (Status.PASS, Severity.ERROR),
    ]


def test_urls_are_judged_by_host(tmp_path: Path) -> None:
    found = {each.selector: each for each in findings(tmp_path, "urls")["ROM208"]}
    assert {name: each.status for name, each in found.items()} == {
        "api.example.com": Status.FAIL,
        "wrapped.example.com": Status.FAIL,
        "wrapped.example.com encrypted": Status.UNKNOWN,
    }
    assert [e.text for e in found["api.example.com"].evidence] == [
        "com.example.LookupService.onHandleIntent uses http://api.example.com/pass/v3/user@id, put "
        "together from system/framework/vendor.jar!/classes.dex and "
        "system/app/LookAlike.apk!/classes.dex"
    ]


def test_code_that_trusts_all_fails_and_dead_code_warns(tmp_path: Path) -> None:
    found = findings(tmp_path, "trust_all")["ROM209"]
    assert [(each.selector, each.severity) for each in found] == [
        ("live", Severity.ERROR),
        ("dead", Severity.WARNING),
    ]
    assert statuses(findings(tmp_path / "other", "boot"), "ROM209") == [Status.PASS]


def test_identifiers_in_code(tmp_path: Path) -> None:
    found = findings(tmp_path, "identifiers")["ROM303"]
    assert sorted(each.message for each in found) == [
        "the code for contact-lookup reads imei (getDeviceId), "
        "through an unsalted hash (com.vendor.Coder.hash)",
        "the code for contact-lookup reads imsi (getSubscriberId)",
    ]
    assert "ROM303" not in findings(tmp_path / "other", "boot")


def test_a_program_that_cannot_be_read_leaves_everything_unknown(tmp_path: Path) -> None:
    rom = make_rom(tmp_path, "gate_dominates")
    apk = rom / "system" / "app" / "LookAlike.apk"
    damaged = bytearray((DEX / "gate_dominates.dex").read_bytes())
    damaged[0x58:0x5C] = b"\xff\xff\xff\x7f"
    with zipfile.ZipFile(apk, "w") as out:
        out.write(DEX / "AndroidManifest.xml", "AndroidManifest.xml")
        out.writestr("classes.dex", bytes(damaged))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "look-alike.yaml").write_text(PROFILE)
    (tmp_path / "strict.yaml").write_text(POLICY)
    policies = load_policies([tmp_path / "strict.yaml"], binding_models())
    report = check(rom, policies, today=date(2026, 1, 1))
    assert [part.path for part in report.unread] == ["system/app/LookAlike.apk!/classes.dex"]
    coded = [f for f in report.findings if f.rule in ("ROM104", "ROM107")]
    assert {f.status for f in coded} == {Status.UNKNOWN}


def test_every_dex_file_of_an_app_is_read(tmp_path: Path) -> None:
    rom = make_rom(tmp_path, "urls", library=False)
    with zipfile.ZipFile(rom / "system" / "app" / "LookAlike.apk", "a") as apk:
        apk.write(DEX / "library.dex", "classes2.dex")
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    opened = open_rom(rom)
    facts = list(read_service_code(opened, Packages(opened), profile, {}))
    parts = {fact.url: fact.parts for fact in facts if isinstance(fact, CodeUrl)}
    assert [part.path for part in parts["http://api.example.com/pass/v3/user@id"]] == [
        "system/app/LookAlike.apk!/classes2.dex",
        "system/app/LookAlike.apk!/classes.dex",
    ]


def test_a_sink_in_a_library_is_not_passed_over(tmp_path: Path) -> None:
    rom = make_rom(tmp_path, "gate_dominates")
    with zipfile.ZipFile(rom / "system" / "framework" / "vendor.jar", "w") as jar:
        jar.write(DEX / "gate_after_sink.dex", "classes.dex")
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    opened = open_rom(rom)
    facts = list(read_service_code(opened, Packages(opened), profile, {}))
    checks = [f for f in facts if isinstance(f, ConsentCheck) and not f.automatic]
    assert [check.outcome for check in checks] == [Outcome.ASKED, Outcome.UNKNOWN]
    assert checks[1].unknown[0].text == (
        "com.example.Lookup.query is in a library, whose callers are not followed"
    )


@pytest.mark.parametrize(
    ("head", "reason"),
    [(b"cdex001\0", "a compact DEX outside a container is not read"), (b"", "not a DEX file")],
)
def test_code_that_is_not_read_is_said_and_never_passes(
    tmp_path: Path, head: bytes, reason: str
) -> None:
    rom = make_rom(tmp_path, "boot")
    with zipfile.ZipFile(rom / "system" / "app" / "LookAlike.apk", "w") as apk:
        apk.write(DEX / "AndroidManifest.xml", "AndroidManifest.xml")
        apk.writestr("classes.dex", head)
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    opened = open_rom(rom)
    facts = list(read_service_code(opened, Packages(opened), profile, {}))
    (read,) = [fact for fact in facts if isinstance(fact, CodeRead)]
    assert read.unread == ("system/app/LookAlike.apk",)
    assert reason in opened.unread[0].reason


@pytest.mark.parametrize("name", ["choice", "urls", "handler_sent", "trust_all", "identifiers"])
def test_damage_leaves_a_report(tmp_path: Path, name: str) -> None:
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    libraries: dict[str, Program | None] = {}
    rom = open_rom(make_rom(tmp_path, name))
    whole = (DEX / f"{name}.dex").read_bytes()
    chance = random.Random(name)
    apk = tmp_path / "rom" / "system" / "app" / "LookAlike.apk"
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 5))):
            data[chance.randrange(0x28, len(data))] = chance.randrange(256)
        with zipfile.ZipFile(apk, "w") as out:
            out.write(DEX / "AndroidManifest.xml", "AndroidManifest.xml")
            out.writestr("classes.dex", bytes(data))
        rom = open_rom(tmp_path / "rom")
        facts = list(read_service_code(rom, Packages(rom), profile, libraries))
        (read,) = [fact for fact in facts if isinstance(fact, CodeRead)]
        assert bool(read.unread) == bool(rom.unread)


def test_the_way_to_code_that_trusts_all_is_shown(tmp_path: Path) -> None:
    live, dead = findings(tmp_path, "trust_all")["ROM209"]
    assert [e.text for e in live.evidence] == [
        "com.example.Live.checkServerTrusted checks no certificate",
        "the system can call com.example.LookupService.onHandleIntent",
    ]
    assert [e.text for e in dead.evidence] == ["com.example.Dead.verify accepts any host name"]


def test_a_way_begins_with_what_the_platform_calls() -> None:
    app = scope("gate_in_caller")
    target = "Lcom/example/Lookup;->query(Ljava/lang/String;)V"
    assert [body.key.partition("->")[2] for body in app.way_to(target)] == [
        "onHandleIntent(Landroid/content/Intent;)V",
        "inner()V",
        "query(Ljava/lang/String;)V",
    ]


def test_facts_come_in_the_same_order_whatever_the_seed_of_hashes() -> None:
    program = (
        "from tests.code.look_alikes import DEX, scope\n"
        "from rom_builder.code.urls import Urls\n"
        "for path in sorted(DEX.glob('*.dex')):\n"
        "    app = scope(path.stem)\n"
        "    print(list(app.own), [app.subtypes(name) for name in sorted(app.own)])\n"
        "    print(list(Urls('x', app, (), {}).read()))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1
