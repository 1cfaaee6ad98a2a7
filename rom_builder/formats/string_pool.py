"""The string pool of binary XML and resource tables.

Layout, little-endian (``ResStringPool_header`` in Android's ``androidfw/ResourceTypes.h``):

======  =======  =====================================================
offset  size     field
======  =======  =====================================================
0       8        chunk head: type 0x0001, header size 28
8       4        number of strings
12      4        number of styles
16      4        flags: 0x100 = UTF-8, otherwise UTF-16
20      4        where the strings start, from the chunk's start
24      4        where the styles start, from the chunk's start
28      4 each   offset of each string, from where the strings start
======  =======  =====================================================

A UTF-16 string is a length in code units (u16; with 0x8000 set, the high half of two u16), the
code units and a zero. A UTF-8 string is its length in code units, its length in bytes (each u8, or
two bytes with 0x80 set in the first), the bytes and a zero.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import utf_16_le_decode
from collections import defaultdict
from collections.abc import Iterator, Sequence
from struct import Struct, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.mutf8 import decode_mutf8, utf16_length
from rom_builder.formats.resource_chunk import encode_chunk, read_chunk

STRING_POOL = 0x0001
_HEADER = Struct("<5I")
_OFFSET = Struct("<I")
_HEADER_SIZE = 28
_UTF8 = 0x100


class StringPool:
    """Strings by index, each decoded when it is first asked for.

    Like the platform, it takes a string count that the pool has no room for as far as it goes.

    Raises:
        ImageError: No string pool stands at ``offset``, or it does not end at or before ``end``.
    """

    def __init__(self, data: bytes, offset: int, end: int) -> None:
        chunk = read_chunk(data, offset, end)
        if chunk.type != STRING_POOL:
            raise ImageError(f"a string pool is wanted, not chunk {chunk.type:#06x}", offset=offset)
        if chunk.size < _HEADER_SIZE:
            raise ImageError("the string pool is smaller than its header", offset=offset)
        header: tuple[int, ...] = _HEADER.unpack_from(data, offset + 8)
        count, _, flags, strings_start, _ = header
        header_size = chunk.header_size
        if not _HEADER_SIZE <= header_size <= chunk.size:
            header_size = _HEADER_SIZE
        self._data = data
        self._table = offset + header_size
        self._strings = offset + strings_start
        self._end = chunk.end
        self._count: int = min(count, (chunk.end - self._table) // 4)
        self._decoded: dict[int, str] = {}
        self._bytes_decoded = 0
        self._spans: _Spans | None = None
        self.is_utf8 = bool(flags & _UTF8)
        if self._count and not self._strings < chunk.end:
            raise ImageError("the strings start past the end of their pool", offset=offset + 20)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        """Return string ``index``.

        Raises:
            IndexError: There is no such string.
            ImageError: The string does not lie inside the pool or is not terminated.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        offset = _OFFSET.unpack_from(self._data, self._table + 4 * index)[0]
        start = self._strings + (offset if self.is_utf8 else offset & ~1)
        text = self._decoded.get(start)
        if text is None:
            text = self._decoded[start] = self._decode(start)
        return text

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(self._count))

    def get(self, index: int) -> str | None:
        """Return string ``index``, or None if there is no such string."""
        return self[index] if index < self._count else None

    def find(self, *literals: str) -> Iterator[tuple[int, str]]:
        """Yield index and text of each string that holds one of ``literals``.

        The pool's bytes are searched as they are; only strings that match are decoded.

        Raises:
            ImageError: Strings overlap or lie outside the pool, so none can be told from another.
        """
        encoding = "utf-8" if self.is_utf8 else "utf-16-le"
        encoded = (re.escape(literal.encode(encoding, "surrogatepass")) for literal in literals)
        pattern = re.compile(b"|".join(encoded))
        position = self._strings
        while hit := pattern.search(self._data, position, self._end):
            span = self._span_at(hit.start())
            if span is None:
                position = hit.start() + 1
                continue
            position, indices = span
            text = self[indices[0]]
            if any(literal in text for literal in literals):
                yield from ((index, text) for index in indices)

    def indices(self, text: str) -> list[int]:
        """Return every index at which ``text`` stands, in no particular order."""
        return [index for index, found in self.find(text) if found == text]

    def _start(self, offset: int) -> int:
        # The platform divides the offset of a UTF-16 string by two and so drops an odd bit.
        return self._strings + (offset if self.is_utf8 else offset & ~1)

    def _span_at(self, position: int) -> tuple[int, list[int]] | None:
        if self._spans is None:
            self._spans = self._read_spans()
        return self._spans.at(position)

    def _read_spans(self) -> _Spans:
        indices: defaultdict[int, list[int]] = defaultdict(list)
        offsets = unpack_from(f"<{self._count}I", self._data, self._table)
        for index, offset in enumerate(offsets):
            indices[self._start(offset)].append(index)
        starts = sorted(indices)
        ends = [sum(self._text_range(start)) for start in starts]
        for start, end in zip(starts[1:], ends, strict=False):
            if end > start:
                raise ImageError("strings of the pool overlap", offset=start)
        return _Spans(starts, ends, indices)

    def _text_range(self, start: int) -> tuple[int, int]:
        """Return where the encoded text at ``start`` begins and how many bytes it has."""
        data, end = self._data, self._end
        if self.is_utf8:
            position = start
            for _ in range(2):  # the length in code units, then the one in bytes
                if position + 2 > end:
                    raise ImageError("a string starts past the end of its pool", offset=start)
                size = data[position]
                position += 1
                if size & 0x80:
                    size = (size & 0x7F) << 8 | data[position]
                    position += 1
            # Old packagers kept only the low 15 bits of the length; the zero tells.
            while position + size < end and data[position + size]:
                size += 0x8000
            terminated = position + size < end
        else:
            if start + 4 > end:
                raise ImageError("a string starts past the end of its pool", offset=start)
            size, low = unpack_from("<HH", data, start)
            position = start + 2
            if size & 0x8000:
                size = (size & 0x7FFF) << 16 | low
                position += 2
            size *= 2
            stop = position + size
            terminated = stop + 2 <= end and data[stop] == data[stop + 1] == 0
        if not terminated:
            raise ImageError("a string of the pool is not terminated", offset=start)
        return position, size

    def _decode(self, start: int) -> str:
        data = self._data
        if self.is_utf8 and start + 2 < self._end:
            size = data[start]
            stop = start + 2 + size
            # As many bytes as code units, and fewer than 128: the common kind of string.
            if size < 0x80 and data[start + 1] == size and stop < self._end and not data[stop]:
                raw = data[start + 2 : stop]
                if raw.isascii():
                    self._count_decoded(size, start)
                    return raw.decode("ascii")
        elif not self.is_utf8 and start + 4 <= self._end:
            size = 2 * (data[start] | data[start + 1] << 8)
            stop = start + 2 + size
            if size < 0x10000 and stop + 2 <= self._end and not (data[stop] or data[stop + 1]):
                self._count_decoded(size, start)
                return utf_16_le_decode(data[start + 2 : stop], "surrogatepass", True)[0]
        position, size = self._text_range(start)
        self._count_decoded(size, start)
        raw = self._data[position : position + size]
        if not self.is_utf8:
            return utf_16_le_decode(raw, "surrogatepass", True)[0]
        try:
            return decode_mutf8(raw)
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")

    def _count_decoded(self, size: int, start: int) -> None:
        # Strings that overlap could make a small file decode to any amount of text.
        self._bytes_decoded += size
        if self._bytes_decoded > self._end - self._strings:
            raise ImageError("strings of the pool overlap", offset=start)


