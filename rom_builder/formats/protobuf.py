"""Protocol buffers: the wire format, and frozen dataclasses that say their own field numbers.

Source: https://protobuf.dev/programming-guides/encoding. A message is a row of fields, each a
varint tag ``number << 3 | wire type`` and a value:

========= ======================================================
wire type value
========= ======================================================
0         varint, at most 10 bytes: unsigned, signed (two's complement in 64 bits), bool, enum
1         8 bytes
2         varint length, then bytes: bytes, text, message
5         4 bytes, little-endian: fixed32
========= ======================================================

A message class is written as::

    @dataclass(frozen=True, slots=True)
    class Extent(Message):
        start_block: int | None = proto(1, Kind.UINT)
        num_blocks: int | None = proto(2, Kind.UINT)

An absent field is None, so that what was parsed encodes to the same fields again; a repeated field
is a tuple; fields no class names are kept in ``unknown`` and encoded last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Self, TypeVar

from rom_builder.errors import ImageError

MAX_FIELDS = 1 << 20
"""Most fields of one message tree; the manifest of a full 5 GiB payload has about 50,000."""

M = TypeVar("M", bound="Message")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Kind(Enum):
    """How a scalar field is written."""

    UINT = "unsigned"
    INT = "signed"
    BOOL = "bool"
    FIXED32 = "fixed32"
    BYTES = "bytes"
    TEXT = "text"


_WIRE_TYPES = {
    Kind.UINT: _VARINT,
    Kind.INT: _VARINT,
    Kind.BOOL: _VARINT,
    Kind.FIXED32: _FIXED32,
    Kind.BYTES: _BYTES,
    Kind.TEXT: _BYTES,
}


class _Field(NamedTuple):
    name: str
    kind: Kind | type[Message]
    repeated: bool
    wire_type: int


def proto(number: int, kind: Kind | type[Message]) -> Any:
    """Declare an optional field of a message class."""
    return dataclasses.field(default=None, metadata={"proto": (number, kind, False)})


def repeated(number: int, kind: Kind | type[Message]) -> Any:
    """Declare a repeated field of a message class."""
    return dataclasses.field(default=(), metadata={"proto": (number, kind, True)})


@dataclass(frozen=True, slots=True)
class Message:
    """Base of message classes.

    Attributes:
        unknown: The fields the class does not name, tags included, as they were written.
    """

    unknown: bytes = dataclasses.field(default=b"", kw_only=True, repr=False)

    @classmethod
    def parse(cls, data: bytes, offset: int = 0) -> Self:
        """Read a message; ``offset`` is where it lies in its file, for error messages.

        Raises:
            ImageError: The bytes are no such message, or have more than :data:`MAX_FIELDS` fields.
        """
        return _Parser(data, offset).message(cls, 0, len(data))

    def encode(self) -> bytes:
        """Write the message: fields by number, absent ones left out, unknown ones last."""
        out = bytearray()
        for number, field in sorted(_fields(type(self)).items()):
            value = getattr(self, field.name)
            for item in value if field.repeated else () if value is None else (value,):
                out += encode_varint(number << 3 | field.wire_type)
                out += _encode_value(field.kind, item)
        return bytes(out + self.unknown)


_KNOWN: dict[type[Message], dict[int, _Field]] = {}


def _fields(cls: type[Message]) -> dict[int, _Field]:
    """Return the fields a message class declares, by number."""
    if cls in _KNOWN:
        return _KNOWN[cls]
    found = {}
    for field in dataclasses.fields(cls):
        if "proto" in field.metadata:
            number, kind, many = field.metadata["proto"]
            wire_type = _WIRE_TYPES[kind] if isinstance(kind, Kind) else _BYTES
            found[number] = _Field(field.name, kind, many, wire_type)
    _KNOWN[cls] = found
    return found


def encode_varint(value: int) -> bytes:
    """Write an unsigned number of at most 64 bits, low seven bits first.

    >>> encode_varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_value(kind: Kind | type[Message], value: Any) -> bytes:
    if kind is Kind.FIXED32:
        return int(value).to_bytes(4, "little")
    if isinstance(kind, Kind) and _WIRE_TYPES[kind] == _VARINT:
        return encode_varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, Message):
        data = value.encode()
    else:
        data = value.encode() if isinstance(value, str) else value
    return encode_varint(len(data)) + data


class _Parser:
    """Reads one message tree, counting its fields."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset
        self._left = MAX_FIELDS

    def message(self, cls: type[M], start: int, end: int) -> M:
        known = _fields(cls)
        values: dict[str, Any] = {}
        many: dict[str, list[Any]] = {}
        unknown = bytearray()
        for number, wire_type, first, position, last in self._walk(start, end):
            field = known.get(number)
            if field is None:
                unknown += self._data[first:last]
                continue
            if wire_type != field.wire_type:
                raise self._error(
                    f"{cls.__name__} field {number} has wire type {wire_type}, "
                    f"{field.wire_type} expected",
                    first,
                )
            value = self._value(field.kind, position, last)
            if field.repeated:
                many.setdefault(field.name, []).append(value)
            else:
                values[field.name] = value
        for name, items in many.items():
            values[name] = tuple(items)
        return cls(**values, unknown=bytes(unknown))

    def _walk(self, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield number, wire type and the positions of tag, value and end of every field."""
        while position < end:
            first = position
            self._left -= 1
            if self._left < 0:
                raise self._error(f"a message of more than {MAX_FIELDS} fields", first)
            tag, position = self._varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            start = position
            if wire_type == _VARINT:
                _, position = self._varint(position, end)
            elif wire_type == _BYTES:
                size, start = self._varint(position, end)
                position = start + size
            elif wire_type in (_FIXED64, _FIXED32):
                position += 8 if wire_type == _FIXED64 else 4
            else:
                raise self._error(f"unknown wire type {wire_type}", first)
            if not 0 < number < 1 << 29:
                raise self._error(f"field number {number}", first)
            if position > end:
                raise self._error(f"field {number} ends after its message", first)
            yield number, wire_type, first, start, position

    def _value(self, kind: Kind | type[Message], start: int, end: int) -> Any:
        if not isinstance(kind, Kind):
            return self.message(kind, start, end)
        data = self._data[start:end]
        if kind is Kind.BYTES:
            return data
        if kind is Kind.TEXT:
            try:
                return data.decode()
            except UnicodeDecodeError:
                raise self._error("text that is not UTF-8", start) from None
        if kind is Kind.FIXED32:
            return int.from_bytes(data, "little")
        value, _ = self._varint(start, end)
        if kind is Kind.BOOL:
            return bool(value)
        if kind is Kind.INT and value >> 63:
            return value - (1 << 64)
        return value

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise self._error("a varint ends after its message", position)
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise self._error("a varint of more than 64 bits", position)
                return value, position
        raise self._error("a varint of more than 10 bytes", position)

    def _error(self, message: str, position: int) -> ImageError:
        return ImageError(f"damaged protobuf: {message}", offset=self._offset + position)
