"""Rule ROM104: nothing is registered, looked up or uploaded before consent."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import ConsentCheck, Outcome
from rom_builder.findings import Finding, Layer, Status
from rom_builder.rules.code_evidence import judge_paths
from rom_builder.rules.readings import effective, judge_list
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
    demands. For any other service the answer is in its code. There, each place that sends (a sink
    of the profile) is followed back to everything that can start it. A path on which no branch
    depends on a yes of one of the profile's gates fails, and is shown step by step. Paths that all
    pass a gate pass.

    Unknown: the code was not read or has none of the anchors; a path comes from where it cannot be
    followed (reflection, messages, an interface whose caller is not in the ROM's programs).
    """
    consent = case.demand.consent
    if consent is None or not consent.before:
        return
    stated = effective(facts.readings(case.name, "consent.before"))
    yield from judge_list(
        case,
        stated,
        consent.before,
        f"consent comes before {', '.join(consent.before)}",
        "the service may start {} without consent",
    )
    if case.anatomy.code.sinks:
        for sending in consent.before:
            yield from in_code(case, facts, sending)
    elif not stated:
        yield case.finding(
            Status.UNKNOWN,
            "whether the code asks for consent before it sends was not established",
            layer=Layer.CODED,
        )


def in_code(case: Case, facts: Facts, sending: str) -> Iterator[Finding]:
    """Judge one kind of sending by the paths that lead to it."""
    checks = [c for c in facts.of(ConsentCheck, case.name) if c.sink == sending and not c.automatic]
    yield from judge_paths(
        case,
        facts,
        sending,
        checks,
        open_ends=(Outcome.UNKNOWN, Outcome.UNREACHED),
        needs_gate=True,
        failed="can start without a consent check",
        unknown=f"not every path to {sending} could be followed to its start",
        passed=f"every path to {sending} that was found passes a consent check",
    )
