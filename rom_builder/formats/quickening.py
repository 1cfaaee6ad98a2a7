"""Undoes what Android 8 to 11 did to code in ``.vdex`` files: quickened operations become plain ones.

A quickened operation names a slot instead of a field or method; the index that it had stands in the
quickening data of the container, so that it can be put back exactly. Nothing moves: an operation
keeps its place and size. What is replaced (art/runtime/dex_to_dex_decompiler.cc):

==========  ==============================================================================
operation   was
==========  ==============================================================================
73          return-void; no index
e3 to f2    iget, iput and invoke-virtual of each kind; the second unit was the index
00, 00      check-cast; two indexes, its register and its type
==========  ==============================================================================

Where the indexes stand, little-endian (art/runtime/vdex_file.cc, quicken_info.h):

========  ================================================================================
version   layout
========  ================================================================================
006       per method with code, in the order of the classes, direct before virtual ones:
          u32 size, then for each index the unit (ULEB128) it belongs to and itself
          (ULEB128)
010       at the end a u32 per file, the offset of its rows: offset of the code and offset
          of its entry, u32 each; an entry is u32 size and u16 indexes
019, 021  a u32 before each file is the offset of its table: u32 base, u32 offset of a
          u32 for every 16 methods, which tells where two bytes of bits say which of them
          have an entry; their offsets plus one, ULEB128, each as the difference to the
          one before, the first to the base; an entry is ULEB128 number and u16 indexes
========  ================================================================================

Since 010 also every operation 00 that is no such pair, tables in the code among them, has an index,
0xffff, if its method has any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import iter_unpack, pack_into, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import code_span
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.dex_instructions import OPERATIONS, table_at

RETURN_VOID, RETURN_VOID_NO_BARRIER = 0x0E, 0x73
CHECK_CAST = 0x1F
NO_INDEX = 0xFFFF
QUICK = dict(
    zip(
        range(0xE3, 0xF3),
        (0x52, 0x53, 0x54, 0x59, 0x5A, 0x5B, 0x6E, 0x74, 0x5C, 0x5D, 0x5E, 0x5F, 0x55, 0x56, 0x57, 0x58),
        strict=True,
    )
)  # fmt: skip
"""The plain operation of each quick one (art/libdexfile/dex/dex_instruction_list.h)."""

_SIZES = [2 * size for size in OPERATIONS.sizes]
for _quick, _plain in (*QUICK.items(), (RETURN_VOID_NO_BARRIER, RETURN_VOID)):
    _SIZES[_quick] = -2 * OPERATIONS.sizes[_plain]
_SIZES[0] = 0


@dataclass(frozen=True)
class Slots:
    """What was replaced in one method.

    Attributes:
        indexes: In the order of the code.
        units: The unit that each belongs to; None where every operation 00 has one.
    """

    indexes: tuple[int, ...]
    units: tuple[int, ...] | None = None


SlotsOf = Callable[[int, int, int], Slots | None]
"""From a method's index, the offset of its code and its units to what was replaced in it."""


def restore(files: Sequence[Dex], found: Sequence[SlotsOf]) -> list[tuple[Dex, bytes]]:
    """Return each file with the data it had before it was quickened.

    Args:
        files: As they lie in the container; compact ones share their data.
        found: What was replaced in each.

    Raises:
        ImageError: A file is damaged, or what was replaced does not fit its code.
    """
    copies = {id(dex.data): bytearray(dex.data) for dex in files}
    for dex, slots_of in zip(files, found, strict=True):
        _restore_file(dex, slots_of, copies[id(dex.data)])
    done = {key: bytes(copy) for key, copy in copies.items()}
    return [(dex, done[id(dex.data)]) for dex in files]


def _restore_file(dex: Dex, slots_of: SlotsOf, copy: bytearray) -> None:
    seen: dict[int, Slots] = {}
    left = dex.size
    for method, offset in DexClasses(DexIds(dex)).codes():
        start, size = code_span(dex.data, offset, compact=dex.compact)
        left -= size
        if left < 0:
            raise ImageError("its methods have more code than the file can hold", offset=offset)
        slots = slots_of(method, offset, size)
        if slots is None:
            continue
        before = seen.get(offset)
        if before is not None:
            if slots.indexes and slots != before:
                raise ImageError("methods that share code were quickened apart", offset=offset)
            continue
        seen[offset] = slots
        _restore_code(copy, start, size, slots)


def _restore_code(data: bytearray, start: int, size: int, slots: Slots) -> None:
    end = start + 2 * size
    if not slots.indexes and data.find(RETURN_VOID_NO_BARRIER, start, end) < 0:
        return
    try:
        at, taken = _put_back(data, start, end, slots)
    except IndexError:
        raise ImageError("a quickened operation has no index", offset=start) from None
    if at != end or taken != len(slots.indexes):
        raise ImageError("what was replaced does not fit the code", offset=start)


