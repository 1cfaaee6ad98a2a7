"""The reports of ``samples.full()`` as files: ``python -m tests.reports.snapshots`` writes them anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rom_builder import __version__
from rom_builder.reports import REPORTS
from tests.reports.samples import full

FOLDER = Path(__file__).parent / "snapshots"
OWN = re.compile(
    r"(?s)<(style|script)>.*?</\1>|sha256-[A-Za-z0-9+/=]{44}"
    r"|<details class=\"about\">.*?</details>|<section id=\"references\".*?</section>"
)
"""Styles and script of a page and their digests, which have tests of their own; texts of rules."""


def snapshot(name: str) -> str:
    """One format's text without what changes for reasons of its own."""
    text = OWN.sub("", REPORTS[name](full())).replace(__version__, "VERSION")
    if name != "sarif":
        return text
    document = json.loads(text)
    (run,) = document["runs"]
    run["tool"]["driver"]["rules"] = []
    for result in run["results"]:
        result["ruleIndex"] = 0
    return json.dumps(document, indent=1) + "\n"


def path(name: str) -> Path:
    return FOLDER / f"full.{name}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in REPORTS:
        path(each).write_text(snapshot(each))
