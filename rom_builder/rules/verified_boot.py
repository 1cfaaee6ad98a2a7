"""Rule ROM403: the device checks what it boots."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Status
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM403",
    alias="verified-boot",
    title="Verified boot covers the ROM",
    requirement="rom.verified_boot",
    scope="rom",
    fix="sign every partition with AVB and leave verification on",
    references=("CRA Annex I Part I (2)(f)", "Android CDD 9.10", "CWE-1326"),
)
def verified_boot(case: Case, facts: Facts) -> Iterator[Finding]:  # noqa: ARG001 - one signature
    """A ROM as a tree of files carries no verified-boot metadata; then the answer is unknown."""
    if case.rom is not None and case.rom.verified_boot == "required":
        yield case.finding(Status.UNKNOWN, "the image shows no verified-boot metadata")
