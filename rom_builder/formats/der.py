"""DER (X.690), as much as signatures need: exact writing, strict reading.

======  ======================  ==================================================
octets  field                   notes
======  ======================  ==================================================
1       tag                     low tag numbers only (ITU-T X.690, 8.1.2)
1..4    length                  definite and as short as possible (X.690, 10.1)
n       content                 elements again if bit 0x20 of the tag is set
======  ======================  ==================================================
"""

from __future__ import annotations

from rom_builder.errors import ImageError

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1


def der(tag: int, *content: bytes) -> bytes:
    """Return one element.

    >>> der(SEQUENCE, der(INTEGER, bytes([1])), der(NULL)).hex()
    '30050201010500'
    """
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_integer(value: int) -> bytes:
    """Return an INTEGER element: two's complement, as short as possible.

    >>> der_integer(128).hex()
    '02020080'
    """
    magnitude = value if value >= 0 else ~value
    return der(INTEGER, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


class DerReader:
    """A cursor over the elements in ``data[offset:end]``.

    Offsets in errors count from the start of ``data``.
    Every method raises :class:`ImageError` where the bytes are not DER or not what was asked for.
    """

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self._data = data
        self._end = len(data) if end is None else end
        self.offset = offset

    def peek(self) -> int | None:
        """Return the tag of the next element, None at the end."""
        return self._data[self.offset] if self.offset < self._end else None

    def _content(self, tag: int, what: str) -> tuple[int, int]:
        """Return start and end of the next element's content and step over the element."""
        start = self.offset
        if self._end - start < 2 or self._data[start] != tag:
            raise ImageError(f"{what} is wanted here (DER tag {tag:#04x})", offset=start)
        length = self._data[start + 1]
        content = start + 2
        if length & 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 4 or content + octets > self._end:
                raise ImageError(f"{what} has a bad DER length", offset=start + 1)
            length = int.from_bytes(self._data[content : content + octets], "big")
            if length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise ImageError(f"{what} has a DER length that could be shorter", offset=start + 1)
            content += octets
        if content + length > self._end:
            raise ImageError(f"{what} does not fit in what holds it", offset=start)
        self.offset = content + length
        return content, self.offset

    def inside(self, tag: int, what: str) -> DerReader:
        """Step over the next element, which must have ``tag``; return a cursor over its content."""
        return DerReader(self._data, *self._content(tag, what))

    def content(self, tag: int, what: str) -> bytes:
        """Step over the next element, which must have ``tag``, and return its content."""
        start, end = self._content(tag, what)
        return self._data[start:end]

    def element(self, tag: int, what: str) -> bytes:
        """Step over the next element, which must have ``tag``, and return it whole."""
        start = self.offset
        return self._data[start : self._content(tag, what)[1]]

    def integer(self, what: str) -> int:
        """Step over an INTEGER, which must be as short as possible, and return it."""
        start = self.offset
        octets = self.content(INTEGER, what)
        value = int.from_bytes(octets, "big", signed=True)
        if der_integer(value) != self._data[start : self.offset]:
            raise ImageError(f"{what} is not a DER integer", offset=start)
        return value

    def finish(self, what: str) -> None:
        """Refuse elements that are left over."""
        if self.offset != self._end:
            raise ImageError(f"{what} has something after its last field", offset=self.offset)
