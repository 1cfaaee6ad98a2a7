"""The report as one HTML file, for people: opens anywhere, asks nobody for anything, prints.

What is shown is put together here; ``templates/report/report.html.j2`` lays it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rom_builder import __version__
from rom_builder.findings import (
    WORST_FIRST,
    Finding,
    Host,
    Layer,
    Report,
    Requirement,
    Severity,
    Status,
)
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.page import render_page
from rom_builder.reports.words import (
    counted,
    excuse,
    image_name,
    is_open,
    numbered,
    printable,
    why,
    word,
)
from rom_builder.rules import RULES, Rule

WHOLE_ROM = "The whole ROM"
FOLDED_FROM = 300
"""Findings from which groups are closed at first; a page of so many is searched, not read."""
SHOWN_HOSTS = 10
SHOWN_UNREAD = 100
ORDER = (
    "fail",
    "warning",
    "note",
    "unknown",
    "pass",
    "attested",
    "not-applicable",
    "waived",
    "known",
)
"""Kinds of findings as people sort them; failures below an error are kinds of their own."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar.

    Attributes:
        kind: Class and word.
        count: How many.
        x: Where it begins, in percent.
        width: In percent.
    """

    kind: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart with its label."""

    label: str
    parts: tuple[Part, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Card:
    """One finding, its place on the page (``id``) and its kind."""

    finding: Finding
    id: str
    kind: str
    excuse: str
    where: str


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one rule on one service.

    Attributes:
        kinds: How many there are of each kind, the worst first.
        about: The rule's explanation, see :func:`prose`.
        fix: What mends all of them, empty if that differs.
        open: Whether the group is open at first.
    """

    service: str | None
    rule: Rule | None
    cards: tuple[Card, ...]
    kinds: tuple[tuple[str, int], ...]
    about: tuple[tuple[str, ...], ...]
    fix: str
    open: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement of the matrix."""

    requirement: Requirement
    title: str
    cells: tuple[str, ...]
    findings: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """The requirements on one service by layer."""

    service: str | None
    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]


@REPORTS.register("html")
def as_html(report: Report, options: Options = PLAIN) -> str:
    """Return the report as one HTML page; text out of an image is escaped."""
    del options
    cards = list(cards_of(report))
    return render_page(
        "report.html.j2",
        {
            "version": __version__,
            "report": report,
            "name": image_name(report),
            "verdict": str(report.verdict),
            "why": why(report) or "nothing was asked",
            "matrices": list(matrices(report)),
            "requirement_bar": bar_of("", Counter(r.word for r in report.requirements), STATUSES),
            "finding_bars": list(finding_bars(cards, services_of(report))),
            "host_charts": list(host_charts(report.hosts)),
            "groups": list(groups(cards, services_of(report))),
            "kinds": kinds_of(cards),
            "services": services_of(report),
            "requirements": sorted({f.requirement for f in report.findings}),
            "total": len(cards),
            "shown_unread": SHOWN_UNREAD,
            "references": list(references(cards)),
            "whole_rom": WHOLE_ROM,
            "counted": counted,
        },
    )


STATUSES = (*(str(status) for status in WORST_FIRST), "waived")
ENCRYPTION = ("cleartext", "unsure", "encrypted")


def kind_of(finding: Finding) -> str:
    """Return what a finding is sorted under: its status, severity below an error, or suppression."""
    if finding.failed and finding.severity < Severity.ERROR:
        return str(finding.severity)
    return word(finding)


def cards_of(report: Report) -> Iterator[Card]:
    """Yield every finding with what the page says about it, in the order of the report."""
    where: dict[tuple[str | None, str], str] = {}
    for requirement in report.requirements:
        where.setdefault(
            (requirement.service, requirement.name.partition("/")[0]), requirement.where
        )
    for finding, number in numbered(report.findings):
        again = f"-{number}" if number > 1 else ""
        yield Card(
            finding=finding,
            id=f"f-{finding.fingerprint}{again}",
            kind=kind_of(finding),
            excuse=excuse(finding.suppression) if finding.suppression else "",
            where=where.get((finding.service, finding.requirement), ""),
        )


def groups(cards: Sequence[Card], services: Sequence[str | None]) -> Iterator[Group]:
    """Yield findings by service and rule; what is to be acted on stands before what is settled."""
    place = {service: index for index, service in enumerate(services)}
    found: dict[tuple[bool, str | None, str], list[Card]] = {}
    for card in cards:
        finding = card.finding
        found.setdefault((not is_open(finding), finding.service, finding.rule), []).append(card)
    for (settled, service, rule), members in sorted(
        found.items(), key=lambda item: (item[0][0], place[item[0][1]], rank(item[1]), item[0][2])
    ):
        fixes = {card.finding.fix for card in members}
        yield Group(
            service=service,
            rule=RULES.get(rule),
            cards=tuple(members),
            kinds=kinds_of(members),
            about=prose(RULES[rule].explanation) if rule in RULES else (),
            fix=fixes.pop() if len(fixes) == 1 else "",
            open=not settled and len(cards) < FOLDED_FROM,
        )


