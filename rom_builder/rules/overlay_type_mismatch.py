"""Rule ROM532: overlays of the service's apps keep the types of its resources."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity
from rom_builder.rules.overlay_evidence import faults
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM532",
    alias="overlay-type-mismatch",
    title="An overlay gives a resource a value of the type that the app has",
    requirement="consent.default",
    severity=Severity.WARNING,
    fix="write the value with the type that the app has: true or false for a bool",
    references=("CRA Annex I Part I (2)(b)", "CWE-704"),
)
def overlay_type_mismatch(case: Case, facts: Facts) -> Iterator[Finding]:
    """A value of another type than the app's own is read as something else, or stops the app.

    Asked for a boolean, the platform takes any number but 0 for true and throws at a text. Neither
    is what the overlay was made for.
    """
    yield from faults(case, facts, "type", "{overlay} gives {count} a value of another type")
