"""How rules word what the platform's configuration gives an app."""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.facts import Facts, Package, PlatformGrant
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.rule import Case


def evidence(grants: Iterable[PlatformGrant]) -> tuple[Evidence, ...]:
    """Turn grants into evidence, one each."""
    found = []
    for grant in grants:
        text = f"{grant.name} for {grant.package}"
        if grant.fixed and grant.kind == "pre-grant":
            text += ", fixed"
        if grant.ignored:
            text += f" ({grant.ignored})"
        strength = Strength.PRESENCE if grant.ignored else Strength.EFFECTIVE
        found.append(Evidence(grant.location, text, strength))
    return tuple(found)


def unless_unread(case: Case, facts: Facts, message: str) -> Finding:
    """Say that there is nothing against the service: a pass if all of the image was read.

    The platform does to its apps what it does where no file says otherwise.
    """
    if facts.unread:
        return case.finding(
            Status.UNKNOWN,
            f"{message} in what could be read",
            fix="make the unread parts readable and check again",
        )
    apps = tuple(
        Evidence(app.location, f"{app.name}: {message}", Strength.EFFECTIVE)
        for app in facts.of(Package)
        if app.name in case.anatomy.packages
    )
    return case.finding(Status.PASS, message, apps)
