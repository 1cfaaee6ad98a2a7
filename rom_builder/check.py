"""The story of a verdict: open, read facts, judge, report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from rom_builder.background import in_background
from rom_builder.code.endpoints import read_endpoints, watch
from rom_builder.code.reading import read_code
from rom_builder.errors import ImageError
from rom_builder.facts import Fact, Facts, NetworkSecurity, Notice, Reading, SigningCertificate
from rom_builder.findings import Image, Location, Report, Strength, sorted_findings
from rom_builder.judge import judge
from rom_builder.keys import DEVELOPMENT
from rom_builder.mechanisms import MECHANISMS
from rom_builder.mechanisms.mechanism import Found
from rom_builder.mechanisms.network_security_config import read_network_security
from rom_builder.mechanisms.overlay_faults import read_overlay_faults
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.load import Policies
from rom_builder.policy.profile import Binding, Profile, Switch
from rom_builder.readers.authorities import read_authorities, read_reference
from rom_builder.readers.exposure import read_exposure
from rom_builder.readers.hosts import summed_hosts
from rom_builder.readers.notices import read_notices
from rom_builder.readers.packages import Packages
from rom_builder.readers.platform_grants import read_platform_grants
from rom_builder.readers.signatures import read_app_signatures, read_signing_certificates
from rom_builder.readers.verified_boot import read_avb_keys, read_verified_boot
from rom_builder.rom import Rom, Step, silent
from rom_builder.rom.completeness import missing_parts, tops, without_system
from rom_builder.rom.containers import BOOT, MOUNTED
from rom_builder.rom.dumps import is_loose, lacking_resources, resources_beside
from rom_builder.rom.opening import open_rom
from rom_builder.rules.readings import counted
from rom_builder.waivers.apply import NONE, Exceptions, apply

DEVELOPMENT_SIGNED = "development-signed: the key is a throw-away key, not for release"
CONSENT_DEFAULT = "consent.default"

T = TypeVar("T")


def check(
    path: Path,
    policies: Policies,
    *,
    today: date,
    notes: tuple[str, ...] = (),
    exceptions: Exceptions = NONE,
    step: Step = silent,
) -> Report:
    """Hold a ROM to policies.

    Args:
        path: A folder, a package or an image.
        policies: What is demanded.
        today: Day on which expiry dates are judged.
        notes: Remarks that the report carries.
        exceptions: Failures that do not count.
        step: Told how reading goes on, from more than one thread.

    Raises:
        ImageError: The image as a whole cannot be read; parts that cannot are in the report.
    """
    rom = open_rom(path, step=step)
    return check_rom(rom, policies, today=today, notes=notes, exceptions=exceptions)


def check_rom(
    rom: Rom,
    policies: Policies,
    *,
    today: date,
    notes: tuple[str, ...] = (),
    exceptions: Exceptions = NONE,
    sha256: str | None = None,
) -> Report:
    """Hold an open ROM to policies; see :func:`check`.

    Args:
        sha256: What the report gives as the SHA-256 of the image; computed if it is None.
    """
    return examine(rom, policies, today=today, notes=notes, exceptions=exceptions, sha256=sha256)[0]


def examine(
    rom: Rom,
    policies: Policies,
    *,
    today: date,
    notes: tuple[str, ...] = (),
    exceptions: Exceptions = NONE,
    sha256: str | None = None,
) -> tuple[Report, Facts]:
    """Hold an open ROM to policies as :func:`check_rom` does; return the facts as well."""
    digest = in_background(lambda: rom.sha256 if sha256 is None else sha256)
    facts = read_facts(rom, policies, today)
    sha256 = digest.result()
    unread = sorted(set(rom.unread), key=lambda part: (part.path, part.reason))
    facts = replace(facts, unread=tuple(unread))
    findings, requirements = judge(policies, facts)
    development = any(DEVELOPMENT in c.subject for c in facts.of(SigningCertificate))
    report = Report(
        image=Image(str(rom.path), rom.kind, sha256, describe(facts)),
        policies=tuple((policy.id, policy.title) for policy in policies.policies),
        requirements=tuple(requirements),
        findings=sorted_findings(findings),
        unread=facts.unread,
        notes=(*([DEVELOPMENT_SIGNED] if development else []), *notes, *remarks(rom)),
        hosts=tuple(summed_hosts(policies, facts)),
    )
    return apply(report, exceptions, facts), facts


def remarks(rom: Rom) -> Iterator[str]:
    """Say what of the device the verdict does not speak of."""
    for partition in rom.unmounted:
        if partition.name in MOUNTED:
            yield f"{partition.path} is not judged: the input holds {partition.name} another time"
    code = lacking_resources(rom)
    if code and not is_loose(rom, code):
        yield f"{resources_beside(code)} is not there, without which no device starts"


def describe(facts: Facts) -> str:
    """Return the build fingerprint, or whatever names the device."""
    platform = facts.platform
    for key in ("ro.build.fingerprint", "ro.system.build.fingerprint", "ro.product.device"):
        if value := platform.get(key):
            return value
    return ""


def read_facts(rom: Rom, policies: Policies, today: date) -> Facts:
    """Read everything that the rules ask about."""
    for part in (*missing_parts(rom), *without_system(rom)):
        rom.note_unread(ImageError(part.reason), part.path)
    packages = Packages(rom)
    platform = read_platform(rom)
    wants_signatures = policies.rom is not None and policies.rom.app_signatures == "required"
    signatures = read_app_signatures(rom, platform.sdk) if wants_signatures else ()  # starts now
    facts = [package for _, package in packages.described]
    readings: list[Reading | NetworkSecurity | Notice] = []
    watches = []
    present: dict[str, tuple[Location, ...]] = {}
    for service, profile in policies.services:
        present[profile.id] = tuple(find_service(rom, packages, profile))
        readings += read_service(rom, packages, profile)
        readings += read_notices(rom, packages, profile)
        demanded = service.transport.hosts if service.transport else None
        hosts = (*profile.hosts, *(demanded or ()))
        watches.append(watch(profile, hosts, rom, packages))
    profiles = [profile for _, profile in policies.services]
    return Facts(
        platform=platform,
        facts=(
            *facts,
            *readings,
            *read_code(rom, packages, policies),
            *read_platform_grants(rom, packages, profiles, platform.sdk),
            *read_overlay_faults(rom, packages, profiles),
            *read_endpoints(rom, watches),
            *read_signing_certificates(rom, platform.sdk),
            *read_avb_keys(rom),
            *read_verified_boot(rom),
            *signatures,
            *read_hygiene(rom, packages, policies, platform.sdk),
        ),
        present=present,
        searched=f"{counted(len(facts), 'app')} and {counted(len(rom.files), 'file')}",
        unread=tuple(rom.unread),
        today=today,
        partitions=tuple(sorted(present_partitions(rom))),
    )


def read_hygiene(
    rom: Rom, packages: Packages, policies: Policies, sdk: int | None
) -> Iterator[Fact]:
    """Yield what only some policies ask about, if one does."""
    reference = read_reference(policies, sdk)
    if reference is not None:
        yield reference
        yield from read_authorities(rom)
    for service, profile in policies.services:
        if service.apps is not None:
            yield from read_exposure(rom, packages, profile, sdk)


def present_partitions(rom: Rom) -> set[tuple[str, str]]:
    """Return name and slot of each partition with files or a kernel; unpacked ones have no slot."""
    images = {
        (partition.name, partition.slot)
        for partition in rom.contents.partitions.values()
        if partition.tree is not None or partition.name in BOOT
    }
    return images | {(top, "") for top in tops(rom)}


def find_service(rom: Rom, packages: Packages, profile: Profile) -> Iterator[Location]:
    """Yield the parts of a service that are in the ROM."""
    for file, package in packages.described:
        if package.name in profile.packages:
            yield Location(file.name)
    for path in profile.files:
        found = rom.find(path)
        if found is not None:
            yield Location(found.name)


def read_service(
    rom: Rom, packages: Packages, profile: Profile
) -> Iterator[Reading | NetworkSecurity]:
    """Yield what every place that the profile names says."""
    for switch in profile.switches:
        yield from read_switch(rom, packages, profile, switch)
    for setting in profile.settings:
        for found in read_binding(rom, packages, setting.binding):
            yield reading(profile, setting.requirement, setting.binding, found, None)
    yield from read_network_security(rom, packages, profile)


def read_switch(
    rom: Rom, packages: Packages, profile: Profile, switch: Switch
) -> Iterator[Reading]:
    """Yield what one on/off switch says; one that its reader finds unset is a reading, too."""
    anything = False
    for found in read_binding(rom, packages, switch.binding):
        anything = True
        on = None
        if len(found.values) == 1:
            on = {key_of(switch.value_on): True, key_of(switch.value_off): False}.get(
                key_of(found.values[0])
            )
        if switch.read_by and found.strength is Strength.PRESENCE:
            found = replace(found, strength=Strength.EFFECTIVE)
        yield reading(profile, CONSENT_DEFAULT, switch.binding, found, on)
    if not anything and switch.read_by:
        reader = next(packages.named(switch.read_by), None)
        if reader is not None:
            label = f"the {switch.binding.mechanism} setting that {switch.read_by} reads"
            place = Location(reader.file.name)
            unset = Found(label, (), place, Strength.EFFECTIVE)
            yield reading(profile, CONSENT_DEFAULT, switch.binding, unset, None)


def key_of(value: str | bool | int) -> tuple[type, str | bool | int]:
    """Tell apart values of different types: the text "1", the number 1 and the boolean true."""
    return type(value), value


def read_binding(rom: Rom, packages: Packages, binding: Binding) -> Iterator[Found]:
    """Yield what a mechanism finds; what it cannot read is noted as unread."""
    try:
        yield from MECHANISMS[binding.mechanism].read(rom, packages, binding)
    except ImageError as error:
        rom.note_unread(error, str(rom.path))


def reading(
    profile: Profile, requirement: str, binding: Binding, found: Found, on: bool | None
) -> Reading:
    """Put what was found in the words of a profile."""
    return Reading(
        service=profile.id,
        requirement=requirement,
        mechanism=binding.mechanism,
        label=found.label,
        values=found.values,
        on=on,
        location=found.location,
        strength=found.strength,
        chain=found.chain,
        doubt=found.doubt,
    )
