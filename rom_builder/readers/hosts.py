"""Which hosts a service addresses, and how: one line a host, for charts and lists."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from rom_builder.facts import Endpoint, Facts
from rom_builder.facts.code import CodeUrl
from rom_builder.findings import Host, Strength
from rom_builder.policy.load import Policies
from rom_builder.rules.service_host_over_http import HOST, NAMESPACES, within


def summed_hosts(policies: Policies, facts: Facts) -> Iterator[Host]:
    """Yield the hosts of every service, those with cleartext addresses first.

    Where the code was followed its addresses count; elsewhere those that the service's own programs
    spell out. Names of XML namespaces and placeholders are no hosts.
    """
    for service, profile in policies.services:
        demanded = service.transport.hosts if service.transport else None
        patterns = (*profile.hosts, *(demanded or ()))
        addresses = {
            (url.host, url.url, encryption(url))
            for url in facts.of(CodeUrl, profile.id)
            if url.reachable
        }
        strength = Strength.CODE if addresses else Strength.PRESENCE
        if not addresses:
            addresses = {
                (found.host, found.url, "encrypted" if found.scheme == "https" else "cleartext")
                for found in facts.of(Endpoint, profile.id)
                if found.own
            }
        hosts: dict[str, Counter[str]] = defaultdict(Counter)
        for host, _, how in addresses:
            if HOST.fullmatch(host) and host not in NAMESPACES:
                hosts[host][how] += 1
        yield from sorted(
            (
                Host(
                    service=profile.id,
                    name=host,
                    expected=within(host, patterns),
                    strength=strength,
                    encrypted=count["encrypted"],
                    cleartext=count["cleartext"],
                    unsure=count["unsure"],
                )
                for host, count in hosts.items()
            ),
            key=lambda h: (not h.expected, -h.cleartext, -h.unsure, -h.encrypted, h.name),
        )


def encryption(url: CodeUrl) -> str:
    """Say how a request to this address travels."""
    if url.scheme == "https" or url.encrypted == "always":
        return "encrypted"
    return "unsure" if url.encrypted == "sometimes" else "cleartext"
