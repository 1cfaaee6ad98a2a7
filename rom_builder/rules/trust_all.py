"""Rule ROM209: the service's code checks whom it talks to."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import CodeRead, TrustAll
from rom_builder.findings import Evidence, Finding, Layer, Severity, Status, Strength
from rom_builder.rules.code_evidence import evidence, unread_code
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM209",
    alias="trust-all",
    title="No code of the service accepts any certificate or any host name",
    requirement="transport.cleartext",
    fix="remove the trust manager or verifier and leave the checks to the platform",
    references=("MASVS-NETWORK-1", "MASWE-0052", "CWE-295", "CWE-297"),
)
def trust_all(case: Case, facts: Facts) -> Iterator[Finding]:
    """Encryption to whoever answers protects from nobody.

    Looked for are trust managers that neither throw nor call anything, verifiers of host names that
    always say yes, and the platform's verifier that allows all. One way to each from what the system
    starts is shown; what nothing leads to is dead code and earns a warning. A checker that is wrong
    in another way is not seen.
    """
    transport = case.demand.transport
    if transport is None or transport.cleartext != "forbidden":
        return
    if not any(facts.of(CodeRead, case.name)):
        return
    found = list(facts.of(TrustAll, case.name))
    for live in (True, False):
        places = tuple(
            Evidence(each.location, each.what, Strength.CODE)
            for each in found
            if each.reachable is live
        )
        ways = tuple(step for each in found if each.reachable is live for step in each.way)
        if places:
            yield case.finding(
                Status.FAIL,
                ("one place accepts" if len(places) == 1 else f"{len(places)} places accept")
                + " any certificate or host name"
                + ("" if live else ", in code that nothing leads to"),
                (*places, *evidence(dict.fromkeys(ways))),
                layer=Layer.CODED,
                severity=Severity.ERROR if live else Severity.WARNING,
                selector="live" if live else "dead",
            )
    if not found and not unread_code(case, facts):
        programs = [name for read in facts.of(CodeRead, case.name) for name in read.programs]
        yield case.finding(
            Status.PASS,
            f"no code that accepts any certificate or host name in {', '.join(programs)}",
            layer=Layer.CODED,
        )
