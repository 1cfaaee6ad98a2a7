"""What holds for every format: the same findings, the same bytes, no text of an image that acts."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree, html

from rom_builder.cli.reporting import FORMATS
from rom_builder.findings import Finding, Report, Severity, Status
from rom_builder.reports import REPORTS, Options
from rom_builder.reports.words import Place, is_open, place_of, places
from tests.reports import samples, snapshots
from tests.reports.conftest import EVIL

Said = Counter[tuple[str, str]]
SIGN = re.compile(r"[^\x00-\x7f]+ ")


def said_by(name: str, report: Report) -> Said:
    """Rule and status of every finding to act on, read back from a format's text."""
    return said_by_text_of(name, REPORTS[name](report))


def said_by_text_of(name: str, text: str) -> Said:
    return {
        "text": said_by_text,
        "json": said_by_json,
        "sarif": said_by_sarif,
        "junit": said_by_junit,
        "gitlab": said_by_gitlab,
        "github": said_by_github,
        "markdown": said_by_markdown,
        "html": said_by_html,
    }[name](text)


def status(word: str) -> str:
    return "unknown" if word == "unknown" else "fail"


def said_by_text(text: str) -> Said:
    head = re.compile(r"(?m)^(fail|unknown|warning|note) (ROM\d{3}) [a-z-]+")
    return Counter((rule, status(word)) for word, rule in head.findall(text))


def said_by_json(text: str) -> Said:
    return Counter(
        (f["rule"], f["status"])
        for f in json.loads(text)["findings"]
        if f["status"] in ("fail", "unknown") and f["suppression"] is None
    )


def said_by_sarif(text: str) -> Said:
    (run,) = json.loads(text)["runs"]
    kinds = {"fail": "fail", "open": "unknown"}
    return Counter((r["ruleId"], kinds[r["kind"]]) for r in run["results"])


def said_by_junit(text: str) -> Said:
    found: Said = Counter()
    for case in etree.fromstring(text.encode()).iter("testcase"):
        rule = case.get("name", "").split()[0]
        word = (case.findtext("system-out") or "").partition(":")[0]
        if word in ("unknown", "critical", "error", "warning", "note"):
            found[rule, status(word)] += 1
    return found


def said_by_gitlab(text: str) -> Said:
    return Counter(
        (i["check_name"], "unknown" if i["description"].startswith("Unknown: ") else "fail")
        for i in json.loads(text)
        if i["check_name"] != "unanswered"
    )


def said_by_github(text: str) -> Said:
    command = re.compile(r"(?m)^::\w+ .*title=(ROM\d{3}) [a-z-]+::(Unknown: )?")
    return Counter((rule, "unknown" if u else "fail") for rule, u in command.findall(text))


def said_by_markdown(text: str) -> Said:
    head = re.compile(r"(?m)^#### (.*)$")
    words = [SIGN.sub("", line).split() for line in head.findall(text)]
    return Counter((rule, status(word)) for word, rule, _ in words)


def said_by_html(text: str) -> Said:
    found: Said = Counter()
    for group in html.fromstring(text).find_class("group"):
        rule = group.find_class("rule")[0].text
        for card in group.find_class("finding"):
            if card.get("data-kind") in ("fail", "warning", "note", "unknown"):
                found[rule, status(card.get("data-kind"))] += 1
    return found


def expected(report: Report) -> Said:
    return Counter((f.rule, str(f.status)) for f in report.findings if is_open(f))


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("which", ["full", "real", "clean", "many"])
def test_every_format_has_the_same_findings(
    name: str, which: str, full: Report, request: pytest.FixtureRequest
) -> None:
    made = {"full": lambda: full, "clean": samples.clean, "many": lambda: samples.many(300)}
    report = made[which]() if which in made else request.getfixturevalue(which)
    assert said_by(name, report) == expected(report)


@pytest.mark.parametrize("name", ["json", "sarif", "gitlab", "html", "junit", "markdown"])
def test_fingerprints_are_the_same(name: str, full: Report) -> None:
    text = REPORTS[name](full)
    for finding in full.findings:
        if is_open(finding):
            assert finding.fingerprint in text
    machine = name in ("sarif", "gitlab")
    for finding in full.findings:
        if not is_open(finding):
            assert (finding.fingerprint in text) is not machine


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_waived_or_known_counts_nowhere_and_is_explained_to_people(
    name: str, full: Report
) -> None:
    text = REPORTS[name](full)
    if name in ("sarif", "gitlab", "github"):
        assert "trusts the user's authorities" not in text
        assert "PRIV-7" not in text
    else:
        for part in ("PRIV-7", "Jane Doe", "2026-06-30", "in the baseline of May"):
            assert part in text, part


