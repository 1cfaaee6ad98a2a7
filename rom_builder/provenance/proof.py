"""What a build writes beside a package: a bill of materials, and signed statements on its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rom_builder.edits import FileData
from rom_builder.files import write_whole
from rom_builder.findings import Report
from rom_builder.provenance.attestations import (
    SUFFIX,
    Artifact,
    Origin,
    attestations,
    provenance,
    summary,
)
from rom_builder.provenance.sbom import sbom
from rom_builder.rom import Rom
from rom_builder.signers.log import SigningLog
from rom_builder.signers.signer import CheckedSigner

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

BOM_SUFFIX = ".cdx.json"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the attestations beside a package say besides what the build knows.

    Attributes:
        builder: URI of who builds.
        moment: When.
        log: Where the signatures are recorded, None if nowhere.
    """

    builder: str
    moment: datetime
    log: SigningLog | None = None


def write_proof(
    output: Path,
    report: Report,
    rom: Rom,
    origin: Origin,
    signer: CheckedSigner,
    parts: Sequence[Component] | None = None,
) -> None:
    """Write a bill of materials and signed statements beside a package.

    Args:
        output: The package.
        report: On it.
        rom: It, open.
        origin: What it was made from.
        signer: The key for attestations.
        parts: What the bill lists, if it is at hand.

    Raises:
        SigningError: The key for attestations fails.
    """
    package = Artifact(output.name, report.image.sha256)
    bom = output.with_name(output.name + BOM_SUFFIX)
    data = sbom(rom, package.sha256, origin.moment, parts)
    beside = [Artifact(bom.name, hashlib.sha256(data).hexdigest())]
    statements = (
        provenance(package, origin, beside),
        summary(package, report, origin.policies, origin.moment, origin.builder),
    )
    signed = attestations(statements, signer, package.sha256)
    for path, content in ((bom, data), (output.with_name(output.name + SUFFIX), signed)):
        with write_whole(path) as file:
            file.write(content)


def brought_files(brought: Mapping[str, FileData]) -> tuple[Artifact, ...]:
    """Return the files that the user brought, by device path and digest."""
    return tuple(
        Artifact(path, hashlib.sha256(new.data).hexdigest())
        for path, new in sorted(brought.items())
    )
