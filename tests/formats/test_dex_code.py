from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path
from struct import pack, pack_into, unpack_from

import pytest

from rom_builder.code.blocks import Blocks
from rom_builder.code.paths import walk
from rom_builder.code.programs import Body, Unit
from rom_builder.errors import ImageError
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import Code, parameter_registers, parse_code
from rom_builder.formats.dex_ids import DexIds, dotted, parameters
from rom_builder.formats.dex_instructions import OPERATIONS, OPTIMISED, Instruction, decode
from rom_builder.formats.odex import parse_odex
from tests.formats.builders.dex import Class, Method, dex

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
FILES = sorted(DEX.glob("*.dex"))
SWITCH = (DEX / "switch.dex").read_bytes()


def code_of(data: bytes, method: str) -> Code:
    classes = DexClasses(DexIds(parse_dex(data)))
    (found,) = [each for each in classes.methods if each.ref.name == method]
    return parse_code(data, found.code_offset)


def instructions(data: bytes) -> dict[int, Instruction]:
    classes = DexClasses(DexIds(parse_dex(data)))
    found = {}
    for method in classes.methods:
        if method.code_offset:
            code = parse_code(data, method.code_offset)
            found.update({code.byte_offset(each.address): each for each in code.instructions})
    return found


@pytest.mark.judge("dexdump")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dexdump_sees_the_same_instructions(path: Path) -> None:
    listing = subprocess.run(
        ["dexdump", "-d", str(path)], check=True, capture_output=True, text=True
    ).stdout
    mine = instructions(path.read_bytes())
    theirs = 0
    for line in listing.splitlines():
        match = re.match(r"([0-9a-f]{6}): .*\|[0-9a-f]{4}: (\S+)(.*)", line)
        if not match or match[2].endswith("-switch-data"):
            continue
        theirs += 1
        each = mine.pop(int(match[1], 16))
        assert each.name == match[2]
        operands = re.sub(r'"[^"]*"|L[\w/$]+;', "", match[3].partition("//")[0])
        assert tuple(map(int, re.findall(r"\bv(\d+)", operands))) == each.registers
        if index := re.search(r"// \w+@([0-9a-f]+)", line):
            assert int(index[1], 16) == each.operand
        if each.name.startswith(("if-", "goto")):
            assert each.target == int(re.findall(r"\b([0-9a-f]{4})\b", operands)[-1], 16)
    assert theirs
    assert not mine


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_androguard_sees_the_same_classes_and_methods(path: Path) -> None:
    pytest.importorskip("loguru").logger.disable("androguard")
    dex = pytest.importorskip("androguard.core.dex").DEX(path.read_bytes())
    classes = DexClasses(DexIds(parse_dex(path.read_bytes())))
    theirs = {
        (each.get_class_name(), each.get_name(), each.get_descriptor().replace(" ", ""))
        for each in dex.get_encoded_methods()
    }
    assert {tuple(method.ref) for method in classes.methods} == theirs
    assert {name: c.superclass for name, c in classes.by_name.items()} == {
        each.get_name(): each.get_superclassname() for each in dex.get_classes()
    }


def test_fields_have_their_first_values() -> None:
    classes = DexClasses(DexIds(parse_dex((DEX / "library.dex").read_bytes())))
    servers = classes.by_name["Lcom/vendor/Servers;"]
    assert {ref.name: value for ref, value in classes.static_fields(servers)} == {
        "BASE": None,
        "SECURE": "https://api.example.com/pass",
    }


def test_strings_are_found_by_text() -> None:
    ids = DexIds(parse_dex(SWITCH))
    (index,) = ids.string_indexes(frozenset(("externalId", "no such text")))
    assert ids.string(index) == "externalId"


def test_switches_and_handlers_go_where_they_say() -> None:
    code = code_of(SWITCH, "onHandleIntent")
    (switch,) = [each for each in code.instructions if each.name == "packed-switch"]
    first, second = code.targets(switch)
    assert first == second
    assert first in {each.address for each in code.instructions}
    caught = code_of((DEX / "exception_path.dex").read_bytes(), "onHandleIntent")
    ((start, end, handlers),) = caught.guarded
    assert start == 0
    assert end > start
    ((address, _),) = handlers
    landing = next(each for each in caught.instructions if each.address == address)
    assert landing.name == "move-exception"


def test_parameters_are_the_last_registers() -> None:
    unit = Unit("x", parse_dex(SWITCH))
    (method,) = [m for m in unit.classes.methods if m.ref.name == "onHandleIntent"]
    code = parse_code(SWITCH, method.code_offset)
    assert parameter_registers(method, code) == [
        (4, "Lcom/example/LookupService;"),
        (5, "Landroid/content/Intent;"),
    ]


def test_names_are_split() -> None:
    assert parameters("(I[JLa/B;[[La/C;)V") == ["I", "[J", "La/B;", "[[La/C;"]
    assert dotted("Lcom/example/A$1;") == "com.example.A$1"


