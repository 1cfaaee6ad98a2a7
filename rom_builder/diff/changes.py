"""What differs between two ROMs in the eyes of a policy: values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from rom_builder.findings import (
    Finding,
    Location,
    Report,
    Requirement,
    Severity,
    Status,
    Suppression,
)


class Effect(Enum):
    """What a change means for users."""

    WORSE = "worse"
    BETTER = "better"
    CHANGED = "changed"
    SAME = "unchanged"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that can be said of one ROM.

    Attributes:
        words: What is the case.
        harm: How bad it is; 0 is as it should be. None: neither good nor bad.
        location: Where it shows.
    """

    words: str
    harm: int | None = None
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in both ROMs.

    Attributes:
        service: Profile id, None for the whole ROM.
        kind: ``switch``, ``consent``, ``choice``, ``box``, ``address``, ``data``, ``trust``, ``grant``,
            ``setting`` or ``key``.
        subject: What it is about, in words.
        old: What is the case in the old ROM; None if nothing was found there.
        new: The same of the new ROM.
        effect: What the change means.
    """

    service: str | None
    kind: str
    subject: str
    old: Aspect | None
    new: Aspect | None
    effect: Effect


class Fate(Enum):
    """What became of a failure from one ROM to the other."""

    NEW = "new"
    FIXED = "fixed"
    UNCHANGED = "unchanged"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Fated:
    """A failure and what became of it; the finding is the new ROM's unless it is fixed there."""

    fate: Fate
    finding: Finding


@dataclass(frozen=True, slots=True)
class RequirementChange:
    """One demand and its answers; None where the demand was not made of that ROM."""

    service: str | None
    name: str
    old: Requirement | None
    new: Requirement | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs between two reports of the same policies."""

    old: Report
    new: Report
    changes: tuple[Change, ...]
    failures: tuple[Fated, ...]
    requirements: tuple[RequirementChange, ...]

    def of(self, fate: Fate) -> tuple[Finding, ...]:
        """Return the failures of one fate."""
        return tuple(each.finding for each in self.failures if each.fate is fate)

    def new_failures(self, at_least: Severity) -> tuple[Finding, ...]:
        """Return the failures that the old ROM did not have and that count."""
        return tuple(f for f in self.of(Fate.NEW) if f.failed and f.severity >= at_least)

    @property
    def as_report(self) -> Report:
        """The new ROM's report in which only what is new counts, for programs that read reports."""
        known = {id(finding) for finding in self.of(Fate.UNCHANGED)}
        before = Suppression("baseline", f"as in {self.old.image.path}", where=self.old.image.path)
        return replace(
            self.new,
            findings=tuple(
                replace(f, suppression=f.suppression or before) if id(f) in known else f
                for f in self.new.findings
            ),
        )


def changed(old: Aspect | None, new: Aspect | None) -> Effect:
    """Say what it means that one aspect became another.

    Something harmful that came or went is a change for worse or better; where neither side is known to
    be harmful or harmless, it is only a change.

    >>> changed(Aspect("on", 2), Aspect("off", 0))
    <Effect.BETTER: 'better'>
    >>> changed(None, Aspect("http", 2))
    <Effect.WORSE: 'worse'>
    """
    before = (0 if old is None else old.harm) if new is None or new.harm is not None else None
    after = (0 if new is None else new.harm) if old is None or old.harm is not None else None
    if before is not None and after is not None and before != after:
        return Effect.WORSE if after > before else Effect.BETTER
    same = (old and old.words) == (new and new.words)
    return Effect.SAME if same else Effect.CHANGED


def is_failure(finding: Finding) -> bool:
    """Say whether a finding failed, whether or not it counts."""
    return finding.status is Status.FAIL
