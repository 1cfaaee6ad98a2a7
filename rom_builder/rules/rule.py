"""What a rule is, and the case it is asked to judge."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rom_builder.facts import Facts
from rom_builder.findings import (
    Evidence,
    Finding,
    Layer,
    Location,
    Severity,
    Status,
    Strength,
)
from rom_builder.policy.models import RomPolicy, ServicePolicy
from rom_builder.policy.profile import Profile
from rom_builder.registry import Registry

Check = Callable[["Case", Facts], Iterator[Finding]]
Scope = Literal["service", "rom", "waivers"]
MAX_EVIDENCE = 20
"""Observations one finding keeps; more would hide the finding (the rest is counted)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement and how it is judged.

    Attributes:
        id: ``ROM101``; never reused.
        alias: Readable id in kebab case.
        title: One line: what must hold.
        requirement: Dotted name in the policy that it judges.
        scope: Asked once per service of the policy, once for the whole ROM, or once for the waivers
            and the baseline that were given.
        severity: Of a failure, unless the rule says otherwise.
        fix: What mends a failure, unless the rule says otherwise.
        references: Law, standard and weakness numbers.
        waivable: Whether somebody may answer for a failure; not for what makes every other answer
            worthless, such as a publicly known key.
    """

    id: str
    alias: str
    title: str
    requirement: str
    scope: Scope
    severity: Severity
    fix: str
    references: tuple[str, ...]
    check: Check
    waivable: bool = True

    @property
    def explanation(self) -> str:
        """The rule's own documentation, as plain text."""
        return inspect.getdoc(self.check) or ""


@dataclass(frozen=True, slots=True)
class Use:
    """What became of one waiver, or of one entry of a baseline, in one check.

    Attributes:
        kind: Which of the two.
        label: The entry in a few words.
        where: ``file:line:column`` of a waiver, the file of a baseline.
        matched: Failures it was found to fit, whether or not it still holds.
        days_left: Days until its last day, negative when that is over; None for a baseline.
        strict: A useless entry is an error.
    """

    kind: Literal["waiver", "baseline"]
    label: str
    where: str
    matched: int
    days_left: int | None = None
    strict: bool = False

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The entry itself, in its own file."""
        path, line = self.where, None
        if self.kind == "waiver":
            path, text, _ = self.where.rsplit(":", 2)
            line = int(text)
        return (Evidence(Location(path, line=line), self.label, Strength.PRESENCE),)


@dataclass(frozen=True, slots=True)
class Case:
    """One rule put to one service (or to the whole ROM), and the maker of its findings."""

    rule: Rule
    service: ServicePolicy | None = None
    profile: Profile | None = None
    rom: RomPolicy | None = None
    uses: tuple[Use, ...] = ()

    @property
    def demand(self) -> ServicePolicy:
        """The policy of the service; only for rules of service scope."""
        assert self.service is not None  # noqa: S101 - scope is fixed by the registration
        return self.service

    @property
    def anatomy(self) -> Profile:
        """Where the service lives in a ROM; only for rules of service scope."""
        assert self.profile is not None  # noqa: S101 - scope is fixed by the registration
        return self.profile

    @property
    def name(self) -> str:
        """Profile id of the service."""
        return self.anatomy.id

    def finding(
        self,
        status: Status,
        message: str,
        evidence: tuple[Evidence, ...] = (),
        *,
        layer: Layer = Layer.CONFIGURED,
        severity: Severity | None = None,
        fix: str | None = None,
        selector: str = "",
    ) -> Finding:
        """Make a finding of this rule.

        Without evidence of its own it rests on the image as a whole: nothing was found in it.
        """
        return Finding(
            rule=self.rule.id,
            alias=self.rule.alias,
            status=status,
            severity=self.rule.severity if severity is None else severity,
            service=self.profile.id if self.profile else None,
            requirement=self.rule.requirement,
            layer=layer,
            message=message,
            evidence=capped(evidence) or (nothing_found(),),
            unlisted=max(0, len(evidence) - MAX_EVIDENCE),
            fix=(self.rule.fix if fix is None else fix)
            if status in (Status.FAIL, Status.UNKNOWN)
            else "",
            selector=selector,
        )


RULES: Registry[Rule] = Registry("rom_builder.rules")


def rule_names() -> dict[str, str]:
    """Return the id of each rule by each of its names, id and alias."""
    return {name: rule.id for rule in RULES.values() for name in (rule.id, rule.alias)}


def capped(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Keep the first observations and say how many more there are."""
    if len(evidence) <= MAX_EVIDENCE:
        return evidence
    left_out = len(evidence) - MAX_EVIDENCE
    more = Evidence(evidence[0].location, f"and {left_out} more like these", evidence[0].strength)
    return (*evidence[:MAX_EVIDENCE], more)


def nothing_found() -> Evidence:
    """Evidence of absence: the image as a whole."""
    return Evidence(Location(""), "nothing in the image speaks of it", Strength.PRESENCE)


def rule(
    identifier: str,
    *,
    alias: str,
    title: str,
    requirement: str,
    scope: Scope = "service",
    severity: Severity = Severity.ERROR,
    fix: str,
    references: tuple[str, ...],
    waivable: bool = True,
) -> Callable[[Check], Rule]:
    """Register a function as the rule ``identifier``."""

    def join(check: Check) -> Rule:
        return RULES.register(identifier)(
            Rule(
                identifier,
                alias,
                title,
                requirement,
                scope,
                severity,
                fix,
                references,
                check,
                waivable,
            )
        )

    return join
