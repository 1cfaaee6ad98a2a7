"""How rules turn facts about code into evidence."""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.code_facts import AnchorFound, CodeRead, ConsentCheck, Step
from rom_builder.facts import Facts
from rom_builder.findings import Evidence, Strength
from rom_builder.rules.rule import Case


def evidence(steps: Iterable[Step]) -> tuple[Evidence, ...]:
    """Return steps of a path as evidence, one each."""
    return tuple(Evidence(step.location, step.text, Strength.CODE) for step in steps)


def steps_of(checks: Iterable[ConsentCheck]) -> tuple[Evidence, ...]:
    """Return the paths, or the consent checks, of several places."""
    return tuple(dict.fromkeys(e for check in checks for e in evidence(check.steps)))


def unread_code(case: Case, facts: Facts) -> tuple[str, ...]:
    """Return the files of the service whose code was not read."""
    return tuple(name for read in facts.of(CodeRead, case.name) for name in read.unread)


def gates_found(case: Case, facts: Facts, sending: str) -> bool:
    """Say whether any gate that the profile names for a kind of sending is in the code at all."""
    labels = {g.label for g in case.anatomy.code.gates if not g.sinks or sending in g.sinks}
    return any(
        found.methods
        for found in facts.of(AnchorFound, case.name)
        if found.role == "gate" and found.anchor in labels
    )
