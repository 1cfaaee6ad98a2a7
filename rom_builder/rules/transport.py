"""What the transport rules share: the hosts to ask about, and what cannot be said without an API level."""

from __future__ import annotations

from rom_builder.facts import NetworkSecurity
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.formats.network_security_config import NetworkSecurityConfig
from rom_builder.rules.rule import Case


def hosts_of(case: Case, config: NetworkSecurityConfig | None) -> list[str]:
    """Return the hosts of policy and profile, and every domain that a config singles out.

    ``*.example.com`` is a host to ask about like any other: only a domain that includes its
    subdomains covers it.
    """
    transport = case.demand.transport
    hosts = {*case.anatomy.hosts, *((transport.hosts or ()) if transport else ())}
    hosts.update(
        domain.name for entry in (config.entries if config else ()) for domain in entry.domains
    )
    return sorted(host for host in hosts if not host.startswith("."))


def named(fact: NetworkSecurity) -> str:
    """Return the app, or the file that the service applies itself."""
    return fact.package.name if fact.package else fact.location.path


def platform_unknown(case: Case, fact: NetworkSecurity) -> Finding:
    """Return the finding on an app whose platform is not known."""
    return case.finding(
        Status.UNKNOWN,
        f"{named(fact)}: the API level of the ROM is unknown",
        (Evidence(fact.location, "depends on the API level", Strength.PRESENCE),),
        fix="give an image with its build.prop",
        selector=named(fact),
    )
