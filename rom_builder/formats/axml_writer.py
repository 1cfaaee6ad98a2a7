"""Write Android binary XML; the layout is in :mod:`rom_builder.formats.axml`."""

from __future__ import annotations

from struct import pack

from rom_builder.formats.axml import (
    ANDROID_NAMESPACE,
    ATTRIBUTE,
    ELEMENT,
    ELEMENT_END,
    ELEMENT_HEAD,
    NAMESPACE_END,
    NAMESPACE_START,
    RESOURCE_MAP,
    TEXT,
    XML,
    Attribute,
    Element,
)
from rom_builder.formats.resource_chunk import NO_INDEX, VALUE, ValueType, encode_chunk
from rom_builder.formats.string_pool import encode_string_pool

_ID_ATTRIBUTE = 0x010100D0
_PREFIXES = {ANDROID_NAMESPACE: "android", "http://schemas.android.com/apk/res-auto": "app"}


def encode_axml(root: Element) -> bytes:
    """Return the binary XML file of an element; the same element gives the same bytes.

    Attributes are sorted by resource id, as the platform's look-up expects, and the names that
    have one come first in the pool. Text stands before the children. Offsets and the pool indices
    of strings in ``root`` are not used.
    """
    return _Writer(root).encode()


class _Writer:
    def __init__(self, root: Element) -> None:
        self._root = root
        named: set[tuple[int, str]] = set()
        plain: set[str] = set()
        namespaces: set[str] = set()
        for element in root.walk():
            plain.update(filter(None, (element.name, element.text)))
            namespaces.update(filter(None, (element.namespace,)))
            for attribute in element.attributes:
                if attribute.resource_id is None:
                    plain.add(attribute.name)
                else:
                    named.add((attribute.resource_id, attribute.name))
                plain.update(s for s in (attribute.raw, attribute.string) if s is not None)
                namespaces.update(filter(None, (attribute.namespace,)))
        self._namespaces = [
            (_PREFIXES.get(uri, f"ns{number}"), uri)
            for number, uri in enumerate(sorted(namespaces))
        ]
        for prefix_and_uri in self._namespaces:
            plain.update(prefix_and_uri)
        self._ids = sorted(named)
        self._pool = [name for _, name in self._ids] + sorted(plain)
        self._named = {key: index for index, key in enumerate(self._ids)}
        self._plain = {text: len(named) + index for index, text in enumerate(sorted(plain))}

    def encode(self) -> bytes:
        ids = b"".join(pack("<I", resource_id) for resource_id, _ in self._ids)
        chunks = [encode_string_pool(self._pool), encode_chunk(RESOURCE_MAP, b"", ids)]
        chunks += [self._namespace(NAMESPACE_START, *names) for names in self._namespaces]
        stack: list[tuple[Element, bool]] = [(self._root, False)]
        while stack:
            element, is_end = stack.pop()
            if is_end:
                names = (self._index(element.namespace), self._plain[element.name])
                chunks.append(self._node(ELEMENT_END, element.line, pack("<II", *names)))
                continue
            chunks.append(self._element(element))
            if element.text:
                index = self._plain[element.text]
                value = VALUE.pack(8, 0, ValueType.NULL, 0)
                chunks.append(self._node(TEXT, element.line, pack("<I", index) + value))
            stack.append((element, True))
            stack.extend((child, False) for child in reversed(element.children))
        chunks += [self._namespace(NAMESPACE_END, *names) for names in self._namespaces[::-1]]
        return encode_chunk(XML, b"", b"".join(chunks))

    def _node(self, kind: int, line: int, body: bytes) -> bytes:
        return encode_chunk(kind, pack("<II", line, NO_INDEX), body)

    def _namespace(self, kind: int, prefix: str, uri: str) -> bytes:
        body = pack("<II", self._plain[prefix], self._plain[uri])
        return self._node(kind, self._root.line, body)

    def _index(self, text: str | None) -> int:
        return NO_INDEX if text is None else self._plain[text]

    def _element(self, element: Element) -> bytes:
        attributes = sorted(
            element.attributes,
            key=lambda a: (
                a.resource_id is None,
                a.resource_id or 0,
                a.namespace or "",
                a.name,
            ),
        )
        place = {"id": 0, "class": 0, "style": 0}  # counted from 1; 0 means there is none
        for number, attribute in enumerate(attributes, 1):
            if attribute.resource_id == _ID_ATTRIBUTE:
                place["id"] = number
            elif attribute.namespace is None and attribute.name in ("class", "style"):
                place[attribute.name] = number
        head = ELEMENT_HEAD.pack(
            self._index(element.namespace),
            self._plain[element.name],
            ELEMENT_HEAD.size,
            ATTRIBUTE.size,
            len(attributes),
            *place.values(),
        )
        body = head + b"".join(map(self._attribute, attributes))
        return self._node(ELEMENT, element.line, body)

    def _attribute(self, attribute: Attribute) -> bytes:
        if attribute.resource_id is None:
            name = self._plain[attribute.name]
        else:
            name = self._named[attribute.resource_id, attribute.name]
        data = attribute.data
        if attribute.type == ValueType.STRING:
            data = self._index(attribute.string)
        return ATTRIBUTE.pack(
            self._index(attribute.namespace),
            name,
            self._index(attribute.raw),
            8,
            0,
            attribute.type,
            data,
        )
