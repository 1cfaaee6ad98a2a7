"""Rule ROM534: one overlay has the say on a resource of the service."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity
from rom_builder.rules.overlay_evidence import faults
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM534",
    alias="overlay-outdone",
    title="No two overlays of one app contradict each other",
    requirement="consent.default",
    severity=Severity.WARNING,
    fix="take the resource out of one of the overlays",
    references=("CRA Annex I Part I (2)(b)", "CWE-1188"),
)
def overlay_outdone(case: Case, facts: Facts) -> Iterator[Finding]:
    """Two overlays that are on give one resource of the service different values.

    The last one in order of precedence wins; which that is depends on partitions, priorities and
    ``overlay/config/config.xml``, and differs by version of Android. The value that the device ends
    up with is judged elsewhere (ROM101): this tells whose value is lost.
    """
    yield from faults(
        case, facts, "outdone", "another overlay has the last word on {count} of {overlay}"
    )
