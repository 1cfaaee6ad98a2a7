"""What a resource of an app comes to on the device: the app's own value, its overlays, references.

The platform asks the app first and then each overlay that is on. An overlay's value counts in its own
configuration and in those that are more general: a value that the app has for ``mcc310`` survives an
overlay that only sets the default (``AssetManager2::FindEntryInternal``: the overlay's configuration
must be equal or better). So there is one answer for each configuration that anybody names.

From API level 29 on the platform holds overlays to the ``<overlayable>`` declarations of the app
(``IdmapManager``, idmap2's ``ResourceMapping``): an app that declares none is open to every overlay
of the ROM; one that declares some opens only what they name, to whom they say. Overlays made for an
earlier platform are let through, except on a vendor partition of Android 10 or later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from rom_builder.errors import ImageError
from rom_builder.findings import Link, Location
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.arsc import MAX_REFERENCES, MAX_VALUES, ResourceValue
from rom_builder.formats.axml import Attribute
from rom_builder.formats.overlay_apk import RESOURCES_MAP
from rom_builder.formats.overlayable import Overlayable
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.formats.resource_config import config_sdk, encode_config
from rom_builder.mechanisms.overlays import Overlay, Overlays
from rom_builder.readers.packages import RESOURCES, Apk, Packages
from rom_builder.rom import Rom

FRAMEWORK = "android"
FRAMEWORK_ID = 0x01
ENFORCED_SINCE = 29
"""First API level that knows ``<overlayable>``."""
REWRITTEN_SINCE = 30
"""First API level on which an overlay may refer to its own resources."""

POLICIES = {
    0x01: "public",
    0x02: "system",
    0x04: "vendor",
    0x08: "product",
    0x10: "signature",
    0x20: "odm",
    0x40: "oem",
    0x80: "actor",
    0x100: "config_signature",
}
"""Flags of ``ResTable_overlayable_policy_header`` (androidfw/ResourceTypes.h)."""
_PUBLIC, _SIGNATURE, _BY_SIGNATURE = 0x01, 0x10, 0x180
_OF_PARTITION = {"system": 2, "system_ext": 2, "vendor": 4, "product": 8, "odm": 0x20, "oem": 0x40}


@dataclass(frozen=True, slots=True)
class Effective:
    """A resource in one configuration, as the device ends up with it.

    Attributes:
        config: Qualifiers, "" for the default; several joined where a reference led on.
        value: Type and data; of a file its path.
        apk: The app or overlay that gives the value.
        chain: The places that led to it; the last one wins.
        doubt: Why nobody can tell the value from the ROM; empty if it is certain.
        raw_config: The configuration's structure; empty where a reference led on.
    """

    config: str
    value: ResourceValue
    apk: Apk
    chain: tuple[Link, ...]
    doubt: str = ""
    raw_config: bytes = b""

    @property
    def location(self) -> Location:
        """Where the value stands that wins."""
        return self.chain[-1].location


class EffectiveResources:
    """The resources of a ROM's apps under its overlays."""

    def __init__(self, overlays: Overlays) -> None:
        self.overlays = overlays
        self.sdk = overlays.sdk

    def find(self, apk: Apk, name: str) -> tuple[Effective, ...]:
        """Return what a resource, ``bool/x``, comes to in each configuration, the default one first.

        Empty if the app has no such resource. References are followed through overlays, too.

        Raises:
            ImageError: References run in a circle or go on too long, or a table is damaged.
        """
        resource_id = identifier(apk, name)
        return () if resource_id is None else self.resolve(apk, resource_id)

    def resolve(self, apk: Apk, resource_id: int) -> tuple[Effective, ...]:
        """Return what a resource comes to that an app refers to by its id; see :meth:`find`."""
        if resource_id >> 24 == FRAMEWORK_ID and apk.package != FRAMEWORK:
            frameworks = self.overlays.packages.named(FRAMEWORK)
            found = [e for each in frameworks for e in self._resolve(each, resource_id, ())]
        else:
            found = self._resolve(apk, resource_id, ())
        return tuple(sorted(found, key=lambda each: each.config != ""))

    def layers(self, apk: Apk, resource_id: int) -> list[Effective]:
        """Return a resource of an app under its overlays, references as they stand."""
        name = apk.resources.name(resource_id) if apk.resources else None
        values = apk.resources.values(resource_id) if apk.resources else ()
        found: dict[bytes, Effective] = {}
        for value in values:
            link = Link(Location(apk.inner(RESOURCES), value.offset), f"{name} is {told(value)}")
            found[normal(value)] = Effective(
                value.config, value, apk, (link,), raw_config=value.raw_config
            )
        if name is not None:
            for overlay in self.overlays.of(apk.package):
                refused = self.refusal(apk, resource_id, overlay)
                if refused is None or refused[1]:
                    doubt = refused[0] if refused else ""
                    self._put(found, overlay, name, doubt)
        return self._reachable(found)

    def _reachable(self, found: dict[bytes, Effective]) -> list[Effective]:
        """Leave out what the platform never chooses.

        That is what asks for a later API level, and of those that differ by API level alone all but
        the highest.
        """
        if self.sdk is None:
            return list(found.values())
        best: dict[bytes, bytes] = {}
        for raw in found:
            if config_sdk(raw) <= self.sdk:
                key = raw[:24] + raw[28:]
                if key not in best or config_sdk(raw) > config_sdk(best[key]):
                    best[key] = raw
        return [found[raw] for raw in best.values()]

    def _put(self, found: dict[bytes, Effective], overlay: Overlay, name: str, doubt: str) -> None:
        """Let one overlay speak."""
        if overlay.state == "undecided":
            doubt = f"{overlay.path} {overlay.why}"
        for value, is_inline in mapped(overlay.apk, name):
            places = list(found) if is_inline else [normal(value)]
            for raw in places:
                before = found.get(raw)
                text = f"overlay {overlay.package} sets {name} to {told(value)} ({overlay.why})"
                entry = RESOURCES if not is_inline else "AndroidManifest.xml"
                link = Link(Location(overlay.apk.inner(entry), value.offset), text)
                config = before.config if before else value.config
                unclear = doubt
                ties = before is not None and self._ties(before.apk, overlay)
                if before and differs(before.value, value):
                    if ties:
                        unclear = f"{before.apk.file.name} has the same priority as {overlay.path}"
                elif before and not before.doubt:
                    unclear = ""  # it says the same, whether it is on or not
                elif before and ties:
                    unclear = doubt or before.doubt
                found[raw] = Effective(
                    config,
                    replace(value, config=config),
                    overlay.apk,
                    (*(before.chain if before else ()), link),
                    unclear,
                    raw,
                )

    def _ties(self, other: Apk, overlay: Overlay) -> bool:
        return any(
            o.apk is other and o.rank == overlay.rank for o in self.overlays.of(overlay.target)
        )

    def _resolve(
        self, apk: Apk, resource_id: int, path: tuple[tuple[str, int], ...]
    ) -> list[Effective]:
        step = (apk.file.name, resource_id)
        if step in path or len(path) > MAX_REFERENCES:
            raise ImageError(
                f"resource {resource_id:#010x} refers to itself or too far",
                path=apk.inner(RESOURCES),
            )
        found: list[Effective] = []
        for each in self.layers(apk, resource_id):
            target = each.value.reference
            if target is None:
                found.append(each)
                continue
            ends = self._behind(apk, each, target, (*path, step))
            if not ends:
                found.append(replace(each, doubt=each.doubt or f"{told(each.value)} is not here"))
            for end in ends:
                both = dict.fromkeys(filter(None, (each.config, end.config)))
                found.append(
                    replace(
                        end,
                        config=", ".join(both),
                        chain=(*each.chain, *end.chain),
                        doubt=each.doubt or end.doubt,
                        raw_config=b"",
                    )
                )
            if len(found) > MAX_VALUES:
                raise ImageError(
                    f"resource {resource_id:#010x} has over {MAX_VALUES} values",
                    path=apk.inner(RESOURCES),
                )
        return found

    def _behind(
        self, apk: Apk, each: Effective, target: int, path: tuple[tuple[str, int], ...]
    ) -> list[Effective]:
        """Follow one reference, from the app or from an overlay."""
        if target >> 24 == FRAMEWORK_ID and apk.package != FRAMEWORK:
            frameworks = self.overlays.packages.named(FRAMEWORK)
            return [e for framework in frameworks for e in self._resolve(framework, target, path)]
        if each.apk is apk:
            return self._resolve(apk, target, path)
        # From an overlay: its own resource, or the app's of the same name where it replaces that.
        table = each.apk.resources
        name = table.name(target) if table else None
        if name is None or self.sdk is None or self.sdk < REWRITTEN_SINCE:
            return []
        own = identifier(apk, name)
        if own is not None:
            return self._resolve(apk, own, path)
        return self._resolve(each.apk, target, path)

    def refusal(self, apk: Apk, resource_id: int, overlay: Overlay) -> tuple[str, bool] | None:
        """Say why the platform does not let an overlay change a resource; None if it does.

        The second value is true where that depends on what a ROM does not show.
        """
        table = apk.resources
        if (self.sdk or 0) < ENFORCED_SINCE or not self._enforced(overlay) or table is None:
            return None
        overlayables = table.overlayables
        if not overlayables:
            return None if overlay.partition else ("it does not lie on a partition", False)
        declared, flags = declaration(overlayables, resource_id)
        if declared is None:
            return "the app has no <overlayable> that names it", False
        if declared.name != overlay.target_name:
            wanted = f"its <overlayable> is {declared.name}"
            said = (
                f"targetName is {overlay.target_name}" if overlay.target_name else "none is named"
            )
            return f"{wanted}, {said}", False
        if flags & (_PUBLIC | _OF_PARTITION.get(overlay.partition, 0)):
            return None
        if flags & _SIGNATURE and same_signer(apk, overlay.apk):
            return None
        granted = ", ".join(policies_of(flags))
        return f"<overlayable> {declared.name} grants it to {granted} only", bool(
            flags & _BY_SIGNATURE
        )

    def _enforced(self, overlay: Overlay) -> bool:
        if overlay.target_sdk >= ENFORCED_SINCE:
            return True
        if overlay.partition == "vendor":
            version = self.overlays.platform.get("ro.vndk.version") or "29"
            return not version.isdigit() or int(version) >= ENFORCED_SINCE
        return False


