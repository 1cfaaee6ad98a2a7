"""Which overlays of a partition are on, and in which order: ``overlay/config/config.xml``.

Text XML, read from Android 11 on (``OverlayConfigParser`` in Android's frameworks/base)::

    <config>
      <merge path="more.xml"/>
      <overlay package="com.example.rro" mutable="false" enabled="true"/>
    </config>

``merge`` reads another file, named from the folder of ``config.xml``, at that place. A later overlay
wins over an earlier one. ``enabled`` is false and ``mutable`` true unless said otherwise; both are
false only if they say exactly ``false``. An overlay that is not listed is mutable and off. What the
platform throws at (an ``overlay`` or ``merge`` without its attribute, an immutable overlay behind a
mutable one, one listed twice) keeps a device from starting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from rom_builder.errors import ImageError

MAX_FILE_SIZE = 1 << 20
MAX_MERGE_DEPTH = 5


@dataclass(frozen=True, slots=True)
class ConfiguredOverlay:
    """One ``overlay`` element."""

    package: str
    enabled: bool
    mutable: bool
    line: int


@dataclass(frozen=True, slots=True)
class Merge:
    """One ``merge`` element."""

    path: str
    line: int


def parse_overlay_config(data: bytes) -> tuple[ConfiguredOverlay | Merge, ...]:
    """Return the elements of a configuration in file order; unknown ones are skipped.

    Raises:
        ImageError: It is too large or no well-formed ``config``, or an element lacks its attribute
            or names a path outside the folder.
    """
    found: list[ConfiguredOverlay | Merge] = []
    for element in _root(data):
        if not isinstance(element.tag, str):
            continue
        line = int(element.sourceline or 0)
        if element.tag == "merge":
            path = element.get("path")
            if path is None or path.startswith("/") or ".." in path.split("/"):
                raise ImageError(
                    f"line {line}: merge needs a path inside the folder: a device would not start"
                )
            found.append(Merge(path, line))
        elif element.tag == "overlay":
            package = element.get("package")
            if package is None:
                raise ImageError(f"line {line}: overlay without package: a device would not start")
            enabled = element.get("enabled", "false") != "false"
            mutable = element.get("mutable", "true") != "false"
            found.append(ConfiguredOverlay(package, enabled, mutable, line))
    return tuple(found)


def parse_partition_order(data: bytes) -> tuple[str, ...]:
    """Return the partitions that ``overlay/partition_order.xml`` names, lowest precedence first.

    The form: ``<partition-order><partition name="system"/>...</partition-order>``. Empty if it is
    none of that form, which the platform ignores.

    Raises:
        ImageError: It is too large or not well-formed.
    """
    root = _parsed(data)
    if root.tag != "partition-order":
        return ()
    return tuple(element.get("name", "") for element in root.iter("partition"))


def with_overlay(data: bytes, package: str) -> bytes:
    """Return a configuration in which one overlay is on and immutable, and wins over what it can.

    It comes before the first mutable overlay, or at the end. Elements and comments stay.

    Raises:
        ImageError: It is too large or no well-formed ``config``.
    """
    root = _root(data)
    if not re.fullmatch(r"[A-Za-z0-9_.]+", package):
        raise ValueError(f"{package!r} is no package name")
    for old in [e for e in root if e.tag == "overlay" and e.get("package") == package]:
        root.remove(old)
    mutable = [
        e
        for e in root
        if isinstance(e.tag, str) and e.tag == "overlay" and e.get("mutable", "true") != "false"
    ]
    element = etree.Element("overlay", package=package, mutable="false", enabled="true")
    element.tail = "\n"
    if mutable:
        mutable[0].addprevious(element)
    else:
        root.append(element)
    return etree.tostring(root.getroottree(), xml_declaration=True, encoding="utf-8") + b"\n"


def _root(data: bytes) -> etree._Element:
    root = _parsed(data)
    if root.tag != "config":
        raise ImageError(f"begins with {root.tag!r}, not with config: a device would not start")
    return root


def _parsed(data: bytes) -> etree._Element:
    if len(data) > MAX_FILE_SIZE:
        raise ImageError(f"{len(data)} bytes; at most {MAX_FILE_SIZE} are read")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ImageError(f"is no well-formed XML: {error}") from error
