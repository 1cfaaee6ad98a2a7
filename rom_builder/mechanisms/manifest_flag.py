"""Boolean attributes of an app's manifest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.formats.axml import Element, patch_attribute
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.mechanisms.inside_app import TRUE, changed, no_boolean, on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.system_property import text_of
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Packages
from rom_builder.rom import Rom

NAME = 0x01010003
ATTRIBUTES = {
    "enabled": 0x0101000E,
    "debuggable": 0x0101000F,
    "exported": 0x01010010,
    "allowBackup": 0x01010280,
    "usesCleartextTraffic": 0x010104EC,
}
"""Resource ids (frameworks/base, core/res/res/values/public.xml)."""
COMPONENTS = ("activity", "activity-alias", "service", "receiver", "provider")


class ManifestFlag(Binding):
    """A boolean attribute of ``application`` or of one component.

    Attributes:
        package: The app.
        attribute: Which attribute.
        component: Class name of a component, relative (``.Boot``) or full; None for ``application``.
    """

    package: str = Field(description="Package name of the app.")
    attribute: Literal["enabled", "debuggable", "exported", "allowBackup", "usesCleartextTraffic"]
    component: str | None = Field(
        None, description="Class name of a component; without one the application element is meant."
    )


@mechanism("manifest-flag")
class ManifestFlagMechanism:
    """Attributes that the platform reads when it installs the app; no overlay reaches them."""

    options = ManifestFlag

    def read(self, rom: Rom, packages: Packages, binding: ManifestFlag) -> Iterator[Found]:
        place = binding.component or "application"
        for apk in packages.named(binding.package):
            for element in elements(apk.manifest, apk.package, binding.component):
                attribute = element.attribute(ATTRIBUTES[binding.attribute])
                value = apk.boolean(attribute)
                yield Found(
                    f"{binding.attribute} of {place}",
                    () if value is None else (value,),
                    Location(apk.inner(MANIFEST), attribute.offset if attribute else None),
                    Strength.EFFECTIVE,
                )

    def render(
        self, rom: Rom, packages: Packages, binding: ManifestFlag, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        for apk in packages.named(binding.package):
            for element in elements(apk.manifest, apk.package, binding.component):
                attribute = element.attribute(ATTRIBUTES[binding.attribute])
                if obstacle := no_boolean(apk, values):
                    yield obstacle
                    continue
                if apk.boolean(attribute) == values[0]:
                    continue
                why = f"{binding.attribute} is to be {text_of(values[0])}"
                why += ", and no overlay reaches the manifest"
                if attribute is None:
                    yield Obstacle(
                        on_device(apk, MANIFEST),
                        f"{why}, but the manifest does not set it",
                        f"bring a new version of the app: --replace {apk.file.path}=FILE",
                    )
                    continue
                data = patch_attribute(
                    apk.read(MANIFEST), attribute, ValueType.INT_BOOLEAN, TRUE if values[0] else 0
                )
                yield changed(apk, MANIFEST, data, why)


def elements(manifest: Element, package: str, component: str | None) -> Iterator[Element]:
    """Yield the ``application`` element, or the components of that class."""
    for application in manifest.children_named("application"):
        if component is None:
            yield application
            continue
        wanted = qualified(component, package)
        for element in application.children:
            name = element.attribute(NAME)
            written = name.as_string() if name else None
            if element.name in COMPONENTS and written and qualified(written, package) == wanted:
                yield element


def qualified(name: str, package: str) -> str:
    """Return the full name of a class as a manifest writes it.

    >>> qualified(".Boot", "com.example"), qualified("Boot", "com.example")
    ('com.example.Boot', 'com.example.Boot')
    """
    if name.startswith("."):
        return package + name
    return name if "." in name else f"{package}.{name}"