def prose(explanation: str) -> tuple[tuple[str, ...], ...]:
    r"""Return the paragraphs of an explanation, each as text and code in turn.

    >>> prose("Reads ``a``.\n\nNever\nb.")
    (('Reads ', 'a', '.'), ('Never b.',))
    """
    paragraphs = (" ".join(text.split()) for text in explanation.split("\n\n"))
    return tuple(tuple(text.split("``")) for text in paragraphs)


def rank(cards: Iterable[Card]) -> int:
    """Return how far up the worst finding of some stands."""
    return min(ORDER.index(card.kind) for card in cards)


def kinds_of(cards: Iterable[Card]) -> tuple[tuple[str, int], ...]:
    """Return how many findings of each kind there are, the worst kind first."""
    count = Counter(card.kind for card in cards)
    return tuple((kind, count[kind]) for kind in ORDER if count[kind])


def services_of(report: Report) -> list[str | None]:
    """Return every service the report speaks of, the ROM as a whole last."""
    spoken = [r.service for r in report.requirements] + [f.service for f in report.findings]
    named = dict.fromkeys(service for service in spoken if service)
    whole = None in spoken
    return [*named, *([None] if whole else [])]


def matrices(report: Report) -> Iterator[Matrix]:
    """Yield the table requirement by layer of each service."""
    count = Counter((f.service, f.requirement) for f in report.findings)
    for service, members in groupby(report.requirements, key=lambda r: r.service):
        asked = list(members)
        layers = tuple(layer for layer in Layer if any(layer in r.layers for r in asked))
        rows = (
            Row(
                requirement=r,
                title=title_of(r.name),
                cells=tuple(str(r.layers[layer]) if layer in r.layers else "" for layer in layers),
                findings=count[r.service, r.name.partition("/")[0]],
            )
            for r in asked
        )
        yield Matrix(service, layers, tuple(rows))


def title_of(name: str) -> str:
    """Say in a sentence what a requirement demands: the title of the first rule that judges it."""
    base = name.partition("/")[0]
    return next((rule.title for rule in RULES.values() if rule.requirement == base), "")


def bar_of(label: str, count: Counter[str], kinds: Sequence[str], most: int = 0) -> Bar:
    """Return a bar of one part a kind; as long as ``most``, or as its own total, is 100 percent."""
    total = sum(count.values())
    scale = 100 / (most or total or 1)
    parts, x = [], 0.0
    for kind in kinds:
        if count[kind]:
            parts.append(Part(kind, count[kind], round(x, 2), round(count[kind] * scale, 2)))
            x += count[kind] * scale
    return Bar(label, tuple(parts), total)


def finding_bars(cards: Sequence[Card], services: Sequence[str | None]) -> Iterator[Bar]:
    """Yield for each service how many findings there are to act on, by severity."""
    count: dict[str | None, Counter[str]] = {}
    for card in cards:
        if is_open(card.finding):
            unknown = card.finding.status is Status.UNKNOWN
            kind = "unknown" if unknown else str(card.finding.severity)
            count.setdefault(card.finding.service, Counter())[kind] += 1
    kinds = (*(str(severity) for severity in reversed(Severity)), "unknown")
    most = max((sum(each.values()) for each in count.values()), default=0)
    for service in services:
        if service in count:
            yield bar_of(service or WHOLE_ROM, count[service], kinds, most)


@dataclass(frozen=True, slots=True)
class HostChart:
    """How the addresses of one service's hosts begin: bars for its own, one for all others."""

    service: str
    followed: bool
    bars: tuple[Bar, ...]
    hosts: tuple[Host, ...]


def host_charts(hosts: Sequence[Host]) -> Iterator[HostChart]:
    """Yield one chart a service."""
    for service, members in groupby(hosts, key=lambda h: h.service):
        mine = tuple(members)
        shown = [host for host in mine if host.expected][:SHOWN_HOSTS]
        rows = [(printable(host.name), addresses(host)) for host in shown]
        others = [host for host in mine if host not in shown]
        if others:
            label = counted(len(others), "other host")
            rows.append((label, sum(map(addresses, others), Counter())))
        most = max(sum(each.values()) for _, each in rows)
        yield HostChart(
            service=service,
            followed=mine[0].strength.value == "code",
            bars=tuple(bar_of(name, each, ENCRYPTION, most) for name, each in rows),
            hosts=mine,
        )


def addresses(host: Host) -> Counter[str]:
    """Return the addresses of a host by how they travel."""
    return Counter(cleartext=host.cleartext, unsure=host.unsure, encrypted=host.encrypted)


def references(cards: Sequence[Card]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each law, standard and weakness that rules name, with these rules and their answers."""
    by_rule: dict[str, list[Card]] = {}
    for card in cards:
        by_rule.setdefault(card.finding.rule, []).append(card)
    named: dict[str, list[tuple[str, str]]] = {}
    for rule in sorted(by_rule):
        for reference in RULES[rule].references if rule in RULES else ():
            named.setdefault(reference, []).append((rule, ORDER[rank(by_rule[rule])]))
    for reference in sorted(named):
        yield reference, named[reference]
