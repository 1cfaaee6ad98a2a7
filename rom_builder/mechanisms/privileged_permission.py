"""Privileged permissions of an app."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree
from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.formats.system_config import PRIVILEGED
from rom_builder.mechanisms.inside_app import on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.platform_files import has, is_unread, local_name, new_file, written
from rom_builder.mechanisms.service_config import parse_xml
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Apk, Packages
from rom_builder.readers.platform_grants import not_listed, permissions_of
from rom_builder.readers.sysconfig import SYSTEM_CONFIG, config_folder, read_system_config
from rom_builder.rom import Rom

GIVEN, DENIED = "given", "denied"


class PrivilegedPermission(Binding):
    """One permission of one app.

    Attributes:
        package: The app.
        permission: Its full name.
    """

    package: str = Field(description="Package name of the app.")
    permission: str = Field(description="Full name of the permission.")


@mechanism("privileged-permission")
class PrivilegedPermissionMechanism:
    """``privapp-permissions`` of ``etc/permissions``: a permission is ``given`` or ``denied``.

    A permission is never just left out, because a device that enforces the list does not start with
    an app that asks for one that no list speaks of. An app that does not ask for it, or is not below
    ``priv-app``, is denied it as well. Before Android 8 the platform knows no such list: a privileged app
    is given all that it asks for.
    """

    options = PrivilegedPermission

    def read(self, rom: Rom, packages: Packages, binding: PrivilegedPermission) -> Iterator[Found]:
        label = f"{binding.permission} of {binding.package}"
        apps = list(packages.named(binding.package))
        having = [apk for apk in apps if has_unless_denied(apk, binding.permission)]
        is_unlisted = bool(unlisted(rom))
        listed = [] if is_unlisted else list(self._listed(rom, binding))
        if listed and (having or not apps):
            yield from listed
        elif having and is_unlisted:
            for apk in having:
                place = Location(apk.inner(MANIFEST))
                yield Found(label, (GIVEN,), place, Strength.EFFECTIVE)
        elif not having and not is_unread(rom, SYSTEM_CONFIG):
            for apk in apps:
                place = Location(apk.inner(MANIFEST))
                yield Found(label, (DENIED,), place, Strength.EFFECTIVE)

    def _listed(self, rom: Rom, binding: PrivilegedPermission) -> Iterator[Found]:
        for config in read_system_config(rom):
            for entry in config.entries:
                if entry.package != binding.package or not config.obeyed(entry):
                    continue
                for permission, given in entry.permissions:
                    if permission == binding.permission:
                        value = GIVEN if given else DENIED
                        label = f"{permission} of {entry.package}"
                        place = Location(config.file.name, line=entry.line)
                        yield Found(label, (value,), place, Strength.EFFECTIVE)

    def render(
        self, rom: Rom, packages: Packages, binding: PrivilegedPermission, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        if values not in ((GIVEN,), (DENIED,)):
            why = f"{', '.join(map(str, values))} is demanded of a permission"
            yield Obstacle(binding.package, why, f"write {GIVEN} or {DENIED} in the profile")
            return
        tag = "permission" if values == (GIVEN,) else "deny-permission"
        why = f"{binding.permission} of {binding.package} is to be {values[0]}"
        if values == (DENIED,) and (because := unlisted(rom)):
            for apk in packages.named(binding.package):
                if has_unless_denied(apk, binding.permission):
                    yield Obstacle(on_device(apk, MANIFEST), f"{why}, but {because}", hint_for(apk))
            return
        anything = False
        for config in read_system_config(rom):
            if not any(
                entry.package == binding.package
                and any(name == binding.permission for name, _ in entry.permissions)
                for entry in config.entries
                if config.obeyed(entry)
            ):
                continue
            anything = True
            tree = parse_xml(rom, config.file)
            wrong = [
                child
                for element in tree.getroot()
                if isinstance(element.tag, str) and local_name(element) == PRIVILEGED
                if has(element, "package", binding.package)
                for child in element
                if isinstance(child.tag, str)
                and local_name(child) in ("permission", "deny-permission")
                and local_name(child) != tag
                and has(child, "name", binding.permission)
            ]
            for child in wrong:
                child.tag = tag
            if wrong:
                yield from written(rom, config.file, tree, why)
        if not anything:
            root = etree.Element("permissions")
            app = etree.SubElement(root, PRIVILEGED, package=binding.package)
            etree.SubElement(app, tag, name=binding.permission)
            folder = config_folder(rom, self._partition(packages, binding.package), "permissions")
            name = (
                f"privapp-permissions-{binding.package}-{binding.permission.rpartition('.')[2]}.xml"
            )
            yield from new_file(rom, f"{folder}/{name}", root, why)

    def _partition(self, packages: Packages, package: str) -> str:
        # Each partition speaks for its own apps only.
        for file, described in packages.described:
            top = (file.path or "").split("/")[1:2]
            if described.name == package and top in (["vendor"], ["product"], ["system_ext"]):
                return top[0]
        return "system"


def unlisted(rom: Rom) -> str:
    """Say that a platform knows no list of privileged permissions; empty if it does."""
    return not_listed(read_platform(rom).sdk, "enforce")


def has_unless_denied(apk: Apk, permission: str) -> bool:
    """Say whether an app is privileged and asks for a permission."""
    return apk.describe().privileged and permission in permissions_of(apk)


def hint_for(apk: Apk) -> str:
    """Say what helps where a privileged app is given all that it asks for."""
    return (
        "move the app out of priv-app, or bring a version of the app that does not ask for it: "
        f"--replace {apk.file.path}=FILE"
    )