def _put_back(data: bytearray, start: int, end: int, slots: Slots) -> tuple[int, int]:
    """Restore a method; return where its last operation ends and how many indexes it has.

    Raises:
        ImageError: What was replaced does not fit.
        IndexError: There are not enough indexes.
    """
    sizes, quick, indexes = _SIZES, QUICK, slots.indexes
    places = None if slots.units is None else [start + 2 * unit for unit in slots.units]
    at, taken = start, 0
    while at < end:
        code = data[at]
        step = sizes[code]
        if step > 0:
            at += step
        elif step < 0:
            if at - step > end:
                break
            if code == RETURN_VOID_NO_BARRIER:
                data[at] = RETURN_VOID
            else:
                if places is not None and places[taken] != at:
                    raise ImageError("a quickened operation has no index", offset=at)
                data[at] = quick[code]
                pack_into("<H", data, at + 2, indexes[taken])
                taken += 1
            at -= step
        elif code:
            raise ImageError(f"operation {code:#04x} is unknown or cut off", offset=at)
        elif not indexes if places is None else at not in places[taken : taken + 1]:
            at += 2 * table_at(data, at, end)
        elif indexes[taken] == NO_INDEX:
            taken += 1
            at += 2 * table_at(data, at, end)
        else:
            register, kind = indexes[taken], indexes[taken + 1]
            paired = places is None or places[taken + 1] == at
            if not paired or register > 0xFF or at + 4 > end or any(data[at : at + 4]):
                raise ImageError("a check-cast was taken out where there is none", offset=at)
            pack_into("<BBH", data, at, CHECK_CAST, register, kind)
            taken += 2
            at += 4
    return at, taken


def in_sequence(info: bytes) -> SlotsOf:
    """Return what was replaced in the methods of all files of a container of version 006.

    Its methods must be asked for in the order of the files.
    """
    at = 0

    def slots_of(_method: int, code: int, units: int) -> Slots:
        nonlocal at
        (size,) = _fields(info, at, 1)
        end = at + 4 + size
        if end > len(info) or size > 8 * units:
            raise ImageError("quickening data do not fit the code", offset=code)
        numbers: list[int] = []
        value = shift = 0
        for byte in info[at + 4 : end]:
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                numbers.append(value)
                value = shift = 0
            elif shift < 28:
                shift += 7
            else:
                raise ImageError("a number of more than five bytes", offset=code)
        at = end
        if shift or len(numbers) % 2 or max(numbers[1::2], default=0) > NO_INDEX:
            raise ImageError("quickening data do not fit the code", offset=code)
        return Slots(tuple(numbers[1::2]), tuple(numbers[::2]))

    return slots_of


def by_code(info: bytes, count: int) -> list[SlotsOf]:
    """Return what was replaced in each file of a container of version 010.

    Raises:
        ImageError: The tables do not fit.
    """
    table = len(info) - 4 * count
    starts = (*_fields(info, table, count), table)
    return [_by_code(info, *each) for each in pairwise(starts)]


def _by_code(info: bytes, start: int, end: int) -> SlotsOf:
    if not start <= end <= len(info) or (end - start) % 8:
        raise ImageError(f"quickening data from {start:#x} to {end:#x} do not fit")
    entries = dict(iter_unpack("<2I", info[start:end]))

    def slots_of(_method: int, code: int, units: int) -> Slots:
        entry = entries.get(code)
        if entry is None:
            return Slots(())
        (size,) = _fields(info, entry, 1)
        return _entry(info, entry + 4, size // 2, units)

    return slots_of


def by_method(info: bytes, table: int, methods: int) -> SlotsOf:
    """Return what was replaced in one file of a container of version 019 or 021.

    Args:
        info: The quickening data of the container.
        table: Offset of the table of the file.
        methods: How many the file names.

    Raises:
        ImageError: The table does not fit.
    """
    base, lists = _fields(info, table, 2)
    blocks = _fields(info, table + 8 + lists, (methods + 15) // 16)
    entries: dict[int, int] = {}
    for first, block in enumerate(blocks):
        at = table + 8 + block
        if at + 2 > len(info):
            raise ImageError("quickening data run past their end")
        bits, offset = info[at] << 8 | info[at + 1], base
        at += 2
        for bit in range(16):
            if bits >> bit & 1:
                step, at = _uleb128(info, at)
                offset = offset + step & 0xFFFFFFFF  # an entry that methods share may lie before
                entries[16 * first + bit] = offset - 1

    def slots_of(method: int, _code: int, units: int) -> Slots | None:
        entry = entries.get(method)
        return None if entry is None else _entry(info, *_uleb128(info, entry)[::-1], units)

    return slots_of


def _entry(info: bytes, at: int, count: int, units: int) -> Slots:
    if count > units or at + 2 * count > len(info):
        raise ImageError(f"{count} indexes for {units} units of code do not fit")
    return Slots(unpack_from(f"<{count}H", info, at))


def _fields(info: bytes, at: int, count: int) -> tuple[int, ...]:
    if not 0 <= at <= len(info) - 4 * count:
        raise ImageError(f"quickening data run past their {len(info)} bytes")
    return unpack_from(f"<{count}I", info, at)


def _uleb128(info: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length, byte in enumerate(info[max(at, 0) : at + 5]):
        value |= (byte & 0x7F) << 7 * length
        if byte < 0x80:
            return value, at + length + 1
    raise ImageError("a number of the quickening data is cut off")
