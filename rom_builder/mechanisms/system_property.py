"""System properties in the property files of each partition, and the platform they describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import Field

from rom_builder.edits import Change, Edit, FileData, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import Platform, Value
from rom_builder.findings import Link, Location, Strength
from rom_builder.formats.build_prop import BuildProp, parse_build_prop
from rom_builder.formats.tree import NodeKind
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.policy.profile import Binding
from rom_builder.readers.init_scripts import (
    ScriptedProperty,
    deciding,
    scripted_properties,
    sometimes,
)
from rom_builder.readers.packages import Packages
from rom_builder.rom import Rom, RomFile

PROPERTY_FILES = (
    "/default.prop",
    "/prop.default",
    "/system/etc/prop.default",
    "/system/default.prop",
    "/system/build.prop",
    "/system_ext/build.prop",
    "/system_ext/etc/build.prop",
    "/system_dlkm/etc/build.prop",
    "/vendor/default.prop",
    "/vendor/build.prop",
    "/vendor_dlkm/etc/build.prop",
    "/odm_dlkm/etc/build.prop",
    "/odm/default.prop",
    "/odm/build.prop",
    "/odm/etc/build.prop",
    "/product/build.prop",
    "/product/etc/build.prop",
    "/product_services/build.prop",
)
"""In the order in which init loads them (system/core, init/property_service.cpp)."""
RAMDISK = "boot/ramdisk"
"""Where tools that unpack ROMs put the ramdisk of the boot image."""
DERIVED_SINCE = 29
"""From Android 10 init derives what follows where a file has nothing for it (``property_service.cpp``,
``property_initialize_ro_product_props`` and ``property_derive_build_fingerprint``)."""
PRODUCT_KEYS = ("brand", "device", "manufacturer", "model", "name")
PRODUCT_SOURCES = "product,product_services,odm,vendor,system_ext,system"
FINGERPRINT = (
    "ro.product.brand", "ro.product.name", "ro.product.device", "ro.build.version.release_or_codename",
    "ro.build.id", "ro.build.version.incremental", "ro.build.type", "ro.build.tags",
)  # fmt: skip
LATER_WINS_FROM = 29
"""From Android 10 a later file overrides an earlier one; before, the first value of ro.* stays."""
FILES_FIRST_FROM = 28
"""From Android 9 init loads all property files before the first script (``PropertyLoadBootDefaults``)."""
MAX_FILE_SIZE = 1 << 20


def property_files(rom: Rom) -> tuple[list[tuple[RomFile, BuildProp]], int | None]:
    """Return the property files of a ROM in the order in which the device loads them, and its API level.

    Links lead to files; a file that two names lead to counts once. What cannot be read is noted.
    """
    found: dict[str, tuple[RomFile, BuildProp]] = {}
    for path in PROPERTY_FILES:
        file = _property_file(rom, path)
        if file is None or file.name in found:
            continue
        try:
            found[file.name] = file, parse_build_prop(rom.read(file, MAX_FILE_SIZE))
        except ImageError as error:
            rom.note_unread(error, file.name)
    sdk = _sdk([properties for _, properties in found.values()])
    return [
        (file, replace(properties, platform_sdk=sdk)) for file, properties in found.values()
    ], sdk


def _property_file(rom: Rom, path: str) -> RomFile | None:
    """Return a property file, wherever a device has it that lacks the partition it belongs to.

    On a phone without such partitions /vendor is a link to /system/vendor, /odm one to /vendor/odm.
    """
    places = [path, f"/system{path}"]
    if path.startswith("/odm"):
        places += [f"/vendor{path}", f"/system/vendor{path}"]
    found = next(filter(None, map(rom.find, places)), None)
    if found is None and path.count("/") == 1 and "/init" not in rom.files:
        names = (f"{name}{RAMDISK}{path}" for name in ("", _wrapper(rom)))
        known = (rom.by_name[name] for name in names if name in rom.by_name)
        found = next((file for file in known if file.node.kind is NodeKind.FILE), None)
    return found


def _wrapper(rom: Rom) -> str:
    """Return the folder that an input lies in as a whole, with its slash; empty if there is none."""
    tops = {name.partition("/")[0] for name in rom.by_name}
    return f"{tops.pop()}/" if len(tops) == 1 else ""


def read_platform(rom: Rom) -> Platform:
    """Return the effective value of every property, and the API level."""
    files, sdk = property_files(rom)
    effective: dict[str, tuple[str, Location]] = {}
    for file, properties in files:
        for key, value in properties.values().items():
            first_stays = key.startswith("ro.") and (sdk is None or sdk < LATER_WINS_FROM)
            line = properties.line(key)
            if line is not None and not (first_stays and key in effective):
                effective[key] = (value, Location(file.name, line=line.number))
    if sdk is not None and sdk >= DERIVED_SINCE:
        effective.update(derived(effective))
    return Platform(sdk, effective)


def derived(effective: Mapping[str, tuple[str, Location]]) -> dict[str, tuple[str, Location]]:
    """Return the properties that init derives from those of the files, each placed where it comes from."""
    found: dict[str, tuple[str, Location]] = {}
    nothing = ("", Location(""))
    order = effective.get("ro.product.property_source_order", nothing)[0] or PRODUCT_SOURCES
    for key in PRODUCT_KEYS:
        names = [f"ro.product.{source.strip()}.{key}" for source in order.split(",")]
        values = [effective[name] for name in names if effective.get(name, nothing)[0]]
        if values and not effective.get(f"ro.product.{key}", nothing)[0]:
            found[f"ro.product.{key}"] = values[0]
    if not effective.get("ro.build.fingerprint", nothing)[0]:
        known = {**effective, **found}
        release = known.get("ro.build.version.release", nothing)
        parts = [known.get(key, release if "release_or" in key else nothing) for key in FINGERPRINT]
        brand, name, device, version, build, incremental, kind, tags = (part[0] for part in parts)
        if all(part[0] for part in parts):
            text = f"{brand}/{name}/{device}:{version}/{build}/{incremental}:{kind}/{tags}"
            found["ro.build.fingerprint"] = (text, parts[1][1])
    return found


def _sdk(files: list[BuildProp]) -> int | None:
    for properties in files:
        for key in ("ro.build.version.sdk", "ro.system.build.version.sdk"):
            value = properties.get(key)
            if value is not None and value.isascii() and value.isdigit() and len(value) < 6:
                return int(value)
    return None


class SystemProperty(Binding):
    """A system property that a service reads.

    Attributes:
        key: Name of the property.
        file: Property file to write it to if none has it yet.
    """

    key: str = Field(description="Name of the property.", pattern=r"^[A-Za-z0-9_.@:-]{1,255}$")
    file: str = Field(
        "/system/build.prop", description="Property file to write to if none has the property."
    )


@mechanism("system-property")
class SystemPropertyMechanism:
    """``key=value`` lines of the property files, as the device ends up with them."""

    options = SystemProperty

    def read(self, rom: Rom, packages: Packages, binding: SystemProperty) -> Iterator[Found]:
        platform = read_platform(rom)
        at_first = platform.properties.get(binding.key)
        scripted = scripted_properties(rom, binding.key)
        if at_first is not None and is_kept(binding.key, platform.sdk):
            scripted = []
        found = in_every_start(binding.key, at_first, deciding(scripted))
        if found is not None:
            yield found
        for each in sometimes(scripted):
            value = each.command.value
            if value is None or found is None or found.values != (value,):
                yield Found(
                    f"property {binding.key} on {each.command.trigger}",
                    () if value is None else (value,),
                    each.location,
                    Strength.PRESENCE,
                    (Link(each.location, each.told),),
                )

    def render(
        self, rom: Rom, packages: Packages, binding: SystemProperty, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        wanted = text_of(values[0])
        files, _ = property_files(rom)
        holders = [(f, p) for f, p in files if p.get(binding.key) is not None]
        why = f"property {binding.key} is to be {wanted}"
        if not holders:
            target = rom.find(binding.file)
            holders = [(f, p) for f, p in files if target is not None and f.name == target.name]
        if not holders:
            yield Obstacle(
                binding.file,
                f"{why}, but the ROM has no such file",
                "name a property file that the ROM has",
            )
        sdk = read_platform(rom).sdk
        kept = is_kept(binding.key, sdk) and bool(holders)
        for each in scripted_properties(rom, binding.key) if not kept else ():
            if each.command.value != wanted:
                yield Obstacle(
                    str(each.location),
                    f"{why}, but {each.told}",
                    f"bring a script without it: --replace {each.file.path}=FILE",
                )
        for file, properties in holders:
            new = properties.with_values({binding.key: wanted})
            if new != properties.encode() and file.path:
                yield Edit(file.path, FileData(new, 0o644), why)


def in_every_start(
    key: str, at_first: tuple[str, Location] | None, scripted: list[ScriptedProperty]
) -> Found | None:
    """Return what a property is after every start of the device; None if nothing sets it.

    Args:
        at_first: What the property files say.
        scripted: The commands of init scripts that decide over that.
    """
    if not scripted:
        return at_first and Found(f"property {key}", at_first[:1], at_first[1], Strength.PRESENCE)
    chain = [Link(each.location, each.told) for each in scripted]
    values = {each.command.value for each in scripted}
    if at_first is not None:
        chain.insert(0, Link(at_first[1], f"{key} is {at_first[0]}"))
        if key.startswith("ro."):
            values.add(at_first[0])  # whichever comes first stays
    value = values.pop() if len(values) == 1 else None
    place = scripted[-1].location
    if value is None:
        chain.append(Link(place, "which value it has in the end cannot be told from the ROM"))
    return Found(
        f"property {key}",
        () if value is None else (value,),
        place,
        Strength.PRESENCE,
        tuple(chain),
    )


def is_kept(key: str, sdk: int | None) -> bool:
    """Say whether no script can change a property that a property file has.

    A read-only property keeps its first value. Since Android 9 init reads the property files before it
    runs any script; earlier ones read most of them late, so that a script may come first.
    """
    return key.startswith("ro.") and sdk is not None and sdk >= FILES_FIRST_FROM


def text_of(value: Value) -> str:
    """Write a value as a property holds it: booleans as ``true`` and ``false``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
