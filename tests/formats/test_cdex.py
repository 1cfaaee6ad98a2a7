"""Compact files say what the plain ones that they were made of say."""

from __future__ import annotations

from pathlib import Path
from struct import pack_into, unpack_from

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.cdex import code_head, parse_cdex
from rom_builder.formats.dex import Dex, parse_dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import code_span, parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.vdex import parse_vdex
from tests.formats.builders.cdex import Item, Section, compact, compact_code, vdex
from tests.formats.builders.dex import Class, Method, dex
from tests.formats.damage import survives

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
FILES = [path.read_bytes() for path in sorted(DEX.glob("*.dex"))]


def content(found: Dex) -> list[object]:
    """All that is read of a file, but for places."""
    classes = DexClasses(DexIds(found))
    rows: list[object] = [list(found.strings)]
    for method in classes.methods:
        rows.append((method.ref, method.access))
        if method.code_offset:
            code = parse_code(found.data, method.code_offset, compact=found.compact)
            assert code_span(found.data, method.code_offset, compact=found.compact) == (
                code.start,
                len(code.units),
            )
            rows.append((code.registers, code.parameters, code.units, code.guarded))
    for each in classes.by_name.values():
        rows.append((each.name, each.superclass, each.interfaces, each.access))
        rows.append(list(classes.static_fields(each)))
    return rows


@pytest.mark.parametrize("version", ["019", "021", "027"])
def test_compact_files_of_one_container_hold_what_the_plain_ones_do(version: str) -> None:
    files = parse_vdex(vdex(version, FILES, as_compact=True)).restored()
    assert all(each.compact for each in files)
    assert len({id(each.data) for each in files}) == 1
    assert [content(each) for each in files] == [content(parse_dex(each)) for each in FILES]


def test_offsets_in_evidence_count_from_the_header_of_a_compact_file() -> None:
    whole = vdex("021", FILES[:3], as_compact=True)
    start = 0
    for each in parse_vdex(whole).files:
        start = whole.index(b"cdex001\0", start + 1)
        for index, text in enumerate(each.strings):
            offset = unpack_from("<I", each.head, unpack_from("<I", each.head, 0x3C)[0] + 4 * index)
            place = start + each.place + offset[0]
            assert whole[place + 1 : place + 1 + len(text)] == text.encode()


@pytest.mark.parametrize(
    "item",
    [
        Item(1, 1, 0, [0x000E], b"", 0),
        Item(15, 0, 15, [0x000E], b"", 0),
        Item(300, 40, 16, [0x000E] * 3, b"", 0),
        Item(65535, 0, 0, [0x000E] * 2047, b"", 0),
        Item(16, 16, 255, [0x000E] * 2048, b"", 0),
        Item(1, 0, 0, [0] * 70000 + [0x000E], b"", 0),
    ],
)
def test_what_two_bytes_cannot_hold_stands_before_the_code(item: Item) -> None:
    section = Section()
    offset = compact_code(section, item)
    data = bytes(section.data)
    assert code_head(data, offset) == (item.registers, item.parameters, 0, len(item.units))
    assert list(parse_code(data, offset, compact=True).units) == item.units
    with pytest.raises(ImageError, match="code"):
        parse_code(data[:-2], offset, compact=True)


def test_many_exception_ranges_are_read() -> None:
    tries = b"".join(n.to_bytes(4, "little") + b"\1\0\1\0" for n in range(20)) + b"\1\0\x15"
    method = Method("m", code=[0] * 21 + [0x000E], tries=tries, try_count=20)
    plain = dex([Class("La;", methods=(method, Method("n")))])
    (found,) = parse_vdex(vdex("021", [plain], as_compact=True)).files
    assert content(found) == content(parse_dex(plain))
    assert len(content(found)) > 5


def test_a_compact_file_beside_a_plain_one() -> None:
    """Android leaves a file plain whose methods it cannot make compact."""
    whole = bytearray(vdex("021", FILES[:2], as_compact=True))
    second = whole.index(b"cdex001\0", whole.index(b"cdex001\0") + 1)
    (length,) = unpack_from("<I", whole, second + 0x20)
    plain = dex([])
    whole[second : second + len(plain)] = plain
    pack_into("<I", whole, second + 0x20, length)
    files = parse_vdex(bytes(whole)).files
    assert [each.compact for each in files] == [True, False]
    assert content(files[0]) == content(parse_dex(FILES[0]))


def one() -> tuple[bytearray, bytes]:
    section = Section()
    head = compact(FILES[0], section)
    return bytearray(head), bytes(section.data)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (4, 0x32303030, "a compact DEX of version b'000' is not read"),
        (0x24, 0x70, "header of 112 bytes"),
        (0x28, 0x78563412, "endian tag 0x78563412"),
        (0x38, 1 << 30, "a table of 1073741824 strings at 0x88 does not fit"),
        (0x3C, 0x10, "strings at 0x10 does not fit"),
        (0x80, 1 << 20, "are its own"),
        (0x84, 1 << 30, "are its own"),
    ],
)
def test_a_header_that_does_not_hold_is_refused(at: int, value: int, message: str) -> None:
    head, data = one()
    parse_cdex(bytes(head), data)
    pack_into("<I", head, at, value)
    with pytest.raises(ImageError, match=message):
        parse_cdex(bytes(head), data)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0x68, 1 << 30, "bytes of data at .* do not fit"),
        (0x6C, 0x90, "have data of their own each"),
        (0x80, 4, "2 compact DEX files share"),
    ],
)
def test_data_that_files_cannot_share_are_refused(at: int, value: int, message: str) -> None:
    whole = bytearray(vdex("021", FILES[:2], as_compact=True))
    second = whole.index(b"cdex001\0", whole.index(b"cdex001\0") + 1)
    pack_into("<I", whole, second + at, value)
    with pytest.raises(ImageError, match=message):
        parse_vdex(bytes(whole))


def test_more_files_than_their_data_can_be_searched_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = vdex("027", FILES, as_compact=True)
    monkeypatch.setattr("rom_builder.formats.vdex.MAX_SHARED", 10 * len(whole))
    with pytest.raises(ImageError, match="compact DEX files share"):
        parse_vdex(whole)


def test_damage_is_read_or_refused() -> None:
    def read(data: bytes) -> None:
        for each in parse_vdex(data).restored():
            content(each)

    whole = vdex("021", FILES[:2], as_compact=True, quick=True)
    assert survives(read, whole, count=400) > 150
