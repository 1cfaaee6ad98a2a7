"""Resource overlays of a ROM: which of them are on, and which wins, as each platform decides it.

=========  ==========================================================================================
API level  what is on without anybody's doing, lowest precedence first
=========  ==========================================================================================
to 20      nothing: there are no overlays
21 to 25   all of ``/vendor/overlay``, by ``priority``
26 to 29   what is ``isStatic`` in an overlay folder, by ``priority``; the folders: vendor, from 28 on
           product, from 29 on odm and oem, too
from 30    partition by partition (vendor, odm, oem, product, system_ext): what the partition's
           ``overlay/config/config.xml`` enables, in its order, or without that file its static ones
           by ``priority`` and path. To 33, where no partition has such a file, ``priority`` alone
           orders them all, across partitions; from 34 on ``/product/overlay/partition_order.xml``
           may order the partitions anew
=========  ==========================================================================================

Sources, all of frameworks/base: ``PackageManagerService`` and ``OverlayManagerSettings`` up to 29,
``OverlayConfig``, ``OverlayConfigParser`` and ``PackagePartitions`` from 30 on.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.axml import Element
from rom_builder.formats.overlay_apk import (
    IS_STATIC,
    PRIORITY,
    REQUIRED_PROPERTY_NAME,
    REQUIRED_PROPERTY_VALUE,
    TARGET_NAME,
)
from rom_builder.formats.overlay_config import (
    MAX_MERGE_DEPTH,
    ConfiguredOverlay,
    Merge,
    parse_overlay_config,
    parse_partition_order,
)
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.readers.packages import Apk, Packages
from rom_builder.rom import Rom, RomFile

PARTITIONS = ("system", "vendor", "odm", "oem", "product", "system_ext")
"""Partitions with apps, the lowest precedence first (``PackagePartitions.SYSTEM_PARTITIONS``)."""
CONFIG_SINCE = 30
STRICT_SINCE = 34
"""First API level on which a later partition always wins, whether or not there is a configuration."""
STATIC_SINCE = 26
LEGACY_SINCE = 21
MODULES_SINCE = 33
"""First API level that looks for overlays in APEX modules."""
PROPERTY_SINCE = 28
"""First API level that looks at ``requiredSystemPropertyName``."""
MAX_CONFIG_SIZE = 1 << 20
PARTITION_ORDER_FILE = "/product/overlay/partition_order.xml"

State = Literal["on", "off", "undecided"]


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay app.

    Attributes:
        apk: The app.
        package: Its package name.
        target: Package whose resources it changes.
        target_name: The ``<overlayable>`` it names, empty if none.
        partition: Where it lies, one of :data:`PARTITIONS`; empty if in none of them.
        in_folder: It lies in the partition's ``overlay`` folder.
        is_static: ``isStatic``.
        priority: ``priority``.
        target_sdk: API level it was made for.
        state: Whether it is on when nobody has changed anything.
        why: What that follows from, in words.
        rank: Precedence among those that are on; the highest wins. Equal ones: nobody can tell.
    """

    apk: Apk
    package: str
    target: str
    target_name: str
    partition: str
    in_folder: bool
    is_static: bool
    priority: int
    target_sdk: int
    state: State = "off"
    why: str = ""
    rank: int = 0

    @property
    def path(self) -> str:
        """Where the device has it."""
        return self.apk.file.path or self.apk.file.name


