"""Settings in a plain XML file that a service reads and obeys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree
from pydantic import Field, field_validator

from rom_builder.edits import Change, Edit, FileData, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import Value
from rom_builder.findings import Location, Strength
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.system_property import text_of
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import Packages
from rom_builder.rom import Rom, RomFile

MAX_FILE_SIZE = 1 << 20


class ServiceConfig(Binding):
    """A place in an XML file.

    Attributes:
        file: Device path of the file.
        select: XPath of the attribute (``/service/consent/@default``) or of the elements whose text
            is the value (``/service/consent/before/step``).
    """

    file: str = Field(description="Device path of the XML file.", pattern=r"^/.")
    select: str = Field(
        description="XPath of an attribute, or of the elements whose text is the value."
    )

    @field_validator("select")
    @classmethod
    def _is_xpath(cls, select: str) -> str:
        try:
            matches = etree.XPath(select)(etree.Element("nothing"))
        except etree.XPathError as error:
            raise ValueError(f"{select!r} is no XPath: {error}") from error
        if not isinstance(matches, list):
            raise ValueError(f"{select!r} names no attribute or element")  # noqa: TRY004
        return select


@mechanism("service-config")
class ServiceConfigMechanism:
    """What a service is told by a file of its own; the profile vouches that it obeys the file."""

    options = ServiceConfig

    def read(self, rom: Rom, packages: Packages, binding: ServiceConfig) -> Iterator[Found]:
        label = binding.select  # every reading says its file besides
        file = rom.find(binding.file)
        if file is None:
            return
        tree = parse_xml(rom, file)
        matches = select(tree, binding.select)
        values = tuple(_text(match) for match in matches)
        line = _element(matches[0]).sourceline if matches else None
        yield Found(label, values, Location(file.name, line=line), Strength.EFFECTIVE)

    def render(
        self, rom: Rom, packages: Packages, binding: ServiceConfig, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        wanted = tuple(map(text_of, values))
        file = rom.find(binding.file)
        why = f"{binding.select} is to be {', '.join(wanted)}"
        if file is None or file.path is None:
            yield Obstacle(binding.file, f"{why}, but there is no such file", "add the file")
            return
        tree = parse_xml(rom, file)
        matches = select(tree, binding.select)
        if tuple(map(_text, matches)) == wanted:
            return
        if len(matches) != len(wanted):
            yield Obstacle(
                file.name,
                f"{why}, but the file has {len(matches)} such places",
                "give the file a place for each value",
            )
            return
        for match, value in zip(matches, wanted, strict=True):
            _set(match, value)
        data = etree.tostring(tree, xml_declaration=True, encoding="utf-8")
        yield Edit(file.path, FileData(data), why)


def parse_xml(rom: Rom, file: RomFile) -> etree._ElementTree:
    """Parse a text XML file of a ROM; no entity is expanded, nothing outside is loaded.

    Raises:
        ImageError: It is larger than 1 MiB or not well-formed.
    """
    data = rom.read(file, MAX_FILE_SIZE)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        return etree.ElementTree(etree.fromstring(data, parser))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ImageError(f"is no well-formed XML: {error}", path=file.name) from error


def select(tree: etree._ElementTree, path: str) -> list[Any]:
    """Return the attributes (as smart strings) or elements that an XPath names."""
    matches = tree.xpath(path)
    return matches if isinstance(matches, list) else []


def _text(match: Any) -> str:
    return str(match) if isinstance(match, str) else (match.text or "").strip()


def _element(match: Any) -> etree._Element:
    element: etree._Element = match if isinstance(match, etree._Element) else match.getparent()
    return element


def _set(match: Any, value: str) -> None:
    if isinstance(match, str) and getattr(match, "attrname", None):
        _element(match).set(match.attrname, value)  # type: ignore[attr-defined]
    else:
        _element(match).text = value
