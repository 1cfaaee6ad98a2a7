from __future__ import annotations

from datetime import date

import pytest

from rom_builder.findings import (
    Evidence,
    Finding,
    Host,
    Image,
    Layer,
    Link,
    Location,
    Report,
    Requirement,
    Severity,
    Status,
    Strength,
    Suppression,
    sorted_findings,
)
from rom_builder.formats.tree import Unread
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from tests.cases import files_of, load_case
from tests.reports import samples
from tests.rules.test_rules import FOLDER

EVIL = "a\x1b[2J\x9b31m\r\n\u202e\x7f\ud800b"
"""Escape, C1, carriage return, new line, right-to-left override, delete, half a character."""
MARKUP = (
    "</script></style><script>document.title='owned'</script><img src=http://evil.example/a.png "
    "onerror=\"document.title='owned'\"> ]]> `code` | **bold** [x](http://evil.example/) ::error::x "
    "%0A::error::y {0} {{1}} http://evil.example/ @everyone \\"
)
"""What means something in HTML, XML, Markdown, workflow commands or SARIF."""


@pytest.fixture
def evil() -> Report:
    """A report whose every text from an image or a policy tries to steer the terminal."""
    return hostile(EVIL)


@pytest.fixture
def markup() -> Report:
    """A report whose every text from an image or a policy tries to be more than text."""
    return hostile(MARKUP)


def hostile(text: str) -> Report:
    place = Location(f"system/{text}.apk!/{text}", 7)
    chain = (Link(place, text), Link(Location(text, line=3), text))
    evidence = (Evidence(place, text, Strength.EFFECTIVE, chain),)
    excused = Suppression("waiver", text, text, text, date(2026, 1, 1), text)
    findings = [
        Finding("ROM101", "x", status, Severity.ERROR, "s", "a.b", Layer.CODED, text, evidence,
                f"fix {text}", f"{text}{excuse}", excuse)
        for status, excuse in [*((status, None) for status in Status), (Status.FAIL, excused)]
    ]  # fmt: skip
    return Report(
        image=Image(text, "folder", "0" * 64, text),
        policies=((text, text),),
        requirements=(Requirement("s", "a.b", Status.FAIL, {Layer.CODED: Status.FAIL}, "p:1:1"),),
        findings=sorted_findings(findings),
        unread=(Unread(text, text),),
        notes=(text,),
        hosts=(Host("s", text, True, Strength.CODE, 1, 1, 1),),
    )


@pytest.fixture(scope="session")
def full() -> Report:
    """A report with everything that a format has to show."""
    return samples.full()


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
