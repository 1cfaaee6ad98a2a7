r"""ELF shared objects, as far as one of their symbols is looked up: what the system's loader reads.

Little-endian, of 32 or 64 bits (System V ABI, chapters 4 and 5). Columns: offsets, and sizes where
they differ, of 32 / 64 bits.

=============  ======  ==========================================================
where          offset  field
=============  ======  ==========================================================
header         0       magic ``\x7fELF``
               4, 5    class: 1 or 2; byte order: 1, little-endian
               28/32   offset of the program headers
               42/54   u16 size of one, u16 their number
program header 0       u32 type: 1 loaded, 2 dynamic
               4/8     offset in the file
               8/16    address
               16/32   bytes in the file
dynamic entry  0       tag: 4 hash table, 5 names, 6 symbols, 10 bytes of names
               4/8     address or number
hash table     4       u32 number of symbols
symbol         0       u32 offset of its name
               4/8     address
=============  ======  ==========================================================
"""

from __future__ import annotations

from struct import calcsize, unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.source import Slice, Source

MAGIC = b"\x7fELF"
MAX_HEADERS = 64
MAX_DYNAMIC = 256
MAX_SYMBOLS = 4096
MAX_NAMES = 1 << 16

_LOADED, _DYNAMIC = 1, 2
_HASH, _NAMES, _SYMBOLS, _NAMES_SIZE = 4, 5, 6, 10


class _Form(NamedTuple):
    """Where the fields are that are read, as :mod:`struct` has them."""

    table: str
    table_at: int
    numbers_at: int
    header: str
    entry: str
    symbol: str


_FORMS = {
    1: _Form("<I", 28, 42, "<3I4xI12x", "<2I", "<2I8x"),
    2: _Form("<Q", 32, 54, "<I4x2Q8xQ16x", "<2Q", "<I4xQ8x"),
}


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def from_symbol(source: Source, name: bytes) -> Slice:
    """Return the bytes from a symbol to the end of the segment that holds it.

    Raises:
        ImageError: It is no such file, damaged, or does not define the symbol.
    """
    head = source.read_at(0, min(source.size, 64))
    form = _FORMS.get(head[4]) if len(head) == 64 and head.startswith(MAGIC) else None
    if form is None or head[5] != 1:
        raise ImageError("not a little-endian ELF file", offset=0)
    segments = _segments(source, head, form)
    dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
    if dynamic is None:
        raise ImageError("an ELF file without a dynamic section", offset=0)
    entry = calcsize(form.entry)
    if dynamic.size > MAX_DYNAMIC * entry:
        raise ImageError(f"{dynamic.size} bytes of dynamic section", offset=dynamic.offset)
    data = source.read_at(dynamic.offset, dynamic.size - dynamic.size % entry)
    tags = dict(unpack_from(form.entry, data, at) for at in range(0, len(data), entry))
    if not {_HASH, _NAMES, _SYMBOLS, _NAMES_SIZE} <= tags.keys():
        raise ImageError("an ELF file without symbols", offset=dynamic.offset)
    (count,) = unpack_from("<I", _at(source, segments, tags[_HASH] + 4, 4))
    if count > MAX_SYMBOLS or tags[_NAMES_SIZE] > MAX_NAMES:
        raise ImageError(
            f"{count} symbols with {tags[_NAMES_SIZE]} bytes of names", offset=dynamic.offset
        )
    names = _at(source, segments, tags[_NAMES], tags[_NAMES_SIZE])
    size = calcsize(form.symbol)
    symbols = _at(source, segments, tags[_SYMBOLS], count * size)
    for at in range(0, len(symbols), size):
        start, address = unpack_from(form.symbol, symbols, at)
        if names[start : start + len(name) + 1] == name + b"\0":
            segment = _holding(segments, address, 0)
            place = address - segment.address
            return Slice(source, segment.offset + place, segment.size - place)
    raise ImageError(f"an ELF file without the symbol {name.decode()}", offset=0)


def _segments(source: Source, head: bytes, form: _Form) -> list[_Segment]:
    (table,) = unpack_from(form.table, head, form.table_at)
    each, count = unpack_from("<2H", head, form.numbers_at)
    size = calcsize(form.header)
    if each != size or count > MAX_HEADERS:
        raise ImageError(f"{count} program headers of {each} bytes", offset=form.numbers_at)
    data = source.read_at(table, count * size)
    found = []
    for at in range(0, len(data), size):
        segment = _Segment(*unpack_from(form.header, data, at))
        if segment.offset + segment.size > source.size:
            raise ImageError(
                f"a segment of {segment.size} bytes at {segment.offset:#x} runs past the end",
                offset=table + at,
            )
        found.append(segment)
    return found


def _holding(segments: list[_Segment], address: int, size: int) -> _Segment:
    for each in segments:
        place = address - each.address
        if each.kind == _LOADED and 0 <= place < each.size and size <= each.size - place:
            return each
    raise ImageError(f"{size} bytes at address {address:#x} are in no segment of the file")


def _at(source: Source, segments: list[_Segment], address: int, size: int) -> bytes:
    segment = _holding(segments, address, size)
    return source.read_at(segment.offset + address - segment.address, size)
