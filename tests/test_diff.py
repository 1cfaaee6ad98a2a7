"""Two ROMs side by side: what is worse, better, fixed and left, in every format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from lxml import etree, html

from rom_builder.cli import main
from rom_builder.cli.reporting import FORMATS
from rom_builder.diff.changes import Aspect, Effect, Fate, changed
from rom_builder.diff.compare import fates
from rom_builder.findings import Severity
from rom_builder.reports.diff import DIFFS
from tests.cases import files_of, load_case, policies_of
from tests.reports.samples import full
from tests.reports.test_formats import said_by_text_of
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

POLICY = ["-p", "messaging-opt-in"]


def rom(folder: Path, case: str) -> str:
    return str(
        write_rom(folder / case.replace("/", "-"), files_of(load_case(FOLDER / f"{case}.yaml")))
    )


def difference(
    capsys: pytest.CaptureFixture[str], old: str, new: str, policy: list[str] = POLICY
) -> tuple[int, dict[str, Any]]:
    code = main(["diff", old, new, *policy, "--format", "json"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, result


def test_every_format_of_a_report_is_one_of_a_difference() -> None:
    assert set(DIFFS) == set(FORMATS)


def test_a_default_turned_on_is_worse_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = rom(tmp_path, "reference"), rom(tmp_path, "ROM101/bad")
    code, said = difference(capsys, good, bad)
    assert code == 1
    (worse,) = (c for c in said["changes"] if c["effect"] == "worse")
    assert worse["kind"] == "switch"
    assert (worse["old"]["words"], worse["new"]["words"]) == ("off", "on")
    assert worse["new"]["location"]["line"] == 3
    assert {(f["fate"], f["rule"]) for f in said["failures"]} == {
        ("new", "ROM101"),
        ("new", "ROM103"),
    }
    (row,) = (r for r in said["requirements"] if r["old"] != r["new"])
    assert (row["name"], row["old"], row["new"]) == ("consent.default", "pass", "fail")


def test_the_other_way_it_is_better_and_fixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = difference(capsys, rom(tmp_path, "ROM101/bad"), rom(tmp_path, "reference"))
    assert code == 0
    assert {c["effect"] for c in said["changes"]} == {"better", "unchanged"}
    assert {f["fate"] for f in said["failures"]} == {"fixed"}
    assert (said["old"]["verdict"], said["new"]["verdict"]) == ("non-compliant", "compliant")


def test_a_rom_and_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = rom(tmp_path, "ROM101/bad")
    code, said = difference(capsys, bad, bad)
    assert code == 0, "what was there before fails no run"
    assert {c["effect"] for c in said["changes"]} == {"unchanged"}
    assert {f["fate"] for f in said["failures"]} == {"unchanged"}


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("ROM104/bad-code", "ROM104/good-code", "consent", "the user is asked first"),
        ("ROM208/bad", "ROM208/good", "address", "https in"),
    ],
)
def test_code_that_was_mended_is_better(
    old: str,
    new: str,
    kind: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = load_case(FOLDER / f"{old}.yaml")
    policies_of(case, tmp_path / "policy")
    policy = ["-p", str(tmp_path / "policy" / "case.yaml")]
    _, said = difference(capsys, rom(tmp_path, old), rom(tmp_path, new), policy)
    better = [c for c in said["changes"] if c["effect"] == "better" and c["kind"] == kind]
    assert better
    assert any(words in (c["new"] or {"words": ""})["words"] for c in better)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_what_is_new(form: str, tmp_path: Path) -> None:
    good, bad = rom(tmp_path, "reference"), rom(tmp_path, "ROM101/bad")
    out = tmp_path / "out"
    assert main(["diff", good, bad, *POLICY, "--output", f"{form}={out}"]) == 1
    text = out.read_text()
    assert "ROM101" in text
    assert "on by default" in text
    if form in ("junit", "gitlab", "github"):
        assert said_by_text_of(form, text)["ROM101", "fail"] == 1


def test_programs_are_told_of_new_failures_only(tmp_path: Path) -> None:
    bad, other = rom(tmp_path, "ROM101/bad"), rom(tmp_path, "ROM101/bad")
    outputs = {form: tmp_path / form for form in ("junit", "gitlab", "github", "sarif")}
    words = [f"--output={form}={path}" for form, path in outputs.items()]
    assert main(["diff", bad, other, *POLICY, *words]) == 0
    assert etree.parse(outputs["junit"]).getroot().get("failures") == "0"
    assert json.loads(outputs["gitlab"].read_text()) == []
    assert "::error" not in outputs["github"].read_text()
    (run,) = json.loads(outputs["sarif"].read_text())["runs"]
    assert {result["baselineState"] for result in run["results"]} == {"unchanged"}


def test_sarif_has_the_state_of_every_result(tmp_path: Path) -> None:
    bad, good = rom(tmp_path, "ROM101/bad"), rom(tmp_path, "reference")
    out = tmp_path / "sarif"
    assert main(["diff", bad, good, *POLICY, "--output", f"sarif={out}"]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    states = {(r["ruleId"], r["baselineState"]) for r in run["results"]}
    assert ("ROM101", "absent") in states
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])


def test_the_page_loads_nothing_and_escapes_what_images_say(tmp_path: Path) -> None:
    good, bad = rom(tmp_path, "reference"), rom(tmp_path, "ROM101/bad")
    evil = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(bad, evil)
    out = tmp_path / "out.html"
    main(["diff", good, str(evil), *POLICY, "--output", f"html={out}"])
    page = html.document_fromstring(out.read_text())
    assert page.xpath("//img | //script[@src] | //link[@rel!='icon']") == []
    headings = [" ".join(h.text_content().split()) for h in page.iter("h2")]
    assert headings[0].startswith("Worse for users 1")
    assert "New failures 2" in headings


def test_an_image_that_could_not_be_read_whole_is_no_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rom(tmp_path, "reference")
    files = files_of(load_case(FOLDER / "reference.yaml"))
    broken = write_rom(tmp_path / "broken", {**files, "/system/app/X.apk": "junk"})
    assert main(["diff", good, str(broken), *POLICY]) == 2
    assert "not read in the new image: 1" in capsys.readouterr().out


def test_waivers_count(tmp_path: Path) -> None:
    good, bad = rom(tmp_path, "reference"), rom(tmp_path, "ROM101/bad")
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text(
        "schema: rom-builder/waivers/v1\nwaivers:\n  - {rule: ROM101, reason: 'Borne for a while', "
        "expires: 2999-01-01, approved_by: Jane}\n"
    )
    assert main(["diff", good, bad, *POLICY, "--waivers", str(waivers)]) == 0
    assert main(["diff", good, bad, *POLICY, "--waivers", str(waivers), "--no-waivers"]) == 1


def test_a_failure_that_moved_is_the_same_one() -> None:
    findings = full().findings
    moved = [
        type(f)(**{**{n: getattr(f, n) for n in f.__dataclass_fields__}, "selector": "moved"})
        for f in findings
    ]
    assert {each.fate for each in fates(findings, moved)} == {Fate.UNCHANGED}
    assert {each.fate for each in fates(findings, [])} == {Fate.FIXED}
    found = fates([], findings)
    assert {each.fate for each in found} == {Fate.NEW}
    severities = [each.finding.severity for each in found]
    assert severities == sorted(severities, reverse=True)
    assert Severity.CRITICAL in severities


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        (Aspect("off", 0), Aspect("on", 2), Effect.WORSE),
        (Aspect("on", 2), Aspect("off", 0), Effect.BETTER),
        (Aspect("a", 0), Aspect("b", 0), Effect.CHANGED),
        (Aspect("a", 2), Aspect("a", 2), Effect.SAME),
        (Aspect("a"), Aspect("b"), Effect.CHANGED),
        (Aspect("a"), Aspect("a"), Effect.SAME),
        (None, Aspect("a"), Effect.CHANGED),
        (None, Aspect("a", 0), Effect.CHANGED),
        (None, Aspect("a", 1), Effect.WORSE),
        (Aspect("a", 1), None, Effect.BETTER),
        (Aspect("a", 1), Aspect("b"), Effect.CHANGED),
    ],
)
def test_what_a_change_means(old: Aspect | None, new: Aspect | None, effect: Effect) -> None:
    assert changed(old, new) is effect
