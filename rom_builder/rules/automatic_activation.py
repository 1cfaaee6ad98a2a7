"""Rule ROM107: the service does not start by itself."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import ConsentCheck, ConstantChoice, Outcome
from rom_builder.findings import Finding, Layer, Severity, Status
from rom_builder.rules.code_evidence import evidence, judge_paths
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM107",
    alias="automatic-activation",
    title="The start of the device, a SIM or a connection does not start the service",
    requirement="consent.default",
    fix="check the consent setting in the code that these events start, before it sends",
    references=(
        "GDPR Art. 25(2)",
        "GDPR Recital 32",
        "ePrivacy 2002/58/EC Art. 5(3)",
        "Android CDD 9.8.2 [C-0-1]",
        "MASWE-0071",
        "CWE-1188",
    ),
)
def automatic_activation(case: Case, facts: Facts) -> Iterator[Finding]:
    """Nothing that happens without the user leads to what the policy puts behind consent.

    From each place that sends, the paths are followed back to receivers of the manifest that the
    system calls when the device starts, a SIM is seen or a connection comes up, and to apps that
    run from the start of the device. A path without a consent check fails. It is judged together
    with constants that the code passes on where it should pass a choice of the user: by itself,
    such a constant only earns a note, as it is harmless where only the user can start the code that
    passes it.

    A message to a handler is taken to lead to all that the handler does.
    """
    consent = case.demand.consent
    if consent is None or consent.mode in (None, "opt-out") or not case.anatomy.code.sinks:
        return
    constants = [c for c in facts.of(ConstantChoice, case.name) if not c.by_user]
    failed = False
    for sending in consent.before:
        checks = [c for c in facts.of(ConsentCheck, case.name) if c.sink == sending and c.automatic]
        for finding in judge_paths(
            case,
            facts,
            sending,
            checks,
            open_ends=(Outcome.UNKNOWN,),
            needs_gate=False,
            failed="starts by itself",
            unknown=f"whether {sending} starts by itself could not be followed to the end",
            passed=f"{sending} does not start by itself without a consent check",
        ):
            failed |= finding.status is Status.FAIL and finding.severity >= Severity.ERROR
            yield finding
    if constants:
        yield case.finding(
            Status.FAIL,
            "a constant yes is passed on where the user's choice should be"
            + (", in a service that starts by itself" if failed else ""),
            evidence(c.step for c in constants),
            layer=Layer.CODED,
            severity=Severity.ERROR if failed else Severity.NOTE,
            selector="constant",
        )
