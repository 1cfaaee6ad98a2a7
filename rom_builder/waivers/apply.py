"""The one place that decides which failures do not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import PurePath

from rom_builder.facts import Facts
from rom_builder.findings import (
    Finding,
    Image,
    Report,
    Requirement,
    Severity,
    Status,
    Suppression,
    sorted_findings,
)
from rom_builder.rules import RULES
from rom_builder.rules.rule import Case, Use
from rom_builder.waivers.baseline import Baseline, observations
from rom_builder.waivers.globs import matches
from rom_builder.waivers.models import Waiver


@dataclass(frozen=True, slots=True)
class Exceptions:
    """What a check is told not to count.

    Attributes:
        waivers: Failures that somebody answers for.
        baseline: Failures that were there before, None if no baseline was given.
        strict: A waiver that is of no use is an error.
    """

    waivers: tuple[Waiver, ...] = ()
    baseline: Baseline | None = None
    strict: bool = False


NONE = Exceptions()


def apply(report: Report, exceptions: Exceptions, facts: Facts) -> Report:
    """Return the report with the failures marked that do not count, and remarks on useless entries.

    Only failures can be waived: what is unknown or was not read needs evidence, not an excuse.
    Waivers come before the baseline; of several that fit, the one that lasts longest is named.
    """
    if exceptions == NONE:
        return report
    today = facts.today
    fits: Counter[Waiver] = Counter()
    covered: Counter[str] = Counter()
    findings = []
    for finding in report.findings:
        if finding.status is Status.FAIL and RULES[finding.rule].waivable:
            fitting = [w for w in exceptions.waivers if fits_waiver(w, finding, report.image)]
            fits.update(fitting)
            finding = replace(finding, suppression=waived(fitting, today))
            if finding.suppression is None and exceptions.baseline is not None:
                known = exceptions.baseline.entries.get(finding.fingerprint)
                if known is not None:
                    covered[finding.fingerprint] += 1
                    if observations(finding) <= known.observations:
                        finding = replace(finding, suppression=from_before(exceptions.baseline))
        findings.append(finding)
    remarks = list(said_of(uses(exceptions, fits, covered, today), facts))
    return replace(
        report,
        findings=sorted_findings([*findings, *remarks]),
        requirements=tuple(settled(row, findings) for row in report.requirements),
    )


def fits_waiver(waiver: Waiver, finding: Finding, image: Image) -> bool:
    """Return whether a waiver speaks of a failure, expired or not.

    With a path it must cover every observation: it cannot hide a place that nobody looked at.
    """
    entry = waiver.entry
    if entry.rule != finding.rule or entry.service not in (None, finding.service):
        return False
    if entry.image is not None and not any(
        matches(entry.image, name)
        for name in (PurePath(image.path).name, image.description)
        if name
    ):
        return False
    if entry.path is None:
        return True
    places = [evidence.location.path for evidence in finding.evidence]
    return finding.unlisted == 0 and all(place and matches(entry.path, place) for place in places)


def waived(fitting: list[Waiver], today: date) -> Suppression | None:
    """Return the waiver that holds today, as a suppression."""
    holding = [waiver for waiver in fitting if not waiver.expired(today)]
    if not holding:
        return None
    waiver = max(holding, key=lambda each: each.entry.expires)
    entry = waiver.entry
    return Suppression(
        "waiver", entry.reason, entry.approved_by, entry.ticket or "", entry.expires, waiver.where
    )


def from_before(baseline: Baseline) -> Suppression:
    """Return the suppression of a failure that a baseline has."""
    return Suppression("baseline", "in the baseline", where=baseline.path)


def settled(row: Requirement, findings: list[Finding]) -> Requirement:
    """Return a requirement after waivers: failed and waived, or unknown where that remains."""
    if row.status is not Status.FAIL:
        return row
    name, _, selector = row.name.partition("/")
    mine = [
        f
        for f in findings
        if (f.service, f.requirement) == (row.service, name)
        and (not selector or f.selector == selector)
    ]
    grave = [f for f in mine if f.status is Status.FAIL and f.severity >= Severity.ERROR]
    if not grave or not all(f.waived for f in grave):
        return row
    if any(f.status is Status.UNKNOWN for f in mine):
        return replace(row, status=Status.UNKNOWN)
    return replace(row, waived=True)


def uses(
    exceptions: Exceptions, fits: Counter[Waiver], covered: Counter[str], today: date
) -> Iterator[Use]:
    """Yield what became of each waiver and each entry of the baseline."""
    for waiver in exceptions.waivers:
        yield Use(
            "waiver",
            waiver.label,
            waiver.where,
            fits[waiver],
            waiver.days_left(today),
            exceptions.strict,
        )
    if exceptions.baseline is not None:
        for fingerprint, entry in exceptions.baseline.entries.items():
            label = f"{entry.rule} {entry.path or 'the image'}"
            yield Use("baseline", label, exceptions.baseline.path, covered[fingerprint])


def said_of(used: Iterator[Use], facts: Facts) -> Iterator[Finding]:
    """Ask the rules on waivers and baselines."""
    given = tuple(used)
    for rule in RULES.values():
        if rule.scope == "waivers":
            yield from rule.check(Case(rule, uses=given), facts)
