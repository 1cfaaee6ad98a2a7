r"""Dalvik executables (``classes.dex``): the header and the strings.

Header, little-endian (https://source.android.com/docs/core/runtime/dex-format):

======  ====  ===================================================
offset  size  field
======  ====  ===================================================
0       8     magic ``dex\n035\0`` to ``dex\n041\0``
0x20    4     file size
0x24    4     header size: 0x70, from version 041 on 0x78
0x28    4     endian tag 0x12345678
0x38    4     number of strings
0x3c    4     offset of the string table: u32 offset of each string
0x70    4     from version 041 on: size of the container
======  ====  ===================================================

A string is its length in UTF-16 code units (ULEB128), modified UTF-8, and a zero.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from struct import unpack_from
from typing import overload

from rom_builder.errors import ImageError
from rom_builder.formats.dex_instructions import OPERATIONS
from rom_builder.formats.mutf8 import decode_mutf8, encode_mutf8, utf16_length

_MAGIC = re.compile(rb"dex\n(035|036|037|038|039|040|041)\0")
_HEADER_SIZE = 0x70
_CONTAINER_HEADER_SIZE = 0x78
_ENDIAN_TAG = 0x12345678

_UNREADABLE = {
    b"dey\n": "an optimised DEX (odex)",
    b"cdex": "a compact DEX outside a container",
    b"vdex": "a verified DEX container (vdex)",
    b"oat\n": "compiled code (oat)",
}


class Dex:
    """A Dalvik executable; make one with :func:`parse_dex`.

    Attributes:
        data: What the offsets in its tables count from: the whole file, or the data section of a
            compact one (:mod:`rom_builder.formats.cdex`).
        head: What the offsets in its header count from: the whole file, or the part of a compact
            one that holds header and tables.
        compact: It is a compact one.
        place: Where its data begin, in bytes from its header.
        size: Bytes that are its own; compact files share theirs with others.
        version: Of the format, 35 to 41; 1 of a compact one.
        operations: What the operation codes mean in it; where it was optimised, or compiled ahead,
            some are its own.
        strings: Its strings.
    """

    def __init__(
        self,
        data: bytes,
        version: int,
        string_count: int,
        strings_offset: int,
        *,
        head: bytes | None = None,
        place: int = 0,
        size: int | None = None,
    ) -> None:
        self.data = data
        self.head = data if head is None else head
        self.compact = head is not None
        self.place = place
        self.size = len(data) if size is None else size
        self.version = version
        self.operations = OPERATIONS
        first = 1 if self.compact else _HEADER_SIZE
        self.strings = DexStrings(data, self.head, string_count, strings_offset, first)

    def find_strings(self, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
        """Yield offset from the header and text of each string that ``pattern`` matches, each once.

        The bytes of all strings are searched in one go and only what matches is decoded.

        Args:
            pattern: For modified UTF-8, without anchors or look-around: where one string ends
                and the next begins is looked up only after a match.

        Raises:
            ImageError: The string table is damaged.
        """
        for start, text in self.strings.find(pattern):
            yield self.place + start, text

    def contains(self, pattern: re.Pattern[bytes]) -> bool:
        """Return whether ``pattern`` matches in any string; see :meth:`find_strings`."""
        return next(self.find_strings(pattern), None) is not None


class DexStrings(Sequence[str]):
    """The strings of a DEX file in the order of their table, decoded on every access.

    Reading a string that is damaged, or overlaps another, raises ImageError.

    Args:
        data: Holds the strings, from offset ``first`` on.
        head: Holds the table.
        count: How many they are.
        table: Offset of the table in ``head``.
    """

    def __init__(self, data: bytes, head: bytes, count: int, table: int, first: int) -> None:
        self._data = data
        self._head = head
        self._count = count
        self._table = table
        self._first = first

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        data, offset, starts = self._data, self._offsets[index], self._starts
        if starts[index] == offset and data[offset] < 0x80:  # short, in a table that ascends
            first = offset + 1
            last = first + data[offset]
            raw = data[first:last]
            limit = starts[index + 1] if index >= 0 and index + 1 < len(starts) else len(data)
            if last < limit and not data[last] and raw.isascii() and 0 not in raw:
                return raw.decode("ascii")
        return self._decode(*self._item(self._rank(index % self._count)))

    def find(self, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
        """Yield offset in the data and text of what matches; see :meth:`Dex.find_strings`."""
        starts = self._starts
        if not starts:
            return
        position, end = starts[0], self._item(len(starts) - 1)[2]
        while hit := pattern.search(self._data, position, end):
            rank = bisect_right(starts, hit.start()) - 1
            item = start, first, last = self._item(rank)
            if hit.start() <= last:
                position = last + 1
                if rank:
                    self._item(rank - 1)  # refuses a string that would hold this one as well
                # The match may have begun in the length or run on into the next string.
                if pattern.search(self._data[first:last]):
                    yield start, self._decode(*item)
            elif rank + 1 < len(starts):
                position = starts[rank + 1]
            else:
                return

    def indexes_of(self, text: str) -> Iterator[int]:
        """Yield the index of every entry of the table that names a string, by its bytes alone.

        Raises:
            ImageError: The string table is damaged.
        """
        needle = encode_mutf8(text) + b"\0"
        length = _uleb128(utf16_length(text))
        if not self._starts:
            return
        position, end = self._starts[0], self._item(len(self._starts) - 1)[2] + 1
        while (position := self._data.find(needle, position + 1, end)) >= 0:
            start = position - len(length)
            if self._data.startswith(length, max(start, 0)):
                rank = bisect_left(self._starts, start)
                if rank < len(self._starts) and self._starts[rank] == start:
                    yield from self._indexes_at(start)

    def _indexes_at(self, offset: int) -> Sequence[int]:
        first, last = bisect_left(self._starts, offset), bisect_right(self._starts, offset)
        if all(self._offsets[index] == offset for index in range(first, last)):
            return range(first, last)
        return self._by_offset[offset]

    @cached_property
    def _by_offset(self) -> dict[int, list[int]]:
        """Indexes by offset, for tables that do not ascend."""
        found: dict[int, list[int]] = {}
        for index, offset in enumerate(self._offsets):
            found.setdefault(offset, []).append(index)
        return found

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        if not self._count:  # the offset of no table means nothing
            return ()
        return unpack_from(f"<{self._count}I", self._head, self._table)

    @cached_property
    def _starts(self) -> Sequence[int]:
        """Offsets of the strings in ascending order; a well-formed table is so already."""
        ascending = sorted(self._offsets)
        if ascending and not self._first <= ascending[0] <= ascending[-1] < len(self._data):
            raise ImageError("a string lies outside the file", offset=self._table)
        return ascending

    def _rank(self, index: int) -> int:
        offset = self._offsets[index]
        if self._starts[index] == offset:
            return index
        return bisect_right(self._starts, offset) - 1

    def _item(self, rank: int) -> tuple[int, int, int]:
        """Return offsets of the item, its first byte of text and its terminating zero."""
        data, starts = self._data, self._starts
        start = starts[rank]
        limit = starts[rank + 1] if rank + 1 < len(starts) else len(data)
        first = start
        while first < min(start + 5, limit) and data[first] & 0x80:
            first += 1
        first += 1
        last = data.find(0, first, limit)
        if last < 0:
            raise ImageError("a string runs into the next or past the end", offset=start)
        return start, first, last

    def _decode(self, start: int, first: int, last: int) -> str:
        data = self._data
        length = 0
        for shift, byte in enumerate(data[start:first]):
            length |= (byte & 0x7F) << 7 * shift
        try:
            text = decode_mutf8(data[first:last])
        except UnicodeDecodeError as error:
            raise ImageError("a string is not modified UTF-8", offset=first + error.start) from None
        if utf16_length(text) != length:
            raise ImageError(
                f"a string says it has {length} code units, it has {utf16_length(text)}",
                offset=start,
            )
        return text


def _uleb128(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def parse_dex(data: bytes) -> Dex:
    """Read the header of a DEX file; the strings are read when they are asked for.

    Checksum and signature are not verified.

    Raises:
        ImageError: It is no DEX file, another kind of executable, or its header does not hold.
    """
    for magic, name in _UNREADABLE.items():
        if data.startswith(magic):
            raise ImageError(f"{name} is not read", offset=0, hint="use a ROM with plain DEX files")
    magic_match = _MAGIC.match(data)
    if not magic_match:
        raise ImageError(f"not a DEX file: it starts with {data[:8].hex() or 'nothing'}", offset=0)
    if len(data) < _HEADER_SIZE:
        raise ImageError(f"the DEX header is cut off at byte {len(data)}", offset=0)
    version = int(magic_match[1])
    file_size, header_size, endian_tag = unpack_from("<3I", data, 0x20)
    if endian_tag != _ENDIAN_TAG:
        raise ImageError(f"endian tag {endian_tag:#010x}, not {_ENDIAN_TAG:#010x}", offset=0x28)
    if header_size < _HEADER_SIZE or not header_size <= file_size <= len(data):
        raise ImageError(
            f"header of {header_size} and file of {file_size} bytes do not fit {len(data)} bytes",
            offset=0x20,
        )
    if version >= 41 and header_size >= _CONTAINER_HEADER_SIZE:
        container_size, header_offset = unpack_from("<2I", data, _HEADER_SIZE)
        if header_offset or container_size != file_size:
            raise ImageError("a container of several DEX files is not read", offset=_HEADER_SIZE)
    string_count, strings_offset = unpack_from("<2I", data, 0x38)
    if string_count and not header_size <= strings_offset <= file_size - 4 * string_count:
        raise ImageError(
            f"a table of {string_count} strings at {strings_offset:#x} does not fit "
            f"{file_size} bytes",
            offset=0x38,
        )
    return Dex(data[:file_size], version, string_count, strings_offset)
