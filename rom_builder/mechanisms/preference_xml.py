"""Defaults that a settings page shows: ``android:defaultValue`` in the preference XML of an app."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.formats.axml import Attribute, Element, parse_axml, patch_attribute
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.mechanisms.inside_app import (
    TRUE,
    attribute_values,
    changed,
    in_config,
    no_boolean,
    on_device,
)
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.system_property import text_of
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import Apk, Packages
from rom_builder.rom import Rom

KEY = 0x010101E8
DEFAULT_VALUE = 0x010101ED


class PreferenceXml(Binding):
    """A preference of an app's settings page.

    Attributes:
        package: The app.
        key: The preference's ``android:key``.
        file: Entry of the app that holds it; without one every compiled XML of the app is searched.
    """

    package: str = Field(description="Package name of the app.")
    key: str = Field(description="The preference's android:key.")
    file: str | None = Field(
        None, description="Entry of the app that holds it, res/xml/preferences.xml."
    )


@mechanism("preference-xml")
class PreferenceXmlMechanism:
    """What a settings page shows before anything is stored: never enough for a pass."""

    options = PreferenceXml

    def read(self, rom: Rom, packages: Packages, binding: PreferenceXml) -> Iterator[Found]:
        for apk in packages.named(binding.package):
            for entry, attribute in preferences(rom, apk, binding):
                place = Location(apk.inner(entry), attribute.offset if attribute else None)
                for config, value in attribute_values(apk, attribute):
                    label = in_config(f"preference {binding.key}", config)
                    values = () if value is None else (value,)
                    yield Found(label, values, place, Strength.UI_DEFAULT)

    def render(
        self, rom: Rom, packages: Packages, binding: PreferenceXml, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        for apk in packages.named(binding.package):
            for entry, attribute in preferences(rom, apk, binding):
                shown = [value for _, value in attribute_values(apk, attribute)]
                why = f"preference {binding.key} is to show {text_of(values[0])}"
                if obstacle := no_boolean(apk, values):
                    yield obstacle
                elif attribute is None and values[0]:
                    yield Obstacle(
                        on_device(apk, entry),
                        f"{why}, but it has no default to change",
                        f"bring a new version of the app: --replace {apk.file.path}=FILE",
                    )
                elif attribute is not None and any(value != values[0] for value in shown):
                    data = with_default(apk.read(entry), binding.key, bool(values[0]))
                    yield changed(apk, entry, data, why)


def preferences(
    rom: Rom, apk: Apk, binding: PreferenceXml
) -> Iterator[tuple[str, Attribute | None]]:
    """Yield each entry with the preference, and its ``defaultValue`` if it has one.

    Entries that cannot be read are noted as unread.
    """
    names = [binding.file] if binding.file else sorted(apk.archive.entries)
    needles = (binding.key.encode(), binding.key.encode("utf-16-le"))
    for entry in names:
        if not entry.endswith(".xml") or entry not in apk.archive.entries:
            continue
        try:
            data = apk.read(entry)
            if not any(needle in data for needle in needles):
                continue
            for default in find_defaults(parse_axml(data), binding.key):
                yield entry, default
        except ImageError as error:
            rom.note_unread(error.within(apk.inner(entry)), apk.file.name)


def with_default(data: bytes, key: str, value: bool) -> bytes:
    """Return a compiled preference XML in which the preference ``key`` shows ``value``.

    Only the eight bytes of the typed value change.

    Raises:
        ImageError: The XML is damaged, or the preference has no default to change.
    """
    defaults = [default for default in find_defaults(parse_axml(data), key) if default]
    if not defaults:
        raise ImageError(f"no preference {key} with a default")
    for default in defaults:
        data = patch_attribute(data, default, ValueType.INT_BOOLEAN, TRUE if value else 0)
    return data


def find_defaults(root: Element, key: str) -> Iterator[Attribute | None]:
    """Yield the ``defaultValue`` of each preference with that key, None where it has none."""
    for element in root.walk():
        found = element.attribute(KEY)
        if found is not None and found.as_string() == key:
            yield element.attribute(DEFAULT_VALUE)
