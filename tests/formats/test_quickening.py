"""Quickened code becomes again what it was, or is refused."""

from __future__ import annotations

from pathlib import Path
from struct import pack, pack_into, unpack_from

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.vdex import Vdex, parse_vdex
from tests.formats.builders.cdex import QUICK, methods, vdex
from tests.formats.builders.dex import Class, Method, dex, uleb128
from tests.formats.damage import survives
from tests.formats.test_cdex import content

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
FILES = [path.read_bytes() for path in sorted(DEX.glob("*.dex"))]
VERSIONS = ["006", "010", "019", "021"]

EVERY = [
    *(unit for code in sorted(QUICK) if code < 0x60 for unit in (0x2100 | code, 3 + code)),
    *(0x206E, 7, 0x0021), *(0x0374, 9, 0x0005), *(0x031F, 4), 0x0000, *(0x001F, 5),
    *(0x002B, 6, 0), 0x000E, *(0x0100, 1, 0, 0, 1, 0), *(0x0300, 1, 3, 0, 0x1F1F, 0x001F),
    0x000E,
]  # fmt: skip
"""Every operation that is quickened, a nop, tables, and bytes in them that look like operations."""


def every() -> bytes:
    method = Method("m", code=EVERY, registers=16)
    return dex([Class("La;", methods=(method, Method("n"), Method("o", code=EVERY[-1:])))])


@pytest.mark.parametrize("version", VERSIONS)
def test_quickened_files_become_what_they_were(version: str) -> None:
    files = [*FILES, every()]
    container = vdex(version, files, quick=True)
    assert every() not in container
    assert [each.data for each in parse_vdex(container).restored()] == files


@pytest.mark.parametrize("version", ["019", "021"])
def test_quickened_compact_files_become_what_they_were(version: str) -> None:
    files = [*FILES, every()]
    found = parse_vdex(vdex(version, files, as_compact=True, quick=True)).restored()
    assert [content(each) for each in found] == [content(parse_dex(each)) for each in files]


@pytest.mark.parametrize("version", VERSIONS)
def test_texts_are_read_of_files_whose_quickening_is_damaged(version: str) -> None:
    whole = vdex(version, FILES[:1], quick=True)
    damaged = parse_vdex(whole)
    damaged = Vdex(version, damaged.files, damaged.quickening[:-5] + bytes(1), damaged.tables)
    assert list(damaged.files[0].strings) == list(parse_dex(FILES[0]).strings)
    with pytest.raises(ImageError):
        damaged.restored()


def of_method(*indexes: int, units: int = 3) -> bytes:
    """A container whose only method has these indexes for code of ``iget-quick``."""
    code = [0x21E3, 8] * ((units - 1) // 2) + [0x000E]
    info = bytes((len(indexes),)) + pack(f"<{len(indexes)}H", *indexes)
    info += bytes(-len(info) % 4)
    table = len(info)
    info += pack("<2I", 1, 4) + bytes((0, 1, 0, 0)) + pack("<I", 0)
    plain = dex([Class("La;", methods=(Method("m", code=code, registers=3),))])
    head = b"vdex019\0" + b"002\0" + pack("<3I", 1, 0, 0)
    return head + pack("<4I", len(plain) + 4, 0, len(info), table) + plain + info


def test_an_index_goes_to_its_operation() -> None:
    (found,) = parse_vdex(of_method(0x1234)).restored()
    assert b"\x52\x21\x34\x12\x0e\0" in found.data


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (of_method(1, units=5), "a quickened operation has no index"),
        (of_method(1, 2), "what was replaced does not fit the code"),
        (of_method(1, 2, 3, 4), "4 indexes for 3 units of code do not fit"),
    ],
)
def test_too_few_or_too_many_indexes_are_refused(container: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_vdex(container).restored()


@pytest.mark.parametrize(
    "container",
    [of_method(), vdex("021", [dex([Class("La;", methods=(Method("m", code=[0x21E3, 8]),))])])],
)
def test_a_quick_operation_without_an_index_is_refused_when_its_code_is_read(
    container: bytes,
) -> None:
    (found,) = parse_vdex(container).restored()
    (method,) = DexClasses(DexIds(found)).methods
    with pytest.raises(ImageError, match="operation 0xe3 is unknown"):
        _ = parse_code(found.data, method.code_offset).instructions


@pytest.mark.parametrize("version", VERSIONS)
def test_damage_is_read_or_refused(version: str) -> None:
    whole = vdex(version, [FILES[3], every()], quick=True)
    assert survives(lambda data: parse_vdex(data).restored(), whole, count=300) > 75


def test_a_check_cast_is_not_put_where_there_is_none() -> None:
    whole = bytearray(vdex("010", [every()], quick=True))
    info = parse_vdex(bytes(whole)).quickening
    at = len(whole) - len(info)
    (size,) = unpack_from("<I", info, 0)
    indexes = list(unpack_from(f"<{size // 2}H", info, 4))
    nop = indexes.index(0xFFFF)
    pack_into("<H", whole, at + 4 + 2 * nop, 1)  # the nop now claims to have been a check-cast
    with pytest.raises(ImageError, match="a check-cast was taken out where there is none"):
        parse_vdex(bytes(whole)).restored()


def sharing(count: int, units: int) -> bytes:
    """A file whose methods all have the same code."""
    code = [0x2152, 3] * (units // 2) + [0x000E]
    own = (
        Method(f"m{n:04}", code=code if n == 0 else (0x000E,), registers=3) for n in range(count)
    )
    data = dex([Class("La;", methods=tuple(own))])
    (first, *others) = (place for _, place in methods(data))
    assert first > 0x4000  # so that all offsets take three bytes
    end = others[-1]
    listed = data[end:]
    for place in others:
        listed = listed.replace(uleb128(place), uleb128(first))
    return data[:end] + listed


@pytest.mark.parametrize("version", VERSIONS)
def test_methods_may_share_code_but_not_all_of_a_file_each(version: str) -> None:
    small, large = sharing(1200, 10), sharing(1200, 10_000)
    container = vdex(version, [small], quick=True)
    assert [each.data for each in parse_vdex(container).restored()] == [small]
    with pytest.raises(ImageError, match="more code than the file can hold"):
        parse_vdex(vdex(version, [large], quick=True)).restored()
