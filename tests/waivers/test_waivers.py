"""Waivers and baselines on the command line: what counts, what is said, and what is refused first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rom_builder.cli import main
from rom_builder.reports import REPORTS
from tests.cases import files_of, load_case
from tests.reports.test_formats import said_by_text_of
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

POLICY = ["-p", "messaging-opt-in"]
WAIVER = {
    "rule": "ROM101",
    "path": "system/etc/reference-messaging/*.xml",
    "reason": "Mended with release 4.2",
    "expires": "2026-03-31",
    "approved_by": "privacy@example.com",
    "ticket": "PRIV-112",
}


@pytest.fixture(autouse=True)
def _new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01


@pytest.fixture
def image(tmp_path: Path) -> str:
    return str(write_rom(tmp_path / "rom", files_of(load_case(FOLDER / "ROM101/bad.yaml"))))


def waivers(folder: Path, *entries: dict[str, Any]) -> str:
    path = folder / "waivers.yaml"
    path.write_text(yaml.safe_dump({"schema": "rom-builder/waivers/v1", "waivers": list(entries)}))
    return str(path)


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def finding(said: dict[str, Any], rule: str) -> dict[str, Any]:
    (found,) = (each for each in said["findings"] if each["rule"] == rule)
    result: dict[str, Any] = found
    return result


def test_a_waived_failure_does_not_count(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--waivers", waivers(tmp_path, WAIVER), "--format", "json"]
    assert main(["check", image, *POLICY, *options]) == 0
    said = report(capsys)
    assert said["verdict"] == "compliant"
    assert finding(said, "ROM101")["status"] == "fail"
    assert finding(said, "ROM101")["suppression"] == {
        "kind": "waiver",
        "reason": "Mended with release 4.2",
        "approved_by": "privacy@example.com",
        "ticket": "PRIV-112",
        "expires": "2026-03-31",
        "where": f"{tmp_path}/waivers.yaml:3:3",
    }
    (row,) = (each for each in said["requirements"] if each["name"] == "consent.default")
    assert (row["status"], row["waived"]) == ("fail", True)


def test_an_audit_counts_everything(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--waivers", waivers(tmp_path, WAIVER), "--no-waivers", "--format", "json"]
    assert main(["check", image, *POLICY, *options]) == 1
    assert finding(report(capsys), "ROM101")["suppression"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "2025-12-31"},
        {"path": "vendor/**"},
        {"service": "other"},
        {"image": "other.zip"},
        {"rule": "ROM102"},
    ],
)
def test_a_waiver_that_does_not_fit_changes_nothing_but_is_said(
    change: dict[str, str], image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = waivers(tmp_path, WAIVER | change)
    assert main(["check", image, *POLICY, "--waivers", path, "--format", "json"]) == 1
    said = report(capsys)
    assert said["verdict"] == "non-compliant"
    rule = "ROM903" if "expires" in change else "ROM904"
    assert finding(said, rule)["severity"] == "warning"
    assert main(
        ["check", image, *POLICY, "--waivers", path, "--format", "json", "--strict-waivers"]
    )
    assert finding(report(capsys), rule)["severity"] == "error"


def test_strict_waivers_fail_a_rom_that_is_compliant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(write_rom(tmp_path / "rom", files_of(load_case(FOLDER / "reference.yaml"))))
    options = ["--waivers", waivers(tmp_path, WAIVER)]
    assert main(["check", good, *POLICY, *options]) == 0
    assert main(["check", good, *POLICY, *options, "--strict-waivers"]) == 1
    assert "fail ROM904 unused-waiver [error]" in capsys.readouterr().out


def test_a_path_must_cover_every_observation(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {**WAIVER, "rule": "ROM103", "path": "system/etc/reference-messaging/service.xml"}
    options = ["--format", "json", "--waivers"]
    main(["check", image, *POLICY, *options, waivers(tmp_path, first)])
    assert finding(report(capsys), "ROM103")["suppression"] is None
    main(["check", image, *POLICY, *options, waivers(tmp_path, {**first, "path": "**"})])
    assert finding(report(capsys), "ROM103")["suppression"] is not None


@pytest.mark.parametrize("form", REPORTS)
def test_every_format_says_what_became_of_waivers(
    form: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = {**WAIVER, "rule": "ROM103", "path": "**", "expires": "2025-12-31"}
    unused = {**WAIVER, "rule": "ROM205"}
    path = waivers(tmp_path, WAIVER, ended, unused)
    out = tmp_path / "report"
    arguments = ["check", image, *POLICY, "--waivers", path, "--output", f"{form}={out}"]
    assert main(arguments) == 0
    said = said_by_text_of(form, out.read_text())
    assert said == {
        ("ROM103", "fail"): 1,  # counts again
        ("ROM903", "fail"): 1,  # because its waiver ended
        ("ROM904", "fail"): 1,  # and one is of no use
    }
    assert main([*arguments, "--no-waivers"]) == 1
    assert said_by_text_of(form, out.read_text()) == {("ROM101", "fail"): 1, ("ROM103", "fail"): 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "ROM401"}, "waivers.yaml:7:9: "),
        ({"rule": "ROM401"}, "ROM401 (publicly-known-key) cannot be waived"),
        ({"rule": "messaging-default-optin"}, "did you mean 'messaging-default-opt-in'?"),
        ({"reason": "later"}, "at least 10 characters"),
        ({"expires": "soon"}, "must be a date such as 2027-12-31"),
        ({"expire": "2026-01-01"}, "unknown key 'expire'; did you mean 'expires'?"),
        ({"approved_by": None}, "'approved_by' has no value"),
    ],
)
def test_a_malformed_file_stops_before_the_image_is_opened(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = waivers(tmp_path, WAIVER | change)
    assert main(["check", "no-such-image", *POLICY, "--waivers", path]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "no-such-image" not in error
    assert main(["waivers", "lint", path]) == 2


def test_what_was_not_read_cannot_be_waived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(load_case(FOLDER / "reference.yaml"))
    image = str(write_rom(tmp_path / "rom", {**files, "/system/app/X.apk": "junk"}))
    path = waivers(tmp_path, {**WAIVER, "rule": "ROM902"})
    assert main(["check", image, *POLICY, "--waivers", path]) == 2
    assert "cannot be waived" in capsys.readouterr().err


def test_lint_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = waivers(tmp_path, WAIVER)
    assert main(["waivers", "lint", path]) == 0
    assert capsys.readouterr().out == f"{path}: ok\n"
    path = waivers(tmp_path, WAIVER, {**WAIVER, "expires": "2025-06-30"})
    assert main(["waivers", "lint", path]) == 1
    assert "ended on 2025-06-30" in capsys.readouterr().out
    assert main(["waivers", "list", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2025-06-30  ended           ROM101 system/etc/reference-messaging/*.xml"
    assert lines[3] == "            Mended with release 4.2 - privacy@example.com (PRIV-112)"


def test_a_baseline_lets_old_failures_through_but_is_no_verdict(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    assert main(["check", image, *POLICY, "--write-baseline", str(known)]) == 1
    first = known.read_bytes()
    capsys.readouterr()
    options = ["--baseline", str(known), "--format", "json"]
    assert main(["check", image, *POLICY, *options]) == 0
    said = report(capsys)
    assert said["verdict"] == "non-compliant"
    assert finding(said, "ROM101")["suppression"]["kind"] == "baseline"
    assert main(["check", image, *POLICY, "--write-baseline", str(known)]) == 1
    assert known.read_bytes() == first


def test_a_failure_that_grew_is_new(image: str, tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    main(["check", image, *POLICY, "--write-baseline", str(known)])
    entries = json.loads(known.read_text())
    (entry,) = (e for e in entries["findings"].values() if e["rule"] == "ROM101")
    assert entry["observations"] == 1
    more = files_of(load_case(FOLDER / "ROM101/bad.yaml"))
    prop = str(more["/system/build.prop"]).replace("default=off", "default=on")
    write_rom(Path(image), {"/system/build.prop": prop})
    assert main(["check", image, *POLICY, "--baseline", str(known)]) == 1


def test_stale_entries_are_said_and_pruned_on_request(
    tmp_path: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    main(["check", image, *POLICY, "--write-baseline", str(known)])
    good = str(write_rom(tmp_path / "good", files_of(load_case(FOLDER / "reference.yaml"))))
    assert main(["check", good, *POLICY, "--baseline", str(known)]) == 0
    assert "ROM906 stale-baseline-entry" in capsys.readouterr().out
    assert main(["check", good, *POLICY, "--baseline", str(known), "--prune-baseline"]) == 0
    assert json.loads(known.read_text())["findings"] == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no baseline"),
        ("[]", "is no baseline"),
        ('{"schema": "rom-builder/baseline/v2", "findings": {}}', "is no baseline: schema"),
        ('{"schema": "rom-builder/baseline/v1", "findings": {"x": {}}}', "is no baseline"),
    ],
)
def test_a_broken_baseline_is_refused(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    known.write_text(content)
    assert main(["check", "no-such-image", *POLICY, "--baseline", str(known)]) == 2
    assert message in capsys.readouterr().err
