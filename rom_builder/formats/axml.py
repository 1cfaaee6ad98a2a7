"""Android binary XML: compiled manifests, preferences, network security configurations.

Layout, little-endian; every chunk has the head that :mod:`rom_builder.formats.resource_chunk`
describes (``ResXMLTree_*`` in Android's ``androidfw/ResourceTypes.h``):

==============  ========================================================================
chunk           content after the head
==============  ========================================================================
0x0003 file     the chunks below
0x0001 pool     the strings; see :mod:`rom_builder.formats.string_pool`
0x0180 ids      u32 resource id for each of the first strings
0x0100, 0x0101  start and end of a namespace: u32 line, u32 comment, u32 prefix, u32 URI
0x0102 element  u32 line, u32 comment, u32 namespace, u32 name, u16 where the attributes start
                (20), u16 size of one (20), u16 count, 3 u16 places of ``id``, ``class``, ``style``
attribute       u32 namespace, u32 name, u32 raw string, 8-byte value
0x0103 end      u32 line, u32 comment, u32 namespace, u32 name
0x0104 text     u32 line, u32 comment, u32 string, 8-byte value
==============  ========================================================================

Line and comment belong to the header (16 bytes), the rest follows it. The reader accepts what the
platform accepts, however odd, because a manifest that the platform reads is one that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct, pack, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.resource_chunk import (
    CHUNK_HEAD,
    NO_INDEX,
    VALUE,
    Chunk,
    TypedValue,
    ValueType,
    encode_chunk,
    patch_bytes,
    read_chunk,
)
from rom_builder.formats.string_pool import STRING_POOL, StringPool, encode_string_pool

ANDROID_NAMESPACE = "http://schemas.android.com/apk/res/android"
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000

_FILE, _RESOURCE_MAP = 0x0003, 0x0180
_NAMESPACE_START, _NAMESPACE_END, _ELEMENT, _ELEMENT_END, _TEXT = range(0x0100, 0x0105)
_FIRST_NODE, _LAST_NODE = 0x0100, 0x017F
_NODE_HEADER_SIZE = 16
_ELEMENT_HEAD = Struct("<IIHHHHHH")
_ATTRIBUTE = Struct("<IIIHBBI")
_ID_ATTRIBUTE = 0x010100D0
_PREFIXES = {ANDROID_NAMESPACE: "android", "http://schemas.android.com/apk/res-auto": "app"}


@dataclass(frozen=True, slots=True)
class Attribute(TypedValue):
    """One attribute of an element.

    ``resource_id`` is what the platform knows it by; the name is only for people and may lie.
    ``data`` of a string is its index in the pool and ``string`` its text. ``raw`` is the text as it
    stood in the source, if the file kept it. ``offset`` is where the attribute stands in the file.
    """

    name: str
    namespace: str | None
    resource_id: int | None
    type: int
    data: int
    raw: str | None = None
    string: str | None = None
    offset: int = field(default=0, compare=False)

    @classmethod
    def of(
        cls,
        name: str,
        value: bool | int | str,
        resource_id: int | None = None,
        namespace: str | None = None,
    ) -> Attribute:
        """Return an attribute to write; with a resource id it is in Android's namespace."""
        if resource_id is not None and namespace is None:
            namespace = ANDROID_NAMESPACE
        if isinstance(value, str):
            return cls(name, namespace, resource_id, ValueType.STRING, 0, value, value)
        if isinstance(value, bool):
            data = NO_INDEX if value else 0
            return cls(name, namespace, resource_id, ValueType.INT_BOOLEAN, data)
        return cls(name, namespace, resource_id, ValueType.INT_DEC, value & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Element:
    """One element; ``text`` is all text directly inside it, ``offset`` where its chunk stands."""

    name: str
    namespace: str | None = None
    attributes: tuple[Attribute, ...] = ()
    children: tuple[Element, ...] = ()
    text: str = ""
    line: int = field(default=0, compare=False)
    offset: int = field(default=0, compare=False)

    def attribute(
        self,
        resource_id: int | None = None,
        name: str | None = None,
        *,
        any_namespace: bool = False,
    ) -> Attribute | None:
        """Return the first attribute with that resource id or, without one, that name.

        Args:
            resource_id: The way for attributes that Android defines.
            name: For attributes that have no id, such as those of a network security
                configuration.
            any_namespace: Match the name in every namespace, not only in none.
        """
        for attribute in self.attributes:
            if resource_id is not None:
                if attribute.resource_id == resource_id:
                    return attribute
            elif attribute.name == name and (any_namespace or attribute.namespace is None):
                return attribute
        return None

    def walk(self) -> Iterator[Element]:
        """Yield this element and everything inside it, in document order."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))

    def children_named(self, name: str) -> tuple[Element, ...]:
        """Return the children with that local name."""
        return tuple(child for child in self.children if child.name == name)


def parse_axml(data: bytes) -> Element:
    """Return the root element of a binary XML file.

    Like the platform it ignores the file's chunk type, chunks it does not know, namespaces and
    whatever follows the root element, and closes elements that the file leaves open.

    Raises:
        ImageError: The platform could not read it either, or it is nested deeper than
            ``MAX_DEPTH`` or has more than ``MAX_ELEMENTS`` elements.
    """
    head = read_chunk(data, 0, len(data))
    try:
        return _Reader(data, head.end).read(head.header_size)
    except ImageError:
        if head.header_size == CHUNK_HEAD.size:
            raise
    return _Reader(data, head.end).read(CHUNK_HEAD.size)


class _Open:
    """An element whose end has not been read."""

    def __init__(self, chunk: Chunk, line: int, head: Element) -> None:
        self.chunk, self.line, self.head = chunk, line, head
        self.children: list[Element] = []
        self.text: list[str] = []

    def close(self) -> Element:
        head = self.head
        return Element(
            head.name,
            head.namespace,
            head.attributes,
            tuple(self.children),
            "".join(self.text),
            self.line,
            self.chunk.offset,
        )


class _Reader:
    def __init__(self, data: bytes, end: int) -> None:
        self._data = data
        self._end = end
        self._strings: StringPool | None = None
        self._ids: tuple[int, ...] = ()

    def read(self, start: int) -> Element:
        stack: list[_Open] = []
        count = 0
        for chunk in self._nodes(start):
            if chunk.type == _ELEMENT:
                count += 1
                if len(stack) >= MAX_DEPTH or count > MAX_ELEMENTS:
                    raise ImageError(
                        f"more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements",
                        offset=chunk.offset,
                    )
                line = unpack_from("<I", self._data, chunk.offset + 8)[0]
                stack.append(_Open(chunk, line, self._element(chunk)))
            elif chunk.type == _ELEMENT_END and stack:
                element = stack.pop().close()
                if not stack:
                    return element
                stack[-1].children.append(element)
            elif chunk.type == _TEXT and stack:
                stack[-1].text.append(self._string(self._u32(chunk, 0)) or "")
        if not stack:
            raise ImageError("binary XML without a root element", offset=start)
        while len(stack) > 1:
            element = stack.pop().close()
            stack[-1].children.append(element)
        return stack[0].close()

    def _nodes(self, start: int) -> Iterator[Chunk]:
        """Yield elements, ends and texts; take in the strings and ids that come before them."""
        position, seen_node = start, False
        while position < self._end:
            if position + 8 > self._end and seen_node:
                return
            chunk = read_chunk(self._data, position, self._end)
            position = chunk.end
            if _FIRST_NODE <= chunk.type <= _LAST_NODE:
                seen_node = True
                if chunk.type in (_ELEMENT, _ELEMENT_END, _TEXT):
                    if not _NODE_HEADER_SIZE <= chunk.header_size <= chunk.size:
                        raise ImageError(
                            f"header size {chunk.header_size} of chunk {chunk.type:#06x} "
                            f"with {chunk.size} bytes",
                            offset=chunk.offset,
                        )
                    yield chunk
            elif seen_node:
                continue
            elif chunk.type == STRING_POOL:
                self._strings = StringPool(self._data, chunk.offset, self._end)
            elif chunk.type == _RESOURCE_MAP and chunk.header_size <= chunk.size:
                count = (chunk.size - chunk.header_size) // 4
                self._ids = unpack_from(f"<{count}I", self._data, chunk.body)

    def _u32(self, chunk: Chunk, offset: int) -> int:
        if chunk.header_size + offset + 4 > chunk.size:
            raise ImageError(f"chunk {chunk.type:#06x} is too short", offset=chunk.offset)
        value: int = unpack_from("<I", self._data, chunk.body + offset)[0]
        return value

    def _string(self, index: int) -> str | None:
        return None if self._strings is None else self._strings.get(index)

    def _element(self, chunk: Chunk) -> Element:
        if chunk.header_size + _ELEMENT_HEAD.size > chunk.size:
            raise ImageError("the element is cut off", offset=chunk.offset)
        namespace, name_index, start, size, count, *_ = _ELEMENT_HEAD.unpack_from(
            self._data, chunk.body
        )
        if count and (
            size < _ATTRIBUTE.size or chunk.header_size + start + size * count > chunk.size
        ):
            raise ImageError(
                f"{count} attributes of {size} bytes do not fit their element", offset=chunk.offset
            )
        name = self._string(name_index)
        if name is None:
            raise ImageError(f"element name {name_index:#x} is no string", offset=chunk.offset)
        first = chunk.body + start
        attributes = tuple(self._attribute(first + i * size) for i in range(count))
        return Element(name, self._string(namespace), attributes)

    def _attribute(self, offset: int) -> Attribute:
        namespace, name, raw, _, _, kind, data = _ATTRIBUTE.unpack_from(self._data, offset)
        return Attribute(
            self._string(name) or "",
            self._string(namespace),
            self._ids[name] if name < len(self._ids) else None,
            kind,
            data,
            self._string(raw),
            self._string(data) if kind == ValueType.STRING else None,
            offset,
        )


def patch_attribute(data: bytes, attribute: Attribute, kind: int, value: int) -> bytes:
    """Return the file with another typed value in an attribute that was read from it.

    The raw text goes too, as the platform prefers it to the typed value in some calls.

    Args:
        data: The file that ``attribute`` was read from.
        attribute: As :func:`parse_axml` returned it.
        kind: The type, such as ``ValueType.INT_BOOLEAN``.
        value: The data; for a string, its index in the file's pool.

    Raises:
        ValueError: The attribute does not come from this file.
    """
    offset = attribute.offset + 8
    before = data[offset : offset + 12]
    if before[7:] != pack("<BI", attribute.type, attribute.data):
        raise ValueError(f"the attribute to patch is not at byte {attribute.offset:#x}")
    raw = value if kind == ValueType.STRING else NO_INDEX
    return patch_bytes(data, offset, before, pack("<I", raw) + VALUE.pack(8, 0, kind, value))


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
        chunks = [encode_string_pool(self._pool), encode_chunk(_RESOURCE_MAP, b"", ids)]
        chunks += [self._namespace(_NAMESPACE_START, *names) for names in self._namespaces]
        stack: list[tuple[Element, bool]] = [(self._root, False)]
        while stack:
            element, is_end = stack.pop()
            if is_end:
                names = (self._index(element.namespace), self._plain[element.name])
                chunks.append(self._node(_ELEMENT_END, element.line, pack("<II", *names)))
                continue
            chunks.append(self._element(element))
            if element.text:
                index = self._plain[element.text]
                value = VALUE.pack(8, 0, ValueType.NULL, 0)
                chunks.append(self._node(_TEXT, element.line, pack("<I", index) + value))
            stack.append((element, True))
            stack.extend((child, False) for child in reversed(element.children))
        chunks += [self._namespace(_NAMESPACE_END, *names) for names in self._namespaces[::-1]]
        return encode_chunk(_FILE, b"", b"".join(chunks))

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
        head = _ELEMENT_HEAD.pack(
            self._index(element.namespace),
            self._plain[element.name],
            _ELEMENT_HEAD.size,
            _ATTRIBUTE.size,
            len(attributes),
            *place.values(),
        )
        body = head + b"".join(map(self._attribute, attributes))
        return self._node(_ELEMENT, element.line, body)

    def _attribute(self, attribute: Attribute) -> bytes:
        if attribute.resource_id is None:
            name = self._plain[attribute.name]
        else:
            name = self._named[attribute.resource_id, attribute.name]
        data = attribute.data
        if attribute.type == ValueType.STRING:
            data = self._index(attribute.string)
        return _ATTRIBUTE.pack(
            self._index(attribute.namespace),
            name,
            self._index(attribute.raw),
            8,
            0,
            attribute.type,
            data,
        )
