"""The report as GitLab Code Quality, for the widget of a merge request.

An array of objects with ``description``, ``check_name``, ``fingerprint``, ``severity`` and
``location`` (docs.gitlab.com, Code Quality, "Code Quality report format"); GitLab drops a report
silently if one lacks ``check_name`` or two share a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rom_builder.findings import Finding, Report, Requirement, Severity, Status
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import (
    Place,
    demanded_at,
    image_name,
    inside,
    is_open,
    numbered,
    places,
    printable,
    sentence,
    unspoken,
)

SEVERITIES = {
    Severity.CRITICAL: "blocker",
    Severity.ERROR: "critical",
    Severity.WARNING: "minor",
    Severity.NOTE: "info",
}
UNKNOWN = "major"


@REPORTS.register("gitlab")
def as_gitlab(report: Report, options: Options = PLAIN) -> str:
    """Return the findings to act on, each at the line of the policy that demands it."""
    found = places(report, options)
    issues = [
        issue(report, finding, number, demanded_at(finding, found))
        for finding, number in numbered(report.findings)
        if is_open(finding)
    ]
    for requirement in unspoken(report):
        place = found.get((requirement.service, requirement.name))
        issues.append(unanswered(report, requirement, place))
    return json.dumps(issues, indent=2, ensure_ascii=True) + "\n"


def issue(report: Report, finding: Finding, number: int, place: Place | None) -> dict[str, Any]:
    """Return one finding, the ``number``-th of its fingerprint."""
    unknown = finding.status is Status.UNKNOWN
    path = printable(f"{image_name(report)}/{finding.location.path}").rstrip("/")
    line = finding.location.line or 1
    where = inside(report, finding.location)
    return {
        "type": "issue",
        "check_name": finding.rule,
        "description": f"{'Unknown: ' if unknown else ''}{sentence(finding)} ({where})",
        "content": {"body": printable(f"Fix: {finding.fix}.")},
        "categories": ["Security"],
        "severity": UNKNOWN if unknown else SEVERITIES[finding.severity],
        "fingerprint": finding.fingerprint + (f"-{number}" if number > 1 else ""),
        "location": {
            "path": place.path if place else path,
            "lines": {"begin": place.line if place else line},
        },
    }


def unanswered(report: Report, requirement: Requirement, place: Place | None) -> dict[str, Any]:
    """Return a demand that no rule answered."""
    name = f"{requirement.service or 'the ROM'}: {requirement.name}"
    return {
        "type": "issue",
        "check_name": "unanswered",
        "description": printable(f"Unknown: no rule answered {name}"),
        "categories": ["Security"],
        "severity": UNKNOWN,
        "fingerprint": hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16],
        "location": {
            "path": place.path if place else image_name(report),
            "lines": {"begin": place.line if place else 1},
        },
    }
