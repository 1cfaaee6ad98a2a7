"""Waiver files: which failures somebody answers for, until when.

YAML, read as strictly as a policy::

    schema: rom-builder/waivers/v1
    waivers:
      - rule: ROM202
        path: system/app/Weather.apk
        reason: "The host moves to https with release 4.2"
        expires: 2027-03-31
        approved_by: privacy@example.com
        ticket: PRIV-112
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from rom_builder.errors import PolicyError, Problem
from rom_builder.policy.messages import nearest
from rom_builder.policy.schema import file_schema
from rom_builder.policy.values import Day, Model, Text
from rom_builder.policy.yaml import load_yaml, validate
from rom_builder.rules import RULES
from rom_builder.rules.rule import rule_names


def _rule(name: str) -> str:
    known = rule_names()
    if name not in known:
        message = f"{name!r} is no rule{nearest(name, known)}"
        raise PydanticCustomError("rule", "{message}", {"message": message})
    rule = RULES[known[name]]
    if not rule.waivable:
        message = f"{rule.id} ({rule.alias}) cannot be waived"
        raise PydanticCustomError("rule", "{message}", {"message": message})
    return rule.id


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class WaiverEntry(Model):
    """One waiver as a file writes it."""

    rule: Annotated[str, AfterValidator(_rule)] = Field(
        description="Id or alias of the rule, such as ROM202 or service-host-over-http."
    )
    service: Text | None = Field(
        default=None, description="Id of the service's profile; any service if left out."
    )
    image: Pattern | None = Field(
        default=None,
        description="Pattern for the image's file name or build fingerprint; any if left out.",
    )
    path: Pattern | None = Field(
        default=None,
        description="Pattern for places in the image: `*` within a folder, `**` across folders. All "
        "evidence of the failure must lie within it. Any place if left out.",
    )
    reason: Annotated[str, StringConstraints(min_length=10, max_length=2000)] = Field(
        description="Why the failure is borne, in at least ten characters."
    )
    expires: Day = Field(description="Last day (UTC) on which the waiver holds.")
    approved_by: Text = Field(description="Who answers for it.")
    ticket: Text | None = Field(default=None, description="Where it was decided.")


class WaiverFile(Model):
    """One waiver file."""

    version: Literal["rom-builder/waivers/v1"] = Field(
        alias="schema", description="Version of this format."
    )
    waivers: tuple[WaiverEntry, ...] = Field(description="The waivers.")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One waiver and the place where it is written, ``file:line:column``."""

    entry: WaiverEntry
    where: str

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.entry.expires

    def days_left(self, today: date) -> int:
        """Days until its last day; negative when that is over."""
        return (self.entry.expires - today).days

    @property
    def label(self) -> str:
        """The waiver in a few words."""
        entry = self.entry
        scope = [entry.service, entry.image and f"image {entry.image}", entry.path]
        return " ".join([entry.rule, *filter(None, scope)])


def load_waivers(paths: tuple[Path, ...]) -> tuple[Waiver, ...]:
    """Return the waivers of some files.

    Raises:
        PolicyError: A file cannot be read or is wrong; every problem of every file, with line and column.
    """
    waivers: list[Waiver] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            document = load_yaml(path)
            file = validate(WaiverFile, document)
        except PolicyError as error:
            problems += error.problems
            continue
        for index, entry in enumerate(file.waivers):
            line, column = document.position(("waivers", index))
            waivers.append(Waiver(entry, f"{document.file}:{line}:{column}"))
    if problems:
        raise PolicyError(problems)
    return tuple(waivers)


def waiver_schema() -> dict[str, Any]:
    """Return the JSON schema of a waiver file."""
    return file_schema(WaiverFile, "waivers", "A rom-builder waiver file")
