"""Give resources of an app other values by a static overlay, where the platform lets one do so.

The overlay is a new file that nobody has signed yet (``FileData.unsigned_app``): build signs it.
What it would do is tried out on the edited ROM by the reader of :mod:`.effective_resources` before
it is proposed, so an overlay that another one defeats is never planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rom_builder.edits import Edit, FileData
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.axml import Element
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.formats.overlay_apk import (
    FIRST_SDK,
    MAX_PRIORITY,
    OverlayApk,
    OverlayResource,
    OverlayValue,
    parse_overlay_apk,
)
from rom_builder.formats.overlay_config import with_overlay
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.mechanisms.effective_resources import (
    ENFORCED_SINCE,
    Effective,
    EffectiveResources,
    declaration,
    identifier,
    policies_of,
)
from rom_builder.mechanisms.overlays import CONFIG_SINCE, Overlays
from rom_builder.readers.packages import Apk, Packages
from rom_builder.rom import Rom

PARTITION_ORDER = ("product", "vendor", "system_ext", "odm", "oem")
"""Where an overlay goes by preference; which of them a platform looks at is its own matter."""
OVERLAY_LABELS = {
    "vendor": "u:object_r:vendor_overlay_file:s0",
    "odm": "u:object_r:vendor_overlay_file:s0",
}
"""SELinux labels of overlays that differ from their partition's (system/sepolicy, file_contexts)."""
ANDROID = {
    21: "5.0", 22: "5.1", 23: "6", 24: "7.0", 25: "7.1", 26: "8.0", 27: "8.1", 28: "9", 29: "10",
    30: "11", 31: "12", 32: "12L", 33: "13", 34: "14", 35: "15", 36: "16",
}  # fmt: skip


Wanted = OverlayValue | Callable[[Effective], OverlayValue]
"""The value in every configuration, or what makes it from the one that is there; what it has made
once it must leave as it is."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no overlay can do it, and what would."""

    why: str
    hint: str


def overlay_package(target: str, target_name: str | None) -> str:
    """Return the package name of the overlay that build makes for an app.

    >>> overlay_package("com.example.messaging", None)
    'com.example.messaging.rombuilder.rro'
    >>> overlay_package("com.example.messaging", "Theme-2")
    'com.example.messaging.rombuilder.theme_2.rro'
    """
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in (target_name or "").lower())
    return f"{target}.rombuilder.{name}.rro" if name else f"{target}.rombuilder.rro"


def android(sdk: int) -> str:
    """Name a platform by version and API level.

    >>> android(34)
    'Android 14 (API level 34)'
    """
    version = ANDROID.get(sdk)
    return f"Android {version} (API level {sdk})" if version else f"API level {sdk}"


def overlay_edits(
    rom: Rom, packages: Packages, apk: Apk, wanted: Mapping[str, Wanted], why: str
) -> list[Edit] | Refusal:
    """Return the edits after which resources of an app have these values in every configuration.

    None if they have already. An overlay of ours that is there is extended, not doubled.

    Args:
        rom: The ROM, as edited so far.
        packages: Its apps.
        apk: The app whose resources they are.
        wanted: Value by type and name, ``bool/x``; the root element of an XML resource.
        why: What the edits are for, one line.

    Raises:
        ImageError: The app, an overlay or a configuration of overlays is damaged.
    """
    try:
        return _Planner(rom, packages, apk, wanted, why).edits()
    except _No as no:
        return Refusal(str(no), no.hint)