class Overlays:
    """Every overlay of a ROM, with what became of it.

    Args:
        rom: The ROM.
        packages: Its apps.
        unsigned: Take overlays without a signature for installed: build has not signed them yet.

    Raises:
        ImageError: A partition's configuration keeps the device from starting.
    """

    def __init__(self, rom: Rom, packages: Packages, *, unsigned: bool = False) -> None:
        self.rom = rom
        self.packages = packages
        self.platform = read_platform(rom)
        self.unsigned = unsigned
        self.folders = {name: folders_of(rom, name) for name in PARTITIONS}

    @property
    def sdk(self) -> int | None:
        return self.platform.sdk

    @cached_property
    def all(self) -> tuple[Overlay, ...]:
        """Every overlay, those that are on last, in order of precedence."""
        found = []
        for file, package in self.packages.described:
            if package.overlay_target:
                try:
                    found.append(self._read(file))
                except ImageError as error:
                    self.rom.note_unread(error, file.name)
        return tuple(sorted(self._decide(found), key=lambda o: (o.state != "off", o.rank)))

    def of(self, target: str) -> tuple[Overlay, ...]:
        """Return the overlays of one app that are, or may be, on; the last one wins."""
        return tuple(o for o in self.all if o.target == target and o.state != "off")

    def partition_of(self, path: str) -> str:
        """Return the partition that a device path lies on, empty if on none with apps.

        What is in an APEX module counts as the partition's that the module came with.
        """
        top, _, inside = path.removeprefix("/apex/").partition("/")
        if path.startswith("/apex/") and inside:
            module = self.modules.get(top)
            return self.partition_of(module) if module and (self.sdk or 0) >= MODULES_SINCE else ""
        best, name = "", ""
        for partition, folders in self.folders.items():
            for folder in folders:
                if path.startswith(f"{folder}/") and len(folder) > len(best):
                    best, name = folder, partition
        return name

    @cached_property
    def modules(self) -> dict[str, str]:
        """Where the device has the file of each APEX module, by the module's name."""
        found = {}
        for name, apex in self.rom.modules.items():
            file = self.rom.by_name.get(name)
            if file is not None and file.path and apex.manifest.name:
                found[apex.manifest.name] = file.path
        return found

    def _read(self, file: RomFile) -> Overlay:
        apk = Apk(self.rom, file)
        element = apk.overlay
        assert element is not None  # noqa: S101 - it has a target
        path = file.path or ""
        partition = self.partition_of(path)
        in_folder = any(path.startswith(f"{f}/overlay/") for f in self.folders.get(partition, ()))
        in_folder |= path.startswith("/apex/") and path.split("/")[3:4] == ["overlay"]
        name, priority = element.attribute(TARGET_NAME), element.attribute(PRIORITY)
        overlay = Overlay(
            apk=apk,
            package=apk.package,
            target=apk.overlay_target,
            target_name=(name.as_string() if name else None) or "",
            partition=partition,
            in_folder=in_folder,
            is_static=bool(apk.boolean(element.attribute(IS_STATIC))),
            priority=priority.as_int(0) if priority else 0,
            target_sdk=apk.target_sdk,
        )
        why = self._missing(element) or self._not_signed(apk)
        if why is None:
            return replace(overlay, state="on")
        return replace(overlay, state="undecided" if why[1] else "off", why=why[0])

    def _missing(self, element: Element) -> tuple[str, bool] | None:
        """Say which property that it requires keeps it off, and whether that may change at boot."""
        name, value = (
            element.attribute(REQUIRED_PROPERTY_NAME),
            element.attribute(REQUIRED_PROPERTY_VALUE),
        )
        if name is None or value is None or (self.sdk or 0) < PROPERTY_SINCE:
            return None
        names = (name.as_string() or "").split(",")
        values = (value.as_string() or "").split(",")
        for key, wanted in zip(names, values, strict=False):
            has = self.platform.get(key)
            if has is None:
                return f"needs the property {key}={wanted}, which no property file has", True
            if has != wanted:
                return f"needs the property {key}={wanted}, which is {has}", False
        return None

    def _not_signed(self, apk: Apk) -> tuple[str, bool] | None:
        if self.unsigned or read_signers(apk.archive, apk.source):
            return None
        return "is not signed: the platform does not install it", False

    def _decide(self, found: list[Overlay]) -> Iterator[Overlay]:
        candidates = [o for o in found if o.state != "off"]
        yield from (o for o in found if o.state == "off")
        sdk = self.sdk
        if sdk is None:
            yield from (undecided(o, "the API level of the ROM is unknown") for o in candidates)
        elif sdk >= CONFIG_SINCE:
            yield from self._by_configuration(candidates)
        else:
            yield from by_priority(candidates, sdk)

    def _by_configuration(self, candidates: list[Overlay]) -> Iterator[Overlay]:
        """Decide as Android 11 and later do (``OverlayConfig``)."""
        ordered: list[Overlay] = []
        rest: list[Overlay] = [o for o in candidates if not o.partition]
        has_config = False
        for partition in self.partition_order():
            mine = [o for o in candidates if o.partition == partition]
            config = self.configuration(partition) if partition != "system" else None
            if config is None:
                why = f"static, priority {{}}, and {partition} has no overlay/config/config.xml"
                static = [o for o in mine if o.is_static]
                ordered += [on(o, why.format(o.priority)) for o in sorted(static, key=by_rank)]
                rest += [o for o in mine if not o.is_static]
                continue
            has_config = True
            for line, place in config:
                for overlay in [o for o in mine if o.package == line.package and o.in_folder]:
                    mine.remove(overlay)
                    kind = "mutable" if line.mutable else "immutable"
                    if line.enabled:
                        ordered.append(on(overlay, f"{kind} and enabled by {place}:{line.line}"))
                    else:
                        yield replace(
                            overlay, state="off", why=f"not enabled by {place}:{line.line}"
                        )
            rest += mine
        if not has_config and (self.sdk or 0) < STRICT_SINCE:
            ordered.sort(key=lambda o: (o.target, *by_rank(o)))
        for overlay in rest:
            yield replace(overlay, state="off", why=self._why_off(overlay, has_config))
        yield from (replace(o, rank=rank) for rank, o in enumerate(ordered))

    @staticmethod
    def _why_off(overlay: Overlay, has_config: bool) -> str:
        if not overlay.partition:
            return "does not lie on a partition with overlays"
        if overlay.is_static and has_config:
            return (
                f"is not listed in the config.xml of {overlay.partition}, where isStatic is ignored"
            )
        return "is neither static nor enabled by a config.xml: off until somebody turns it on"

    def partition_order(self) -> tuple[str, ...]:
        """Return the partitions, the lowest precedence first.

        From Android 14 on the ROM may order them itself (``OverlayConfig.sortPartitions``): by a file
        that names each of them once. Any other file counts for nothing.
        """
        file = self.rom.find(PARTITION_ORDER_FILE)
        if file is None or (self.sdk or 0) < STRICT_SINCE:
            return PARTITIONS
        try:
            named = parse_partition_order(self.rom.read(file, MAX_CONFIG_SIZE))
        except ImageError as error:
            self.rom.note_unread(error, file.name)
            return PARTITIONS
        return named if sorted(named) == sorted(PARTITIONS) else PARTITIONS

    def configuration(self, partition: str) -> list[tuple[ConfiguredOverlay, str]] | None:
        """Return what a partition's ``config.xml`` lists, and the file of each line; None without one.

        Raises:
            ImageError: It keeps the device from starting.
        """
        for folder in self.folders[partition]:
            file = self.rom.find(f"{folder}/overlay/config/config.xml")
            if file is not None:
                lines = list(self._lines(file, f"{folder}/overlay/config", 0))
                self._refuse_broken(lines)
                return lines
        return None

    def _lines(
        self, file: RomFile, folder: str, depth: int
    ) -> Iterator[tuple[ConfiguredOverlay, str]]:
        try:
            parsed = parse_overlay_config(self.rom.read(file, MAX_CONFIG_SIZE))
        except ImageError as error:
            raise error.within(file.name) from error
        for each in parsed:
            if not isinstance(each, Merge):
                yield each, file.name
                continue
            merged = self.rom.find(posixpath.join(folder, each.path))
            if merged is None or depth >= MAX_MERGE_DEPTH:
                what = "is not there" if merged is None else "is merged too deep"
                raise ImageError(
                    f"line {each.line}: {each.path} {what}: a device would not start",
                    path=file.name,
                )
            yield from self._lines(merged, folder, depth + 1)

    @staticmethod
    def _refuse_broken(lines: list[tuple[ConfiguredOverlay, str]]) -> None:
        seen: set[str] = set()
        mutable = False
        for line, place in lines:
            fault = ""
            if line.package in seen:
                fault = f"{line.package} is listed twice"
            elif mutable and not line.mutable:
                fault = f"the immutable {line.package} stands behind a mutable one"
            if fault:
                raise ImageError(f"line {line.line}: {fault}: a device would not start", path=place)
            seen.add(line.package)
            mutable = mutable or line.mutable


