"""Which users of a new or reset phone get an app of the ROM at all."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree
from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Link, Location, Strength
from rom_builder.formats.system_config import USER_TYPE
from rom_builder.mechanisms.effective_resources import FRAMEWORK, EffectiveResources
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlays import Overlays
from rom_builder.mechanisms.platform_files import new_file
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Apk, Packages
from rom_builder.readers.sysconfig import config_folder, read_system_config
from rom_builder.rom import Rom

INSTALLED, LEFT_OUT = "installed", "left-out"
SINCE = 30
"""Android 11 is the first that asks."""
MODE = "integer/config_userTypePackageWhitelistMode"
MODE_PROPERTY = "persist.debug.user.package_whitelist_mode"
ENFORCE, IMPLICIT, IMPLICIT_SYSTEM = 0x01, 0x04, 0x08
"""Bits of the mode (``UserSystemPackageInstaller``)."""
OWNER = "android.os.usertype.full.SYSTEM"


class PreinstalledPackage(Binding):
    """One app and one type of user.

    Attributes:
        package: The app.
        user_type: ``android.os.usertype.full.SYSTEM`` is the owner of the phone.
    """

    package: str = Field(description="Package name of the app.")
    user_type: str = Field(
        OWNER,
        description="Type of user; the owner of the phone, without a word.",
        pattern=r"^android\.os\.usertype\.(full|system|profile)\.[A-Z_]+$",
    )

    @property
    def names(self) -> frozenset[str]:
        """The names under which a file may speak of the type: its own, and those of its bases."""
        kind = self.user_type.split(".")[3]
        bases = {"FULL", "SYSTEM"} if self.user_type == OWNER else {kind.upper()}
        return frozenset({self.user_type, *bases})


@mechanism("preinstalled-package")
class PreinstalledPackageMechanism:
    """``install-in-user-type`` of ``etc/sysconfig``: the app is ``installed`` or ``left-out``.

    It holds for users that are made after the update: the owner of a new or reset phone. An app that no
    file names is installed unless the framework's mode says otherwise; what one file forbids, no other
    can allow.
    """

    options = PreinstalledPackage

    def read(self, rom: Rom, packages: Packages, binding: PreinstalledPackage) -> Iterator[Found]:
        for apk in packages.named(binding.package):
            value, links = state_of(rom, packages, apk, binding)
            label = f"{binding.package} for {binding.user_type.rpartition('.')[2]} users"
            values = (value,) if value else ()
            yield Found(label, values, links[-1].location, Strength.EFFECTIVE, links)

    def render(
        self, rom: Rom, packages: Packages, binding: PreinstalledPackage, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        why = f"{binding.package} is to be {', '.join(map(str, values))} for {binding.user_type}"
        for apk in packages.named(binding.package):
            value, links = state_of(rom, packages, apk, binding)
            if values == (value,):
                continue
            _, denied = listed(rom, binding)
            mode, _ = mode_of(rom, packages)
            sdk = read_platform(rom).sdk
            if values == (LEFT_OUT,) and sdk is not None and sdk < SINCE:
                hint = f"leave the app out of the ROM: --remove {apk.file.path}"
                why = f"{why}, but Android of API level {sdk} has no such files"
                yield Obstacle(links[-1].location.path, why, hint)
            elif values not in ((INSTALLED,), (LEFT_OUT,)) or mode is None or not mode & ENFORCE:
                hint = f"have the framework obey such files: {MODE} of package android with bit 1"
                yield Obstacle(links[-1].location.path, f"{why}, but {links[-1].text}", hint)
            elif values == (INSTALLED,) and denied:
                hint = "take the do-not-install-in out of that file"
                yield Obstacle(denied[-1].location.path, f"{why}, but {denied[-1].text}", hint)
            else:
                tag = "install-in" if values == (INSTALLED,) else "do-not-install-in"
                root = etree.Element("config")
                app = etree.SubElement(root, USER_TYPE, package=binding.package)
                etree.SubElement(app, tag, {"user-type": binding.user_type})
                folder = config_folder(rom, "system", "sysconfig")
                name = f"preinstalled-packages-{binding.package}-{tag}.xml"
                yield from new_file(rom, f"{folder}/{name}", root, why)


def state_of(
    rom: Rom, packages: Packages, apk: Apk, binding: PreinstalledPackage
) -> tuple[str, tuple[Link, ...]]:
    """Return whether users of a type get an app, and what that follows from; empty if unknown.

    Raises:
        ImageError: A resource table or an overlay is damaged.
    """
    own = Location(apk.inner(MANIFEST))
    mode, why = mode_of(rom, packages)
    if mode is None:
        return "", (why or Link(own, f"no framework with {MODE} was found"),)
    links = (why,) if why else ()
    if not mode & ENFORCE:
        return INSTALLED, (*links, Link(own, "the platform asks no file about it"))
    given, denied = listed(rom, binding)
    if denied:
        return LEFT_OUT, (*links, *given, *denied)
    if given:
        return INSTALLED, (*links, *given)
    if is_named(rom, binding.package):
        return LEFT_OUT, (*links, Link(own, "files name other users for it only"))
    implicit = mode & IMPLICIT or (mode & IMPLICIT_SYSTEM and "SYSTEM" in binding.names)
    said = "no file names the app, and the mode installs such apps"
    if implicit:
        return INSTALLED, (*links, Link(own, said))
    return LEFT_OUT, (*links, Link(own, "no file names the app, and the mode asks for one"))


def is_named(rom: Rom, package: str) -> bool:
    """Say whether any file gives an app to some users, or denies it to some."""
    return any(
        entry.package == package and entry.user_types and config.obeyed(entry)
        for config in read_system_config(rom)
        for entry in config.entries
    )


def listed(rom: Rom, binding: PreinstalledPackage) -> tuple[list[Link], list[Link]]:
    """Return the places that give an app to a type of user, and those that deny it."""
    given: list[Link] = []
    denied: list[Link] = []
    for config in read_system_config(rom):
        for entry in config.entries:
            if entry.package != binding.package or not config.obeyed(entry):
                continue
            for name, install in entry.user_types:
                if name in binding.names:
                    place = Location(config.file.name, line=entry.line)
                    text = f"{entry.package} is {'' if install else 'not '}for {name}"
                    (given if install else denied).append(Link(place, text))
    return given, denied


def mode_of(rom: Rom, packages: Packages) -> tuple[int | None, Link | None]:
    """Return how the platform obeys such files, and what says so; None if nobody can tell."""
    overlays = Overlays(rom, packages, unsigned=True)
    if overlays.sdk is None:
        return None, Link(Location(""), "the API level of the ROM is unknown")
    if overlays.sdk < SINCE:
        return 0, Link(Location(""), f"Android of API level {overlays.sdk} has no such files")
    stated = overlays.platform.properties.get(MODE_PROPERTY)
    if stated is not None and stated[0].isascii() and stated[0].isdigit():
        return int(stated[0]), Link(stated[1], f"{MODE_PROPERTY} is {stated[0]}")
    values = [
        each
        for framework in packages.named(FRAMEWORK)
        for each in EffectiveResources(overlays).find(framework, MODE)
    ]
    modes = {None if each.doubt else each.value.as_value() for each in values}
    if len(modes) == 1 and isinstance(mode := modes.pop(), int):
        return mode, values[0].chain[-1]
    if values:
        return None, Link(values[-1].location, values[-1].doubt or "its values differ")
    return None, None
