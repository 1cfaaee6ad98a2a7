"""Rule ROM102: no consent control is ticked before the user touches it."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import BoxTicked
from rom_builder.findings import Finding, Layer, Status, Strength
from rom_builder.rules.code_evidence import controls_in_code, evidence
from rom_builder.rules.readings import effective, evidence_of
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM102",
    alias="preselected-consent",
    title="No box that gives consent is ticked beforehand",
    requirement="consent.preselected",
    fix="set the control's default to off; a default inside an app needs a new version of the app",
    references=("GDPR Art. 4(11)", "GDPR Recital 32", "MASWE-0070", "CWE-359"),
)
def preselected_consent(case: Case, facts: Facts) -> Iterator[Finding]:
    """Silence and pre-ticked boxes are not consent.

    A preference of the service whose ``android:defaultValue`` is its on value is shown ticked, and so
    fails whatever the code does with it. That none is ticked in a resource does not pass by itself:
    code may tick the box. An effective setting that says so passes.

    Where the profile names the boxes as code does, code that takes a box for ticked while nothing is
    stored, or ticks it whatever it finds, fails. It passes if the code of a box that no resource ticks
    was examined and does neither. That a box shows a state which was tested before is no ticking.
    """
    consent = case.demand.consent
    if consent is None or consent.preselected != "forbidden":
        return
    shown = tuple(
        r for r in facts.readings(case.name, "consent.default") if r.strength is Strength.UI_DEFAULT
    )
    stated = facts.readings(case.name, "consent.preselected")
    decisive = effective(stated)
    ticked = (
        *(r for r in decisive if r.values != ("forbidden",)),
        *(r for r in shown if r.on is True),
    )
    by_code = tuple(facts.of(BoxTicked, case.name))
    used = controls_in_code(case, facts, shown)
    if ticked:
        yield case.finding(
            Status.FAIL,
            f"{ticked[0].label} is ticked before the user chose",
            evidence_of(ticked),
        )
    elif decisive:
        yield case.finding(Status.PASS, "no consent control is pre-ticked", evidence_of(decisive))
    elif not used or not shown:
        yield case.finding(
            Status.UNKNOWN,
            "no consent control is ticked in a resource; code may tick one",
            evidence_of((*stated, *shown)),
        )
    if by_code:
        yield case.finding(
            Status.FAIL,
            f"code ticks the control {by_code[0].box} before the user chose",
            evidence(each.step for each in by_code),
            layer=Layer.CODED,
            selector="code",
        )
    elif used and shown and not ticked and not decisive:
        yield case.finding(
            Status.PASS,
            "no consent control is ticked in a resource, nor by the code that shows it",
            (*evidence_of(shown), *evidence(used)),
            layer=Layer.CODED,
            selector="code",
        )
