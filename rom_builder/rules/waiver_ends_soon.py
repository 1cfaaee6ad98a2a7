"""Rule ROM905: waivers in use last for two weeks yet."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity, Status
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule

SOON_DAYS = 14
"""Days before its end from which a waiver is said to end soon."""


@rule(
    "ROM905",
    alias="waiver-ends-soon",
    title="Waivers in use last for two weeks yet",
    requirement="waivers.current",
    scope="waivers",
    severity=Severity.NOTE,
    fix="mend the failure before that day, or have the waiver decided anew",
    references=("GDPR Art. 5(2)",),
    waivable=False,
)
def waiver_ends_soon(case: Case, facts: Facts) -> Iterator[Finding]:
    """Said from 14 days before the last day of a waiver that suppresses something."""
    del facts
    for use in case.uses:
        if use.matched and use.days_left is not None and 0 <= use.days_left <= SOON_DAYS:
            yield case.finding(
                Status.FAIL,
                f"the waiver ends in {counted(use.days_left, 'day')}"
                if use.days_left
                else "the waiver ends today",
                use.evidence,
                selector=use.where,
            )
