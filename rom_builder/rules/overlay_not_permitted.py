"""Rule ROM533: overlays of the service's apps are applied by the platform."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Severity
from rom_builder.rules.overlay_evidence import faults
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM533",
    alias="overlay-not-permitted",
    title="The platform applies what an overlay sets",
    requirement="consent.default",
    severity=Severity.WARNING,
    fix="name the app's <overlayable> in targetName, put the overlay on a partition that it grants the "
    "resource to, and list it where the partition has an overlay/config/config.xml",
    references=("CRA Annex I Part I (2)(b)", "CWE-1188"),
)
def overlay_not_permitted(case: Case, facts: Facts) -> Iterator[Finding]:
    """An overlay whose values the platform leaves out looks like a setting and is none.

    From Android 10 an app's ``<overlayable>`` says which of its resources overlays may change, under
    which name and on which partitions. From Android 11 a partition's ``overlay/config/config.xml``
    decides which overlays are on: a static one that it does not list is off. A build that rests on
    such an overlay ships the app's own default.
    """
    yield from faults(case, facts, "refused", "the platform leaves out {count} of {overlay}")
