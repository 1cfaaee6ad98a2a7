from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rom_builder.findings import Report, Status
from rom_builder.reports import REPORTS, Options
from rom_builder.reports.sarif import category
from rom_builder.rules import RULES
from tests.judges import judge
from tests.reports import samples


def run_of(report: Report, **options: Any) -> dict[str, Any]:
    document = json.loads(REPORTS["sarif"](report, Options(**options)))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    return dict(run)


def validated(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """Rule and level of every remark of SARIF's and GitHub's rules on each file of a folder.

    Its own connections, which try whether addresses exist, end at a closed port.
    """
    tool = judge("sarif-multitool")
    assert tool is not None
    files = sorted(folder.glob("*.sarif"))
    remarks = folder / "remarks.json"
    subprocess.run(
        [tool, "validate", *map(str, files), "--rule-kind", "Sarif;Ghas", "--level",
         "Error;Warning;Note", "--output", str(remarks), "--log", "ForceOverwrite", "--quiet",
         "true"],
        check=True, capture_output=True,
        env={**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
             "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    found: dict[str, set[tuple[str, str]]] = {file.stem: set() for file in files}
    (run,) = json.loads(remarks.read_text())["runs"]
    for result in run["results"]:
        name = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        found[Path(name).stem].add((result["ruleId"], result.get("level", "warning")))
    return found


@pytest.mark.judge("sarif-multitool")
def test_github_and_microsoft_find_no_fault(
    tmp_path: Path, full: Report, real: Report, markup: Report
) -> None:
    reports = {"full": full, "real": real, "clean": samples.clean(), "markup": markup}
    for name, report in reports.items():
        text = REPORTS["sarif"](report, Options(suppressed=True))
        (tmp_path / f"{name}.sarif").write_text(text)
    document = json.loads(REPORTS["sarif"](full))
    document["runs"][0]["results"][0]["locations"] = []
    document["runs"][0]["results"][1]["message"]["text"] = ""
    (tmp_path / "broken.sarif").write_text(json.dumps(document))
    found = validated(tmp_path)
    broken = {rule for rule, level in found.pop("broken") if level == "error"}
    assert broken >= {"GH1015", "GH1017"}  # the judge is awake
    assert set(found) == set(reports)
    for name, remarks in found.items():
        assert remarks, f"{name} was not looked at"
        assert {(r, level) for r, level in remarks if level != "note"} == set(), name


def test_every_rule_is_named_even_without_a_result() -> None:
    rules = run_of(samples.clean())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    for rule in rules:
        assert rule["help"]["text"]
        assert float(rule["properties"]["security-severity"]) > 0
        assert len(rule["properties"]["tags"]) <= 10


def test_a_clean_run_is_a_run_without_results() -> None:
    run = run_of(samples.clean())
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_the_image_is_in_the_message_and_the_logical_location(full: Report) -> None:
    run = run_of(full)
    (result,) = [r for r in run["results"] if r["ruleId"] == "ROM101"]
    where = "ota.zip!/product/overlay/Messaging.apk!/resources.arsc @ 0x60"
    assert where in result["message"]["text"]
    (location,) = result["locations"]
    assert location["logicalLocations"] == [{"fullyQualifiedName": where, "kind": "resource"}]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == samples.POLICY
    image, *inner = run["artifacts"]
    assert image["hashes"] == {"sha-256": full.image.sha256}
    assert {each["parentIndex"] for each in inner} == {0}


def test_a_policy_outside_the_repository_gives_way_to_the_file_in_the_image(full: Report) -> None:
    rows = tuple(replace(r, where=f"/elsewhere/{r.where}") for r in full.requirements)
    run = run_of(replace(full, requirements=rows), root=Path("/repo"))
    uris = {
        r["ruleId"]: r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for r in run["results"]
    }
    assert uris["ROM401"] == "ota.zip/META-INF/com/android/otacert"
    assert uris["ROM302"] == "ota.zip"
    assert not any(uri.startswith("/") for uri in uris.values())


def test_unknown_is_open_and_neither_fails_nor_passes(full: Report) -> None:
    kinds = {r["ruleId"]: (r["kind"], r["level"]) for r in run_of(full)["results"]}
    assert kinds["ROM302"] == ("open", "none")
    assert kinds["ROM401"] == ("fail", "error")
    assert kinds["ROM202"] == ("fail", "warning")
    assert kinds["ROM207"] == ("fail", "note")


def test_suppressions_are_left_out_unless_asked_for(full: Report) -> None:
    assert not any("suppressions" in r for r in run_of(full)["results"])
    found = {
        r["ruleId"]: r["suppressions"]
        for r in run_of(full, suppressed=True)["results"]
        if "suppressions" in r
    }
    assert set(found) == {"ROM204", "ROM203"}
    (waiver,) = found["ROM204"]
    assert (waiver["kind"], waiver["status"]) == ("external", "accepted")
    assert waiver["justification"].endswith("approved by Jane Doe, PRIV-7, until 2026-06-30")


def test_the_gravest_five_thousand_are_kept_and_the_rest_is_counted(full: Report) -> None:
    graver = full.findings[0]
    unknown = next(f for f in full.findings if f.status is Status.UNKNOWN)
    findings = (*(replace(graver, selector=str(n)) for n in range(4999)), *[unknown] * 3)
    run = run_of(replace(full, findings=findings))
    assert len(run["results"]) == 5000
    assert [r["ruleId"] for r in run["results"][-2:]] == [graver.rule, unknown.rule]
    first, *_ = run["invocations"][0]["toolExecutionNotifications"]
    assert first["message"]["text"].startswith("2 findings ")


def test_what_was_not_read_is_a_notification(full: Report) -> None:
    (invocation,) = run_of(full)["invocations"]
    texts = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
    assert texts == [
        "not read: vendor.img: is encrypted",
        "reference-messaging: no rule answered consent.on_upgrade",
    ]


def test_alerts_of_devices_and_policies_do_not_close_each_other(full: Report) -> None:
    assert category(full) == "rom-builder/phone/messaging/"
    other = replace(full, policies=(*full.policies, ("baseline", "t")))
    assert category(other) == "rom-builder/phone/messaging+baseline/"
    unnamed = replace(full.image, description="", path="/a/my rom.zip")
    assert category(replace(full, image=unnamed)) == "rom-builder/my-rom.zip/messaging/"


def test_text_of_an_image_is_neither_link_nor_placeholder(markup: Report) -> None:
    for result in run_of(markup)["results"]:
        text = result["message"]["text"]
        assert "{{0}} {{{{1}}}}" in text
        assert "\\[x\\](http" in text
