from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from rom_builder.findings import Report
from rom_builder.reports import REPORTS, Options

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("which", ["real", "evil"])
def test_every_report_follows_the_schema(which: str, request: pytest.FixtureRequest) -> None:
    document = json.loads(REPORTS["json"](request.getfixturevalue(which)))
    if which == "evil":
        document["findings"][0]["rule"] = "ROM000"
    VALIDATOR.validate(document)


def test_what_it_says(real: Report) -> None:
    document = json.loads(REPORTS["json"](real))
    assert document["schema"] == "rom-builder/report/v1"
    assert document["verdict"] == "non-compliant"
    assert document["notes"] == ["a remark"]
    assert [each["id"] for each in document["policy"]] == [
        "messaging-opt-in", "miui-cloud-messaging", "rom-baseline",
    ]  # fmt: skip
    assert [each["path"] for each in document["unread"]] == ["system/app/Broken.apk"]
    rows = {(row["service"], row["name"]): row for row in document["requirements"]}
    assert rows["reference-messaging", "transport.user_ca"]["status"] == "fail"
    assert rows["miui-cloud-messaging", "presence"]["status"] == "unknown"
    assert rows[None, "rom.debuggable"]["layers"] == {"configured": "pass"}
    first = document["findings"][0]
    assert (first["rule"], first["status"], first["severity"]) == ("ROM204", "fail", "error")
    assert first["location"]["path"].endswith("Messaging.apk!/res/xml/nsc.xml")
    assert len(first["fingerprint"]) == 16


def test_the_schema_refuses_a_finding_without_a_remedy(real: Report) -> None:
    document = json.loads(REPORTS["json"](real))
    document["findings"][0]["fix"] = ""
    with pytest.raises(jsonschema.ValidationError, match="fix|short|non-empty"):
        VALIDATOR.validate(document)


def test_no_byte_steers_a_terminal(evil: Report) -> None:
    text = REPORTS["json"](evil)
    assert text.isascii()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert json.loads(text)["image"]["path"] == evil.image.path


def test_the_same_report_gives_the_same_bytes(real: Report) -> None:
    assert REPORTS["json"](real) == REPORTS["json"](real, Options(color=True, width=30))
