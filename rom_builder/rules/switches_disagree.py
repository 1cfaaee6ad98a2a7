"""Rule ROM103: the places that show the service's state agree."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity, Status, Strength
from rom_builder.rules.readings import counted, evidence_of
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM103",
    alias="switches-disagree",
    title="Every place that shows the service's default state shows the same one",
    requirement="consent.default",
    severity=Severity.WARNING,
    fix="give all switches of the service the same default",
    references=("GDPR Art. 5(1)(a)", "MASWE-0071"),
)
def switches_disagree(case: Case, facts: Facts) -> Iterator[Finding]:
    """Two switches of one service that show opposite defaults mislead users and reviewers alike.

    The same feature may be set in several apps, properties and files. Which of them the code obeys
    cannot be told from the settings; the disagreement itself is the finding. A value that nothing is
    known to read (evidence ``presence``) shows no state to anybody. That operators differ in the
    carrier configuration misleads nobody either: a phone has one of them.
    """
    if case.demand.consent is None:
        return
    readings = tuple(
        r
        for r in facts.readings(case.name, "consent.default")
        if r.on is not None
        and r.strength is not Strength.PRESENCE
        and r.mechanism != "carrier-config"
    )
    on = tuple(r for r in readings if r.on)
    off = tuple(r for r in readings if not r.on)
    if on and off:
        yield case.finding(
            Status.FAIL,
            f"{len(on)} of {counted(len(readings), 'switch', 'switches')} "
            f"{'shows' if len(on) == 1 else 'show'} the service on, {len(off)} off",
            evidence_of((*on, *off)),
        )