def test_every_operation_of_the_format_has_its_size() -> None:
    wide = {
        0x18: 5,
        0xFA: 4,
        0xFB: 4,
        0x2B: 3,
        0x1B: 3,
        0x03: 3,
        0x1A: 2,
        0x28: 1,
        0x29: 2,
        0x2A: 3,
    }
    assert {code: OPERATIONS.sizes[code] for code in wide} == wide
    assert sum(size == 0 for size in OPERATIONS.sizes) == 32
    assert OPTIMISED[0xF8].name == "invoke-virtual-quick"


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((0x1012,), ("const/4", (0,), 1, -1)),
        ((0xF012,), ("const/4", (0,), -1, -1)),
        ((0xFF28,), ("goto", (), 0, -1)),
        ((0x0018, 1, 0, 0, 0x8000), ("const-wide", (0,), 1 - (1 << 63), -1)),
        ((0x0115, 0x3F80), ("const/high16", (1,), 0x3F800000, -1)),
        ((0x3071, 7, 0x0321), ("invoke-static", (1, 2, 3), 7, -1)),
        ((0x0374, 7, 16), ("invoke-virtual/range", (16, 17, 18), 7, -1)),
        ((0x00DF, 0x0100), ("xor-int/lit8", (0, 0), 1, -1)),
    ],
)  # fmt: skip
def test_operands_are_decoded(units: tuple[int, ...], expected: tuple[object, ...]) -> None:
    (each,) = decode(units, OPERATIONS)
    assert (each.name, each.registers, each.operand, each.target) == expected


@pytest.mark.parametrize(
    "units",
    [(0x003E,), (0x001A,), (0x0300, 1, 0xFFFF, 0xFFFF), (0x0100, 9, 0, 0), (0x0200,), (0x00E3, 0)],
    ids=["unused", "cut_off", "array_too_large", "switch_too_large", "no_count", "optimised"],
)
def test_bad_code_is_refused(units: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        decode(units, OPERATIONS)


def test_an_optimised_file_is_read_with_its_own_operations() -> None:
    header = bytearray(40)
    header[:8] = b"dey\n036\0"
    pack_into("<2I", header, 8, 40, len(SWITCH))
    unit = Unit("x", parse_odex(bytes(header) + SWITCH))
    assert unit.operations is OPTIMISED
    assert [each.name for each in decode((0x00E3, 0), unit.operations)] == ["iget-volatile"]
    with pytest.raises(ImageError):
        parse_odex(b"dey\n036\0" + pack("<2I", 40, 1 << 30) + bytes(24))


def read_all(data: bytes) -> None:
    unit = Unit("x", parse_dex(data))
    for each in unit.classes.by_name.values():
        list(unit.classes.static_fields(each))
    for method in unit.classes.methods:
        if method.code_offset:
            body = Body(unit, method.index, method.access, method.code_offset)
            for _, _, operand in body.code.references(frozenset((0x6E, 0x71))):
                unit.ids.method(operand)
            walk(Blocks(body), limit=500)
            parameter_registers(method, body.code)


@pytest.mark.parametrize("name", ["switch", "exception_path", "urls", "library"])
def test_damage_raises_image_error_and_nothing_else(name: str) -> None:
    whole = (DEX / f"{name}.dex").read_bytes()
    read_all(whole)
    chance = random.Random(name)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(0x28, len(data))] = chance.randrange(256)
        try:
            read_all(bytes(data))
        except ImageError:
            continue
    for size in range(0, len(whole), 37):
        with pytest.raises(ImageError):
            read_all(whole[:size])


def test_strings_are_found_in_any_order_and_each_time() -> None:
    whole = bytearray(SWITCH)
    count, table = unpack_from("<2I", whole, 0x38)
    offsets = unpack_from(f"<{count}I", whole, table)
    ids = DexIds(parse_dex(SWITCH))
    (at,) = ids.string_indexes(frozenset(("externalId",)))
    assert list(ids.string_indexes(frozenset(("xternalId", "externalI")))) == []
    turned = tuple(reversed(offsets))
    pack_into(f"<{count}I", whole, table, *turned)
    assert list(DexIds(parse_dex(bytes(whole))).string_indexes(frozenset(("externalId",)))) == [
        count - 1 - at
    ]
    twice = (*offsets[:-1], offsets[at])
    pack_into(f"<{count}I", whole, table, *twice)
    found = DexIds(parse_dex(bytes(whole))).string_indexes(frozenset(("externalId",)))
    assert list(found) == [at, count - 1]


@pytest.mark.parametrize(
    ("stored", "access"),
    [(1, 1), (2, 2), (4, 4), (0, 0), (6, 1), (5, 2), (3, 4), (7, 0), (0x1000E, 0x10009)],
)
def test_what_android_9_hides_keeps_its_visibility(stored: int, access: int) -> None:
    method = Method("m", access=stored & ~8, static=bool(stored & 8))
    classes = DexClasses(DexIds(parse_dex(dex([Class("La;", methods=(method,))]))))
    assert [found.access for found in classes.methods] == [access]
