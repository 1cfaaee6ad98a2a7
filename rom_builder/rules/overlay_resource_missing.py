"""Rule ROM531: overlays of the service's apps change resources that exist."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity
from rom_builder.rules.overlay_evidence import faults
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM531",
    alias="overlay-resource-missing",
    title="Every resource that an overlay changes exists in the app",
    requirement="consent.default",
    severity=Severity.WARNING,
    fix="give the resource the name and type that the app has, or take it out of the overlay",
    references=("CRA Annex I Part I (2)(b)", "CWE-1188"),
)
def overlay_resource_missing(case: Case, facts: Facts) -> Iterator[Finding]:
    """An overlay that names a resource which its app does not have changes nothing.

    The platform says so in a log line at most, so a renamed resource in a new version of the app
    quietly brings its own default back. Resources that only the overlay itself refers to are left
    out.
    """
    yield from faults(case, facts, "missing", "{overlay} changes {count} that the app lacks")
