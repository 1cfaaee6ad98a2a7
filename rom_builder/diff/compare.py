"""What an update changes for its users: two ROMs held to the same policies, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import date
from pathlib import Path

from rom_builder.check import examine
from rom_builder.diff.aspects import Key, aspects
from rom_builder.diff.changes import (
    Aspect,
    Change,
    Difference,
    Effect,
    Fate,
    Fated,
    RequirementChange,
    changed,
    is_failure,
)
from rom_builder.findings import Finding, Report
from rom_builder.policy.load import Policies
from rom_builder.rom import Step, silent
from rom_builder.rom.opening import open_rom
from rom_builder.waivers.apply import NONE, Exceptions

EFFECTS = tuple(Effect)
KINDS = (
    "consent", "switch", "box", "choice", "address", "data", "trust", "grant", "component", "setting",
    "key",
)  # fmt: skip
"""Kinds of changes in the order in which people want to know of them."""
FATES = tuple(Fate)


def compare(
    old: Path,
    new: Path,
    policies: Policies,
    *,
    today: date,
    exceptions: Exceptions = NONE,
    step: Step = silent,
) -> Difference:
    """Hold two ROMs to the same policies and say what differs.

    Args:
        old: The ROM before.
        new: The ROM after.
        policies: What is demanded of both.
        today: Day on which dates are judged.
        exceptions: Failures that do not count.
        step: Told how reading goes on.

    Raises:
        ImageError: One of the images as a whole cannot be read.
    """
    reports: list[Report] = []
    said: list[dict[Key, Aspect]] = []
    for path in (old, new):
        rom = open_rom(path, step=step)
        report, facts = examine(rom, policies, today=today, exceptions=exceptions)
        reports.append(report)
        said.append(aspects(facts, policies.services))
    return difference(reports[0], reports[1], said[0], said[1])


def difference(
    old: Report, new: Report, before: dict[Key, Aspect], after: dict[Key, Aspect]
) -> Difference:
    """Return what differs between two reports and what was said of both ROMs."""
    changes = [
        Change(*key, before.get(key), after.get(key), changed(before.get(key), after.get(key)))
        for key in (*before, *(key for key in after if key not in before))
    ]
    changes.sort(
        key=lambda c: (EFFECTS.index(c.effect), c.service is None, c.service or "",
                       KINDS.index(c.kind), c.subject)
    )  # fmt: skip
    return Difference(
        old, new, tuple(changes), tuple(fates(old.findings, new.findings)), requirements(old, new)
    )


def fates(old: Iterable[Finding], new: Iterable[Finding]) -> list[Fated]:
    """Return every failure of two reports with what became of it.

    A failure is the same if its fingerprint is; else if rule, service, severity and what it is about
    are; else without what it is about, so that one whose file or wording changed is not new.
    """
    before = [finding for finding in old if is_failure(finding)]
    after = [finding for finding in new if is_failure(finding)]
    met: list[tuple[Finding, Finding]] = []
    identities: tuple[Callable[[Finding], Hashable], ...] = (
        lambda f: f.fingerprint,
        lambda f: (f.rule, f.service, f.severity, f.selector, f.message),
        lambda f: (f.rule, f.service, f.severity, f.selector),
        lambda f: (f.rule, f.service, f.severity),
    )
    for identity in identities:
        waiting: dict[Hashable, list[Finding]] = defaultdict(list)
        for finding in before:
            waiting[identity(finding)].append(finding)
        for finding in list(after):
            same = waiting.get(identity(finding))
            if same:
                first = same.pop(0)
                met.append((first, finding))
                before = [each for each in before if each is not first]
                after = [each for each in after if each is not finding]
    found = [
        *(Fated(Fate.NEW, finding) for finding in after),
        *(Fated(Fate.FIXED, finding) for finding in before),
        *(Fated(Fate.UNCHANGED, finding) for _, finding in met),
    ]
    found.sort(
        key=lambda each: (
            FATES.index(each.fate),
            -each.finding.severity,
            each.finding.rule,
            each.finding.service or "",
            each.finding.location.path,
            each.finding.selector,
        )
    )
    return found


def requirements(old: Report, new: Report) -> tuple[RequirementChange, ...]:
    """Return every demand with both answers, in the order of the new report."""
    before = {(row.service, row.name): row for row in old.requirements}
    after = {(row.service, row.name): row for row in new.requirements}
    names = (*after, *(name for name in before if name not in after))
    return tuple(RequirementChange(*name, before.get(name), after.get(name)) for name in names)
