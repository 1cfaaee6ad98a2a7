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
from struct import Struct, pack, unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.resource_chunk import (
    CHUNK_HEAD,
    NO_INDEX,
    VALUE,
    Chunk,
    TypedValue,
    ValueType,
    patch_bytes,
    read_chunk,
)
from rom_builder.formats.string_pool import STRING_POOL, StringPool

ANDROID_NAMESPACE = "http://schemas.android.com/apk/res/android"
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000

XML, RESOURCE_MAP = 0x0003, 0x0180
NAMESPACE_START, NAMESPACE_END, ELEMENT, ELEMENT_END, TEXT = range(0x0100, 0x0105)
_FIRST_NODE, _LAST_NODE = 0x0100, 0x017F
_NODE_HEADER_SIZE = 16
ELEMENT_HEAD = Struct("<IIHHHHHH")
ATTRIBUTE = Struct("<IIIHBBI")
_LINE = Struct("<I")
_STRING = int(ValueType.STRING)


class _Attribute(NamedTuple):
    name: str
    namespace: str | None
    resource_id: int | None
    type: int
    data: int
    raw: str | None = None
    string: str | None = None
    offset: int = 0


class Attribute(_Attribute, TypedValue):
    """One attribute of an element.

    ``resource_id`` is what the platform knows it by; the name is only for people and may lie.
    ``data`` of a string is its index in the pool and ``string`` its text. ``raw`` is the text as it
    stood in the source, if the file kept it. ``offset`` is where the attribute stands in the file,
    which does not count when two are compared.

    A tuple and not a dataclass because a ROM has 10,000 of them to make before anything is judged.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attribute) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:-1])

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


class _Element(NamedTuple):
    name: str
    namespace: str | None = None
    attributes: tuple[Attribute, ...] = ()
    children: tuple[Element, ...] = ()
    text: str = ""
    line: int = 0
    offset: int = 0


class Element(_Element):
    """One element; ``text`` is all text directly inside it, ``offset`` where its chunk stands.

    Line and offset do not count when two are compared.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and self[:5] == other[:5]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:5])

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

    __slots__ = ("attributes", "children", "line", "name", "namespace", "offset", "text")

    def __init__(
        self,
        name: str,
        namespace: str | None,
        attributes: tuple[Attribute, ...],
        line: int,
        offset: int,
    ) -> None:
        self.name, self.namespace, self.attributes = name, namespace, attributes
        self.line, self.offset = line, offset
        self.children: list[Element] = []
        self.text: list[str] = []

    def close(self) -> Element:
        return Element(
            self.name,
            self.namespace,
            self.attributes,
            tuple(self.children),
            "".join(self.text),
            self.line,
            self.offset,
        )


class _Texts(dict[int, str | None]):
    """Strings by index, None for an index that has none; looked up in the pool once each."""

    def __init__(self, pool: StringPool | None) -> None:
        self._pool = pool

    def __missing__(self, index: int) -> str | None:
        text = self[index] = None if self._pool is None else self._pool.get(index)
        return text


class _Reader:
    def __init__(self, data: bytes, end: int) -> None:
        self._data = data
        self._end = end
        self._strings = _Texts(None)
        self._ids: tuple[int, ...] = ()

    def read(self, start: int) -> Element:
        data, end = self._data, self._end
        head = CHUNK_HEAD.unpack_from
        stack: list[_Open] = []
        count = 0
        position, seen_node = start, False
        while position < end:
            if position + 8 > end and seen_node:
                break
            at = position
            kind, header_size, size = head(data, at) if at + 8 <= end else (0, 0, 0)
            if not 8 <= size <= end - at:
                read_chunk(data, at, end)  # says what is wrong
            position += size
            if not _FIRST_NODE <= kind <= _LAST_NODE:
                if not seen_node:
                    self._take_in(Chunk(at, kind, header_size, size))
                continue
            seen_node = True
            if not ELEMENT <= kind <= TEXT:
                continue
            if not _NODE_HEADER_SIZE <= header_size <= size:
                raise ImageError(
                    f"header size {header_size} of chunk {kind:#06x} with {size} bytes", offset=at
                )
            if kind == ELEMENT:
                count += 1
                if len(stack) >= MAX_DEPTH or count > MAX_ELEMENTS:
                    raise ImageError(
                        f"more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements", offset=at
                    )
                stack.append(self._element(at, header_size, size))
            elif not stack:
                continue
            elif kind == ELEMENT_END:
                element = stack.pop().close()
                if not stack:
                    return element
                stack[-1].children.append(element)
            else:
                if header_size + 4 > size:
                    raise ImageError(f"chunk {kind:#06x} is too short", offset=at)
                index = unpack_from("<I", data, at + header_size)[0]
                stack[-1].text.append(self._strings[index] or "")
        if not stack:
            raise ImageError("binary XML without a root element", offset=start)
        while len(stack) > 1:
            element = stack.pop().close()
            stack[-1].children.append(element)
        return stack[0].close()

    def _take_in(self, chunk: Chunk) -> None:
        """Remember the strings and ids that come before the first node."""
        if chunk.type == STRING_POOL:
            self._strings = _Texts(StringPool(self._data, chunk.offset, self._end))
        elif chunk.type == RESOURCE_MAP and chunk.header_size <= chunk.size:
            count = (chunk.size - chunk.header_size) // 4
            self._ids = unpack_from(f"<{count}I", self._data, chunk.body)

    def _element(self, at: int, header_size: int, chunk_size: int) -> _Open:
        if header_size + ELEMENT_HEAD.size > chunk_size:
            raise ImageError("the element is cut off", offset=at)
        body = at + header_size
        namespace, name_index, start, size, count, *_ = ELEMENT_HEAD.unpack_from(self._data, body)
        if count and (size < ATTRIBUTE.size or header_size + start + size * count > chunk_size):
            raise ImageError(
                f"{count} attributes of {size} bytes do not fit their element", offset=at
            )
        name = self._strings[name_index]
        if name is None:
            raise ImageError(f"element name {name_index:#x} is no string", offset=at)
        attributes = self._attributes(body + start, count, size) if count else ()
        line = _LINE.unpack_from(self._data, at + 8)[0]
        return _Open(name, self._strings[namespace], attributes, line, at)

    def _attributes(self, first: int, count: int, size: int) -> tuple[Attribute, ...]:
        strings, ids, known = self._strings, self._ids, len(self._ids)
        unpack, data = ATTRIBUTE.unpack_from, self._data
        found = []
        for offset in range(first, first + count * size, size):
            namespace, name, raw, _, _, kind, value = unpack(data, offset)
            found.append(
                Attribute(
                    strings[name] or "",
                    strings[namespace],
                    ids[name] if name < known else None,
                    kind,
                    value,
                    strings[raw],
                    strings[value] if kind == _STRING else None,
                    offset,
                )
            )
        return tuple(found)


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
