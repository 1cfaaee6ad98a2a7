"""What the transport rules share: the hosts to ask about."""

from __future__ import annotations

from rom_builder.rules.rule import Case


def concrete_hosts(case: Case) -> list[str]:
    """Return the hosts of policy and profile; a wildcard stands for its parent domain."""
    transport = case.demand.transport
    hosts = (*case.anatomy.hosts, *((transport.hosts or ()) if transport else ()))
    return sorted({host.removeprefix("*.") for host in hosts})
