"""From policies and facts to findings and requirements: every rule, asked once per service or ROM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rom_builder.facts import Facts
from rom_builder.findings import Finding, Layer, Requirement, Severity, Status, worst
from rom_builder.policy.load import Policies
from rom_builder.policy.models import RomPolicy, ServicePolicy
from rom_builder.resources import data_folder
from rom_builder.rules import RULES
from rom_builder.rules.rule import Case

WRITTEN_AS = {"consent.default": "consent.mode"}
"""Requirements that the policy writes under another name."""


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
            field = WRITTEN_AS.get(name, name).replace("/", ".")
            where = shown(str(policies.where(profile.id, field)))
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


def demanded(service: ServicePolicy) -> Iterator[str]:
    """Yield the dotted name of each requirement that a service's policy states."""
    yield "presence"
    consent, transport, data = service.consent, service.transport, service.data
    permissions = service.permissions
    if consent is not None:
        if consent.mode is not None:
            yield "consent.default"
        if consent.preselected == "forbidden":
            yield "consent.preselected"
        if consent.before:
            yield "consent.before"
        if consent.on_upgrade is not None:
            yield "consent.on_upgrade"
        if consent.off_switch is not None:
            yield "consent.off_switch"
        if consent.notice is not None:
            yield "consent.notice"
    if transport is not None:
        if transport.cleartext == "forbidden":
            yield "transport.cleartext"
        if transport.min_tls is not None:
            yield "transport.min_tls"
        if transport.user_ca == "forbidden":
            yield "transport.user_ca"
        if transport.hosts is not None:
            yield "transport.hosts"
        if transport.pins:
            yield "transport.pins"
    if data is not None:
        if data.forbidden:
            yield "data.forbidden"
        if data.allowed:
            yield "data.allowed"
    if permissions is not None:
        if permissions.pre_granted == "forbidden":
            yield "permissions.pre_granted"
        if permissions.privileged is not None:
            yield "permissions.privileged"
        if permissions.exemptions == "forbidden":
            yield "permissions.exemptions"
    apps = service.apps
    if apps is not None:
        if apps.unguarded_components == "forbidden":
            yield "apps.unguarded_components"
        if apps.backup == "forbidden":
            yield "apps.backup"
        if apps.cleartext_links == "forbidden":
            yield "apps.cleartext_links"
    for name in sorted(service.attested):
        yield f"attested/{name}"


def demanded_of_rom(rom: RomPolicy | None) -> Iterator[str]:
    """Yield the dotted name of each requirement on the ROM as a whole."""
    if rom is None:
        return
    if rom.public_keys == "forbidden":
        yield "rom.public_keys"
    if rom.weak_signatures == "forbidden":
        yield "rom.weak_signatures"
    if rom.verified_boot == "required":
        yield "rom.verified_boot"
    if rom.debuggable == "forbidden":
        yield "rom.debuggable"
    if rom.app_signatures == "required":
        yield "rom.app_signatures"
    if rom.build_tags == "truthful":
        yield "rom.build_tags"
    if rom.certificate_authorities is not None:
        yield "rom.certificate_authorities"
