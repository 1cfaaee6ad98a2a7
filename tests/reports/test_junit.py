from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from rom_builder.findings import Report
from rom_builder.reports import REPORTS
from tests.reports import samples

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).with_name("junit.xsd")))


def junit(report: Report) -> etree._Element:
    return etree.fromstring(REPORTS["junit"](report).encode())


@pytest.mark.parametrize("which", ["full", "real", "evil", "markup"])
def test_it_follows_the_schema(which: str, request: pytest.FixtureRequest) -> None:
    SCHEMA.assertValid(junit(request.getfixturevalue(which)))
    SCHEMA.assertValid(junit(samples.clean()))
    SCHEMA.assertValid(junit(samples.many(300)))


def test_the_schema_refuses_two_outcomes(full: Report) -> None:
    root = junit(full)
    case = next(case for case in root.iter("testcase") if case.find("failure") is not None)
    etree.SubElement(case, "skipped")
    assert not SCHEMA.validate(root)


def outcomes(report: Report) -> dict[str, str]:
    """Tag of the outcome of each test case by the first word of its name; ``passed`` if none."""
    return {
        case.get("name", "").split()[0]: next(
            (child.tag for child in case if child.tag != "system-out"), "passed"
        )
        for case in junit(report).iter("testcase")
    }


def test_what_fails_the_run_fails_the_test_and_nothing_else(full: Report) -> None:
    assert outcomes(full) == {
        "ROM101": "failure", "ROM208": "failure", "ROM401": "failure",
        "ROM302": "error", "ROM902": "error", "consent.on_upgrade": "error",
        "ROM203": "skipped", "ROM204": "skipped", "ROM201": "skipped",
        "ROM202": "passed", "ROM207": "passed", "ROM105": "passed", "ROM901": "passed",
    }  # fmt: skip


def test_suites_are_services_and_their_numbers_add_up(full: Report) -> None:
    root = junit(full)
    assert [suite.get("name") for suite in root] == ["reference-messaging", "rom"]
    for element in (root, *root):
        assert element.get("tests") == str(len(element.findall(".//testcase")))
        assert element.get("failures") == str(len(element.findall(".//failure")))
        assert element.get("errors") == str(len(element.findall(".//error")))
        assert element.get("skipped") == str(len(element.findall(".//skipped")))


def test_a_failure_says_where_why_and_what_to_do(full: Report) -> None:
    (case,) = [c for c in junit(full).iter("testcase") if c.get("name", "").startswith("ROM401")]
    assert case.get("classname") == "rom.rom.public_keys"
    assert (case.get("file"), case.get("line")) == (samples.POLICY, "23")
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "critical"
    assert failure.text == (
        "ota.zip!/META-INF/com/android/otacert: AOSP testkey\nfix: mend rom.public_keys"
    )


def test_names_survive_a_rebuild(full: Report) -> None:
    """CI systems compare tests by class and name: no digest, offset or line is in them."""
    for case in junit(full).iter("testcase"):
        assert "@" not in case.get("name", "")
        assert full.image.sha256[:8] not in case.get("name", "")
