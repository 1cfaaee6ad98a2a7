"""Modified UTF-8, the encoding of strings in DEX files and in UTF-8 string pools.

It differs from UTF-8 in two ways: U+0000 is ``c0 80``, and a character outside the basic plane is
a surrogate pair of three bytes each.
"""

from __future__ import annotations

import re
from struct import iter_unpack

_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_mutf8(raw: bytes, errors: str = "surrogatepass") -> str:
    r"""Decode modified UTF-8; plain UTF-8 is accepted too.

    Surrogate pairs are joined. A lone surrogate, which Java strings may hold, stays one.

    Raises:
        UnicodeDecodeError: The bytes are neither.

    >>> decode_mutf8(bytes.fromhex("61 c080 eda0bd edb880"))
    'a\x00😀'
    """
    if raw.isascii():
        return raw.decode("ascii")
    text = raw.replace(b"\xc0\x80", b"\0").decode("utf-8", errors)
    if _SURROGATE.search(text):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def encode_mutf8(text: str) -> bytes:
    r"""Encode text as modified UTF-8.

    >>> encode_mutf8("a\0😀").hex(" ")
    '61 c0 80 ed a0 bd ed b8 80'
    """
    if text.isascii():
        return text.encode("ascii").replace(b"\0", b"\xc0\x80")
    units = text.encode("utf-16-le", "surrogatepass")
    split = "".join(chr(unit) for (unit,) in iter_unpack("<H", units))
    return split.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, as Java counts it.

    >>> utf16_length("a😀")
    3
    """
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
