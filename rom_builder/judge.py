"""From policies and facts to findings and requirements: every rule, asked once per service or ROM."""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Layer, Requirement, Severity, Status, worst
from rom_builder.policy.load import Policies
from rom_builder.policy.requirements import demanded, demanded_of_rom, written_as
from rom_builder.resources import data_folder
from rom_builder.rules import RULES
from rom_builder.rules.rule import Case


def judge(policies: Policies, facts: Facts) -> tuple[list[Finding], list[Requirement]]:
    """Ask every rule, and sum its findings up by requirement.

    A requirement that no rule spoke of is unknown: no evidence never passes. A service that may be
    absent and is makes all its requirements not applicable.
    """
    findings: list[Finding] = []
    requirements: list[Requirement] = []
    for service, profile in policies.services:
        mine: list[Finding] = []
        absent = service.presence == "if-present" and not facts.present.get(profile.id)
        for rule in RULES.values():
            if rule.scope == "service" and (rule.requirement == "presence" or not absent):
                mine.extend(rule.check(Case(rule, service, profile), facts))
        findings += mine
        for name in demanded(service):
            where = shown(str(policies.where(profile.id, written_as(name))))
            if absent:
                presence = worst(f.status for f in mine)
                requirements.append(Requirement(profile.id, name, presence, {}, where))
            else:
                requirements.append(summed(profile.id, name, mine, where))
    of_rom: list[Finding] = []
    for rule in RULES.values():
        if rule.scope == "rom":
            of_rom.extend(rule.check(Case(rule, rom=policies.rom), facts))
    findings += of_rom
    for name in demanded_of_rom(policies.rom):
        where = shown(str(policies.where("rom", name.removeprefix("rom."))))
        requirements.append(summed(None, name, of_rom, where))
    return findings, requirements


def shown(where: str) -> str:
    """Name a shipped policy without the place of the installation, which differs by machine."""
    return where.removeprefix(f"{data_folder('policies').parent}/")


def summed(service: str | None, name: str, findings: Iterable[Finding], where: str) -> Requirement:
    """Sum up what the findings say of one requirement, layer by layer.

    Failures below an error are listed as findings but do not fail the requirement.
    """
    layers: dict[Layer, list[Status]] = {}
    for finding in findings:
        is_warning = finding.status is Status.FAIL and finding.severity < Severity.ERROR
        if finding.requirement == name.partition("/")[0] and not is_warning:
            if "/" in name and finding.selector != name.partition("/")[2]:
                continue
            layers.setdefault(finding.layer, []).append(finding.status)
    by_layer = {layer: worst(statuses) for layer, statuses in layers.items()}
    return Requirement(service, name, worst(by_layer.values()), by_layer, where)
