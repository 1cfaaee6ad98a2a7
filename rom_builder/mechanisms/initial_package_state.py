"""Whether the platform lets an app of the ROM run before its user opens it for the first time."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree
from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Link, Location, Strength
from rom_builder.formats.axml import Element
from rom_builder.formats.system_config import INITIAL_STATE, ConfigEntry
from rom_builder.mechanisms.effective_resources import FRAMEWORK, EffectiveResources
from rom_builder.mechanisms.manifest_flag import ATTRIBUTES
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlays import Overlays
from rom_builder.mechanisms.platform_files import (
    Matches,
    has,
    local_name,
    new_file,
    remove_elements,
)
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Apk, Packages
from rom_builder.readers.sysconfig import ConfigFile, config_folder, read_system_config
from rom_builder.rom import Rom

STOPPED, STARTED = "stopped", "started"
SINCE = 34
"""Android 14 is the first that installs apps of the ROM in the stopped state."""
BY_DEFAULT = "bool/config_stopSystemPackagesByDefault"
NAME = 0x01010003
LAUNCHER = "android.intent.category.LAUNCHER"


class InitialPackageState(Binding):
    """The state of one app on the first start.

    Attributes:
        package: The app.
    """

    package: str = Field(description="Package name of the app.")


@mechanism("initial-package-state")
class InitialPackageStateMechanism:
    """``stopped`` until its user opens it, or ``started``, for an app on a new or reset phone.

    A stopped app gets no broadcast that is not for it alone, and no job: it does nothing of its own.
    From Android 14 on the platform stops the apps of the ROM if ``config_stopSystemPackagesByDefault``
    of the framework is true, except those that have no icon to be opened by, and those that an
    ``initial-package-state`` element in ``etc/sysconfig`` exempts.
    """

    options = InitialPackageState

    def read(self, rom: Rom, packages: Packages, binding: InitialPackageState) -> Iterator[Found]:
        for apk in packages.named(binding.package):
            value, links = state_of(rom, packages, apk, unsigned=False)
            label = f"the first state of {binding.package}"
            values = (value,) if value else ()
            yield Found(label, values, links[-1].location, Strength.EFFECTIVE, links)

    def render(
        self, rom: Rom, packages: Packages, binding: InitialPackageState, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        why = f"{binding.package} is to be {', '.join(map(str, values))} at first"
        for apk in packages.named(binding.package):
            value, links = state_of(rom, packages, apk, unsigned=True)
            if values == (value,):
                continue
            if values == (STARTED,) and value == STOPPED:
                root = etree.Element("config")
                etree.SubElement(root, INITIAL_STATE, package=binding.package, stopped="false")
                path = config_folder(rom, "system", "sysconfig")
                name = f"{INITIAL_STATE}-{binding.package}.xml"
                yield from new_file(rom, f"{path}/{name}", root, why)
                continue
            exempting = list(exemptions(rom, binding.package))
            if values == (STOPPED,) and exempting:
                for config, entries in exempting:
                    yield from remove_elements(rom, config.file, entries, exempts(binding), why)
            if values != (STOPPED,) or reason_beside(rom, packages, apk):
                what = reason_beside(rom, packages, apk) or links[-1].text
                yield Obstacle(links[-1].location.path, f"{why}, but {what}", hint_for(rom, apk))


def hint_for(rom: Rom, apk: Apk) -> str:
    """Say what helps where no file of ``etc/sysconfig`` does."""
    new_version = (
        f"bring a version of the app that starts nothing by itself: --replace {apk.file.path}=FILE"
    )
    if (read_platform(rom).sdk or SINCE) < SINCE:
        return new_version
    return (
        "have the framework stop the apps of the ROM (resource-overlay of package android, resource "
        f"{BY_DEFAULT}), or {new_version}"
    )


def state_of(
    rom: Rom, packages: Packages, apk: Apk, *, unsigned: bool
) -> tuple[str, tuple[Link, ...]]:
    """Return an app's first state and what it follows from; an empty state if nobody can tell.

    Raises:
        ImageError: The app's manifest, a resource table or an overlay is damaged.
    """
    effective = EffectiveResources(Overlays(rom, packages, unsigned=unsigned))
    own = Location(apk.inner(MANIFEST))
    if effective.sdk is None:
        return "", (Link(own, "the API level of the ROM is unknown"),)
    if effective.sdk < SINCE:
        return STARTED, (Link(own, f"Android of API level {effective.sdk} stops no app"),)
    values = [
        each
        for framework in packages.named(FRAMEWORK)
        for each in effective.find(framework, BY_DEFAULT)
    ]
    if not values:
        return "", (Link(own, f"no framework with {BY_DEFAULT} was found"),)
    links = values[0].chain
    stops = {None if each.doubt else each.value.as_value() for each in values}
    if len(stops) > 1 or None in stops:
        doubt = next((each.doubt for each in values if each.doubt), "its values differ")
        return "", (*links, Link(links[-1].location, doubt))
    if stops == {False}:
        return STARTED, links
    for config, entries in exemptions(rom, apk.package):
        place = Location(config.file.name, line=entries[0].line)
        return STARTED, (*links, Link(place, f"{INITIAL_STATE} exempts {apk.package}"))
    if not has_icon(apk):
        return STARTED, (*links, Link(own, "the app has no icon that would start it"))
    return STOPPED, (*links, Link(own, "the app has an icon, and no file exempts it"))


def reason_beside(rom: Rom, packages: Packages, apk: Apk) -> str:
    """Say what but a file in ``etc/sysconfig`` keeps an app from being stopped; empty if nothing."""
    value, links = state_of(rom, packages, apk, unsigned=True)
    if value == STOPPED or INITIAL_STATE in links[-1].text:
        return "" if has_icon(apk) else "the app has no icon that would start it"
    return links[-1].text


def exemptions(rom: Rom, package: str) -> Iterator[tuple[ConfigFile, list[ConfigEntry]]]:
    """Yield the files that exempt an app, each with the elements that do."""
    for config in read_system_config(rom):
        entries = [
            entry
            for entry in config.entries
            if entry.tag == INITIAL_STATE
            and entry.package == package
            and entry.stopped is False
            and config.obeyed(entry)
        ]
        if entries:
            yield config, entries


def exempts(binding: InitialPackageState) -> Matches:
    """Return what tells the elements of an app from others."""
    return lambda e: local_name(e) == INITIAL_STATE and has(e, "package", binding.package)


def has_icon(apk: Apk) -> bool:
    """Say whether an app surely has an enabled and exported activity in the launcher.

    Both are the default for an activity with an intent filter.
    """
    application = apk.application
    for element in application.children if application else ():
        if element.name not in ("activity", "activity-alias") or not _in_launcher(element):
            continue
        stated = (element.attribute(ATTRIBUTES[name]) for name in ("enabled", "exported"))
        if all(attribute is None or apk.boolean(attribute) for attribute in stated):
            return True
    return False


def _in_launcher(activity: Element) -> bool:
    return any(
        (name := category.attribute(NAME)) is not None and name.as_string() == LAUNCHER
        for intents in activity.children_named("intent-filter")
        for category in intents.children_named("category")
    )
