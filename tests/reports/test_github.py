from __future__ import annotations

import re

from rom_builder.findings import Report
from rom_builder.reports import REPORTS
from tests.reports import samples

COMMAND = re.compile(
    r"::(error|warning|notice) (?:file=[^,:]+,line=\d+,col=\d+,)?title=[^,:]+::[^\r\n]+"
)


def test_every_line_is_one_command_or_the_verdict(full: Report, markup: Report) -> None:
    for report in (full, markup):
        *commands, verdict = REPORTS["github"](report).splitlines()
        assert commands
        assert all(COMMAND.fullmatch(line) for line in commands)
        assert verdict.startswith("verdict: non-compliant: ")


def test_text_of_an_image_begins_no_command(markup: Report) -> None:
    text = REPORTS["github"](markup)
    assert "%250A::error::y" in text
    assert not any(line.lstrip().startswith("::error::") for line in text.splitlines())


def test_an_annotation_says_what_where_and_what_to_do(full: Report) -> None:
    first = REPORTS["github"](full).splitlines()[0]
    assert first == (
        f"::error file={samples.POLICY},line=23,col=7,title=ROM401 publicly-known-key::"
        "the package is signed with a publicly known key%0A"
        "ota.zip!/META-INF/com/android/otacert%0AFix: mend rom.public_keys"
    )


def test_a_clean_report_is_the_verdict() -> None:
    assert REPORTS["github"](samples.clean()) == "verdict: compliant: all 2 requirements hold\n"
