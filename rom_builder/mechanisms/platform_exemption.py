"""Freedom of an app from limits that the platform sets to others."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lxml import etree
from pydantic import Field, field_validator

from rom_builder.edits import Change, Obstacle
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.formats.system_config import EXEMPTIONS, ConfigEntry
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.platform_files import (
    Matches,
    has,
    is_unread,
    local_name,
    new_file,
    remove_elements,
)
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import MANIFEST, Packages
from rom_builder.readers.sysconfig import (
    SYSTEM_CONFIG,
    ConfigFile,
    config_folder,
    read_system_config,
)
from rom_builder.rom import Rom

EXEMPT, LIMITED = "exempt", "limited"


class PlatformExemption(Binding):
    """Exemptions of one app.

    Attributes:
        package: The app.
        element: One exemption, such as ``allow-in-power-save``; None for all of them.
    """

    package: str = Field(description="Package name of the app.")
    element: str | None = Field(
        None, description="One element, such as allow-in-power-save; without one all are meant."
    )

    @field_validator("element")
    @classmethod
    def _known(cls, element: str | None) -> str | None:
        if element is not None and element not in EXEMPTIONS:
            raise ValueError(f"{element!r} is none of {', '.join(EXEMPTIONS)}")
        return element

    def means(self, entry: ConfigEntry) -> bool:
        """Say whether the binding speaks of an entry."""
        tags = EXEMPTIONS if self.element is None else (self.element,)
        return entry.package == self.package and entry.tag in tags


@mechanism("platform-exemption")
class PlatformExemptionMechanism:
    """Elements of ``etc/sysconfig`` that free an app from limits: it is ``exempt`` or ``limited``."""

    options = PlatformExemption

    def read(self, rom: Rom, packages: Packages, binding: PlatformExemption) -> Iterator[Found]:
        exempting = list(exemptions(rom, binding))
        for config, found in exempting:
            for entry in found:
                place = Location(config.file.name, line=entry.line)
                label = f"{entry.tag} of {entry.package}"
                yield Found(label, (EXEMPT,), place, Strength.EFFECTIVE)
        if not exempting and not is_unread(rom, SYSTEM_CONFIG):
            for apk in packages.named(binding.package):
                label = f"{binding.element or 'freedom from limits'} of {binding.package}"
                place = Location(apk.inner(MANIFEST))
                yield Found(label, (LIMITED,), place, Strength.EFFECTIVE)

    def render(
        self, rom: Rom, packages: Packages, binding: PlatformExemption, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        if values == (LIMITED,):
            for config, found in exemptions(rom, binding):
                tags = {entry.tag for entry in found}
                why = f"{binding.package} is to have no {', '.join(sorted(tags))}"
                exempts = exempts_by(tags, binding.package)
                yield from remove_elements(rom, config.file, found, exempts, why)
        elif values == (EXEMPT,) and binding.element is not None:
            if not any(exemptions(rom, binding)):
                root = etree.Element("config")
                etree.SubElement(root, binding.element, package=binding.package)
                folder = config_folder(rom, "system", "sysconfig")
                why = f"{binding.package} is to be in {binding.element}"
                name = f"{binding.element}-{binding.package}.xml"
                yield from new_file(rom, f"{folder}/{name}", root, why)
        else:
            why = f"{', '.join(map(str, values))} is demanded of an exemption"
            hint = f"write {LIMITED}, or {EXEMPT} for one element"
            yield Obstacle(binding.package, why, hint)


def exemptions(
    rom: Rom, binding: PlatformExemption
) -> Iterator[tuple[ConfigFile, list[ConfigEntry]]]:
    """Yield each file that frees the app from a limit that is meant, and where it does."""
    for config in read_system_config(rom):
        found = [each for each in config.entries if binding.means(each) and config.obeyed(each)]
        if found:
            yield config, found


def exempts_by(tags: Collection[str], package: str) -> Matches:
    """Return what tells the elements that free an app by one of these tags from others."""
    return lambda element: local_name(element) in tags and has(element, "package", package)
