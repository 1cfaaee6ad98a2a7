"""Rule ROM901: what a ROM cannot show, and who vouches for it."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Evidence, Finding, Layer, Location, Status, Strength
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM901",
    alias="attested-statement",
    title="What a ROM cannot show is vouched for by somebody, for a limited time",
    requirement="attested",
    fix="have the statement renewed, or take it out of the policy",
    references=("GDPR Art. 5(2)",),
)
def attested_statement(case: Case, facts: Facts) -> Iterator[Finding]:
    """Retention, region and the like happen on a server; a ROM cannot show them.

    The policy names who vouches for them and until when. They are reported as attested, which is
    weaker than a pass; after the date they are unknown.
    """
    for name, statement in sorted(case.demand.attested.items()):
        expired = statement.until < facts.today
        words = f"{name} = {statement.value}, by {statement.by}, until {statement.until}"
        yield case.finding(
            Status.UNKNOWN if expired else Status.ATTESTED,
            f"{words}{' (expired)' if expired else ''}",
            (Evidence(Location(""), words, Strength.ATTESTATION),),
            layer=Layer.DECLARED,
            selector=name,
        )
