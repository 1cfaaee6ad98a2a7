"""Rule ROM104: nothing is registered, looked up or uploaded before consent."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Layer, Status
from rom_builder.rules.readings import effective, evidence_of
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM104",
    alias="consent-before-send",
    title="Consent is checked before anything of the named kinds is sent",
    requirement="consent.before",
    fix="check the consent setting before each send; "
    "for a service that reads its configuration, list the steps there",
    references=(
        "GDPR Art. 6(1)(a)",
        "GDPR Art. 25(2)",
        "ePrivacy 2002/58/EC Art. 5(3)",
        "Android CDD 9.8.2 [C-0-1]",
        "MASWE-0070",
        "CWE-359",
    ),
)
def consent_before_send(case: Case, facts: Facts) -> Iterator[Finding]:
    """Registration, contact lookup and upload wait for consent.

    A service that obeys a configuration file passes when the file names every step that the policy
    demands. For any other service the answer is in its code; where the bytecode was not examined the
    answer is unknown, never a pass.
    """
    consent = case.demand.consent
    if consent is None or not consent.before:
        return
    stated = effective(facts.readings(case.name, "consent.before"))
    named = {str(value) for reading in stated for value in reading.values}
    missing = [step for step in consent.before if step not in named]
    if stated and missing:
        yield case.finding(
            Status.FAIL,
            f"the service may start {', '.join(missing)} without consent",
            evidence_of(stated),
            selector=",".join(missing),
        )
    elif stated:
        yield case.finding(
            Status.PASS,
            f"consent comes before {', '.join(consent.before)}",
            evidence_of(stated),
        )
    if case.anatomy.code.sinks or not stated:
        yield case.finding(
            Status.UNKNOWN,
            "whether the code asks for consent before it sends was not established",
            layer=Layer.CODED,
        )
