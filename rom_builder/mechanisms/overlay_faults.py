"""Overlays that do not do what they were made for, or undo one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.facts import OverlayFault
from rom_builder.findings import Location
from rom_builder.formats.arsc import ResourceValue
from rom_builder.mechanisms.effective_resources import (
    EffectiveResources,
    differs,
    effective_resources,
    identifier,
    mapped,
    normal,
    resources_map,
    told,
)
from rom_builder.mechanisms.overlays import CONFIG_SINCE, Overlay
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import RESOURCES, Apk, Packages
from rom_builder.rom import Rom


def read_overlay_faults(
    rom: Rom, packages: Packages, profiles: Iterable[Profile]
) -> Iterator[OverlayFault]:
    """Yield what is wrong with the overlays of each service's apps.

    An overlay that cannot be read is noted as unread.
    """
    for profile in profiles:
        for package in targets(profile):
            if not any(p.overlay_target == package for _, p in packages.described):
                continue
            try:
                resources = effective_resources(rom, packages)
                for apk in packages.named(package):
                    yield from faults_of(resources, apk, profile.id)
            except ImageError as error:
                rom.note_unread(error, str(rom.path))


def targets(profile: Profile) -> list[str]:
    """Return the apps of a service, and those whose resources its profile names."""
    named = [*profile.packages]
    bindings = [s.binding for s in (*profile.switches, *profile.settings)]
    for binding in (*bindings, *profile.transport):
        package = getattr(binding, "package", None)
        if isinstance(package, str):
            named.append(package)
    return list(dict.fromkeys(named))


def faults_of(resources: EffectiveResources, apk: Apk, service: str) -> Iterator[OverlayFault]:
    """Yield what is wrong with the overlays of one app."""
    overlays = [o for o in resources.overlays.all if o.target == apk.package]
    for overlay in overlays:
        place = Location(overlay.apk.file.name)
        sdk = resources.sdk or 0
        if overlay.is_static and overlay.state == "off" and sdk >= CONFIG_SINCE:
            yield OverlayFault(service, "refused", overlay.package, "", overlay.why, place)
            continue
        if overlay.state == "off":
            continue
        for name in sorted(set(names_of(overlay.apk))):
            fault = fault_of(resources, apk, overlay, name)
            if fault is not None:
                kind, text = fault
                inner = Location(overlay.apk.inner(RESOURCES))
                yield OverlayFault(service, kind, overlay.package, name, text, inner)
    yield from outdone(resources, apk, [o for o in overlays if o.state != "off"], service)


def fault_of(
    resources: EffectiveResources, apk: Apk, overlay: Overlay, name: str
) -> tuple[Literal["missing", "type", "refused"], str] | None:
    """Say what keeps an overlay from changing one resource as it says it does."""
    own = identifier(apk, name)
    if own is None:
        return "missing", f"{apk.package} has no {name}"
    refused = resources.refusal(apk, own, overlay)
    if refused is not None:
        return "refused", refused[0]
    values = apk.resources.values(own) if apk.resources else ()
    kinds = {kind_of(value) for value in values} - {"reference"}
    for value, _ in mapped(overlay.apk, name):
        kind = kind_of(value)
        if kinds and kind not in kinds and kind != "reference":
            return "type", f"is {told(value)}, where the app has a {', '.join(sorted(kinds))}"
    return None


def names_of(overlay: Apk) -> Iterator[str]:
    """Yield the resources of its target that an overlay means to change.

    Resources of its own that only its own ones or its manifest refer to are none of them.
    """
    named = resources_map(overlay)
    if named is not None:
        yield from named
        return
    table = overlay.resources
    if table is None:
        return
    used = {a.reference for element in overlay.manifest.walk() for a in element.attributes}
    found = []
    for type_name in table.type_names:
        for name, resource_id in table.names(type_name):
            found.append((f"{type_name}/{name}", resource_id))
            for value in table.values(resource_id):
                used.add(value.reference)
                used.update(item.reference for _, item in value.items)
    for name, resource_id in found:
        if resource_id not in used:
            yield name


def outdone(
    resources: EffectiveResources, apk: Apk, overlays: list[Overlay], service: str
) -> Iterator[OverlayFault]:
    """Yield the values that a later overlay replaces by another one."""
    last: dict[tuple[str, bytes], tuple[Overlay, ResourceValue]] = {}
    for overlay in overlays:
        for name in sorted(set(names_of(overlay.apk))):
            own = identifier(apk, name)
            if own is None or resources.refusal(apk, own, overlay) is not None:
                continue
            for value, _ in mapped(overlay.apk, name):
                key = name, normal(value)
                before = last.get(key)
                if before is not None and differs(before[1], value):
                    loser, lost = before
                    text = f"sets {told(lost)}, and {overlay.package} sets {told(value)} ({overlay.why})"
                    place = Location(loser.apk.inner(RESOURCES), lost.offset)
                    yield OverlayFault(service, "outdone", loser.package, name, text, place)
                last[key] = overlay, value


def kind_of(value: ResourceValue) -> str:
    """Say in one word what kind of value it is."""
    if value.reference is not None:
        return "reference"
    if value.parent is not None:
        return "bag"
    found = value.as_value()
    if found is None:
        return "other value"
    return {bool: "boolean", int: "number", str: "text"}[type(found)]
