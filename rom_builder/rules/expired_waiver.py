"""Rule ROM903: no waiver is past its last day."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity, Status
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM903",
    alias="expired-waiver",
    title="No waiver is past its last day",
    requirement="waivers.current",
    scope="waivers",
    severity=Severity.WARNING,
    fix="mend the failure, or have the waiver decided anew with a later day",
    references=("GDPR Art. 5(2)",),
    waivable=False,
)
def expired_waiver(case: Case, facts: Facts) -> Iterator[Finding]:
    """A waiver that has ended suppresses nothing: its failures count again.

    The last day counts in UTC, whole. With ``--strict-waivers`` it is an error.
    """
    del facts
    for use in case.uses:
        if use.days_left is not None and use.days_left < 0:
            yield case.finding(
                Status.FAIL,
                f"the waiver ended {counted(-use.days_left, 'day')} ago"
                + (f"; {counted(use.matched, 'failure')} counts again" if use.matched == 1 else "")
                + (f"; {use.matched} failures count again" if use.matched > 1 else ""),
                use.evidence,
                severity=Severity.ERROR if use.strict else None,
                selector=use.where,
            )
