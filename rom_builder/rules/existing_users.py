"""Rule ROM106: what an update does to users who have the service on already."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Layer, Severity, Status
from rom_builder.rules.code_evidence import anchors_found, evidence
from rom_builder.rules.readings import effective, judge_setting
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM106",
    alias="existing-users",
    title="Users who have the service on are treated as the policy says when they update",
    requirement="consent.on_upgrade",
    fix="state in the service's configuration what happens on upgrade (keep, ask or reset); "
    "code that takes over the old choice needs a new version",
    references=("GDPR Art. 7(1)", "GDPR Art. 7(3)", "CWE-359"),
)
def existing_users(case: Case, facts: Facts) -> Iterator[Finding]:
    """An update changes the default of new phones only; users who are in stay in unless it says more.

    The stored choice lies on the user's data partition, which no ROM image shows. A setting that the
    service obeys on upgrade decides. Where the profile names code that takes over what an earlier
    version stored and that code is there, the choice is kept: that passes `keep`; where users are to
    be asked or reset it earns a warning, as other code might still do so.
    """
    consent = case.demand.consent
    if consent is None or consent.on_upgrade is None:
        return
    stated = effective(facts.readings(case.name, "consent.on_upgrade"))
    taken_over = anchors_found(case, facts, "upgrade")
    keeps = taken_over and consent.on_upgrade == "keep"
    if taken_over:
        yield case.finding(
            Status.PASS if keeps else Status.FAIL,
            "the code takes over the choice that an earlier version stored: "
            "who had the service on keeps it on",
            evidence(taken_over),
            layer=Layer.CODED,
            severity=Severity.WARNING,
            selector="taken over",
        )
    if not stated and not keeps:
        yield case.finding(
            Status.UNKNOWN, "what happens to existing users on upgrade was not established"
        )
    yield from judge_setting(
        case,
        stated,
        consent.on_upgrade,
        f"existing users: {consent.on_upgrade}",
        f"existing users are not treated as demanded ({consent.on_upgrade})",
    )
