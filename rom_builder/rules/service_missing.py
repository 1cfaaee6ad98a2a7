"""Rule ROM105: a service that the policy requires is there."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts, Package
from rom_builder.findings import Evidence, Finding, Location, Severity, Status, Strength
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM105",
    alias="service-missing",
    title="A required messaging service and its configuration are in the ROM",
    requirement="presence",
    fix="build the package with this policy, which adds the service's configuration; "
    "a ROM with another service needs a policy with that one's profile",
    references=("GDPR Art. 5(2)", "CRA Annex I Part I (2)(b)"),
)
def service_missing(case: Case, facts: Facts) -> Iterator[Finding]:
    """With ``presence: required`` an absent service fails; with ``if-present`` nothing applies to it.

    A service is there if one of the profile's packages is installed or one of its files exists. While
    parts of the image could not be read, absence is unknown: the service may lie in them. Files without
    any of the packages are noted: they hold for an app that is installed later.
    """
    found = facts.present.get(case.name, ())
    required = case.demand.presence == "required"
    if found:
        evidence = tuple(
            Evidence(place, "part of the service", Strength.PRESENCE) for place in found
        )
        yield case.finding(Status.PASS, "the service is in the ROM", evidence)
        names = case.anatomy.packages
        if names and not any(p.name in names for p in facts.of(Package)):
            yield case.finding(
                Status.FAIL,
                "only the service's configuration is in the ROM, none of its apps",
                evidence,
                severity=Severity.NOTE,
                fix="install an app that obeys the configuration, or bring it with --tree",
                selector="apps",
            )
        return
    absent = (
        Evidence(
            Location(""), f"searched {facts.searched}, found no part of it", Strength.PRESENCE
        ),
    )
    if facts.unread:
        yield case.finding(
            Status.UNKNOWN,
            "the service was not found, but parts of the image could not be read",
            absent,
            fix="make the unread parts readable and check again",
        )
    elif required:
        yield case.finding(Status.FAIL, "the required service is not in the ROM", absent)
    else:
        yield case.finding(Status.NOT_APPLICABLE, "the service is not in the ROM", absent)
