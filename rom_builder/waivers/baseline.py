"""Baselines: the failures of an earlier check, so that only new ones stop a build.

JSON, sorted, one entry a fingerprint::

    {"schema": "rom-builder/baseline/v1",
     "findings": {"0f3a...": {"rule": "ROM202", "path": "system/app/X.apk", "observations": 3,
                              "message": "..."}}}

A failure counts again when more observations speak for it than the baseline has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from rom_builder.errors import PolicyError, Problem
from rom_builder.findings import Finding, Report, Status
from rom_builder.policy.values import Model
from rom_builder.rules import RULES

LARGEST = 16 << 20
"""Bytes a baseline may have."""


class BaselineEntry(Model):
    """One failure that was there before."""

    rule: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    path: Annotated[str, StringConstraints(max_length=5000)]
    observations: Annotated[int, Field(ge=1)]
    message: Annotated[str, StringConstraints(max_length=5000)] = ""


class BaselineFile(Model):
    """One baseline file."""

    version: Literal["rom-builder/baseline/v1"] = Field(alias="schema")
    findings: dict[Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")], BaselineEntry]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline as it was read; ``path`` as the user gave it."""

    path: str
    entries: dict[str, BaselineEntry]


def observations(finding: Finding) -> int:
    """Return how many observations speak for a failure; those a report leaves out count, too."""
    listed = len(finding.evidence) - (1 if finding.unlisted else 0)
    return listed + finding.unlisted


def load_baseline(path: Path) -> Baseline:
    """Return the baseline in a file.

    Raises:
        PolicyError: It cannot be read or is no baseline.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror or error}") from error
    if len(content) > LARGEST:
        raise refused(path, f"is larger than {LARGEST} bytes")
    try:
        model = BaselineFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise refused(
            path, f"is no baseline: {where}{': ' if where else ''}{first['msg']}"
        ) from None
    return Baseline(str(path), model.findings)


def baseline_of(report: Report) -> dict[str, BaselineEntry]:
    """Return the failures of a report that a baseline may cover: those nobody answers for already."""
    entries: dict[str, BaselineEntry] = {}
    for finding in report.findings:
        if finding.status is not Status.FAIL or finding.waived or not RULES[finding.rule].waivable:
            continue
        if RULES[finding.rule].scope == "waivers":
            continue
        known = entries.get(finding.fingerprint)
        count = max(observations(finding), known.observations if known else 0)
        entries[finding.fingerprint] = BaselineEntry(
            rule=finding.rule,
            path=finding.location.path,
            observations=count,
            message=finding.message[:500],
        )
    return entries


def pruned(baseline: Baseline, report: Report) -> dict[str, BaselineEntry]:
    """Return the entries of a baseline that a report still has."""
    present = {f.fingerprint for f in report.findings if f.status is Status.FAIL}
    return {key: entry for key, entry in baseline.entries.items() if key in present}


def encode_baseline(entries: dict[str, BaselineEntry]) -> bytes:
    """Return the bytes of a baseline file; the same entries give the same bytes."""
    document = {
        "schema": "rom-builder/baseline/v1",
        "findings": {key: entries[key].model_dump() for key in sorted(entries)},
    }
    return (json.dumps(document, indent=2, ensure_ascii=True) + "\n").encode()


def refused(path: Path, message: str) -> PolicyError:
    """Return the error for a baseline that cannot be used."""
    return PolicyError([Problem(str(path), 1, 1, message)], hint="write one: --write-baseline FILE")
