"""Changing the XML files that configure the platform, element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from lxml import etree

from rom_builder.edits import Change, Edit, FileData, Obstacle
from rom_builder.errors import BuildRefused
from rom_builder.mechanisms.service_config import parse_xml
from rom_builder.rom import Rom, RomFile

Matches = Callable[[etree._Element], bool]


class Entry(Protocol):
    """What a file says in one of its elements."""

    @property
    def line(self) -> int:
        """Where the element stands."""
        ...


def remove_elements(
    rom: Rom, file: RomFile, entries: Iterable[Entry], matches: Matches, why: str
) -> Iterator[Change]:
    """Yield the edit that takes elements out of a file; what stands around them stays.

    Args:
        entries: What the elements say.
        matches: Which elements at their lines are meant.
    """
    lines = {entry.line for entry in entries}
    tree = parse_xml(rom, file)
    for element in [e for e in tree.getroot().iter("{*}*") if e.sourceline in lines]:
        parent = element.getparent()
        if parent is not None and matches(element):
            if element.tail and (before := element.getprevious()) is not None:
                before.tail = (before.tail or "") + element.tail.rstrip(" \t\n\r")
            parent.remove(element)
    yield from written(rom, file, tree, why)


def written(rom: Rom, file: RomFile, tree: etree._ElementTree, why: str) -> Iterator[Change]:
    """Yield the edit that gives a file a new content; an obstacle where it has no device path."""
    data = etree.tostring(tree, xml_declaration=True, encoding="utf-8") + b"\n"
    if file.path is None:
        yield Obstacle(file.name, f"{why}, but the file is not installed", "leave the file out")
    elif data != rom.read(file):
        yield Edit(file.path, FileData(data), why)


def new_file(rom: Rom, path: str, root: etree._Element, why: str) -> Iterator[Change]:
    """Yield the edit that adds a file of its own; an obstacle where the ROM has no place for it."""
    try:
        rom.home_of(path)
    except BuildRefused as error:
        yield Obstacle(path, f"{why}, but {error.message}", "build with that partition in the base")
        return
    data = etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
    yield Edit(path, FileData(data), why)


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return etree.QName(element).localname


def has(element: etree._Element, name: str, value: str) -> bool:
    """Say whether an element has an attribute of that local name and text."""
    return any(
        etree.QName(key).localname == name and text == value for key, text in element.attrib.items()
    )


def is_unread(rom: Rom, kinds: Sequence[str]) -> bool:
    """Say whether a file in ``etc`` of one of these kinds could not be read, for all that it may say."""
    return any(f"/etc/{kind}/" in part.path for kind in kinds for part in rom.unread)
