"""The reports of ``samples.full()`` as files: ``python -m tests.reports.snapshots`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from rom_builder import __version__
from rom_builder.reports import REPORTS
from tests.reports.samples import full

FOLDER = Path(__file__).parent / "snapshots"
OWN = re.compile(r"(?s)<(style|script)>.*?</\1>|sha256-[A-Za-z0-9+/=]{44}")
"""Styles and script of a page and their digests, which have tests of their own."""


def snapshot(name: str) -> str:
    """One format's text without what changes for reasons of its own."""
    return OWN.sub("", REPORTS[name](full())).replace(__version__, "VERSION")


def path(name: str) -> Path:
    return FOLDER / f"full.{name}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in REPORTS:
        path(each).write_text(snapshot(each))
