"""Rule ROM904: every waiver speaks of a failure that is there."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity, Status
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM904",
    alias="unused-waiver",
    title="Every waiver speaks of a failure that is there",
    requirement="waivers.current",
    scope="waivers",
    severity=Severity.WARNING,
    fix="remove the waiver, or correct its rule, image or path",
    references=("GDPR Art. 5(2)",),
    waivable=False,
)
def unused_waiver(case: Case, facts: Facts) -> Iterator[Finding]:
    """A waiver that fits no failure is of no use, or does not say what its author meant.

    A path has to cover every observation of a failure. With ``--strict-waivers`` it is an error.
    """
    del facts
    for use in case.uses:
        if use.kind == "waiver" and not use.matched and (use.days_left or 0) >= 0:
            yield case.finding(
                Status.FAIL,
                "the waiver fits no failure of this image",
                use.evidence,
                severity=Severity.ERROR if use.strict else None,
                selector=use.where,
            )
