"""XML elements whose attribute values have the types that Android's resource compiler gives them.

The platform reads a compiled attribute by its type, not by its text: asked for a boolean it takes
0x10 to 0x1f (integers, booleans, colours) and answers with the default for everything else. So a
text file can only be judged after the same typing. What aapt2 2.19 makes of an attribute without a
declared format, outer white space dropped::

    text                          type       boolean asked for
    true True TRUE                0x12       true
    false False FALSE             0x12       false
    0, -5, 010 (32 bits signed)   0x10       number != 0
    0x0 .. 0xffffffff             0x11       number != 0
    #rgb #argb #rrggbb #aarrggbb  0x1c..1f   number != 0
    @type/name, ?type/name        0x01 ..    the default
    +5, 1.5, 0X1F, 12dp, @empty   float ..   the default
    no, off, yes, tRue            0x03       the default
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lxml import etree

from rom_builder.errors import ImageError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 20_000

ValueKind = Literal["string", "boolean", "integer", "reference", "other"]

_SPACE = " \t\n\v\f\r"
_COLOUR_SIZES = (3, 4, 6, 8)
_VERSION = re.compile(rb"""\A((?:\xef\xbb\xbf)?<\?xml\s+version\s*=\s*["'])(?!1\.)[^"'<>]*""")
"""A version of XML that libxml2 refuses; Android's parser looks at none (libcore, ``KXmlParser``)."""


@dataclass(frozen=True, slots=True)
class ConfigAttribute:
    """One attribute.

    Attributes:
        name: Without prefix.
        namespace: Its URI, or None.
        kind: Of the compiled value; colours count as ``integer``.
        text: As written, or as the platform spells a value that has no text.
        number: Data of a boolean, integer or reference.
    """

    name: str
    namespace: str | None
    kind: ValueKind
    text: str
    number: int = 0

    def boolean(self, default: bool) -> bool:
        """Return what ``getAttributeBooleanValue`` gives on the phone."""
        return self.number != 0 if self.kind in ("boolean", "integer") else default


@dataclass(frozen=True, slots=True)
class ConfigElement:
    """One element.

    Attributes:
        name: Without prefix.
        attributes: In file order.
        texts: The pieces of text directly inside, as comments and children part them; pieces of
            white space alone are not compiled and left out.
        children: In file order.
        line: In the source; 0 if the file does not say.
    """

    name: str
    attributes: tuple[ConfigAttribute, ...] = ()
    texts: tuple[str, ...] = ()
    children: tuple[ConfigElement, ...] = ()
    line: int = 0

    def attribute(self, name: str) -> ConfigAttribute | None:
        """Return the attribute of that name that has no namespace."""
        for attribute in self.attributes:
            if attribute.name == name and attribute.namespace is None:
                return attribute
        return None


class BinaryAttribute(Protocol):
    """An attribute of a binary XML file; ``type`` and ``data`` as in ``Res_value``."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def type(self) -> int: ...
    @property
    def data(self) -> int: ...
    @property
    def raw(self) -> str | None: ...
    @property
    def string(self) -> str | None: ...


class BinaryElement(Protocol):
    """An element of a binary XML file."""

    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Sequence[BinaryAttribute]: ...
    @property
    def children(self) -> Sequence[BinaryElement]: ...
    @property
    def text(self) -> str: ...
    @property
    def line(self) -> int: ...


def from_axml(element: BinaryElement) -> ConfigElement:
    """Return a parsed binary XML element in this form.

    Raises:
        ImageError: Deeper than :data:`MAX_DEPTH` or more than :data:`MAX_ELEMENTS` elements.
    """
    return _Budget().binary(element, 0)


def from_text_xml(data: bytes) -> ConfigElement:
    """Return the root of a text XML file, values typed as aapt2 would compile them.

    Raises:
        ImageError: Not well-formed, larger or deeper than the limits, or with a DOCTYPE: entities
            are not expanded here.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(f"the XML has {len(data)} bytes, at most {MAX_BYTES} are read")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(_VERSION.sub(rb"\g<1>1.0", data, count=1), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise ImageError(f"not well-formed XML: {error.msg} (line {line}:{column})") from None
    if root.getroottree().docinfo.doctype:
        raise ImageError("the XML has a DOCTYPE, which a resource file has no use for")
    return _Budget().text(root, 0)


class _Budget:
    """Bounds what one file may cost."""

    def __init__(self) -> None:
        self._left = MAX_ELEMENTS

    def _spend(self, depth: int, line: int) -> None:
        self._left -= 1
        if depth >= MAX_DEPTH or self._left < 0:
            raise ImageError(
                f"the XML nests deeper than {MAX_DEPTH} or has more than {MAX_ELEMENTS} elements"
                f" (line {line})"
            )

    def text(self, node: etree._Element, depth: int) -> ConfigElement:
        line = int(node.sourceline or 0)
        self._spend(depth, line)
        texts = [node.text]
        children = []
        for child in node:
            if isinstance(child.tag, str):
                children.append(self.text(child, depth + 1))
            texts.append(child.tail)
        attributes = []
        for key, value in node.attrib.items():
            name = etree.QName(key)
            attributes.append(typed_attribute(name.localname, str(value), name.namespace))
        return ConfigElement(
            name=etree.QName(node).localname,
            attributes=tuple(attributes),
            texts=tuple(text for text in texts if text and text.strip(_SPACE)),
            children=tuple(children),
            line=line,
        )

    def binary(self, element: BinaryElement, depth: int) -> ConfigElement:
        self._spend(depth, element.line)
        return ConfigElement(
            name=element.name,
            attributes=tuple(_binary_attribute(attribute) for attribute in element.attributes),
            texts=(element.text,) if element.text.strip(_SPACE) else (),
            children=tuple(self.binary(child, depth + 1) for child in element.children),
            line=element.line,
        )


def typed_attribute(name: str, text: str, namespace: str | None = None) -> ConfigAttribute:
    """Return an attribute typed as aapt2 types it from its text.

    >>> typed_attribute("a", " FALSE").boolean(True)
    False
    >>> typed_attribute("a", "no").boolean(True)
    True
    """
    kind, number = _typed(text.strip(_SPACE))
    return ConfigAttribute(name, namespace, kind, text, number)


def _typed(text: str) -> tuple[ValueKind, int]:
    if text in ("true", "True", "TRUE"):
        return "boolean", 1
    if text in ("false", "False", "FALSE"):
        return "boolean", 0
    if re.fullmatch(r"-?[0-9]{1,40}", text) and -(1 << 31) <= int(text) < 1 << 31:
        return "integer", int(text)
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", text):
        return "integer", int(text, 16)
    if re.fullmatch(r"#[0-9A-Fa-f]{3,8}", text) and len(text) - 1 in _COLOUR_SIZES:
        # Short forms without alpha are opaque, so that only 0 with alpha 0 reads as false.
        return "integer", int(text[1:], 16) if len(text) in (5, 9) else 0xFF000000
    if re.fullmatch(r"@\+?(?:[\w.]+:)?[a-z]+/[\w.$]+|@0x[0-9A-Fa-f]{8}|@null|\?\S+", text):
        return "reference", 0
    if re.fullmatch(r"[+-]?\.?[0-9][0-9A-Za-z.%]*|@empty", text):
        return "other", 0
    return "string", 0


_TYPE_REFERENCES = (0x01, 0x07)
"""TYPE_REFERENCE and TYPE_DYNAMIC_REFERENCE of ``Res_value``."""
_TYPE_STRING = 0x03
_TYPE_BOOLEAN = 0x12
_FIRST_INTEGER, _LAST_INTEGER = 0x10, 0x1F


def _binary_attribute(attribute: BinaryAttribute) -> ConfigAttribute:
    kind: ValueKind = "other"
    text = attribute.raw or ""
    if attribute.type == _TYPE_STRING:
        kind, text = "string", attribute.string or ""
    elif attribute.type == _TYPE_BOOLEAN:
        kind, text = "boolean", text or ("true" if attribute.data else "false")
    elif _FIRST_INTEGER <= attribute.type <= _LAST_INTEGER:
        kind, text = "integer", text or str(attribute.data)
    elif attribute.type in _TYPE_REFERENCES:
        kind, text = "reference", text or f"@{attribute.data:#010x}"
    return ConfigAttribute(attribute.name, attribute.namespace, kind, text, attribute.data)
