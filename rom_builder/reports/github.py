"""The report as annotations of a GitHub Actions step; the command line adds the step's summary.

Workflow commands ``::error file=...,line=...,col=...,title=...::message`` (docs.github.com, Workflow
commands for GitHub Actions). GitHub shows the first ten errors, warnings and notices of a step each;
the gravest come first.
"""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.findings import Finding, Report, Severity, Status
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import (
    Place,
    demanded_at,
    inside,
    is_open,
    places,
    printable,
    sentence,
    unspoken,
    why,
)

COMMANDS = {
    Severity.CRITICAL: "error",
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
}


@REPORTS.register("github")
def as_github(report: Report, options: Options = PLAIN) -> str:
    """Return one workflow command a finding to act on, then the verdict."""
    return "\n".join(lines(report, options)) + "\n"


def lines(report: Report, options: Options) -> Iterator[str]:
    """Yield the annotations; no text of an image can begin or end a command."""
    found = places(report, options)
    for finding in report.findings:
        if is_open(finding):
            place = demanded_at(finding, found)
            yield annotation(
                "warning" if finding.status is Status.UNKNOWN else COMMANDS[finding.severity],
                f"{finding.rule} {finding.alias}",
                text_of(report, finding),
                place,
            )
    for requirement in unspoken(report):
        place = found.get((requirement.service, requirement.name))
        name = f"{requirement.service or 'the ROM'}: {requirement.name}"
        yield annotation("warning", "unknown", f"no rule answered {name}", place)
    reasons = f": {why(report)}" if why(report) else ""
    yield f"verdict: {report.verdict}{reasons}"


def text_of(report: Report, finding: Finding) -> str:
    """Return message, place and remedy, a line each."""
    unknown = "Unknown: " if finding.status is Status.UNKNOWN else ""
    where = inside(report, finding.location)
    return f"{unknown}{sentence(finding)}\n{where}\nFix: {printable(finding.fix)}"


def annotation(command: str, title: str, message: str, place: Place | None) -> str:
    r"""Return one workflow command.

    >>> annotation("error", "ROM101 x", "50% of\nall", Place("p.yaml", 3, 5))
    '::error file=p.yaml,line=3,col=5,title=ROM101 x::50%25 of%0Aall'
    """
    properties = {"title": title}
    if place is not None:
        at = {"file": place.path, "line": str(place.line), "col": str(place.column)}
        properties = {**at, **properties}
    listed = ",".join(f"{name}={escaped(value, ':,')}" for name, value in properties.items())
    return f"::{command} {listed}::{escaped(message)}"


def escaped(text: str, also: str = "") -> str:
    """Encode what ends a line or a property of a command."""
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
