"""Rule ROM902: the whole image was read."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Evidence, Finding, Location, Severity, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM902",
    alias="unread-parts",
    title="Every part of the image could be read",
    requirement="rom.readable",
    scope="rom",
    severity=Severity.ERROR,
    fix="give the whole, undamaged image; what is encrypted or of an unknown kind stays unread",
    references=("GDPR Art. 5(2)",),
    waivable=False,
)
def unread_parts(case: Case, facts: Facts) -> Iterator[Finding]:
    """What was not read may hold anything, so a report with unread parts is never compliant."""
    if facts.unread:
        yield case.finding(
            Status.UNKNOWN,
            f"{counted(len(facts.unread), 'part')} of the image could not be read",
            tuple(
                Evidence(Location(part.path), part.reason, Strength.PRESENCE)
                for part in facts.unread
            ),
        )
