"""Boolean resources of an app, such as the first-boot defaults of the settings provider."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import Value
from rom_builder.findings import Strength
from rom_builder.formats.arsc import parse_arsc, patch_value
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.mechanisms.effective_resources import identifier
from rom_builder.mechanisms.inside_app import TRUE, changed, no_boolean, on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlay_render import Refusal, overlay_edits
from rom_builder.mechanisms.resource_overlay import effective_values
from rom_builder.mechanisms.system_property import text_of
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import RESOURCES, Packages
from rom_builder.rom import Rom

SETTINGS_PROVIDER = "com.android.providers.settings"
"""Writes its ``def_*`` resources into the settings at first boot: they are what the device does."""


class ResourceBool(Binding):
    """A boolean resource.

    Attributes:
        package: The app.
        resource: Name without its type, ``def_backup_enabled``.
    """

    package: str = Field(description="Package name of the app.")
    resource: str = Field(description="Name of the resource without bool/.")


@mechanism("resource-bool")
class ResourceBoolMechanism:
    """``<bool>`` resources, every configuration of them: a value may differ by operator or language."""

    options = ResourceBool

    def read(self, rom: Rom, packages: Packages, binding: ResourceBool) -> Iterator[Found]:
        at_first_boot = binding.package == SETTINGS_PROVIDER
        strength = Strength.EFFECTIVE if at_first_boot else Strength.PRESENCE
        for apk in packages.named(binding.package):
            yield from effective_values(rom, packages, apk, f"bool/{binding.resource}", strength)

    def render(
        self, rom: Rom, packages: Packages, binding: ResourceBool, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        name = f"bool/{binding.resource}"
        for apk in packages.named(binding.package):
            if identifier(apk, name) is None:
                continue
            if obstacle := no_boolean(apk, values):
                yield obstacle
                continue
            why = f"{name} is to be {text_of(values[0])}"
            edits = overlay_edits(rom, packages, apk, {name: values[0]}, why)
            if not isinstance(edits, Refusal):
                yield from edits
            elif any(v.as_value() != values[0] for v in apk.resolve(identifier(apk, name) or 0)):
                data = with_bool(apk.read(RESOURCES), binding.resource, bool(values[0]))
                yield changed(apk, RESOURCES, data, f"{why}, and no overlay can: {edits.why}")
            else:
                yield Obstacle(on_device(apk, RESOURCES), f"{why}: {edits.why}", edits.hint)


def with_bool(data: bytes, resource: str, value: bool) -> bytes:
    """Return a resource table in which ``bool/resource`` is ``value`` in every configuration.

    Only the eight bytes of each typed value change. A reference to another resource is replaced; the
    other resource stays as it is.

    Raises:
        ImageError: The table is damaged or has no such resource.
    """
    table = parse_arsc(data)
    resource_id = table.find("bool", resource)
    if resource_id is None:
        raise ImageError(f"no bool/{resource}")
    for found in table.values(resource_id):
        if found.parent is not None:
            raise ImageError(f"bool/{resource} is a bag of values", offset=found.offset)
        data = patch_value(data, found, ValueType.INT_BOOLEAN, TRUE if value else 0)
    return data