@pytest.mark.parametrize("name", ["text", "json", "html", "markdown", "sarif"])
def test_the_places_that_lead_to_a_value_stand_in_their_order(name: str, full: Report) -> None:
    text = REPORTS[name](full).replace("&#34;", '"').replace("%21", "!").replace('\\"', '"')
    first = text.index('default="off"')
    assert first < text.index("bool/default_on is true", first)
    if name in ("text", "html", "markdown"):
        assert "wins" in text[first:]


@pytest.mark.parametrize("name", REPORTS)
def test_it_looks_as_it_did(name: str) -> None:
    assert snapshots.snapshot(name) == snapshots.path(name).read_text(), (
        "if the change is meant: python -m tests.reports.snapshots"
    )


@pytest.mark.parametrize("name", REPORTS)
def test_the_same_report_gives_the_same_text(name: str, full: Report) -> None:
    assert REPORTS[name](full) == REPORTS[name](samples.full())


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("which", ["evil", "markup"])
def test_no_character_of_an_image_steers_a_terminal(
    name: str, which: str, request: pytest.FixtureRequest
) -> None:
    text = REPORTS[name](request.getfixturevalue(which))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert EVIL not in text
    assert text.encode()


def test_the_command_line_knows_every_format() -> None:
    assert set(FORMATS) == set(REPORTS)


def test_a_demand_that_no_rule_answered_is_in_every_format(full: Report) -> None:
    for name in REPORTS:
        assert "consent.on_upgrade" in REPORTS[name](full), name


def test_two_findings_of_one_fingerprint_stay_two(full: Report) -> None:
    first = full.findings[0]
    twice = replace(full, findings=(first, first), requirements=())
    issues = json.loads(REPORTS["gitlab"](twice))
    assert len({issue["fingerprint"] for issue in issues}) == 2
    hashes = [
        result["partialFingerprints"]["primaryLocationLineHash"]
        for result in json.loads(REPORTS["sarif"](twice))["runs"][0]["results"]
    ]
    assert hashes == [f"{first.fingerprint}:1", f"{first.fingerprint}:2"]
    page = html.fromstring(REPORTS["html"](twice))
    assert len({card.get("id") for card in page.find_class("finding")}) == 2
    assert len(set(re.findall(r'name="(ROM[^"]+)"', REPORTS["junit"](twice)))) == 2


# Where a demand is written


@pytest.mark.parametrize(
    ("where", "root", "folder", "place"),
    [
        ("p.yaml:3:5", None, None, Place("p.yaml", 3, 5)),
        ("/repo/a/p.yaml:3:5", "/repo", None, Place("a/p.yaml", 3, 5)),
        ("p.yaml:3:5", "/repo", "/repo/a", Place("a/p.yaml", 3, 5)),
        ("../p.yaml:3:5", "/repo", "/repo/a", Place("p.yaml", 3, 5)),
        ("a:b.yaml:3:5", None, None, Place("a:b.yaml", 3, 5)),
        ("../p.yaml:3:5", "/repo", "/repo", None),
        ("../p.yaml:3:5", None, None, None),
        ("/else/p.yaml:3:5", "/repo", None, None),
        ("/repository/p.yaml:3:5", "/repo", None, None),
        ("/repo/p.yaml:3:5", None, None, None),
        ("p.yaml", "/repo", None, None),
        ("", None, None, None),
    ],
)
def test_a_policy_is_named_from_the_top_of_the_repository(
    where: str, root: str | None, folder: str | None, place: Place | None
) -> None:
    options = Options(root=Path(root) if root else None, folder=Path(folder) if folder else None)
    assert place_of(where, options) == place


def test_a_finding_stands_at_the_line_of_the_demand(full: Report) -> None:
    assert places(full, Options())["reference-messaging", "consent.default"].line == 9
    (run,) = json.loads(REPORTS["sarif"](full))["runs"]
    found = {
        r["ruleId"]: r["locations"][0]["physicalLocation"]["region"]["startLine"]
        for r in run["results"]
        if "region" in r["locations"][0]["physicalLocation"]
    }
    assert found["ROM101"] == 9
    assert found["ROM208"] == 12
    assert found["ROM401"] == 23


def test_failures_below_the_threshold_do_not_fail_a_test(full: Report) -> None:
    def failures(at: Severity) -> set[str]:
        root = etree.fromstring(REPORTS["junit"](full, Options(fail_on=at)).encode())
        return {
            case.get("name", "").split()[0]
            for case in root.iter("testcase")
            if case.find("failure") is not None
        }

    assert failures(Severity.CRITICAL) == {"ROM401"}
    assert failures(Severity.ERROR) == {"ROM401", "ROM101", "ROM208"}
    assert failures(Severity.NOTE) == {"ROM401", "ROM101", "ROM208", "ROM202", "ROM207"}
    grave = {f.rule for f in full.findings if isinstance(f, Finding) and f.status is Status.FAIL}
    assert failures(Severity.NOTE) < grave  # what is waived or known fails nothing
