"""The report for people: verdict, one matrix a service, findings with evidence and remedy."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

from rom_builder.findings import (
    Finding,
    Layer,
    Report,
    Requirement,
    Severity,
    Status,
    Strength,
    Verdict,
)
from rom_builder.reports import REPORTS

STYLES = {
    "fail": "31;1",
    "non-compliant": "31;1",
    "unknown": "33",
    "incomplete": "33;1",
    "pass": "32",
    "compliant": "32;1",
    "attested": "36",
    "bold": "1",
    "dim": "2",
}
SHOWN_LAYERS = (Layer.CONFIGURED, Layer.CODED, Layer.OBSERVED, Layer.DECLARED)
SHOWN_EVIDENCE = 6
"""Observations shown of one finding; the JSON report has more."""


@REPORTS.register("text")
def as_text(report: Report, *, color: bool = False, width: int = 100) -> str:
    """Return the report as text; nothing in it depends on the terminal but colour and width."""
    return "\n".join(Text(color, width).lines(report)) + "\n"


class Text:
    """Lines of a report for one terminal."""

    def __init__(self, color: bool, width: int) -> None:
        self.color = color
        self.width = max(60, width)

    def paint(self, text: str, style: str) -> str:
        """Colour a text if the terminal shows colours."""
        code = STYLES.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code else text

    def lines(self, report: Report) -> Iterator[str]:
        """Yield the whole report."""
        image = report.image
        name = self.paint(printable(image.path), "bold")
        yield f"{name}  ({image.kind}, sha256 {image.sha256[:16]})"
        if image.description:
            yield f"  {printable(image.description)}"
        for identifier, title in report.policies:
            yield self.wrapped(f"policy {printable(identifier)}: {printable(title)}", "  ")
        for note in report.notes:
            yield self.paint(self.wrapped(f"note: {printable(note)}", "  "), "unknown")
        for service, group in groupby(report.requirements, key=lambda r: r.service):
            yield ""
            yield from self.matrix(service or "the whole ROM", list(group))
        yield from self.findings(report.findings)
        if report.unread:
            yield ""
            yield self.paint(f"not read: {len(report.unread)}", "unknown")
            for part in report.unread[:SHOWN_EVIDENCE]:
                yield f"  {printable(part.path)}: {printable(part.reason)}"
            if len(report.unread) > SHOWN_EVIDENCE:
                yield f"  and {len(report.unread) - SHOWN_EVIDENCE} more (see the JSON report)"
        yield ""
        yield f"verdict: {self.paint(str(report.verdict), str(report.verdict))}{why(report)}"

    def matrix(self, title: str, requirements: list[Requirement]) -> Iterator[str]:
        """Yield the table requirement x layer of one service."""
        layers = [layer for layer in SHOWN_LAYERS if any(layer in r.layers for r in requirements)]
        names = max(len(r.name) for r in requirements)
        yield self.paint(title, "bold")
        head = "".join(f"{layer.value:<16}" for layer in layers)
        yield self.paint(f"  {'requirement':<{names}}  {head}result", "dim")
        for requirement in requirements:
            cells = "".join(
                self.paint(f"{text:<16}", text)
                for text in (str(requirement.layers.get(layer, "-")) for layer in layers)
            )
            result = self.paint(str(requirement.status), str(requirement.status))
            yield f"  {requirement.name:<{names}}  {cells}{result}"

    def findings(self, findings: Iterable[Finding]) -> Iterator[str]:
        """Yield what failed and what is unknown in full, and what passed in one line each."""
        for finding in findings:
            if finding.status in (Status.FAIL, Status.UNKNOWN):
                yield ""
                yield from self.open_finding(finding)
        settled = [f for f in findings if f.status not in (Status.FAIL, Status.UNKNOWN)]
        if settled:
            yield ""
        for finding in settled:
            status = str(finding.status)
            line = self.wrapped(f"{status} {finding.rule} {printable(finding.message)}", "  ")
            yield line.replace(status, self.paint(status, status), 1)

    def open_finding(self, finding: Finding) -> Iterator[str]:
        """Yield one finding to act on; one below an error is headed by its severity."""
        status, head = str(finding.status), f"{finding.rule} {finding.alias}"
        if finding.status is not Status.FAIL:
            yield self.paint(f"{status} {head}", status)
        elif finding.severity < Severity.ERROR:
            yield self.paint(f"{finding.severity} {head}", "unknown")
        else:
            yield self.paint(f"{status} {head} [{finding.severity}]", status)
        service = f"{finding.service}: " if finding.service else ""
        yield self.wrapped(f"{service}{printable(finding.message)}", "  ")
        for evidence in finding.evidence[:SHOWN_EVIDENCE]:
            strength = "" if evidence.strength is Strength.EFFECTIVE else f" ({evidence.strength})"
            place = str(evidence.location)
            yield self.wrapped(
                f"- {printable(place)}: {printable(evidence.text)}{strength}", "    "
            )
        if len(finding.evidence) > SHOWN_EVIDENCE:
            yield f"    - and {len(finding.evidence) - SHOWN_EVIDENCE} more (see the JSON report)"
        yield self.wrapped(f"fix: {printable(finding.fix)}", "  ")

    def wrapped(self, text: str, indent: str) -> str:
        """Wrap a line; names of files are never broken."""
        return textwrap.fill(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def why(report: Report) -> str:
    """Say in a few words what the verdict rests on."""
    failed = [f for f in report.findings if f.status is Status.FAIL]
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
        parts.append(f"all {asked} hold" if held else f"{asked}, none failed or unknown")
    parts += [
        counted(number, str(severity))
        for severity in (Severity.WARNING, Severity.NOTE)
        if (number := sum(f.severity is severity for f in failed))
    ]
    return f": {', '.join(parts)}" if parts else ""


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
    return "".join(c if c.isprintable() else "?" for c in text)