class _No(Exception):
    """An overlay cannot do it."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class _Planner:
    def __init__(
        self, rom: Rom, packages: Packages, apk: Apk, wanted: Mapping[str, Wanted], why: str
    ) -> None:
        self.rom, self.packages, self.apk, self.wanted, self.why = rom, packages, apk, wanted, why
        self.overlays = Overlays(rom, packages, unsigned=True)
        self.effective = EffectiveResources(self.overlays)
        self.new_version = f"bring a new version of the app: --replace {apk.file.path}=FILE"

    def edits(self) -> list[Edit]:
        sdk = self.overlays.sdk
        names = [name for name in self.wanted if not self.holds(self.effective, self.apk, name)]
        if not names:
            return []
        if sdk is None:
            raise _No("the API level of the ROM is unknown", "give a base with its build.prop")
        if sdk < FIRST_SDK:
            raise _No(
                f"{android(sdk)} turns no overlay on by itself; the first is Android 8",
                self.new_version,
            )
        for name in names:
            self.check(name)
        edits: dict[str, Edit] = {}
        for target_name, flags, group in self.groups(names, sdk):
            for edit in self.placed(sdk, target_name, flags, group):
                edits[edit.path] = edit
        return list(edits.values())

    def holds(self, effective: EffectiveResources, apk: Apk, name: str) -> bool:
        """Say whether a resource surely has the wanted value in every configuration."""
        found = effective.find(apk, name)
        return bool(found) and all(not e.doubt and self.is_right(name, e) for e in found)

    def is_right(self, name: str, each: Effective) -> bool:
        """Say whether an effective value is the wanted one."""
        return is_value(each, self.value(name, each))

    def value(self, name: str, each: Effective) -> OverlayValue:
        """Return what is wanted instead of an effective value."""
        wanted = self.wanted[name]
        return wanted(each) if callable(wanted) else wanted

    def check(self, name: str) -> None:
        """Refuse what an overlay cannot hold, or the app does not have."""
        resource_id = identifier(self.apk, name)
        if resource_id is None:
            raise _No(
                f"the app has no {name}, and an overlay only replaces what is there",
                self.new_version,
            )
        found = self.effective.find(self.apk, name)
        if not found:
            raise _No(f"{name} of the app has no value on this platform", self.new_version)
        for each in found:
            wanted = self.value(name, each)
            if each.apk is self.apk and not fits(each, wanted):
                raise _No(
                    f"{name} of the app is of another type than the value that is demanded",
                    "correct the profile: true and false without quotes are booleans, digits numbers",
                )
            for element in wanted.walk() if isinstance(wanted, Element) else ():
                for attribute in element.attributes:
                    if attribute.reference is not None:
                        raise _No(
                            f"{name} refers to another resource ({element.name} "
                            f"{attribute.name}), which an overlay's file cannot",
                            self.new_version,
                        )

    def groups(self, names: list[str], sdk: int) -> Iterator[tuple[str | None, int, list[str]]]:
        """Sort resources by the ``<overlayable>`` that names them: one overlay can name only one."""
        table = self.apk.resources
        overlayables = table.overlayables if table and sdk >= ENFORCED_SINCE else ()
        if not overlayables:
            yield None, 0, names
            return
        groups: dict[str, tuple[int, list[str]]] = {}
        for name in names:
            resource_id = identifier(self.apk, name)
            declared, flags = declaration(overlayables, resource_id or 0)
            if declared is None:
                raise _No(
                    f"the app opens other resources to overlays, but not {name} "
                    "(no <overlayable> names it)",
                    self.new_version,
                )
            all_flags, group = groups.setdefault(declared.name, (flags, []))
            groups[declared.name] = (all_flags & flags, group)
            group.append(name)
        for target_name, (flags, group) in groups.items():
            yield target_name, flags, group

    def placed(self, sdk: int, target_name: str | None, flags: int, names: list[str]) -> list[Edit]:
        """Return the edits for the first partition on which the overlay does what it is for."""
        package = overlay_package(self.apk.package, target_name)
        reasons = []
        there = [o.partition for o in self.overlays.all if o.package == package]
        for partition in dict.fromkeys((*filter(None, there), *PARTITION_ORDER)):
            folder = self.folder(partition)
            if folder is None:
                continue
            edits = self.on_partition(sdk, package, target_name, names, partition, folder)
            if reason := self.defeat(edits, names):
                reasons.append(f"on {partition}: {reason}")
            else:
                return edits
        granted = f"; it is granted to {', '.join(policies_of(flags))}" if flags else ""
        raise _No(
            "; ".join(reasons) + granted
            if reasons
            else "the base has no partition that overlays could go to" + granted,
            "take out the overlay that wins, or give a base with a partition that the app grants it to"
            if reasons
            else "give a base with a product or vendor partition",
        )

    def folder(self, partition: str) -> str | None:
        """Return where a partition's files are in the base; None if it is not in it."""
        for folder in self.overlays.folders[partition]:
            if not any(path.startswith(f"{folder}/") for path in self.rom.files):
                continue
            try:
                mount, _ = self.rom.home_of(f"{folder}/overlay/x.apk")
            except BuildRefused:
                continue
            image = mount.partition
            if image is None or image.name == partition or folder.startswith("/system/"):
                return folder
        return None

    def on_partition(
        self,
        sdk: int,
        package: str,
        target_name: str | None,
        names: list[str],
        partition: str,
        folder: str,
    ) -> list[Edit]:
        """Return the edits that put the overlay on one partition."""
        path = f"{folder}/overlay/{package}.apk"
        others = [o for o in self.overlays.of(self.apk.package) if o.package != package]
        priority = min(max((o.priority for o in others), default=0) + 1, MAX_PRIORITY)
        overlay = OverlayApk(package, self.apk.package, (), target_name, priority, sdk)
        old = self.rom.files.get(path)
        if old is not None:
            try:
                overlay = OverlayApk(
                    package,
                    self.apk.package,
                    parse_overlay_apk(self.rom.read(old)).resources,
                    target_name,
                    priority,
                    sdk,
                )
            except ImageError as error:
                raise error.within(old.name) from error
        overlay = overlay.with_resources(r for name in names for r in self.values_of(name))
        try:
            data = overlay.encode()
        except ValueError as error:
            raise _No(str(error), self.new_version) from error
        why = f"{self.why}: by a static overlay on {partition}, as {android(sdk)} applies it"
        label = None
        if not any(p.startswith(f"{folder}/overlay/") for p in self.rom.files):
            label = OVERLAY_LABELS.get(partition)
        edits = [Edit(path, FileData(data, label=label, unsigned_app=True), why)]
        config = self.rom.find(f"{folder}/overlay/config/config.xml")
        if sdk >= CONFIG_SINCE and config is not None and config.path:
            try:
                listed = with_overlay(self.rom.read(config), package)
            except ImageError as error:
                raise error.within(config.name) from error
            why = f"{self.why}: turns the overlay on; {partition} ignores isStatic"
            edits.append(Edit(config.path, FileData(listed), why))
        return edits

    def values_of(self, name: str) -> Iterator[OverlayResource]:
        """Yield the wanted value for every configuration that the app or an overlay names."""
        resource_id = identifier(self.apk, name) or 0
        found = self.effective.find(self.apk, name)
        values = {each.config: self.value(name, each) for each in found}
        default = next(iter(values.values()))
        seen = set()
        for each in (None, *self.effective.layers(self.apk, resource_id)):
            value = default if each is None else values.get(each.config, default)
            resource = OverlayResource(name, value, each.raw_config if each else "")
            try:
                qualifiers = resource.qualifiers
            except ValueError as error:
                raise _No(f"{name}: {error}", self.new_version) from error
            if qualifiers not in seen:
                seen.add(qualifiers)
                yield resource

    def defeat(self, edits: list[Edit], names: list[str]) -> str:
        """Say what keeps the resources from having the wanted values after edits; empty if nothing."""
        rom = self.rom.with_edits(edits)
        packages = Packages(rom)
        try:
            effective = EffectiveResources(Overlays(rom, packages, unsigned=True))
            apk = next(
                a for a in packages.named(self.apk.package) if a.file.name == self.apk.file.name
            )
            package = edits[0].path
            for name in names:
                if self.holds(effective, apk, name):
                    continue
                mine = next((o for o in effective.overlays.all if o.path == package), None)
                if mine is None or mine.state != "on":
                    return f"the overlay {mine.why if mine else 'cannot be read'}"
                resource_id = identifier(apk, name)
                refused = effective.refusal(apk, resource_id or 0, mine)
                if refused:
                    return f"{name}: {refused[0]}"
                for each in effective.find(apk, name):
                    if each.doubt or not self.is_right(name, each):
                        return each.doubt or f"{each.apk.file.name} wins over it for {name}"
        except ImageError as error:
            return str(error)
        return ""


def is_value(found: Effective, wanted: OverlayValue) -> bool:
    """Say whether an effective value is the wanted one; a file by its bytes."""
    value = found.value.as_value()
    if isinstance(wanted, Element):
        try:
            there = found.apk.xml(value) if isinstance(value, str) else None
        except ImageError:
            return False
        return there is not None and encode_axml(there) == encode_axml(wanted)
    return type(value) is type(wanted) and value == wanted


def fits(found: Effective, wanted: OverlayValue) -> bool:
    """Say whether a value can stand in for that of the app; a reference may lead to anything."""
    if found.value.reference is not None:
        return True
    value = found.value.as_value()
    if isinstance(wanted, Element):
        return found.value.type == ValueType.STRING
    return type(value) is type(wanted)
