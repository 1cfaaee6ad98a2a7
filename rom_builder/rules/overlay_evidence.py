"""How the rules about overlays tell what they found: one finding for each overlay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts, OverlayFault
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case


def faults(case: Case, facts: Facts, kind: str, message: str) -> Iterator[Finding]:
    """Yield a failure for each overlay with faults of a kind; silent if there are none.

    Args:
        message: One sentence; ``{overlay}`` and ``{count}`` (``2 resources``) stand in it.
    """
    found: dict[str, list[OverlayFault]] = defaultdict(list)
    for fault in facts.of(OverlayFault, case.name):
        if fault.kind == kind:
            found[fault.overlay].append(fault)
    for overlay, each in sorted(found.items()):
        named = sorted({fault.resource for fault in each if fault.resource})
        count = counted(len(named), "resource") if named else "all"
        yield case.finding(
            Status.FAIL,
            message.format(overlay=overlay, count=count),
            tuple(
                Evidence(
                    fault.location,
                    f"{fault.resource}: {fault.text}" if fault.resource else fault.text,
                    Strength.EFFECTIVE,
                )
                for fault in each
            ),
            selector=overlay,
        )
