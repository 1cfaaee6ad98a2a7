"""Compiled code of Android 5 to 7, made here by hand around smali's files."""

from __future__ import annotations

from pathlib import Path
from struct import pack_into

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.dex_instructions import QUICKENED, decode
from rom_builder.formats.oat import parse_oat
from rom_builder.formats.source import BytesSource
from tests.formats.builders.oat import PAGE, PLACES, oat, oat_data, shared_object
from tests.formats.damage import survives

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
ONE, TWO = ((DEX / f"{name}.dex").read_bytes() for name in ("switch", "urls"))
JARS = ["/system/framework/core-oj.jar", "/system/framework/ext.jar:classes2.dex"]


@pytest.mark.parametrize("base", [0, 0x70000000])
@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
@pytest.mark.parametrize("version", PLACES)
def test_the_files_inside_come_out_whole(version: str, wide: bool, base: int) -> None:
    whole = oat(version, [ONE, TWO], locations=JARS, wide=wide, base=base)
    found = parse_oat(BytesSource(whole))
    assert [each.location for each in found] == JARS
    assert [each.file for each in found] == ["core-oj.jar", "ext.jar"]
    assert [each.dex().data for each in found] == [ONE, TWO]


class Watched(BytesSource):
    """A source that counts what is read of it."""

    read = 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.read += size
        return super().read_at(offset, size)


def test_only_the_file_that_is_asked_for_is_read() -> None:
    large = bytearray(ONE + bytes(1 << 20))
    pack_into("<I", large, 0x20, len(large))
    source = Watched(oat("064", [bytes(large), TWO], locations=JARS))
    found = parse_oat(source)
    assert found[1].dex().data == TWO
    assert source.read < len(TWO) + 4096


def test_later_releases_have_none_inside() -> None:
    data = b"oat\n131\0" + bytes(100)
    assert parse_oat(BytesSource(shared_object(data))) == []


def changed(offset: int, form: str, *values: int, wide: bool = False) -> bytes:
    whole = bytearray(oat("064", [ONE, TWO], wide=wide))
    pack_into(form, whole, offset, *values)
    return bytes(whole)


RECORD = PAGE + 72 + 38


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF", "not a little-endian ELF"),
        (changed(5, "<B", 2), "not a little-endian ELF"),
        (changed(28, "<I", 1 << 31), "bytes are wanted"),
        (changed(42, "<H", 56), "3 program headers of 56 bytes"),
        (changed(44, "<H", 9000), "9000 program headers"),
        (changed(44, "<H", 1), "without a dynamic section"),
        (changed(52 + 16, "<I", 1 << 31), "runs past the end"),
        (changed(52 + 64 + 16, "<I", 0), "without symbols"),
        (changed(PAGE - 1, "<B", 1)[:PAGE] + b"x" * 200, "runs past the end"),
        (shared_object(b"art\n" + bytes(100)), "not compiled code"),
        (shared_object(b"oat\n031\0" + bytes(100)), "version '031' of compiled code"),
        (shared_object(b"oat\n064\0"), "not compiled code"),
        (changed(PAGE + 20, "<I", 1 << 30), "DEX files in compiled code"),
        (changed(PAGE + 68, "<I", 1 << 31), "bytes are wanted"),
        (changed(RECORD, "<I", 0), "a location of 0 bytes"),
        (changed(RECORD, "<I", 1 << 30), "a location of"),
        (changed(RECORD + 4 + 35 + 4, "<I", 1 << 31), "bytes are wanted"),
    ],
)
def test_what_does_not_hold_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        [each.dex() for each in parse_oat(BytesSource(data))]


def test_one_file_named_again_and_again_is_refused() -> None:
    data = bytearray(oat_data("079", [ONE] * 40, ["/x.jar"] * 40))
    first = data.index(ONE)
    for number in range(40):
        at = 72 + 38 + number * (4 + 6 + 8 + 8)
        assert data[at + 4 : at + 10] == b"/x.jar"
        pack_into("<I", data, at + 14, first)
    del data[first + 2 * len(ONE) :]
    with pytest.raises(ImageError, match="larger than the compiled code that holds them"):
        parse_oat(BytesSource(shared_object(bytes(data))))


@pytest.mark.parametrize("wide", [False, True])
def test_a_cut_or_damaged_file_is_refused_and_nothing_else_raised(wide: bool) -> None:
    whole = oat("045", [ONE, TWO], wide=wide)
    for size in range(0, len(whole), 97):
        with pytest.raises(ImageError):
            parse_oat(BytesSource(whole[:size]))

    def read(data: bytes) -> None:
        for each in parse_oat(BytesSource(data)):
            list(each.dex().strings)

    survives(read, whole, count=300)


def test_quickened_code_is_decoded_to_its_end_and_names_no_field_or_method() -> None:
    (inside,) = parse_oat(BytesSource(oat("088", [ONE], quick=True)))
    dex = inside.dex()
    slots = 0
    for method in DexClasses(DexIds(dex)).methods:
        if method.code_offset:
            code = parse_code(dex.data, method.code_offset, dex.operations)
            assert code.instructions[-1].name
            slots += sum(each.code in QUICKENED.slots for each in code.instructions)
    assert slots


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((0x0073,), ("return-void-no-barrier", ())),
        ((0x10E5, 8), ("iget-object-quick", (0, 1))),
        ((0x10EB, 8), ("iput-boolean-quick", (0, 1))),
        ((0x10F2, 8), ("iget-short-quick", (0, 1))),
        ((0x20E9, 7, 0x0021), ("invoke-virtual-quick", (1, 2))),
        ((0x03EA, 7, 16), ("invoke-virtual-quick/range", (16, 17, 18))),
    ],
)
def test_quick_operations_have_the_size_and_registers_of_what_they_replace(
    units: tuple[int, ...], expected: tuple[str, tuple[int, ...]]
) -> None:
    (each,) = decode(units, QUICKENED)
    assert (each.name, each.registers) == expected