def identifier(apk: Apk, name: str) -> int | None:
    """Return the id of a resource such as ``bool/x``; None if the app has none of that name."""
    type_name, _, entry = name.partition("/")
    return apk.resources.find(type_name, entry) if apk.resources else None


def mapped(overlay: Apk, name: str) -> Iterator[tuple[ResourceValue, bool]]:
    """Yield the values that an overlay app gives to a resource of its target.

    The second value is true for one that is no resource of the overlay but stands in its
    ``resourcesMap``: it has no configuration and counts in all.
    """
    item = resources_map(overlay)
    if item is None:
        own = identifier(overlay, name)
        values = overlay.resources.values(own) if overlay.resources and own is not None else ()
        yield from ((value, False) for value in values)
        return
    attribute = item.get(name)
    if attribute is None:
        return
    if attribute.reference is not None and attribute.reference >> 24 != FRAMEWORK_ID:
        table = overlay.resources
        for value in table.values(attribute.reference) if table else ():
            yield value, False
        return
    inline = ResourceValue("", attribute.type, attribute.data, attribute.string, attribute.offset)
    yield inline, True


def resources_map(overlay: Apk) -> dict[str, Attribute] | None:
    """Return an overlay's ``resourcesMap``: value by target resource; None if it has none.

    Raises:
        ImageError: The file it names is missing or damaged.
    """
    element = overlay.overlay
    attribute = element.attribute(RESOURCES_MAP) if element else None
    if attribute is None or attribute.reference is None:
        return None
    values = overlay.resolve(attribute.reference)
    entry = values[0].string if values else None
    if not entry:
        raise ImageError(
            "the resourcesMap that the manifest names is missing", path=overlay.file.name
        )
    found = {}
    for item in overlay.xml(entry).children_named("item"):
        target, value = item.attribute(name="target"), item.attribute(name="value")
        if target is not None and value is not None:
            found[(target.as_string() or "").rpartition(":")[2]] = value
    return found


