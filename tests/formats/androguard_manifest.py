"""How our reading of a binary XML file differs from androguard's.

Run it over the APKs of any tree: ``python -m tests.formats.androguard_manifest FOLDER``.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rom_builder.formats.axml import Attribute, Element, parse_axml

ANDROID = "{http://schemas.android.com/apk/res/android}"


def shown(attribute: Attribute) -> str | None:
    """Write a value as androguard does; None for kinds that it rounds."""
    package = "android:" if attribute.data >> 24 == 1 else ""
    match attribute.type:
        case 0x03:
            return attribute.string or ""
        case 0x01 | 0x07:
            return f"@{package}{attribute.data:08X}"
        case 0x02 | 0x08:
            return f"?{package}{attribute.data:08X}"
        case 0x11:
            return f"0x{attribute.data:08X}"
        case 0x12:
            return "true" if attribute.data else "false"
        case kind if 0x1C <= kind <= 0x1F:
            return f"#{attribute.data:08X}"
        case kind if 0x10 <= kind < 0x1C:
            return str(attribute.as_int(0))
    return None


def differences(data: bytes) -> Iterator[str]:
    """Yield each element or attribute that the two readers see differently."""
    from androguard.core.axml import AXMLPrinter

    theirs = AXMLPrinter(data).get_xml_obj()
    ours = parse_axml(data)
    if theirs is None:
        yield "androguard reads nothing"
        return
    nodes = [node for node in theirs.iter() if isinstance(node.tag, str)]
    elements = list(ours.walk())
    if [e.name for e in elements] != [n.tag.rpartition("}")[2] for n in nodes]:
        yield "other elements"
        return
    for element, node in zip(elements, nodes, strict=True):
        yield from attributes(element, node)


def attributes(element: Element, node: Any) -> Iterator[str]:
    """Yield the attributes of one element that differ, compared by local name and value."""
    theirs = sorted((name.rpartition("}")[2], text) for name, text in node.attrib.items())
    ours = sorted((a.name, shown(a)) for a in element.attributes)
    if [name for name, _ in theirs] != [name for name, _ in ours]:
        yield f"<{element.name}> has {ours}, androguard: {theirs}"
        return
    for (name, text), (_, value) in zip(theirs, ours, strict=True):
        if value is not None and text != value:
            yield f"<{element.name} {name}>: {value!r}, androguard: {text!r}"


def main(folder: Path) -> None:
    from loguru import logger

    logger.disable("androguard")
    files = 0
    for path in sorted(folder.rglob("*.apk")):
        with zipfile.ZipFile(path) as archive:
            if "AndroidManifest.xml" not in archive.namelist():
                continue
            files += 1
            for each in differences(archive.read("AndroidManifest.xml")):
                print(f"{path.name}: {each}")
    print(f"{files} manifests compared")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