class _Spans:
    """Which string of a pool holds a byte."""

    def __init__(
        self, starts: Sequence[int], ends: Sequence[int], indices: dict[int, list[int]]
    ) -> None:
        self._starts, self._ends, self._indices = starts, ends, indices

    def at(self, position: int) -> tuple[int, list[int]] | None:
        """Return the end of the string that holds the byte and its indices."""
        rank = bisect_right(self._starts, position) - 1
        if rank < 0 or position >= self._ends[rank]:
            return None
        return self._ends[rank], self._indices[self._starts[rank]]


def encode_string_pool(strings: Sequence[str]) -> bytes:
    """Return a UTF-16 string pool chunk with ``strings`` in the order given."""
    offsets, pieces, position = [], [], 0
    for text in strings:
        length = utf16_length(text)
        if length > 0x7FFF_FFFF:
            raise ValueError("a string is too long for a string pool")
        head = (
            length.to_bytes(2, "little")
            if length < 0x8000
            else (length >> 16 | 0x8000).to_bytes(2, "little")
            + (length & 0xFFFF).to_bytes(2, "little")
        )
        piece = head + text.encode("utf-16-le", "surrogatepass") + b"\0\0"
        offsets.append(position.to_bytes(4, "little"))
        pieces.append(piece)
        position += len(piece)
    pieces.append(bytes(-position % 4))
    table = b"".join(offsets)
    header = _HEADER.pack(len(strings), 0, 0, _HEADER_SIZE + len(table), 0)
    return encode_chunk(STRING_POOL, header, table + b"".join(pieces))