def declaration(
    overlayables: tuple[Overlayable, ...], resource_id: int
) -> tuple[Overlayable | None, int]:
    """Return the ``<overlayable>`` that names a resource, and the policies it grants it to."""
    for overlayable in overlayables:
        flags = 0
        for policy in overlayable.policies:
            if resource_id in policy.resource_ids:
                flags |= policy.flags
        if flags:
            return overlayable, flags
    return None, 0


def policies_of(flags: int) -> list[str]:
    """Return the names of policy flags."""
    return [name for flag, name in POLICIES.items() if flags & flag]


def same_signer(one: Apk, other: Apk) -> bool:
    """Say whether two apps are signed with the same certificates, as their signatures name them."""
    first, second = (
        {s.certificates[0].der for s in read_signers(apk.archive, apk.source)}
        for apk in (one, other)
    )
    return bool(first) and first == second


def normal(value: ResourceValue) -> bytes:
    """Return a configuration so that equal ones are equal bytes."""
    try:
        return encode_config(value.raw_config)
    except ValueError:
        return value.raw_config


def differs(one: ResourceValue, other: ResourceValue) -> bool:
    """Say whether two values differ; files always do."""
    return (one.type, one.string if one.string is not None else one.data) != (
        other.type,
        other.string if other.string is not None else other.data,
    )


def told(value: ResourceValue) -> str:
    """Say a value as a resource file has it."""
    if value.reference is not None:
        return f"@{value.reference:#010x}"
    if value.parent is not None:
        return "a bag of values"
    found = value.as_value()
    if isinstance(found, bool):
        return "true" if found else "false"
    if found is None:
        return "@null" if value.type == ValueType.NULL else f"a value of type {value.type:#04x}"
    return repr(found) if isinstance(found, str) else str(found)


_KEPT: WeakKeyDictionary[Packages, EffectiveResources] = WeakKeyDictionary()


def effective_resources(rom: Rom, packages: Packages) -> EffectiveResources:
    """Return the effective resources of a ROM; made once for one reading of its apps.

    Raises:
        ImageError: A configuration of overlays keeps the device from starting.
    """
    found = _KEPT.get(packages)
    if found is None or found.overlays.rom is not rom:
        found = _KEPT[packages] = EffectiveResources(Overlays(rom, packages))
    return found
