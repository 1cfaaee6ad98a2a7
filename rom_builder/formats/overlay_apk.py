"""Runtime resource overlays: apps without code that give resources of another app new values.

Entries of the archive, none compressed, each at a multiple of four bytes:

===================  ==========================================================================
AndroidManifest.xml  ``overlay`` with the attributes below, ``application`` without code
res/xml.../NAME.xml  one file for each ``xml`` resource and configuration
resources.arsc       the values; types and names are those of the target
===================  ==========================================================================

Attributes of ``overlay`` (resource ids of frameworks/base, core/res/res/values/public.xml):
``targetPackage``, ``targetName`` (the ``<overlayable>`` that the resources belong to), ``isStatic``
and ``priority`` (0 to 9999, ``PackageParser``; what Android 8 to 10 obey, and later ones where a
partition has no ``overlay/config/config.xml``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from rom_builder.errors import ImageError
from rom_builder.formats.arsc import ResourceTable, parse_arsc
from rom_builder.formats.arsc_writer import Resource, encode_arsc
from rom_builder.formats.axml import Attribute, Element, parse_axml
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.formats.resource_config import decode_config, encode_config
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter

MANIFEST, RESOURCES = "AndroidManifest.xml", "resources.arsc"

PRIORITY = 0x0101001C
TARGET_PACKAGE = 0x01010021
TARGET_NAME = 0x0101044D
IS_STATIC = 0x0101055A
REQUIRED_PROPERTY_NAME = 0x01010565
REQUIRED_PROPERTY_VALUE = 0x01010566
RESOURCES_MAP = 0x01010609

_HAS_CODE = 0x0101000C
_MIN_SDK_VERSION, _TARGET_SDK_VERSION = 0x0101020C, 0x01010270
_VERSION_CODE, _VERSION_NAME = 0x0101021B, 0x0101021C

FIRST_SDK = 26
"""Android 8, the first whose overlay manager turns static overlays on."""
MAX_PRIORITY = 9999
MAX_FILE_SIZE = 16 << 20
"""Largest overlay that is read back; those that are written are a few kilobytes."""

OverlayValue = bool | int | str | Element
"""A ``bool``, ``integer`` or ``string``, or the root of an ``xml`` resource."""


@dataclass(frozen=True, slots=True)
class OverlayResource:
    """The value that an overlay gives to one resource in one configuration.

    Attributes:
        name: Type and name, ``bool/cloud_messaging_default``; the type is that of the target.
        value: What it will be; an :class:`Element` for a type whose resources are XML files.
        config: "" for the default, a name such as ``mcc310``, or the structure as a table has it.
    """

    name: str
    value: OverlayValue
    config: str | bytes = ""

    @property
    def type_name(self) -> str:
        return self.name.partition("/")[0]

    @property
    def entry_name(self) -> str:
        return self.name.partition("/")[2]

    @property
    def qualifiers(self) -> str:
        """The configuration in words; "" for the default."""
        return decode_config(encode_config(self.config))


@dataclass(frozen=True, slots=True)
class OverlayApk:
    """A static overlay.

    Attributes:
        package: Its own package name.
        target: Package whose resources it changes.
        resources: The values, at least one.
        target_name: The target's ``<overlayable>`` that they belong to, None if it declares none.
        priority: 0 to 9999; the highest wins.
        target_sdk: From 29 on the platform holds it to the target's policies.
    """

    package: str
    target: str
    resources: tuple[OverlayResource, ...]
    target_name: str | None = None
    priority: int = 1
    target_sdk: int = 29

    def with_resources(self, resources: Iterable[OverlayResource]) -> OverlayApk:
        """Return the overlay with further resources; one given again loses all its old values."""
        new = tuple(resources)
        names = {resource.name for resource in new}
        return replace(self, resources=(*(r for r in self.resources if r.name not in names), *new))

    def encode(self) -> bytes:
        """Return the unsigned APK; the same overlay gives the same bytes.

        Raises:
            ValueError: There is nothing to change, a resource is given twice in a configuration,
                or a name, a configuration or the priority does not fit.
        """
        if not self.resources:
            raise ValueError("an overlay without resources")
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise ValueError(f"priority {self.priority} is not in 0 to {MAX_PRIORITY}")
        table, files = [], {}
        for resource in sorted(self.resources, key=lambda r: (r.name, encode_config(r.config))):
            if not re.fullmatch(r"[a-z]+/[A-Za-z0-9_.$-]+", resource.name):
                raise ValueError(f"{resource.name!r} is no name of a resource")
            value = resource.value
            if isinstance(value, Element):
                qualifiers = f"-{resource.qualifiers}" if resource.qualifiers else ""
                path = f"res/{resource.type_name}{qualifiers}/{resource.entry_name}.xml"
                files[path] = encode_axml(value)
                value = path
            table.append(Resource(resource.type_name, resource.entry_name, value, resource.config))
        entries = {MANIFEST: encode_axml(self._manifest()), **files}
        entries[RESOURCES] = encode_arsc(self.package, table)
        file = io.BytesIO()
        writer = ZipWriter(file)
        for name, data in entries.items():
            writer.add(name, data, compress=False, align=4)
        writer.close()
        return file.getvalue()

    def _manifest(self) -> Element:
        overlay = [
            Attribute.of("targetPackage", self.target, TARGET_PACKAGE),
            Attribute.of("isStatic", True, IS_STATIC),
            Attribute.of("priority", self.priority, PRIORITY),
        ]
        if self.target_name is not None:
            overlay.append(Attribute.of("targetName", self.target_name, TARGET_NAME))
        levels = (
            Attribute.of("minSdkVersion", FIRST_SDK, _MIN_SDK_VERSION),
            Attribute.of("targetSdkVersion", self.target_sdk, _TARGET_SDK_VERSION),
        )
        return Element(
            "manifest",
            attributes=(
                Attribute.of("package", self.package),
                Attribute.of("versionCode", 1, _VERSION_CODE),
                Attribute.of("versionName", "1", _VERSION_NAME),
            ),
            children=(
                Element("uses-sdk", attributes=levels),
                Element("overlay", attributes=tuple(overlay)),
                Element("application", attributes=(Attribute.of("hasCode", False, _HAS_CODE),)),
            ),
        )


def parse_overlay_apk(data: bytes) -> OverlayApk:
    """Read an overlay that :meth:`OverlayApk.encode` wrote, signed or not.

    Raises:
        ImageError: It is damaged, no overlay, or holds what is not written here.
    """
    if len(data) > MAX_FILE_SIZE:
        raise ImageError(f"an overlay of {len(data)} bytes; at most {MAX_FILE_SIZE} are read")
    archive = ZipArchive(BytesSource(data), lenient=True)

    def entry(name: str) -> bytes:
        if name not in archive.entries:
            raise ImageError(f"{name} is not in the app")
        return archive.read(archive.entries[name], limit=MAX_FILE_SIZE)

    manifest = parse_axml(entry(MANIFEST))
    overlay = next(iter(manifest.children_named("overlay")), None)
    if overlay is None:
        raise ImageError("the app is no overlay")
    package, target = manifest.attribute(name="package"), overlay.attribute(TARGET_PACKAGE)
    if package is None or target is None or overlay.attribute(RESOURCES_MAP) is not None:
        raise ImageError("the overlay is not of the kind that is written here")
    target_name, priority = overlay.attribute(TARGET_NAME), overlay.attribute(PRIORITY)
    level = next(
        (e.attribute(_TARGET_SDK_VERSION) for e in manifest.children_named("uses-sdk")), None
    )
    return OverlayApk(
        package=package.as_string() or "",
        target=target.as_string() or "",
        resources=tuple(_resources(parse_arsc(entry(RESOURCES)), entry)),
        target_name=target_name.as_string() if target_name else None,
        priority=priority.as_int(0) if priority else 0,
        target_sdk=level.as_int(1) if level else 1,
    )


def _resources(table: ResourceTable, entry: Callable[[str], bytes]) -> Iterator[OverlayResource]:
    for type_name in sorted(table.type_names):
        for name, resource_id in sorted(table.names(type_name)):
            for found in table.values(resource_id):
                value: OverlayValue | None = found.as_value()
                if value is None:
                    raise ImageError(f"{type_name}/{name} has a value that is not written here")
                if isinstance(value, str) and type_name != "string":
                    value = parse_axml(entry(value))
                yield OverlayResource(f"{type_name}/{name}", value, found.raw_config)
