"""What binary XML and resource tables share: chunk heads and typed values.

Every chunk starts with eight bytes, little-endian (``ResChunk_header`` of Android's
``androidfw/ResourceTypes.h``):

======  ====  ==================================================
offset  size  field
======  ====  ==================================================
0       2     type
2       2     header size: where the body starts, from the chunk's start
4       4     size of the whole chunk, head included
======  ====  ==================================================

A value (``Res_value``) is eight bytes: u16 size (8), u8 zero, u8 type, u32 data.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from rom_builder.errors import ImageError

CHUNK_HEAD = Struct("<HHI")
VALUE = Struct("<HBBI")
NO_INDEX = 0xFFFFFFFF
"""A string index that points at nothing."""


class ValueType(IntEnum):
    """Kinds of typed values; a file may hold others, so ``type`` fields stay plain integers."""

    NULL = 0x00
    REFERENCE = 0x01
    ATTRIBUTE = 0x02
    STRING = 0x03
    FLOAT = 0x04
    DIMENSION = 0x05
    FRACTION = 0x06
    DYNAMIC_REFERENCE = 0x07
    INT_DEC = 0x10
    INT_HEX = 0x11
    INT_BOOLEAN = 0x12


_FIRST_INT, _LAST_INT = 0x10, 0x1F


class TypedValue:
    """How the platform reads a typed value, for whoever has ``type``, ``data`` and ``string``."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> int: ...
        @property
        def data(self) -> int: ...
        @property
        def string(self) -> str | None: ...

    def as_bool(self, default: bool) -> bool:
        """Return what ``AttributeSet.getAttributeBooleanValue`` would.

        Only the types 0x10 to 0x1f count: a string such as ``no`` and a reference such as
        ``@bool/x`` give the default, whatever they say.
        """
        return self.data != 0 if _FIRST_INT <= self.type <= _LAST_INT else default

    def as_int(self, default: int) -> int:
        """Return what ``AttributeSet.getAttributeIntValue`` would: a signed 32-bit integer."""
        if not _FIRST_INT <= self.type <= _LAST_INT:
            return default
        return self.data - (1 << 32) if self.data >> 31 else self.data

    def as_string(self) -> str | None:
        """Return the string, or an integer or boolean as text; None for every other type."""
        match self.type:
            case ValueType.STRING:
                return self.string
            case ValueType.INT_DEC:
                return str(self.as_int(0))
            case ValueType.INT_HEX:
                return hex(self.data)
            case ValueType.INT_BOOLEAN:
                return "true" if self.data else "false"
            case _:
                return None

    def as_value(self) -> str | bool | int | None:
        """Return the value with its type kept; None for what is no text, boolean or integer."""
        if self.type == ValueType.STRING:
            return self.string
        if self.type == ValueType.INT_BOOLEAN:
            return self.data != 0
        return self.as_int(0) if _FIRST_INT <= self.type <= _LAST_INT else None

    @property
    def reference(self) -> int | None:
        """The resource id referred to; None if it is no reference, or the null reference."""
        if self.type in (ValueType.REFERENCE, ValueType.DYNAMIC_REFERENCE):
            return self.data or None
        return None


class Chunk(NamedTuple):
    """Head of a chunk; ``offset`` and ``end`` are byte offsets in the file."""

    offset: int
    type: int
    header_size: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def body(self) -> int:
        return self.offset + self.header_size


def read_chunk(data: bytes, offset: int, end: int) -> Chunk:
    """Return the chunk head at ``offset``; the header size is as the file says, unchecked.

    Raises:
        ImageError: The chunk does not end at or before ``end``, or is smaller than its head.
    """
    if not 0 <= offset <= end - 8:
        raise ImageError(f"a chunk head does not fit before byte {end:#x}", offset=offset)
    kind, header_size, size = CHUNK_HEAD.unpack_from(data, offset)
    if not 8 <= size <= end - offset:
        raise ImageError(
            f"chunk {kind:#06x} says it has {size} bytes, {end - offset} are left", offset=offset
        )
    return Chunk(offset, kind, header_size, size)


def child_chunks(data: bytes, start: int, end: int) -> Iterator[Chunk]:
    """Yield the chunks that stand one after another from ``start`` to ``end``.

    Raises:
        ImageError: As :func:`read_chunk` does.
    """
    while start < end:
        chunk = read_chunk(data, start, end)
        yield chunk
        start = chunk.end


def encode_chunk(kind: int, header: bytes, body: bytes = b"") -> bytes:
    """Return a chunk of type ``kind``; ``header`` is what follows the eight bytes of the head."""
    header_size = CHUNK_HEAD.size + len(header)
    return CHUNK_HEAD.pack(kind, header_size, header_size + len(body)) + header + body


def patch_bytes(data: bytes, offset: int, expected: bytes, replacement: bytes) -> bytes:
    """Return ``data`` with ``expected`` at ``offset`` replaced by as many other bytes.

    Raises:
        ValueError: Other bytes stand there: the value comes from another file.
    """
    end = offset + len(expected)
    if len(expected) != len(replacement) or data[offset:end] != expected:
        raise ValueError(f"the value to patch is not at byte {offset:#x} of this file")
    return data[:offset] + replacement + data[end:]


def decode_fixed_utf16(raw: bytes) -> str:
    """Return the text of a UTF-16 field that is filled up with zeros."""
    return raw.decode("utf-16-le", "surrogatepass").partition("\0")[0]


def encode_fixed_utf16(text: str, size: int) -> bytes:
    """Return ``text`` in a UTF-16 field of ``size`` bytes, zero-terminated.

    Raises:
        ValueError: It does not fit.
    """
    raw = text.encode("utf-16-le")
    if len(raw) > size - 2:
        raise ValueError(f"{text!r} is longer than {size // 2 - 1} characters")
    return raw.ljust(size, b"\0")
