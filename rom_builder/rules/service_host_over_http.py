"""Rules ROM202 and ROM207: which addresses the service's programs spell out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from rom_builder.facts import Endpoint, Facts, NetworkSecurity, app_behind
from rom_builder.findings import Evidence, Finding, Layer, Severity, Status, Strength
from rom_builder.formats.network_security_answers import FILE_SINCE
from rom_builder.policy.values import host_matches
from rom_builder.rules.cleartext_permitted import REFERENCES
from rom_builder.rules.readings import code_examined, counted, effective
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM202",
    alias="service-host-over-http",
    title="No program of the service spells out an http address of the service's hosts",
    requirement="transport.cleartext",
    fix="use https for these hosts; the programs that hold the addresses need new versions",
    references=REFERENCES,
)
def service_host_over_http(case: Case, facts: Facts) -> Iterator[Finding]:
    """Addresses of the service's hosts in its own programs begin with https.

    One finding a host, whatever the number of places. The service's own programs are its apps and the
    files its profile names, such as a framework jar with its base addresses. That other programs
    know the host over http is said in the evidence and decides nothing. An http address proves that
    the program holds it, not that it is used; traffic that is encrypted above HTTP looks the same.

    Where the code was read for the anchors of the profile, ROM208 says which addresses what the service
    sends goes to; that one is spelled out is then a warning only.

    Where the platform restricts nothing (below API 24) and no http address is spelled out, the
    answer is unknown: addresses may be put together at run time.
    """
    transport = case.demand.transport
    if transport is None or transport.cleartext != "forbidden":
        return
    hosts = (*case.anatomy.hosts, *(transport.hosts or ()))
    http: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in facts.of(Endpoint, case.name):
        if endpoint.scheme == "http" and within(endpoint.host, hosts):
            http[endpoint.host].append(endpoint)
    failed = False
    for host, endpoints in sorted(http.items()):
        own = sorted((e for e in endpoints if e.own), key=lambda e: e.location)
        others = {e.location.path.partition("!/")[0] for e in endpoints if not e.own}
        if not own:
            continue
        failed = True
        also = ""
        if others:
            know = "knows" if len(others) == 1 else "know"
            also = f"; {counted(len(others), 'other program')} {know} it over http"
        yield case.finding(
            Status.FAIL,
            f"{host} is addressed over http in {counted(len(own), 'place')} of the service's"
            f" programs{also}",
            evidence_of(own),
            layer=Layer.CODED,
            severity=Severity.WARNING if code_examined(case, facts) else None,
            selector=host,
        )
    if not failed and not restricted(case, facts):
        yield case.finding(
            Status.UNKNOWN,
            "no http address of the service's hosts is spelled out; one may be put together",
            layer=Layer.CODED,
        )


def restricted(case: Case, facts: Facts) -> bool:
    """Say whether something other than the code decides on cleartext."""
    sdk = facts.platform.sdk
    apps = [
        app_behind(fact, sdk)
        for fact in facts.of(NetworkSecurity, case.name)
        if fact.package is not None
    ]
    if apps:
        return all(app is not None and app.platform_sdk >= FILE_SINCE - 1 for app in apps)
    return bool(effective(facts.readings(case.name, "transport.cleartext")))


HOST = re.compile(r"[^.%{}$]+(\.[^.%{}$]+)+")
"""What can be a host: not ``localhost``, and not ``%1$s`` of an address put together at run time."""
NAMESPACES = frozenset(
    {
        "schemas.android.com",
        "schemas.xmlsoap.org",
        "www.w3.org",
        "xml.org",
        "xmlpull.org",
        "java.sun.com",
        "ns.adobe.com",
    }
)
"""Hosts of well-known XML namespaces and features: names, never contacted."""


def within(host: str, patterns: Iterable[str]) -> bool:
    """Say whether a host is one of the service's."""
    return any(host_matches(pattern, host) for pattern in patterns)


def evidence_of(endpoints: Iterable[Endpoint]) -> tuple[Evidence, ...]:
    """Turn addresses into evidence: that they are there is all they prove."""
    return tuple(Evidence(e.location, e.url, Strength.PRESENCE) for e in endpoints)


@rule(
    "ROM207",
    alias="host-not-in-policy",
    title="The service contacts only the hosts that the policy names",
    requirement="transport.hosts",
    fix="name the host in the policy after review, or take it out of the service",
    references=("GDPR Art. 5(1)(b)", "CRA Annex I Part I (2)(j)", "MASVS-NETWORK-1", "CWE-359"),
)
def host_not_in_policy(case: Case, facts: Facts) -> Iterator[Finding]:
    """Hosts beyond the policy's list are not contacted.

    A configuration that the service obeys decides. Addresses in the service's programs that are
    outside the list are reported together as a note: apps spell out many addresses that they do
    not contact for the service, so they neither fail nor pass the requirement. Names of XML namespaces
    and addresses with a placeholder for the host are left out.
    """
    transport = case.demand.transport
    if transport is None or transport.hosts is None:
        return
    stated = effective(facts.readings(case.name, "transport.hosts"))
    extra = sorted(
        {str(v) for r in stated for v in r.values if not allowed(str(v), transport.hosts)}
    )
    evidence = tuple(
        Evidence(r.location, ", ".join(map(str, r.values)) or "no host", r.strength) for r in stated
    )
    if extra:
        yield case.finding(
            Status.FAIL,
            f"the service is told to contact {', '.join(extra)} as well",
            evidence,
            selector="setting",
        )
    elif stated:
        yield case.finding(Status.PASS, "the service is told the policy's hosts only", evidence)
    else:
        yield case.finding(
            Status.UNKNOWN, "which hosts the service contacts is not set in one place"
        )
    outside: dict[str, Endpoint] = {}
    for endpoint in facts.of(Endpoint, case.name):
        known = within(endpoint.host, transport.hosts) or endpoint.host in NAMESPACES
        if endpoint.own and not known and HOST.fullmatch(endpoint.host):
            outside.setdefault(endpoint.host, endpoint)
    if outside:
        yield case.finding(
            Status.FAIL,
            f"the service's programs spell out {counted(len(outside), 'host')} that the policy"
            " does not name",
            evidence_of(outside[host] for host in sorted(outside)),
            layer=Layer.CODED,
            severity=Severity.NOTE,
            selector="programs",
        )


def allowed(host: str, patterns: Iterable[str]) -> bool:
    """Say whether a host or wildcard of a configuration is on the policy's list."""
    return host in patterns or within(host.removeprefix("*."), patterns)
