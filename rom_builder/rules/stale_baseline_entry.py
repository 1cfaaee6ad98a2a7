"""Rule ROM906: every entry of the baseline is still there."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity, Status
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM906",
    alias="stale-baseline-entry",
    title="Every entry of the baseline is still there",
    requirement="waivers.current",
    scope="waivers",
    severity=Severity.NOTE,
    fix="take the entry out: --prune-baseline",
    references=("GDPR Art. 5(2)",),
    waivable=False,
)
def stale_baseline_entry(case: Case, facts: Facts) -> Iterator[Finding]:
    """An entry of a baseline whose failure is gone would hide the failure when it comes back."""
    del facts
    for use in case.uses:
        if use.kind == "baseline" and not use.matched:
            yield case.finding(
                Status.FAIL,
                "the failure is gone, the baseline still has it",
                use.evidence,
                selector=use.label,
            )
