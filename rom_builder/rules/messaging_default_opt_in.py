"""Rule ROM101: the service is off until its user turns it on."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Status
from rom_builder.rules.readings import code_examined, counted, effective, evidence_of
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM101",
    alias="messaging-default-opt-in",
    title="The messaging service is off until the user turns it on",
    requirement="consent.default",
    fix="set every effective switch of the service to its off value; "
    "where the default lives in code, the app needs a new version",
    references=(
        "GDPR Art. 25(2)",
        "GDPR Recital 32",
        "CRA Annex I Part I (2)(b)",
        "Android CDD 9.8.2 [C-0-1]",
        "MASWE-0071",
        "CWE-1188",
        "CWE-359",
    ),
)
def messaging_default_opt_in(case: Case, facts: Facts) -> Iterator[Finding]:
    """The service's default state on a fresh install and after a factory reset is off.

    Every switch that the profile names is read. Only switches that the device acts on decide: one
    that is on fails; all of them off pass. What a settings page shows before anything is stored
    (a preference's ``defaultValue``, evidence ``ui-default``) never decides, neither way: in the case
    this rule was made for, the ROM that was always on showed "off", and the one that was mended
    showed "on" in a box that needed a sign-in first.

    A resource counts as the device ends up with it, under every overlay of the ROM. One that is on for
    one network or language fails, whatever the default is.

    A service that the policy forbids has to be absent: that it is off does not show that nobody can
    turn it on.

    A default that is in no effective setting lives in code. Where the profile has code anchors and the
    code was read, ROM107 answers for it; otherwise the answer is unknown.
    """
    consent = case.demand.consent
    if consent is None or consent.mode is None:
        return
    readings = facts.readings(case.name, "consent.default")
    decisive = effective(readings)
    on = tuple(r for r in decisive if r.on is True)
    off = tuple(r for r in decisive if r.on is False)
    if on and consent.mode != "opt-out":
        yield case.finding(
            Status.FAIL,
            f"the service is on by default ({on[0].label}); the policy demands {consent.mode}",
            evidence_of(on),
        )
    elif off and len(off) == len(decisive) and consent.mode == "forbidden":
        yield case.finding(
            Status.UNKNOWN,
            "the service is off by default; that it cannot be turned on was not established",
            evidence_of(decisive),
            fix="leave the service out of the ROM",
        )
    elif decisive and len(on) + len(off) == len(decisive):
        state = "on" if on else "off"
        yield case.finding(Status.PASS, f"the service is {state} by default", evidence_of(decisive))
    elif decisive:
        unset = tuple(r for r in decisive if r.on is None)
        doubted = next((r for r in unset if r.doubt), None)
        yield case.finding(
            Status.UNKNOWN,
            f"whether {doubted.label} is on or off cannot be told from the ROM"
            if doubted
            else f"{unset[0].label} is neither on nor off: the default is up to the code",
            evidence_of(unset),
        )
    else:
        show = "shows" if len(readings) == 1 else "show"
        seen = f"{counted(len(readings), 'setting')} only {show} a state"
        if not readings:
            seen = "no setting shows one"
        examined = code_examined(case, facts)
        yield case.finding(
            Status.NOT_APPLICABLE if examined else Status.UNKNOWN,
            f"the default is in no effective setting ({seen}): it is up to the code"
            f"{', which was examined (ROM107)' if examined else ''}",
            evidence_of(readings),
        )
