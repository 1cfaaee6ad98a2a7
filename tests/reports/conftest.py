from __future__ import annotations

from datetime import date

import pytest

from rom_builder.findings import (
    Evidence,
    Finding,
    Image,
    Layer,
    Location,
    Report,
    Requirement,
    Severity,
    Status,
    Strength,
    sorted_findings,
)
from rom_builder.formats.tree import Unread
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from tests.cases import files_of, load_case
from tests.rules.test_rules import FOLDER

EVIL = "a\x1b[2J\x9b31m\r\n\u202e\x7f\ud800b"
"""Escape, C1, carriage return, new line, right-to-left override, delete, half a character."""


@pytest.fixture
def evil() -> Report:
    """A report whose every text from an image or a policy tries to steer the terminal."""
    place = Location(f"system/{EVIL}.apk!/{EVIL}", 7)
    evidence = (Evidence(place, EVIL, Strength.EFFECTIVE),)
    findings = [
        Finding("ROM000", "x", status, Severity.ERROR, "s", "a.b", Layer.CODED, EVIL, evidence,
                f"fix {EVIL}", EVIL)
        for status in Status
    ]  # fmt: skip
    return Report(
        image=Image(EVIL, "folder", "0" * 64, EVIL),
        policies=((EVIL, EVIL),),
        requirements=(Requirement("s", "a.b", Status.FAIL, {Layer.CODED: Status.FAIL}, "p:1:1"),),
        findings=sorted_findings(findings),
        unread=(Unread(EVIL, EVIL),),
        notes=(EVIL,),
    )


@pytest.fixture
def real(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a ROM with every kind of answer."""
    from rom_builder.check import check
    from tests.roms import write_rom

    case = load_case(FOLDER / "ROM204" / "bad.yaml")
    files = {**files_of(case), "/system/app/Broken.apk": "x"}
    rom = write_rom(tmp_path_factory.mktemp("real") / "rom", files)
    policies = load_policies(
        ["messaging-opt-in", "miui-cloud-messaging", "rom-baseline"], binding_models()
    )
    return check(rom, policies, today=date(2026, 1, 1), notes=("a remark",))
