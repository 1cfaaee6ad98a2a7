"""The report for people: verdict, one matrix a service, findings with evidence and remedy."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

from rom_builder.findings import (
    Evidence,
    Finding,
    Layer,
    Report,
    Requirement,
    Severity,
    Status,
    Strength,
)
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import counted, excuse, is_open, printable, sentence, why, word

__all__ = ["as_text", "counted", "printable"]

STYLES = {
    "fail": "31;1",
    "non-compliant": "31;1",
    "unknown": "33",
    "incomplete": "33;1",
    "pass": "32",
    "compliant": "32;1",
    "attested": "36",
    "waived": "36",
    "known": "36",
    "bold": "1",
    "dim": "2",
}
SHOWN_LAYERS = (Layer.CONFIGURED, Layer.CODED, Layer.OBSERVED, Layer.DECLARED)
SHOWN_EVIDENCE = 6
"""Observations shown of one finding; the JSON report has more."""


@REPORTS.register("text")
def as_text(report: Report, options: Options = PLAIN) -> str:
    """Return the report as text; nothing in it depends on the terminal but colour and width."""
    return "\n".join(Text(options.color, options.width).lines(report)) + "\n"


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
        reasons = f": {why(report)}" if why(report) else ""
        yield f"verdict: {self.paint(str(report.verdict), str(report.verdict))}{reasons}"

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
            result = self.paint(requirement.word, requirement.word)
            yield f"  {requirement.name:<{names}}  {cells}{result}"

    def findings(self, findings: Iterable[Finding]) -> Iterator[str]:
        """Yield what failed and what is unknown in full, and what passed in one line each."""
        for finding in findings:
            if is_open(finding):
                yield ""
                yield from self.open_finding(finding)
        settled = [f for f in findings if not is_open(f)]
        if settled:
            yield ""
        for finding in settled:
            status, message = word(finding), printable(finding.message)
            if finding.suppression is not None:
                message = f"{sentence(finding)} ({excuse(finding.suppression)})"
            line = self.wrapped(f"{status} {finding.rule} {message}", "  ")
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
        yield self.wrapped(sentence(finding), "  ")
        for evidence in finding.evidence[:SHOWN_EVIDENCE]:
            yield from self.observation(evidence)
        if len(finding.evidence) > SHOWN_EVIDENCE:
            yield f"    - and {len(finding.evidence) - SHOWN_EVIDENCE} more (see the JSON report)"
        yield self.wrapped(f"fix: {printable(finding.fix)}", "  ")

    def observation(self, evidence: Evidence) -> Iterator[str]:
        """Yield one observation, and the places that led to its value; the last one wins."""
        strength = "" if evidence.strength is Strength.EFFECTIVE else f" ({evidence.strength})"
        place = printable(str(evidence.location))
        yield self.wrapped(f"- {place}: {printable(evidence.text)}{strength}", "    ")
        for number, link in enumerate(evidence.chain, 1):
            wins = ", which wins" if number == len(evidence.chain) else ""
            place = printable(str(link.location))
            yield self.wrapped(f"{number}. {place}: {printable(link.text)}{wins}", "        ")

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
