"""A writer of what Android's compiler made of DEX files: compact ones, quickened ones, containers.

Written from the format as art/dexlayout, art/dex2oat and art/runtime describe it, with no code of
the readers. It takes files of smali or of :mod:`tests.formats.builders.dex`, without annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from struct import pack, pack_into, unpack_from

from tests.formats.builders.dex import uleb128

HEADER_SIZE = 0x88
NO_INDEX = 0xFFFF
QUICK = {
    0x52: 0xE3, 0x53: 0xE4, 0x54: 0xE5, 0x55: 0xEF, 0x56: 0xF0, 0x57: 0xF1, 0x58: 0xF2,
    0x59: 0xE6, 0x5A: 0xE7, 0x5B: 0xE8, 0x5C: 0xEB, 0x5D: 0xEC, 0x5E: 0xED, 0x5F: 0xEE,
    0x6E: 0xE9, 0x74: 0xEA,
}  # fmt: skip
ONE = {0x00, 0x01, 0x04, 0x07, *range(0x0A, 0x13), 0x1D, 0x1E, 0x21, 0x27, 0x28,
       *range(0x7B, 0x90), *range(0xB0, 0xD0)}  # fmt: skip
THREE = {0x03, 0x06, 0x09, 0x14, 0x17, 0x1B, 0x24, 0x25, 0x26, 0x2A, 0x2B, 0x2C,
         *range(0x6E, 0x73), *range(0x74, 0x79), 0xFC, 0xFD}  # fmt: skip
LONG = {0x18: 5, 0xFA: 4, 0xFB: 4}


def size_at(units: Sequence[int], at: int) -> int:
    """Return the units of an instruction or table."""
    unit = units[at]
    if unit == 0x0100:
        return 4 + 2 * units[at + 1]
    if unit == 0x0200:
        return 2 + 4 * units[at + 1]
    if unit == 0x0300:
        return 4 + (units[at + 1] * (units[at + 2] | units[at + 3] << 16) + 1) // 2
    code = unit & 0xFF
    return 1 if code in ONE else 3 if code in THREE else LONG.get(code, 2)


def quickened(units: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Return code as it is quickened, and unit and index of what was replaced or might have been."""
    done, taken, at = list(units), [], 0
    while at < len(units):
        code, size = units[at] & 0xFF, size_at(units, at)
        if code in QUICK:
            done[at] = units[at] & 0xFF00 | QUICK[code]
            done[at + 1] = 4 * at + 8 & 0xFFFF  # some slot
            taken.append((at, units[at + 1]))
        elif code == 0x1F:
            done[at : at + 2] = 0, 0
            taken += [(at, units[at] >> 8), (at, units[at + 1])]
        elif code == 0x0E:
            done[at] = 0x73
        elif code == 0:
            taken.append((at, NO_INDEX))
        at += size
    return done, taken


@dataclass
class Item:
    """A code item, taken apart."""

    registers: int
    parameters: int
    outgoing: int
    units: list[int]
    tries: bytes
    try_count: int


@dataclass
class Section:
    """The data section that compact files share, as it grows."""

    data: bytearray = field(default_factory=lambda: bytearray(4))  # offset 0 stands for nothing
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, item: bytes, alignment: int = 1, before: int = 0) -> int:
        """Append an item whose offset lies ``before`` bytes after its beginning."""
        if alignment == 1 and item in self.known:
            return self.known[item]
        self.data += bytes(-(len(self.data) + before) % alignment)
        place = len(self.data) + before
        self.data += item
        if alignment == 1:
            self.known[item] = place
        return place


def read_uleb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    found = []
    for _ in range(count):
        value, at = read_uleb128(data, at)
        found.append(value)
    return found, at


def class_rows(data: bytes) -> list[int]:
    """Return where each class of a plain file is defined."""
    count, start = unpack_from("<2I", data, 0x60)
    return [start + 32 * number for number in range(count)]


