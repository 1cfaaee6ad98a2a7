"""Rule ROM106: what an update does to users who have the service on already."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Status
from rom_builder.rules.readings import effective, judge_setting
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM106",
    alias="existing-users",
    title="Users who have the service on are treated as the policy says when they update",
    requirement="consent.on_upgrade",
    fix="state in the service's configuration what happens on upgrade (keep, ask or reset)",
    references=("GDPR Art. 7(1)", "GDPR Art. 7(3)", "CWE-359"),
)
def existing_users(case: Case, facts: Facts) -> Iterator[Finding]:
    """An update changes the default of new phones only; users who are in stay in unless it says more.

    The stored choice lies on the user's data partition, which no ROM image shows. Only a setting
    that the service obeys on upgrade can pass; otherwise the answer is unknown.
    """
    consent = case.demand.consent
    if consent is None or consent.on_upgrade is None:
        return
    stated = effective(facts.readings(case.name, "consent.on_upgrade"))
    if not stated:
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
