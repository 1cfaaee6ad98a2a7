"""The report as Markdown (GitHub's and GitLab's kind), for comments, summaries and wikis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from rom_builder.findings import (
    Evidence,
    Finding,
    Layer,
    Report,
    Requirement,
    Severity,
    Strength,
)
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import (
    counted,
    excuse,
    image_name,
    is_open,
    printable,
    why,
    word,
)

SIGNS = {
    "fail": "\u274c",
    "non-compliant": "\u274c",
    "unknown": "\u2753",
    "incomplete": "\u2753",
    "pass": "\u2705",
    "compliant": "\u2705",
    "attested": "\u270d\ufe0f",
    "not-applicable": "\u2796",
    "waived": "\u23f8\ufe0f",
    "known": "\u23f8\ufe0f",
    "warning": "\u26a0\ufe0f",
    "note": "\u2139\ufe0f",
}
"""A sign before each word; the word says the same."""
SHOWN_EVIDENCE = 6
SHOWN_UNREAD = 50
SPECIAL = re.compile(r"([\\`*\[\]<>#|~&$]|\b_|_\b)")
MENTION = re.compile(r"(?<!\w)@(?=\w)")


@REPORTS.register("markdown")
def as_markdown(report: Report, options: Options = PLAIN) -> str:
    """Return the report as Markdown; text out of an image can neither format, link nor mention."""
    del options
    return "\n".join(lines(report)) + "\n"


def lines(report: Report) -> Iterator[str]:
    """Yield the whole report."""
    yield f"## {signed(str(report.verdict))}: {code(image_name(report))}"
    yield ""
    yield f"{sentence_case(why(report) or 'nothing was asked')}."
    yield ""
    yield from facts(report)
    for service, group in groupby(report.requirements, key=lambda r: r.service):
        yield from matrix(service, list(group))
    yield from findings(report.findings)
    yield from unread(report)


def facts(report: Report) -> Iterator[str]:
    """Yield what was held to what."""
    image = report.image
    yield f"- Image: {code(image.path)}, {plain(image.kind)}, SHA-256 {code(image.sha256)}"
    if image.description:
        yield f"- Build: {code(image.description)}"
    for identifier, title in report.policies:
        yield f"- Policy {code(identifier)}: {plain(title)}"
    for note in report.notes:
        yield f"- **Note:** {plain(note)}"
    yield ""


def matrix(service: str | None, requirements: list[Requirement]) -> Iterator[str]:
    """Yield the table requirement x layer of one service."""
    layers = [layer for layer in Layer if any(layer in r.layers for r in requirements)]
    yield f"### {code(service) if service else 'The whole ROM'}"
    yield ""
    yield f"| requirement |{''.join(f' {layer} |' for layer in layers)} result |"
    yield f"|---|{'---|' * len(layers)}---|"
    for requirement in requirements:
        cells = (str(requirement.layers.get(layer, "")) for layer in layers)
        row = "".join(f" {cell} |" for cell in cells)
        yield f"| {code(requirement.name)} |{row} **{signed(requirement.word)}** |"
    yield ""


def findings(found: Iterable[Finding]) -> Iterator[str]:
    """Yield what is to be acted on, then folded away what is settled."""
    acted: list[Finding] = []
    settled: list[Finding] = []
    for finding in found:
        (acted if is_open(finding) else settled).append(finding)
    if acted:
        yield f"### {counted(len(acted), 'finding')} to act on"
        yield ""
    for finding in acted:
        yield from open_finding(finding)
    if settled:
        yield "<details>"
        yield f"<summary>{counted(len(settled), 'finding')} settled</summary>"
        yield ""
        for finding in settled:
            yield settled_finding(finding)
        yield ""
        yield "</details>"
        yield ""


def open_finding(finding: Finding) -> Iterator[str]:
    """Yield one finding to act on, with evidence and remedy."""
    yield f"#### {signed(kind_of(finding))} {finding.rule} {finding.alias}"
    yield ""
    yield f"{spoken(finding)}"
    yield ""
    for evidence in finding.evidence[:SHOWN_EVIDENCE]:
        yield from observation(evidence)
    if len(finding.evidence) > SHOWN_EVIDENCE:
        yield f"- and {len(finding.evidence) - SHOWN_EVIDENCE} more (see the JSON report)"
    yield ""
    yield f"**Fix:** {plain(finding.fix)}. {small(finding)}"
    yield ""


def settled_finding(finding: Finding) -> str:
    """Return one finding that asks for nothing."""
    excused = f" ({plain(excuse(finding.suppression))})" if finding.suppression else ""
    return f"- {signed(word(finding))} {finding.rule} {spoken(finding)}{excused} {small(finding)}"


def observation(evidence: Evidence) -> Iterator[str]:
    """Yield one observation, and the places that led to its value."""
    strength = "" if evidence.strength is Strength.EFFECTIVE else f" ({evidence.strength})"
    yield f"- {code(str(evidence.location))}: {plain(evidence.text)}{strength}"
    for number, link in enumerate(evidence.chain, 1):
        wins = " **wins**" if number == len(evidence.chain) else ""
        yield f"    {number}. {code(str(link.location))}: {plain(link.text)}{wins}"


def unread(report: Report) -> Iterator[str]:
    """Yield what could not be read."""
    if not report.unread:
        return
    yield f"### {counted(len(report.unread), 'part')} not read"
    yield ""
    for part in report.unread[:SHOWN_UNREAD]:
        yield f"- {code(part.path)}: {plain(part.reason)}"
    if len(report.unread) > SHOWN_UNREAD:
        yield f"- and {len(report.unread) - SHOWN_UNREAD} more (see the JSON report)"
    yield ""


def kind_of(finding: Finding) -> str:
    """Return the status, or the severity of a failure below an error."""
    lesser = finding.failed and finding.severity < Severity.ERROR
    return str(finding.severity) if lesser else str(finding.status)


def spoken(finding: Finding) -> str:
    """Return the message with its service."""
    service = f"{code(finding.service)}: " if finding.service else ""
    return f"{service}{plain(finding.message)}"


def small(finding: Finding) -> str:
    """Return what names a finding across builds."""
    return f"<sub>{finding.fingerprint}</sub>"


def signed(text: str) -> str:
    """Put the sign of a status before its word."""
    return f"{SIGNS[text]} {text}" if text in SIGNS else text


def sentence_case(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def code(text: str) -> str:
    """Return text as a code span, also in a table; nothing in it means anything.

    >>> code("a`b")
    '`` a`b ``'
    """
    shown = printable(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    if not shown.strip():
        return "` `"
    fence = "`" * (longest + 1)
    space = " " if longest or shown != shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"


def plain(text: str) -> str:
    r"""Return text that is read as it stands: no markup, no link, no mention.

    >>> plain("see http://a.b *now*, @you")
    'see http\\://a.b \\*now\\*, @<!-- -->you'
    """
    shown = SPECIAL.sub(r"\\\1", printable(text))
    shown = shown.replace("://", "\\://").replace("www.", "www\\.")
    return MENTION.sub("@<!-- -->", shown)