def folders_of(rom: Rom, partition: str) -> tuple[str, ...]:
    """Return where a partition's files are, its links followed.

    A phone without a partition of its own has its folder below ``/system``; Android 10 calls
    system_ext product_services.
    """
    found = []
    names = (partition, "product_services") if partition == "system_ext" else (partition,)
    for path in (f"{above}/{name}" for name in names for above in ("", "/system")):
        file = rom.find(path)
        if file is not None and file.path:
            found.append(file.path)
    return tuple(dict.fromkeys(found)) or (f"/{partition}",)


def by_priority(candidates: Iterable[Overlay], sdk: int) -> Iterator[Overlay]:
    """Decide as Android 5 to 10 do."""
    folders = {"vendor"}
    if sdk >= PROPERTY_SINCE:
        folders.add("product")
    if sdk > PROPERTY_SINCE:
        folders |= {"odm", "oem", "system_ext"}
    for overlay in candidates:
        place = f"{overlay.partition or 'its folder'}, where this platform looks for none"
        if sdk < LEGACY_SINCE:
            yield replace(overlay, state="off", why="this platform has no overlays")
        elif not overlay.in_folder or overlay.partition not in folders:
            yield replace(overlay, state="off", why=f"lies in {place}")
        elif sdk < STATIC_SINCE:
            yield replace(on(overlay, f"priority {overlay.priority}"), rank=overlay.priority)
        elif not overlay.is_static:
            yield replace(overlay, state="off", why="is not static: off until it is turned on")
        else:
            why = f"static, priority {overlay.priority}"
            yield replace(on(overlay, why), rank=overlay.priority)


def by_rank(overlay: Overlay) -> tuple[int, str]:
    """Order static overlays of one app as Android 11 and later do."""
    return overlay.priority, overlay.path


def on(overlay: Overlay, why: str) -> Overlay:
    """Say that an overlay is on, unless that was undecided."""
    if overlay.state == "undecided":
        return replace(overlay, why=f"{overlay.why}; {why}")
    return replace(overlay, state="on", why=why)


def undecided(overlay: Overlay, why: str) -> Overlay:
    """Say that nobody can tell whether an overlay is on."""
    return replace(overlay, state="undecided", why=why)
