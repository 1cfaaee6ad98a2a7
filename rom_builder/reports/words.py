"""Words and places that several formats share."""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from rom_builder.findings import (
    Finding,
    Location,
    Report,
    Requirement,
    Severity,
    Status,
    Suppression,
    Verdict,
)
from rom_builder.reports import Options

SUPPRESSED = {"waiver": "waived", "baseline": "known"}
POSITION = re.compile(r"(?P<file>.+):(?P<line>[0-9]+):(?P<column>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file that the user can edit.

    Attributes:
        path: Relative to the folder from which programs name the user's files, with ``/``.
        line: From 1.
        column: From 1.
    """

    path: str
    line: int
    column: int


def place_of(where: str, options: Options) -> Place | None:
    """Return ``file:line:column`` as a relative place, None for a file outside ``options.root``."""
    match = POSITION.fullmatch(where)
    if match is None:
        return None
    name = os.path.normpath(PurePath(options.folder or "") / match["file"])
    path = PurePath(name)
    if path.is_absolute():
        if options.root is None or not path.is_relative_to(options.root):
            return None
        path = path.relative_to(options.root)
    if ".." in path.parts:
        return None
    return Place(path.as_posix(), int(match["line"]), int(match["column"]))


def places(report: Report, options: Options) -> dict[tuple[str | None, str], Place]:
    """Return where each requirement is demanded, by service and name."""
    found: dict[tuple[str | None, str], Place] = {}
    for requirement in report.requirements:
        place = place_of(requirement.where, options)
        if place is not None:
            name = requirement.name.partition("/")[0]
            found.setdefault((requirement.service, name), place)
            found[requirement.service, requirement.name] = place
    return found


def demanded_at(finding: Finding, found: dict[tuple[str | None, str], Place]) -> Place | None:
    """Return where the requirement that a finding answers is demanded."""
    exact = found.get((finding.service, f"{finding.requirement}/{finding.selector}"))
    return exact or found.get((finding.service, finding.requirement))


def image_name(report: Report) -> str:
    """Return the last part of the image's name."""
    return printable(PurePath(report.image.path).name or report.image.path or "image")


def inside(report: Report, location: Location) -> str:
    """Name a place from outside the image: ``ota.zip!/system/build.prop:10``."""
    if not location.path:
        return image_name(report)
    return f"{image_name(report)}!/{printable(str(location))}"


def word(finding: Finding) -> str:
    """Return what became of a finding in one word: its status, ``waived`` or ``known``."""
    return SUPPRESSED[finding.suppression.kind] if finding.suppression else str(finding.status)


def is_open(finding: Finding) -> bool:
    """Say whether a finding is one to act on: it failed and counts, or nobody knows."""
    return finding.failed or finding.status is Status.UNKNOWN


def sentence(finding: Finding) -> str:
    """Return the message with the service it speaks of."""
    service = f"{finding.service}: " if finding.service else ""
    return printable(f"{service}{finding.message}")


def excuse(suppression: Suppression) -> str:
    """Say why a failed finding does not count.

    >>> excuse(Suppression("baseline", "in the release of May"))
    'in the release of May'
    """
    parts = [suppression.reason]
    if suppression.approved_by:
        parts.append(f"approved by {suppression.approved_by}")
    if suppression.ticket:
        parts.append(suppression.ticket)
    if suppression.expires is not None:
        parts.append(f"until {suppression.expires.isoformat()}")
    return printable(", ".join(parts))


def numbered(findings: Iterable[Finding]) -> Iterator[tuple[Finding, int]]:
    """Yield each finding and which of its fingerprint it is, from 1: two may share one."""
    seen: Counter[str] = Counter()
    for finding in findings:
        seen[finding.fingerprint] += 1
        yield finding, seen[finding.fingerprint]


def unspoken(report: Report) -> tuple[Requirement, ...]:
    """Return the unknown requirements of which no finding speaks."""
    spoken = {(f.service, f.requirement) for f in report.findings}
    return tuple(
        r
        for r in report.requirements
        if r.status is Status.UNKNOWN and (r.service, r.name.partition("/")[0]) not in spoken
    )


def why(report: Report) -> str:
    """Say in a few words what the verdict rests on; empty if there is nothing to say."""
    failed = [f for f in report.findings if f.failed]
    grave = sum(f.severity >= Severity.ERROR for f in failed)
    unknown = sum(r.status is Status.UNKNOWN for r in report.requirements)
    parts = []
    if grave:
        parts.append(f"{counted(grave, 'finding')} failed")
    if unknown:
        parts.append(f"{counted(unknown, 'requirement')} unknown")
    if report.unread:
        parts.append(f"{counted(len(report.unread), 'part')} not read")
    if report.verdict is Verdict.COMPLIANT:
        asked = counted(len(report.requirements), "requirement")
        held = all(r.status is Status.PASS for r in report.requirements)
        waived = any(r.waived for r in report.requirements)
        rest = "none open" if waived else "none failed or unknown"
        parts.append(f"all {asked} hold" if held else f"{asked}, {rest}")
    parts += [
        counted(number, str(severity))
        for severity in (Severity.WARNING, Severity.NOTE)
        if (number := sum(f.severity is severity for f in failed))
    ]
    for kind, name in SUPPRESSED.items():
        number = sum(
            f.suppression is not None and f.suppression.kind == kind for f in report.findings
        )
        if number:
            parts.append(f"{number} {name}" if kind == "waiver" else f"{number} in the baseline")
    return ", ".join(parts)


def counted(number: int, thing: str) -> str:
    """Write a number of things.

    >>> counted(1, "note"), counted(2, "note")
    ('1 note', '2 notes')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    r"""Replace control characters, so that a name in an image cannot steer the terminal.

    >>> printable("a\x1b[2Jb")
    'a?[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)
