from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from rom_builder.findings import Report
from rom_builder.reports import REPORTS
from tests.reports import samples

SCHEMA = json.loads(Path(__file__).with_name("gitlab.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("which", ["full", "real", "evil", "markup"])
def test_it_follows_the_schema(which: str, request: pytest.FixtureRequest) -> None:
    issues = json.loads(REPORTS["gitlab"](request.getfixturevalue(which)))
    VALIDATOR.validate(issues)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)


def test_the_schema_refuses_an_issue_without_a_check(full: Report) -> None:
    issues = json.loads(REPORTS["gitlab"](full))
    del issues[0]["check_name"]
    with pytest.raises(jsonschema.ValidationError, match="check_name"):
        VALIDATOR.validate(issues)


def test_a_clean_report_is_an_empty_list() -> None:
    assert json.loads(REPORTS["gitlab"](samples.clean())) == []


def test_severities_and_places(full: Report) -> None:
    found = {
        issue["check_name"]: (issue["severity"], issue["location"])
        for issue in json.loads(REPORTS["gitlab"](full))
    }
    assert found["ROM401"] == ("blocker", {"path": samples.POLICY, "lines": {"begin": 23}})
    assert found["ROM101"][0] == "critical"
    assert found["ROM202"][0] == "minor"
    assert found["ROM207"][0] == "info"
    assert found["ROM302"][0] == "major"
    assert found["ROM902"] == ("major", {"path": "ota.zip/vendor.img", "lines": {"begin": 1}})
    assert found["unanswered"] == ("major", {"path": samples.POLICY, "lines": {"begin": 10}})
