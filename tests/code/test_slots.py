"""Operations that name a slot may do anything to what they are given, and are taken for nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from rom_builder.code.blocks import LOAD, OTHER, STORE, action_of
from rom_builder.code.choices import call_with
from rom_builder.code.operations import by_slot, defines
from rom_builder.code.programs import Program, Unit
from rom_builder.code.scope import Scope
from rom_builder.code.urls import Urls
from rom_builder.facts.code import CodeUrl
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_instructions import OPTIMISED, QUICKENED
from tests.formats.builders.dex import Class, Ids, Method, dex

from .look_alikes import SERVICE

URL = "http://api.example.com/"
BUILDER = "Ljava/lang/StringBuilder;"
NEW = f"{BUILDER}-><init>(Ljava/lang/String;)V"
APPEND = f"{BUILDER}->append(Ljava/lang/String;){BUILDER}"
TEXT = f"{BUILDER}->toString()Ljava/lang/String;"
SEND = "Lcom/example/Net;->send(Ljava/lang/String;)V"


def scope_of(by_a_slot: bool) -> Scope:
    def code(ids: Ids) -> Sequence[int]:
        append = (0x20E9, 7, 0x0001) if by_a_slot else (0x206E, ids(APPEND), 0x0001)
        return [
            0x001A, ids(URL),
            0x0122, ids(f"type {BUILDER}"),
            0x2070, ids(NEW), 0x0001,
            *append,
            0x106E, ids(TEXT), 0x0001,
            0x020C,
            0x1071, ids(SEND), 0x0002,
            0x000E,
        ]  # fmt: skip

    method = Method(
        "onHandleIntent", registers=3, code=code, texts=(URL,), calls=(NEW, APPEND, TEXT, SEND)
    )
    file = parse_dex(dex([Class(SERVICE.name, methods=(method,))]))
    file.operations = QUICKENED
    return Scope(Program("x", [Unit("x", file)], (SERVICE,)), [])


def urls(scope: Scope) -> set[str]:
    found = Urls("x", scope, (), {}).read()
    return {each.url for each in found if isinstance(each, CodeUrl)}


def test_a_text_that_a_slot_call_may_have_changed_is_not_known() -> None:
    assert urls(scope_of(by_a_slot=False)) == {URL + URL}
    assert urls(scope_of(by_a_slot=True)) == set()


def test_no_call_counts_as_the_first_after_one_by_slot() -> None:
    def code(ids: Ids) -> Sequence[int]:
        return [0x001A, ids(URL), 0x20E9, 7, 0x0001, 0x1071, ids(SEND), 0x0000, 0x000E]

    method = Method("m", registers=2, code=code, texts=(URL,), calls=(SEND,))
    file = parse_dex(dex([Class(SERVICE.name, methods=(method,))]))
    file.operations = QUICKENED
    (body,) = Scope(Program("x", [Unit("x", file)], (SERVICE,)), []).bodies.values()
    assert body.code.instructions[2].name == "invoke-static"
    assert call_with(body, 0) is None


def test_fields_by_slot_are_read_as_unknown_and_written_as_any() -> None:
    for table in (QUICKENED, OPTIMISED):
        named = {table[code].name for code in table.slots}
        assert all(by_slot(name) for name in named)
        assert not any(by_slot(table[code].name) for code in set(table) - table.slots)
        for name in named:
            if name.startswith("iget"):
                assert (action_of(name), defines(name)) == (OTHER, True)
            elif name.startswith("iput"):
                assert (action_of(name), defines(name)) == (STORE, False)
    assert action_of("iget-object-volatile") == LOAD