def methods(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield index and place of the code of each method of a plain file, in the order of the file."""
    for row in class_rows(data):
        (at,) = unpack_from("<I", data, row + 24)
        if at:
            (static, instance, *counts), at = numbers(data, at, 4)
            _, at = numbers(data, at, 2 * (static + instance))
            for count in counts:
                index = 0
                for _ in range(count):
                    (step, _, code), at = numbers(data, at, 3)
                    index += step
                    if code:
                        yield index, code


def code_item(data: bytes, at: int) -> Item:
    """Take a code item of a plain file apart; what follows its tries is kept generously."""
    registers, parameters, outgoing, count, _, size = unpack_from("<4H2I", data, at)
    end = at + 16 + 2 * size
    units = list(unpack_from(f"<{size}H", data, at + 16))
    start = end + 2 * (size & 1)
    tries = data[start : handlers_end(data, start + 8 * count)] if count else b""
    return Item(registers, parameters, outgoing, units, tries, count)


def handlers_end(data: bytes, at: int) -> int:
    lists, at = read_uleb128(data, at)
    for _ in range(lists):
        raw, after = read_uleb128(data, at)
        bits = 7 * (after - at)
        signed = raw - (1 << bits) if raw >> (bits - 1) else raw
        _, at = numbers(data, after, 2 * abs(signed) + (signed <= 0))
    return at


def compact_code(section: Section, item: Item) -> int:
    """Append a compact code item and return its offset."""
    own = item.registers - item.parameters
    fields = own & 15, item.parameters & 15, item.outgoing & 15, item.try_count & 15
    size = len(item.units)
    more, before = (size & 0x7FF) << 5, b""
    if size & ~0x7FF:
        more |= 0x10
        before = pack("<2H", (size & ~0x7FF) >> 16, size & ~0x7FF & 0xFFFF) + before
    counts = own, item.parameters, item.outgoing, item.try_count
    for number, value in enumerate(counts):
        if value & ~15:
            more |= 1 << number
            before = pack("<H", value & ~15) + before
    first = fields[0] << 12 | fields[1] << 8 | fields[2] << 4 | fields[3]
    body = before + pack(f"<2H{size}H", first, more, *item.units)
    with_table = any(unit & 0xFF in (0x26, 0x2B, 0x2C) for unit in item.units)
    place = section.add(body, 4 if with_table else 2, len(before))
    if item.try_count:
        section.data += bytes(-len(section.data) % 4) + item.tries
    return place


def type_list(section: Section, data: bytes, at: int) -> int:
    if not at:
        return 0
    (count,) = unpack_from("<I", data, at)
    return section.add(data[at : at + 4 + 2 * count], 4)


def class_data(section: Section, data: bytes, at: int, places: dict[int, int]) -> int:
    if not at:
        return 0
    counts, at = numbers(data, at, 4)
    written = b"".join(map(uleb128, counts))
    fields, at = numbers(data, at, 2 * (counts[0] + counts[1]))
    written += b"".join(map(uleb128, fields))
    for _ in range(counts[2] + counts[3]):
        (step, access, code), at = numbers(data, at, 3)
        written += uleb128(step) + uleb128(access) + uleb128(places[code] if code else 0)
    return section.add(written)


def compact(data: bytes, section: Section) -> bytes:
    """Write a plain file as a compact one: its data into the section; return header and tables."""
    starts = [unpack_from("<2I", data, at) for at in range(0x38, 0x68, 8)]
    sizes = (4, 4, 12, 8, 8, 32)
    tables = b""
    header = bytearray(HEADER_SIZE)
    for number, ((count, start), size) in enumerate(zip(starts, sizes, strict=True)):
        where = HEADER_SIZE + len(tables) if count else 0
        pack_into("<2I", header, 0x38 + 8 * number, count, where)
        tables += data[start : start + size * count]
    whole = header + tables
    section.data += bytes(-len(section.data) % 4)
    begin = len(section.data)
    places = {}
    for _, code in methods(data):
        if code not in places:
            places[code] = compact_code(section, code_item(data, code))
    texts, protos, classes = (unpack_from("<I", whole, at)[0] for at in (0x3C, 0x4C, 0x64))
    for number in range(starts[5][0]):
        row = classes + 32 * number
        above, _, annotations, members, values = unpack_from("<5I", whole, row + 12)
        assert not annotations
        pack_into("<I", whole, row + 12, type_list(section, data, above))
        pack_into("<I", whole, row + 24, class_data(section, data, members, places))
        if values:  # at most as long as the file, and nothing is counted from its end
            pack_into("<I", whole, row + 28, section.add(data[values : values + 200]))
    for number in range(starts[2][0]):
        row = protos + 12 * number
        pack_into(
            "<I", whole, row + 8, type_list(section, data, *unpack_from("<I", whole, row + 8))
        )
    for number in range(starts[0][0]):
        (at,) = unpack_from("<I", whole, texts + 4 * number)
        end = data.index(0, read_uleb128(data, at)[1]) + 1
        pack_into("<I", whole, texts + 4 * number, section.add(data[at:end]))
    whole += bytes(-len(whole) % 4)
    section.data += bytes(-len(section.data) % 4)
    pack_into("<8s24x3I", whole, 0, b"cdex001\0", len(whole), HEADER_SIZE, 0x12345678)
    pack_into("<2I", whole, 0x68, len(section.data), len(whole))
    pack_into("<I", whole, 0x70, 1)
    pack_into("<2I", whole, 0x80, begin, len(section.data))
    return bytes(whole)


Replaced = dict[int, tuple[int, list[tuple[int, int]]]]
"""By the index of a method: where its code is, and what was replaced there."""


def quicken(data: bytes) -> tuple[bytes, Replaced]:
    """Quicken all code of a plain file."""
    changed, found, seen = bytearray(data), {}, {}
    for index, at in methods(data):
        if at not in seen:
            units, seen[at] = quickened(code_item(data, at).units)
            pack_into(f"<{len(units)}H", changed, at + 16, *units)
        found[index] = at, seen[at]
    return bytes(changed), found


def joined(files: list[bytes], prefixes: Sequence[bytes]) -> bytes:
    """Join files as a container does."""
    pairs = zip(prefixes, files, strict=True)
    return b"".join(prefix + each + bytes(-len(each) % 4) for prefix, each in pairs)


def vdex(
    version: str, files: Sequence[bytes], *, as_compact: bool = False, quick: bool = False
) -> bytes:
    """Write a container of a version; plain files may become compact, their code quickened."""
    replaced: list[Replaced] = [{} for _ in files]
    written = list(files)
    if quick:
        written, replaced = map(list, zip(*map(quicken, files), strict=True))
    info, tables = b"", [0] * len(files)
    if quick and version == "006":
        info = b"".join(
            one_after_the_other(each, data) for each, data in zip(replaced, files, strict=True)
        )
    elif quick and version == "010":
        info = rows_of_codes(replaced)
    elif quick:
        info, tables = tables_of_methods(replaced, files)
    shared = Section()
    if as_compact:
        written = [compact(each, shared) for each in written]
    start = b"vdex" + version.encode() + b"\0"
    checksums = pack(f"<{len(files)}I", *range(len(files)))
    return start + _rest(
        version, written, bytes(shared.data) if as_compact else b"", checksums, info, tables
    )


def _rest(
    version: str,
    files: list[bytes],
    shared: bytes,
    checksums: bytes,
    info: bytes,
    tables: list[int],
) -> bytes:
    if version in ("006", "010"):
        held = joined(files, [b""] * len(files))
        sizes = pack("<4I", len(files), len(held), 4, len(info))
        return sizes + checksums + held + b"deps" + info
    if version == "027":
        held, at = joined(files, [b""] * len(files)), 12 + 4 * 12
        held = place(files, held, shared, 0)
        end = at + len(checksums) + len(held)
        rows = [
            (0, at, len(checksums)),
            (1, at + len(checksums), len(held)),
            (2, end, 4),
            (3, 0, 0),
        ]
        return (
            pack("<I", 4) + b"".join(pack("<3I", *row) for row in rows) + checksums + held + b"deps"
        )
    held = place(files, joined(files, [pack("<I", each) for each in tables]), shared, 4)
    more = b"" if version == "019" else bytes(8)
    head = b"002\0" + pack("<2I", len(files), 4) + more + checksums
    return (
        head + pack("<3I", len(held) - len(shared), len(shared), len(info)) + held + b"deps" + info
    )


def place(files: list[bytes], held: bytes, shared: bytes, prefix: int) -> bytes:
    """Append the shared data and tell each compact file where they begin."""
    whole, at = bytearray(held), prefix
    for each in files:
        if each.startswith(b"cdex"):
            pack_into("<I", whole, at + 0x6C, len(held) - at)
        at += len(each) + -len(each) % 4 + prefix
    return bytes(whole) + shared


def one_after_the_other(replaced: Replaced, data: bytes) -> bytes:
    """Write quickening data as Android 8.0 did; operations 00 have no entry there."""
    written, seen = b"", set()
    for index, at in methods(data):
        pairs = [] if at in seen else [p for p in replaced[index][1] if p[1] != NO_INDEX]
        seen.add(at)
        entry = b"".join(uleb128(unit) + uleb128(number) for unit, number in pairs)
        written += pack("<I", len(entry)) + entry
    return written


def rows_of_codes(replaced: Sequence[Replaced]) -> bytes:
    """Write quickening data as Android 8.1 did."""
    entries, rows, at = b"", [], {}
    for each in replaced:
        own = {}
        for code, pairs in each.values():
            if pairs and code not in own:
                entry = pack(f"<I{len(pairs)}H", 2 * len(pairs), *(number for _, number in pairs))
                if entry not in at:
                    at[entry] = len(entries)
                    entries += entry
                own[code] = at[entry]
        rows.append(b"".join(pack("<2I", *row) for row in own.items()))
    starts = [len(entries) + sum(map(len, rows[:number])) for number in range(len(rows))]
    return entries + b"".join(rows) + pack(f"<{len(starts)}I", *starts)


def tables_of_methods(
    replaced: Sequence[Replaced], files: Sequence[bytes]
) -> tuple[bytes, list[int]]:
    """Write quickening data as Android 9 to 11 did, and where the table of each file begins."""
    entries, at = b"", {}
    offsets = []
    for each, data in zip(replaced, files, strict=True):
        (count,) = unpack_from("<I", data, 0x58)
        own = [0] * count
        for index, (_, pairs) in each.items():
            entry = uleb128(len(pairs)) + pack(f"<{len(pairs)}H", *(number for _, number in pairs))
            if entry not in at:
                at[entry] = len(entries)
                entries += entry
            own[index] = at[entry] + 1
        offsets.append(own)
    entries += bytes(-len(entries) % 4)
    tables = []
    for own in offsets:
        tables.append(len(entries))
        entries += offset_table(own)
    return entries, tables


def offset_table(offsets: Sequence[int]) -> bytes:
    """Write a table of offsets, sixteen in a block, each as the difference to the one before."""
    base = min((each for each in offsets if each), default=NO_INDEX)
    blocks, starts = b"", []
    for first in range(0, len(offsets), 16):
        starts.append(len(blocks))
        block = offsets[first : first + 16]
        bits = sum(1 << number for number, each in enumerate(block) if each)
        blocks += bytes((bits >> 8, bits & 0xFF))
        before = base
        for each in block:
            if each:
                blocks += uleb128((each - before) % (1 << 32))
                before = each
    blocks += bytes(-len(blocks) % 4)
    return pack("<2I", base, len(blocks)) + blocks + pack(f"<{len(starts)}I", *starts)
