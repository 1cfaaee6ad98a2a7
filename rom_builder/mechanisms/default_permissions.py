"""Permissions that an app has before its user is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lxml import etree
from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.formats.default_permissions import DefaultPermission
from rom_builder.formats.runtime_permissions import SENSITIVE
from rom_builder.mechanisms.inside_app import on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.platform_files import (
    Matches,
    has,
    is_unread,
    new_file,
    remove_elements,
)
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Packages
from rom_builder.readers.platform_grants import from_the_start, permissions_of
from rom_builder.readers.sysconfig import (
    DEFAULT_PERMISSIONS,
    config_folder,
    read_default_permissions,
)
from rom_builder.rom import Rom, RomFile

GIVEN, ASKED = "given", "asked"


class DefaultPermissions(Binding):
    """Permissions of one app.

    Attributes:
        package: The app.
        permission: One permission; None for all that open personal data.
    """

    package: str = Field(description="Package name of the app.")
    permission: str | None = Field(
        None,
        description="Name of one permission; without one all that open personal data are meant.",
    )

    def means(self, permission: str) -> bool:
        """Say whether the binding speaks of a permission."""
        return permission == self.permission or (
            self.permission is None and permission in SENSITIVE
        )


@mechanism("default-permissions")
class DefaultPermissionsMechanism:
    """Files in ``etc/default-permissions``: what they name is ``given``, all else is ``asked`` for.

    Before Android 6, and to an app that is made for it, the platform gives all that the manifest asks
    for when the app is installed; no file changes that.
    """

    options = DefaultPermissions

    def read(self, rom: Rom, packages: Packages, binding: DefaultPermissions) -> Iterator[Found]:
        given = list(self._given(rom, packages, binding))
        for place, permission in given:
            label = f"{permission} of {binding.package}"
            yield Found(label, (GIVEN,), place, Strength.EFFECTIVE)
        if not given and not is_unread(rom, DEFAULT_PERMISSIONS):
            for apk in packages.named(binding.package):
                label = f"{binding.permission or 'what opens personal data'} of {binding.package}"
                place = Location(apk.inner(MANIFEST))
                yield Found(label, (ASKED,), place, Strength.EFFECTIVE)

    def _given(
        self, rom: Rom, packages: Packages, binding: DefaultPermissions
    ) -> Iterator[tuple[Location, str]]:
        """Yield each permission that is given beforehand, and what says so."""
        for file, found in pre_granted(rom, binding):
            for each in found:
                yield Location(file.name, line=each.line), each.permission
        sdk = read_platform(rom).sdk
        for apk in packages.named(binding.package):
            if from_the_start(apk, sdk):
                for permission in filter(binding.means, permissions_of(apk)):
                    yield Location(apk.inner(MANIFEST)), permission

    def render(
        self, rom: Rom, packages: Packages, binding: DefaultPermissions, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        if values == (ASKED,):
            for file, found in pre_granted(rom, binding):
                names = {each.permission for each in found}
                why = f"{binding.package} is to ask for {', '.join(sorted(names))}"
                yield from remove_elements(rom, file, found, names_one_of(names), why)
            yield from self._unavoidable(rom, packages, binding)
        elif values == (GIVEN,) and binding.permission is not None:
            if not any(self._given(rom, packages, binding)):
                root = etree.Element("exceptions")
                app = etree.SubElement(root, "exception", package=binding.package)
                etree.SubElement(app, "permission", name=binding.permission, fixed="false")
                folder = config_folder(rom, "system", "default-permissions")
                name = f"{binding.package}-{binding.permission.rpartition('.')[2]}.xml"
                why = f"{binding.package} is to be given {binding.permission}"
                yield from new_file(rom, f"{folder}/{name}", root, why)
        else:
            wanted = ", ".join(map(str, values))
            why = f"{wanted} is demanded of permissions, which are {GIVEN} or {ASKED}"
            yield Obstacle(binding.package, why, f"write {ASKED}, or {GIVEN} for one permission")

    def _unavoidable(
        self, rom: Rom, packages: Packages, binding: DefaultPermissions
    ) -> Iterator[Change]:
        """Yield an obstacle for each app that has permissions from the start, whatever files say."""
        sdk = read_platform(rom).sdk
        for apk in packages.named(binding.package):
            names = sorted(filter(binding.means, permissions_of(apk)))
            because = from_the_start(apk, sdk)
            if names and because:
                yield Obstacle(
                    on_device(apk, MANIFEST),
                    f"{binding.package} is to ask for {', '.join(names)}, but {because}",
                    f"bring a version of the app that does not ask for it: "
                    f"--replace {apk.file.path}=FILE",
                )


def pre_granted(
    rom: Rom, binding: DefaultPermissions
) -> Iterator[tuple[RomFile, list[DefaultPermission]]]:
    """Yield each file that gives the app a permission that is meant, and where it does."""
    for file, permissions in read_default_permissions(rom):
        found = [
            each
            for each in permissions
            if each.package == binding.package and binding.means(each.permission)
        ]
        if found:
            yield file, found


def names_one_of(permissions: Collection[str]) -> Matches:
    """Return what tells the elements that name one of these permissions from others."""
    return lambda element: any(has(element, "name", name) for name in permissions)
