"""What differs as JSON, for programs; docs/diff.md describes it."""

from __future__ import annotations

import json
from typing import Any

from rom_builder import __version__
from rom_builder.diff.changes import Aspect, Change, Difference, Fated, RequirementChange
from rom_builder.findings import Report, Requirement
from rom_builder.reports import PLAIN, Options
from rom_builder.reports.diff import DIFFS
from rom_builder.reports.json import finding_of, location_of

SCHEMA = "rom-builder/diff/v1"


@DIFFS.register("json")
def diff_as_json(difference: Difference, options: Options = PLAIN) -> str:
    """Return what differs as indented JSON in ASCII; the same difference gives the same bytes."""
    del options
    document = {
        "schema": SCHEMA,
        "tool": {"name": "rom-builder", "version": __version__},
        "policy": [{"id": name, "title": title} for name, title in difference.new.policies],
        "old": side(difference.old),
        "new": side(difference.new),
        "changes": [change_of(each) for each in difference.changes],
        "requirements": [row_of(each) for each in difference.requirements],
        "failures": [fated(each) for each in difference.failures],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def side(report: Report) -> dict[str, Any]:
    """Return one of the two images."""
    image = report.image
    return {
        "path": image.path,
        "kind": image.kind,
        "sha256": image.sha256,
        "description": image.description,
        "verdict": str(report.verdict),
        "unread": [{"path": part.path, "reason": part.reason} for part in report.unread],
    }


def change_of(change: Change) -> dict[str, Any]:
    """Return one thing in both images."""
    return {
        "service": change.service,
        "kind": change.kind,
        "subject": change.subject,
        "effect": str(change.effect),
        "old": aspect_of(change.old),
        "new": aspect_of(change.new),
    }


def aspect_of(aspect: Aspect | None) -> dict[str, Any] | None:
    """Return what is the case in one image."""
    if aspect is None:
        return None
    place = None if aspect.location is None else location_of(aspect.location)
    return {"words": aspect.words, "harm": aspect.harm, "location": place}


def row_of(row: RequirementChange) -> dict[str, Any]:
    """Return one requirement with both answers."""
    return {
        "service": row.service,
        "name": row.name,
        "old": answer_of(row.old),
        "new": answer_of(row.new),
    }


def answer_of(row: Requirement | None) -> str | None:
    """Return the answer of one image."""
    return None if row is None else row.word


def fated(each: Fated) -> dict[str, Any]:
    """Return one failure and what became of it."""
    return {"fate": str(each.fate), **finding_of(each.finding)}
