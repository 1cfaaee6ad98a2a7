"""What the platform's configuration files give the apps of a service without asking its user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rom_builder.errors import ImageError
from rom_builder.facts import PlatformGrant
from rom_builder.findings import Location
from rom_builder.formats.system_config import EXEMPTIONS, PRIVILEGED
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import Packages
from rom_builder.readers.sysconfig import read_default_permissions, read_system_config
from rom_builder.rom import Rom

NAME = 0x01010003
RUNTIME_PERMISSIONS_SINCE = 23
"""Target level from which an app asks while it runs; an older one has its permissions from the start."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What the apps of one package name ask for in their manifests."""

    installed: bool
    permissions: frozenset[str]
    target_sdk: int
    privileged: bool

    def ignores_pre_grant(self, permission: str) -> str:
        """Say why the platform does not give a permission beforehand; empty if it does."""
        if not self.installed:
            return "there is no such app"
        if self.target_sdk < RUNTIME_PERMISSIONS_SINCE:
            return f"the app is for API level {self.target_sdk} and has it from the start"
        return "" if permission in self.permissions else "the app does not ask for it"

    def ignores_privileged(self, permission: str) -> str:
        """Say why the platform does not let an app have a privileged permission."""
        if not self.installed:
            return "there is no such app"
        if not self.privileged:
            return "the app is not privileged"
        return "" if permission in self.permissions else "the app does not ask for it"


def read_platform_grants(
    rom: Rom, packages: Packages, profiles: Sequence[Profile]
) -> Iterator[PlatformGrant]:
    """Yield every grant to a package of a profile; files and apps that cannot be read are noted."""
    services: dict[str, list[str]] = {}
    for profile in profiles:
        for package in profile.packages:
            services.setdefault(package, []).append(profile.id)
    if not services:
        return
    asking = {package: asked_by(rom, packages, package) for package in services}
    for grant in (*_pre_grants(rom, asking), *_system_config(rom, asking)):
        for service in services[grant.package]:
            yield replace(grant, service=service)


def _pre_grants(rom: Rom, asking: dict[str, Asking]) -> Iterator[PlatformGrant]:
    for file, permissions in read_default_permissions(rom):
        for each in permissions:
            if each.package not in asking:
                continue
            ignored = asking[each.package].ignores_pre_grant(each.permission)
            place = Location(file.name, line=each.line)
            yield PlatformGrant(
                "", each.package, "pre-grant", each.permission, each.fixed, ignored, place
            )


def _system_config(rom: Rom, asking: dict[str, Asking]) -> Iterator[PlatformGrant]:
    for config in read_system_config(rom):
        for entry in config.entries:
            asked = asking.get(entry.package)
            if asked is None:
                continue
            place = Location(config.file.name, line=entry.line)
            refused = (
                ""
                if config.obeyed(entry)
                else f"the platform takes no {entry.tag} from {config.partition}"
            )
            if entry.tag == PRIVILEGED:
                for permission, given in entry.permissions:
                    if given:
                        ignored = refused or asked.ignores_privileged(permission)
                        yield PlatformGrant(
                            "", entry.package, "privileged", permission, True, ignored, place
                        )
            elif entry.tag in EXEMPTIONS:
                ignored = refused or ("" if asked.installed else "there is no such app")
                yield PlatformGrant(
                    "", entry.package, "exemption", entry.tag, False, ignored, place
                )


def asked_by(rom: Rom, packages: Packages, package: str) -> Asking:
    """Return what the installed apps of a name ask for, taken together."""
    permissions: set[str] = set()
    targets: list[int] = []
    privileged = False
    for apk in packages.named(package):
        try:
            for element in apk.manifest.children:
                name = element.attribute(NAME)
                if element.name.startswith("uses-permission") and name:
                    permissions.add(name.as_string() or "")
            targets.append(apk.target_sdk)
            privileged = privileged or apk.describe().privileged
        except ImageError as error:
            rom.note_unread(error, apk.file.name)
    return Asking(bool(targets), frozenset(permissions), max(targets, default=0), privileged)
