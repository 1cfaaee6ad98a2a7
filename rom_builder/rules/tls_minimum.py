"""Rule ROM203: the lowest TLS version the service speaks."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts, Package
from rom_builder.findings import Evidence, Finding, Location, Status, Strength
from rom_builder.rules.readings import effective, evidence_of
from rom_builder.rules.rule import Case, rule

NO_TLS_1_2_UP_TO = 19
"""Last API level whose default client does not offer TLS 1.2 (``javax.net.ssl.SSLSocket``: from 20)."""
TLS_1_2_ENFORCED_FROM = 35
"""Android 15 refuses TLS 1.0 and 1.1 for apps that target it."""


@rule(
    "ROM203",
    alias="tls-minimum",
    title="The service speaks no TLS version below the policy's minimum",
    requirement="transport.min_tls",
    fix="set the service's own TLS minimum; the network security config cannot set one",
    references=("RFC 8996", "RFC 9325", "NIST SP 800-52r2", "ETSI EN 303 645 5.5-1", "CWE-326"),
)
def tls_minimum(case: Case, facts: Facts) -> Iterator[Finding]:
    """No file of a ROM sets a TLS minimum for an app, except a setting that the app itself obeys.

    Such a setting decides. Without it: an Android whose default client does not know TLS 1.2 (up to
    API 19) fails; Android 15 with an app that targets it refuses TLS below 1.2; anything between is
    unknown, because the version is then agreed between the app's code and the server.
    """
    transport = case.demand.transport
    if transport is None or transport.min_tls is None:
        return
    stated = effective(facts.readings(case.name, "transport.min_tls"))
    if stated:
        good = all(
            r.values and version(str(r.values[0])) >= version(transport.min_tls) for r in stated
        )
        yield case.finding(
            Status.PASS if good else Status.FAIL,
            f"the service {'demands' if good else 'does not demand'} TLS {transport.min_tls}"
            " or later",
            evidence_of(stated),
        )
        return
    sdk = facts.platform.sdk
    packages = [p for p in facts.of(Package) if p.name in case.anatomy.packages]
    place = facts.platform.properties.get("ro.build.version.sdk", ("", Location("")))[1]
    platform = (Evidence(place, f"Android API level {sdk or 'unknown'}", Strength.PRESENCE),)
    if sdk is not None and sdk <= NO_TLS_1_2_UP_TO:
        yield case.finding(
            Status.FAIL,
            f"API level {sdk} does not offer TLS 1.2 by default and nothing sets a minimum",
            platform,
        )
    elif (
        sdk is not None
        and sdk >= TLS_1_2_ENFORCED_FROM
        and packages
        and all(p.target_sdk >= TLS_1_2_ENFORCED_FROM for p in packages)
        and version(transport.min_tls) <= (1, 2)
    ):
        enforced = tuple(
            Evidence(p.location, f"{p.name} targets API {p.target_sdk}", Strength.EFFECTIVE)
            for p in packages
        )
        yield case.finding(Status.PASS, "the platform refuses TLS below 1.2", enforced)
    else:
        yield case.finding(
            Status.UNKNOWN, "the TLS version is up to the app's code and the server", platform
        )


def version(text: str) -> tuple[int, ...]:
    """Read ``1.2``, ``TLSv1.2`` or ``TLS 1.2``; anything else is below every version.

    >>> version("TLSv1.2") < version("1.3")
    True
    """
    digits = text.upper().removeprefix("TLS").removeprefix("V").strip()
    parts = digits.split(".")
    return tuple(map(int, parts)) if all(p.isascii() and p.isdigit() for p in parts) else ()
