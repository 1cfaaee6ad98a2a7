"""Compiled XML as text for people; what has no text form is spelled as aapt2 does."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from rom_builder.formats.axml import ANDROID_NAMESPACE, Attribute, Element

INDENT = "  "
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def write_text(root: Element) -> str:
    r"""Return an element and everything in it as indented XML, control characters replaced.

    >>> write_text(Element("a", attributes=(Attribute.of("b", True),)))
    '<?xml version="1.0" encoding="utf-8"?>\n<a b="true"/>\n'
    """
    return "\n".join(('<?xml version="1.0" encoding="utf-8"?>', *_lines(root, 0, {}), ""))


def _lines(element: Element, depth: int, prefixes: dict[str, str]) -> Iterator[str]:
    declared = dict(prefixes)
    words = [_name(element.name)]
    for namespace in filter(None, (a.namespace for a in element.attributes)):
        if namespace not in declared:
            number = len(declared)
            declared[namespace] = "android" if namespace == ANDROID_NAMESPACE else f"ns{number}"
            words.append(f"xmlns:{declared[namespace]}={_quoted(namespace)}")
    for attribute in element.attributes:
        prefix = f"{declared[attribute.namespace]}:" if attribute.namespace else ""
        name = attribute.name or f"attr-0x{attribute.resource_id or 0:08x}"
        words.append(f"{prefix}{_name(name)}={_quoted(value_of(attribute))}")
    head = INDENT * depth + "<" + " ".join(words)
    text = escape(_clean(element.text.strip()))
    if not element.children and not text:
        yield head + "/>"
    elif not element.children:
        yield f"{head}>{text}</{words[0]}>"
    else:
        yield head + ">"
        if text:
            yield INDENT * (depth + 1) + text
        for child in element.children:
            yield from _lines(child, depth + 1, declared)
        yield f"{INDENT * depth}</{words[0]}>"


def value_of(attribute: Attribute) -> str:
    """Return an attribute's value as text: ``@0x7f010001`` for a reference."""
    value = attribute.as_string()
    if value is not None:
        return value
    if attribute.reference is not None:
        return f"@0x{attribute.reference:08x}"
    if attribute.raw is not None:
        return attribute.raw
    return f"(type 0x{attribute.type:02x})0x{attribute.data:x}"


def _name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_.-:" else "_" for c in name) or "_"


def _quoted(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\t\n" else _UNPRINTABLE for c in text)
