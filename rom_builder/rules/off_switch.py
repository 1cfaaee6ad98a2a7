"""Rule ROM122: the user can turn the service off."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import GateWritten
from rom_builder.findings import Finding, Layer, Status, Strength
from rom_builder.rules.code_evidence import controls_in_code, evidence, unread_code
from rom_builder.rules.readings import code_examined, evidence_of
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM122",
    alias="off-switch",
    title="A control turns the service off",
    requirement="consent.off_switch",
    fix="give the service's settings page a control that stores a no where the code looks for it",
    references=("GDPR Art. 7(3)", "GDPR Art. 21", "MASVS-PRIVACY-4", "ETSI EN 303 645 6.3"),
)
def off_switch(case: Case, facts: Facts) -> Iterator[Finding]:
    """Consent can be taken back as easily as it is given.

    Passes with three things: a settings page of the service has a control that the profile names as
    a switch; the code of the service uses that control; and code stores something other than a
    constant yes in a setting that the profile's gates read. Without any control in a page that was
    read it fails. Whether turning it off stops all that the service sends cannot be seen here:
    ROM104 says what the gates stand before.
    """
    consent = case.demand.consent
    if consent is None or consent.off_switch is None:
        return
    controls = tuple(
        r for r in facts.readings(case.name, "consent.default") if r.strength is Strength.UI_DEFAULT
    )
    if not controls:
        yield case.finding(
            Status.UNKNOWN if unread_code(case, facts) or facts.unread else Status.FAIL,
            "no settings page has a control that the profile names",
        )
        return
    used = controls_in_code(case, facts, controls)
    off = tuple(w for w in facts.of(GateWritten, case.name) if not w.only_yes)
    shown = evidence_of(controls)
    if used and off:
        yield case.finding(
            Status.PASS,
            "a control is there, the code uses it and stores what it says",
            (*shown, *evidence(w.step for w in off), *evidence(used)),
            layer=Layer.CODED,
        )
    else:
        why = (
            "a control is there; what it does is up to the code, which was not examined"
            if not code_examined(case, facts)
            else "a control is there, but the code does not use it"
            if not used
            else "a control is there, but no code was found that stores a no"
        )
        yield case.finding(Status.UNKNOWN, why, shown, layer=Layer.CODED)
