"""Words that the formats of differences share."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.diff.changes import Aspect, Change, Difference, Effect, Fate, RequirementChange
from rom_builder.findings import Severity
from rom_builder.reports.words import counted

KINDS = {
    "switch": "default",
    "setting": "setting",
    "consent": "consent before",
    "choice": "choice of the user",
    "box": "consent box",
    "address": "address of",
    "data": "data:",
    "trust": "TLS:",
    "grant": "permission",
    "component": "component",
    "key": "key:",
}
"""What each kind of change is called before its subject."""
HEADINGS = {
    Effect.WORSE: "Worse for users",
    Effect.BETTER: "Better for users",
    Effect.CHANGED: "Changed",
    Effect.SAME: "Not changed",
}
FATES = {
    Fate.NEW: "New failures",
    Fate.FIXED: "Fixed failures",
    Fate.UNCHANGED: "Failures not fixed",
}


LESSER = "lesser one"
"""A failed finding below an error."""


def title(change: Change) -> str:
    """Return what a change is about."""
    return f"{KINDS.get(change.kind, change.kind)} {change.subject}"


def words(aspect: Aspect | None) -> str:
    """Return what is the case in one ROM."""
    return aspect.words if aspect else "nothing found"


def verdicts(difference: Difference) -> str:
    """Return both verdicts in one phrase."""
    old, new = difference.old.verdict, difference.new.verdict
    return f"still {new}" if old is new else f"from {old} to {new}"


def summed(difference: Difference) -> str:
    """Return how many failures are new, fixed and left, errors and above first."""
    parts = []
    for fate, word in ((Fate.NEW, "new"), (Fate.FIXED, "fixed"), (Fate.UNCHANGED, "not fixed")):
        found = difference.of(fate)
        grave = sum(f.severity >= Severity.ERROR for f in found)
        rest = len(found) - grave
        lesser = f" and {counted(rest, LESSER)}" if rest else ""
        parts.append(f"{counted(grave, 'failure')}{lesser} {word}")
    return "; ".join(parts)


def moved(difference: Difference) -> Iterator[RequirementChange]:
    """Yield the requirements whose answer changed."""
    for row in difference.requirements:
        if answer(row.old) != answer(row.new):
            yield row


def answer(row: object) -> str:
    """Return the answer to a requirement in one word."""
    return getattr(row, "word", "not asked")
