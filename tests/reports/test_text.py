from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rom_builder.findings import Report, Severity, Status
from rom_builder.reports import REPORTS, Options
from tests.reports.conftest import EVIL

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def test_no_byte_steers_a_terminal(evil: Report) -> None:
    text = REPORTS["text"](evil)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert EVIL not in text
    for line in text.splitlines():
        assert not line.startswith("b")  # the new line in a name did not become one
    colored = REPORTS["text"](evil, Options(color=True))
    assert all(c.isprintable() or c == "\n" for c in COLOR.sub("", colored))
    assert COLOR.sub("", colored).split() == text.split()


def test_verdict_reasons_and_what_was_not_read(real: Report) -> None:
    text = REPORTS["text"](real)
    assert text.splitlines()[-1].startswith("verdict: non-compliant: 1 finding failed, ")
    assert "1 part not read" in text
    assert "not read: 1\n  system/app/Broken.apk: " in text
    assert "  note: a remark\n" in text


def test_a_row_for_each_requirement_and_a_column_for_each_layer(real: Report) -> None:
    lines = REPORTS["text"](real).splitlines()
    start = lines.index("reference-messaging")
    assert lines[start + 1].split() == ["requirement", "configured", "result"]
    assert lines[start + 2].split() == ["presence", "pass", "pass"]
    row = next(line for line in lines if line.strip().startswith("transport.user_ca"))
    assert row.split() == ["transport.user_ca", "fail", "fail"]
    assert "the whole ROM" in lines


def test_a_failed_finding_says_where_why_and_what_to_do(real: Report) -> None:
    text = REPORTS["text"](real, Options(width=200))
    start = text.index("fail ROM204 user-ca-trusted [error]")
    block = text[start:].split("\n\n")[0]
    assert "com.example.messaging trusts the user's authorities" in block
    assert "- system/priv-app/Messaging/Messaging.apk!/res/xml/nsc.xml: " in block
    assert "\n  fix: name only <certificates" in block


def test_failures_come_first_then_unknown_then_the_rest(real: Report) -> None:
    text = REPORTS["text"](real)
    places = [text.index(word) for word in ("\nfail ROM204", "\nunknown ROM", "\n  pass ROM101")]
    assert places == sorted(places)


def test_narrow_terminals_get_narrow_lines_but_whole_names(real: Report) -> None:
    text = REPORTS["text"](real, Options(width=60))
    assert "system/priv-app/Messaging/Messaging.apk!/res/xml/nsc.xml:" in text
    wide = [line for line in text.splitlines() if len(line) > 64 and "!/" not in line]
    assert [line for line in wide if not re.search("sha256|  policy |not read|Broken", line)] == []


def test_a_compliant_report_says_how_much_was_asked(real: Report) -> None:
    good = replace(
        real,
        findings=tuple(f for f in real.findings if f.status is Status.PASS),
        requirements=tuple(r for r in real.requirements if r.status is Status.PASS),
        unread=(),
    )
    count = len(good.requirements)
    last = REPORTS["text"](good).splitlines()[-1]
    assert last == f"verdict: compliant: all {count} requirements hold"


def test_lesser_remarks_are_counted_apart(real: Report) -> None:
    warning = replace(real.findings[0], severity=Severity.WARNING)
    text = REPORTS["text"](replace(real, findings=(warning, *real.findings)))
    last = text.splitlines()[-1]
    assert last.startswith("verdict: non-compliant: 1 finding failed, ")
    assert last.endswith(", 1 warning")


def test_long_evidence_is_cut_and_counted(real: Report) -> None:
    first = real.findings[0]
    many = replace(first, evidence=first.evidence * 9)
    text = REPORTS["text"](replace(real, findings=(many,)))
    assert "- and 3 more (see the JSON report)" in text


@pytest.mark.parametrize("status", [Status.ATTESTED, Status.NOT_APPLICABLE])
def test_what_is_vouched_for_or_does_not_apply_is_not_said_to_hold(
    real: Report, status: Status
) -> None:
    passed = tuple(r for r in real.requirements if r.status is Status.PASS)
    requirements = (*passed, replace(passed[0], status=status))
    good = replace(real, findings=(), requirements=requirements, unread=())
    last = REPORTS["text"](good).splitlines()[-1]
    count = len(requirements)
    assert last == f"verdict: compliant: {count} requirements, none failed or unknown"
