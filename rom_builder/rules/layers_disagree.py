"""Rule ROM123: what the settings say and what the code does agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from rom_builder.facts import Facts
from rom_builder.findings import Evidence, Finding, Layer, Severity, Status, Strength, worst
from rom_builder.rules.readings import counted, evidence_of
from rom_builder.rules.rule import RULES, Case, rule


@rule(
    "ROM123",
    alias="layers-disagree",
    title="Settings and code say the same of a requirement",
    requirement="presence",
    severity=Severity.WARNING,
    fix="find out which of the two the device obeys, and mend the other: it misleads whoever reads it",
    references=("GDPR Art. 5(1)(a)", "GDPR Art. 5(2)", "ISO/IEC 27701 A.7.4.1"),
)
def layers_disagree(case: Case, facts: Facts) -> Iterator[Finding]:
    """A setting that the code does not obey misleads users, reviewers and checkers alike.

    For each requirement that both layers answer, one pass and one failure is a finding of its own.
    So is a default that settings only show: pages and properties that say "off" in a service whose
    code starts by itself, or "on" in one that waits for consent. The verdict stays that of the rule
    with the stronger evidence; this finding says that a look at the other layer alone would have
    been wrong.
    """
    found: dict[str, dict[Layer, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    asked = (r for r in RULES.values() if r.scope == "service" and r.id != case.rule.id)
    for finding in chain.from_iterable(
        r.check(Case(r, case.service, case.profile), facts) for r in asked
    ):
        if finding.status is not Status.FAIL or finding.severity >= Severity.ERROR:
            found[finding.requirement][finding.layer].append(finding)
    for requirement, layers in found.items():
        answers = {layer: worst(f.status for f in findings) for layer, findings in layers.items()}
        passing = [layer for layer, status in answers.items() if status is Status.PASS]
        failing = [layer for layer, status in answers.items() if status is Status.FAIL]
        for good, bad in zip(passing, failing, strict=False):
            said = [next(f for f in layers[x] if f.status is answers[x]) for x in (good, bad)]
            yield of(
                requirement,
                case,
                f"{requirement}: {good} says {said[0].message}; {bad} says {said[1].message}",
                (*said[1].evidence[:3], *said[0].evidence[:3]),
                bad,
            )
    yield from shown_and_coded(case, facts, found["consent.default"][Layer.CODED])


def shown_and_coded(case: Case, facts: Facts, coded: list[Finding]) -> Iterator[Finding]:
    """Compare the default that settings show with what the code does."""
    status = worst(f.status for f in coded)
    shown = tuple(
        r
        for r in facts.readings(case.name, "consent.default")
        if r.strength is Strength.UI_DEFAULT and r.on is not None
    )
    if not coded or status not in (Status.PASS, Status.FAIL):
        return
    other = tuple(r for r in shown if r.on is (status is Status.PASS))
    if other:
        said = next(f for f in coded if f.status is status)
        state = "on" if status is Status.PASS else "off"
        yield of(
            "consent.default",
            case,
            f"{counted(len(other), 'setting')} of {len(shown)} "
            f"{'shows' if len(other) == 1 else 'show'} the service {state}, but the code: "
            f"{said.message}",
            (*evidence_of(other), *said.evidence[:3]),
            Layer.CODED,
        )


def of(
    requirement: str, case: Case, message: str, evidence: tuple[Evidence, ...], layer: Layer
) -> Finding:
    """Return the finding on one requirement."""
    found = case.finding(Status.FAIL, message, evidence, layer=layer, selector=requirement)
    return replace(found, requirement=requirement)
