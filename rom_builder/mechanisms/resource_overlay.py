"""Resources of an app as the device ends up with them, under every resource overlay of the ROM."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Strength
from rom_builder.mechanisms.effective_resources import effective_resources
from rom_builder.mechanisms.inside_app import in_config, on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlay_render import Refusal, overlay_edits
from rom_builder.mechanisms.system_property import text_of
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import RESOURCES, Apk, Packages
from rom_builder.rom import Rom


class ResourceOverlay(Binding):
    """A resource that an overlay can replace.

    Attributes:
        package: The app that has it, and acts on it.
        resource: Type and name, ``bool/cloud_messaging_default``.
    """

    package: str = Field(description="Package name of the app that has the resource.")
    resource: str = Field(
        description="Type and name: bool/NAME, integer/NAME or string/NAME.",
        pattern=r"^(bool|integer|string)/[A-Za-z0-9_.$-]+$",
    )


@mechanism("resource-overlay")
class ResourceOverlayMechanism:
    """A resource's effective value in every configuration; the profile vouches that the app obeys it.

    Build sets it by a signed static overlay where the platform, the app's ``<overlayable>`` and the
    other overlays of the ROM let one win.
    """

    options = ResourceOverlay

    def read(self, rom: Rom, packages: Packages, binding: ResourceOverlay) -> Iterator[Found]:
        for apk in packages.named(binding.package):
            yield from effective_values(rom, packages, apk, binding.resource, Strength.EFFECTIVE)

    def render(
        self, rom: Rom, packages: Packages, binding: ResourceOverlay, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        for apk in packages.named(binding.package):
            why = f"{binding.resource} is to be {', '.join(map(text_of, values))}"
            if len(values) != 1:
                yield Obstacle(on_device(apk), why, "a resource has one value")
                continue
            edits = overlay_edits(rom, packages, apk, {binding.resource: values[0]}, why)
            if isinstance(edits, Refusal):
                place = on_device(apk, RESOURCES)
                yield Obstacle(place, f"{why}, and no overlay can: {edits.why}", edits.hint)
            else:
                yield from edits


def effective_values(
    rom: Rom, packages: Packages, apk: Apk, resource: str, strength: Strength
) -> Iterator[Found]:
    """Yield what a resource of an app comes to, once for each configuration.

    What nobody can tell has no value.
    """
    for each in effective_resources(rom, packages).find(apk, resource):
        value = None if each.doubt else each.value.as_value()
        yield Found(
            in_config(resource, each.config),
            () if value is None else (value,),
            each.location,
            strength,
            each.chain if len(each.chain) > 1 and not each.doubt else (),
            each.doubt,
        )
