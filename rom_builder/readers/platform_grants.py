"""What the platform gives the apps of a service without asking its user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rom_builder.errors import ImageError
from rom_builder.facts import PlatformGrant
from rom_builder.findings import Location
from rom_builder.formats.runtime_permissions import RUNTIME_SINCE, SENSITIVE
from rom_builder.formats.system_config import ENFORCED, EXEMPTIONS, PRIVILEGED, PRIVILEGED_SINCE
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import MANIFEST, Apk, Packages
from rom_builder.readers.sysconfig import read_default_permissions, read_system_config
from rom_builder.rom import Rom

NAME = 0x01010003


@dataclass(frozen=True, slots=True)
class Asking:
    """What the apps of one package name ask for in their manifests."""

    installed: bool
    permissions: frozenset[str]
    target_sdk: int
    privileged: bool

    def ignores_pre_grant(self, permission: str, sdk: int | None) -> str:
        """Say why the platform does not give a permission beforehand; empty if it does."""
        if not self.installed:
            return "there is no such app"
        if sdk is not None and sdk < RUNTIME_SINCE:
            return f"Android of API level {sdk} reads no such file"
        if self.target_sdk < RUNTIME_SINCE:
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
    rom: Rom, packages: Packages, profiles: Sequence[Profile], sdk: int | None
) -> Iterator[PlatformGrant]:
    """Yield every grant to a package of a profile; files and apps that cannot be read are noted.

    Args:
        sdk: API level of the ROM.
    """
    services: dict[str, list[str]] = {}
    for profile in profiles:
        for package in profile.packages:
            services.setdefault(package, []).append(profile.id)
    if not services:
        return
    asking = {package: asked_by(rom, packages, package) for package in services}
    grants = (
        *_pre_grants(rom, asking, sdk),
        *_at_installation(rom, packages, services, sdk),
        *_system_config(rom, asking),
    )
    for grant in grants:
        for service in services[grant.package]:
            yield replace(grant, service=service)


def _pre_grants(rom: Rom, asking: dict[str, Asking], sdk: int | None) -> Iterator[PlatformGrant]:
    for file, permissions in read_default_permissions(rom):
        for each in permissions:
            if each.package not in asking:
                continue
            ignored = asking[each.package].ignores_pre_grant(each.permission, sdk)
            place = Location(file.name, line=each.line)
            yield PlatformGrant(
                "", each.package, "pre-grant", each.permission, each.fixed, ignored, place
            )


def _at_installation(
    rom: Rom, packages: Packages, names: Iterable[str], sdk: int | None
) -> Iterator[PlatformGrant]:
    for package in names:
        for apk in packages.named(package):
            try:
                if not from_the_start(apk, sdk):
                    continue
                for permission in permissions_of(apk):
                    if permission in SENSITIVE:
                        place = Location(apk.inner(MANIFEST))
                        yield PlatformGrant(
                            "", package, "at-installation", permission, True, "", place
                        )
            except ImageError as error:
                rom.note_unread(error, apk.file.name)


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
            permissions.update(permissions_of(apk))
            targets.append(apk.target_sdk)
            privileged = privileged or apk.describe().privileged
        except ImageError as error:
            rom.note_unread(error, apk.file.name)
    return Asking(bool(targets), frozenset(permissions), max(targets, default=0), privileged)


def permissions_of(apk: Apk) -> list[str]:
    """Return the names of the permissions that an app's manifest asks for, in its order.

    Raises:
        ImageError: The manifest is damaged.
    """
    found = []
    for element in apk.manifest.children:
        name = element.attribute(NAME)
        if element.name.startswith("uses-permission") and name:
            found.append(name.as_string() or "")
    return list(dict.fromkeys(found))


def from_the_start(apk: Apk, sdk: int | None) -> str:
    """Say who gives an app all that it asks for when it is installed; empty if users are asked.

    Raises:
        ImageError: The manifest is damaged.
    """
    gives = "gives {} all that it asks for when it is installed"
    if sdk is not None and sdk < RUNTIME_SINCE:
        return f"Android of API level {sdk} {gives.format('an app')}"
    if apk.target_sdk < RUNTIME_SINCE:
        return f"Android {gives.format(f'an app for API level {apk.target_sdk}')}"
    return ""


def not_listed(sdk: int | None, enforced: str | None) -> str:
    """Say why privileged apps get all that they ask for, whatever lists say; empty if lists bind.

    Args:
        sdk: API level of the ROM.
        enforced: The property ``ro.control_privapp_permissions``.
    """
    if sdk is not None and sdk < PRIVILEGED_SINCE:
        return f"Android of API level {sdk} gives a privileged app all that it asks for"
    if enforced != "enforce":
        return f"{ENFORCED} is {enforced or 'not set'}"
    return ""
