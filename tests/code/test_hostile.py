"""Code that is made to keep its reader busy: bounded work, and what was not followed is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from struct import pack

import pytest
import yaml

from rom_builder.code.graph import Graph
from rom_builder.code.programs import Body, Program, Unit
from rom_builder.code.reading import read_service_code
from rom_builder.code.scope import Scope
from rom_builder.errors import ImageError
from rom_builder.facts.code import CodeFact, CodeRead, ConsentCheck, Outcome
from rom_builder.formats.dex import parse_dex
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom
from tests.formats.builders.dex import Class, Ids, Method, dex, units
from tests.roms import zipped

from .look_alikes import DEX
from .test_reading import PROFILE

READS = "Landroid/content/SharedPreferences;->getBoolean(Ljava/lang/String;Z)Z"
SENDS = "Lcom/example/net/Http;->get(Ljava/lang/String;Ljava/lang/String;)V"
SERVICE = "Lcom/example/LookupService;"
START = "onHandleIntent"
INTENT = "(Landroid/content/Intent;)V"
RETURN = (0x000E,)


def send(ids: Ids) -> list[int]:
    """const-string v0, "externalId"; invoke-static {v0, v0}, Http.get"""
    return [0x001A, ids("externalId"), 0x2071, ids(SENDS), 0x0000]


def service(*methods: Method, parent: str = "Landroid/app/IntentService;") -> Class:
    return Class(SERVICE, parent, methods)


def sending(make: object, *, registers: int = 3, **more: object) -> Method:
    return Method(
        START,
        INTENT,
        registers,
        make,  # type: ignore[arg-type]
        static=False,
        calls=(SENDS, READS),
        texts=("externalId", "consent_given"),
        **more,  # type: ignore[arg-type]
    )


def facts(folder: Path, classes: Sequence[Class]) -> tuple[list[CodeFact], list[str]]:
    rom = folder / "rom" / "system"
    (rom / "app").mkdir(parents=True)
    manifest = (DEX / "AndroidManifest.xml").read_bytes()
    apk = zipped({"AndroidManifest.xml": manifest, "classes.dex": dex(classes)})
    (rom / "app" / "LookAlike.apk").write_bytes(apk)
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    opened = open_rom(folder / "rom")
    found = list(read_service_code(opened, Packages(opened), profile, {}))
    return found, [part.reason for part in opened.unread]


def outcomes(found: list[CodeFact]) -> set[Outcome]:
    return {f.outcome for f in found if isinstance(f, ConsentCheck) and not f.automatic}


def test_what_the_builder_writes_is_a_dex_file(tmp_path: Path) -> None:
    found, unread = facts(tmp_path, [service(sending(lambda ids: [*send(ids), *RETURN]))])
    assert outcomes(found) == {Outcome.NOT_ASKED}
    assert not unread


def endless_switches(ids: Ids) -> list[int]:
    """2,000 switches that share one table of 30,000 cases."""
    count, cases = 2_000, 30_000
    table = 3 * count + 6
    switches = units(
        *((0x002B, (table - 3 * n) & 0xFFFF, (table - 3 * n) >> 16) for n in range(count))
    )
    payload = [0x0100, cases, 0, 0, *([3, 0] * cases)]
    return [*switches, *send(ids), *RETURN, *payload]


def many_registers(ids: Ids) -> list[int]:
    """5,000 copies of a constant, each in a register of its own and used at the end."""
    moves = units(*((0x0003, 1000 + n, 0) for n in range(5_000)))
    uses = units(*((0x0003, 0, 1000 + n) for n in range(5_000)))
    return [0x0013, 1, *moves, *uses, *send(ids), *RETURN]


def many_texts(ids: Ids) -> list[int]:
    """5,000 copies of a text, each in a register of its own."""
    moves = units(*((0x0009, 1000 + n, 0) for n in range(5_000)))
    return [0x001A, ids("http://api.example.com/"), *moves, *send(ids), *RETURN]


def nested_ranges(count: int) -> bytes:
    ranges = b"".join(pack("<IHH", 0, 5, 1) for _ in range(count))
    return ranges + b"\x01\x00\x00"


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (sending(endless_switches), "a method branches too often"),
        (
            Method(
                START, INTENT, 40_000, many_texts, False, (SENDS,),
                ("externalId", "http://api.example.com/"),
            ),
            "following its code takes too long",
        ),
        (
            sending(lambda ids: [*send(ids), *RETURN], tries=nested_ranges(60_000),
                    try_count=60_000),
            "exception ranges overlap or are out of order",
        ),
    ],
    ids=["switches", "texts", "exceptions"],
)  # fmt: skip
def test_a_method_beyond_measure_is_unread_and_unknown(
    tmp_path: Path, method: Method, reason: str
) -> None:
    found, unread = facts(tmp_path, [service(method)])
    assert [reason in each for each in unread] == [True]
    (read,) = [fact for fact in found if isinstance(fact, CodeRead)]
    assert read.unread == ("system/app/LookAlike.apk",)
    assert outcomes(found) == set()


def test_many_registers_are_followed_all_the_same(tmp_path: Path) -> None:
    method = sending(many_registers, registers=40_000)
    found, unread = facts(tmp_path, [service(method)])
    assert not unread
    assert outcomes(found) == {Outcome.NOT_ASKED}


def test_too_many_paths_are_unknown(tmp_path: Path) -> None:
    plain = "Lcom/vendor/Any;->thing()I"

    def code(ids: Ids) -> list[int]:
        ask = units(*((0x0071, ids(plain), 0, 0x000A | (n + 1) << 8) for n in range(20)))
        tests = units(*((0x0038 | (n + 1) << 8, 3, 0x0000) for n in range(20)))
        return [*ask, *tests, *tests, *send(ids), *RETURN]

    method = Method(START, INTENT, 24, code, False, (SENDS, plain), ("externalId",))
    found, unread = facts(tmp_path, [service(method)])
    assert not unread
    checks = [f for f in found if isinstance(f, ConsentCheck)]
    assert {check.outcome for check in checks} == {Outcome.UNKNOWN}
    assert "its paths are too many" in checks[0].unknown[0].text


def test_ways_back_beyond_measure_are_unknown(tmp_path: Path) -> None:
    """Every method holds the sink and calls every other; nothing is known to call any of them."""
    names = [f"m{number}" for number in range(40)]
    calls = tuple(f"Lcom/example/Many;->{name}()V" for name in names)

    def code(ids: Ids) -> list[int]:
        return [*send(ids), *units(*((0x0071, ids(call), 0x0000) for call in calls)), *RETURN]

    methods = (Method(n, "()V", 1, code, True, (SENDS, *calls), ("externalId",)) for n in names)
    found, unread = facts(tmp_path, [Class("Lcom/example/Many;", methods=tuple(methods))])
    assert not unread
    checks = [f for f in found if isinstance(f, ConsentCheck)]
    assert len(checks) == 2 * len(names)
    assert checks[0].outcome is Outcome.UNREACHED
    assert checks[-1].outcome is Outcome.UNKNOWN
    assert "the paths are too many" in checks[-1].unknown[0].text


def test_a_circle_of_classes_ends(tmp_path: Path) -> None:
    found, unread = facts(
        tmp_path,
        [
            service(sending(lambda ids: [*send(ids), *RETURN]), parent="Lcom/example/B;"),
            Class("Lcom/example/B;", SERVICE),
            Class("Lcom/example/Own;", "Lcom/example/Own;"),
        ],
    )
    assert not unread
    assert outcomes(found) <= {Outcome.NOT_ASKED, Outcome.UNKNOWN}


def test_a_long_line_of_classes_that_calls_through_its_first_ends(tmp_path: Path) -> None:
    base = "Lcom/example/C0;"
    calls = tuple(f"{base}->m{n}()V" for n in range(2000))

    def code(ids: Ids) -> list[int]:
        return [*units(*((0x106E, ids(call), 0x0000) for call in calls)), *send(ids), *RETURN]

    method = Method(START, INTENT, 3, code, False, (SENDS, *calls), ("externalId",))
    classes = [Class(f"Lcom/example/C{n};", base) for n in range(1, 1000)]
    found, unread = facts(tmp_path, [service(method), Class(base), *classes])
    assert [each for each in unread if "takes too long" not in each] == []
    assert Outcome.ASKED not in outcomes(found)


def test_as_many_methods_as_a_file_can_have(tmp_path: Path) -> None:
    many = tuple(Method(f"m{n}", code=RETURN) for n in range(65_000))
    classes = [
        service(sending(lambda ids: [*send(ids), *RETURN])),
        Class("Lcom/example/Many;", methods=many),
    ]
    found, unread = facts(tmp_path, classes)
    assert not unread
    assert outcomes(found) == {Outcome.NOT_ASKED}


def test_methods_that_share_their_code_are_read_no_more_than_the_file_is_large() -> None:
    big = Method("big", code=[0x0000] * 60_000 + [0x000E])
    small = [Method(f"m{n}") for n in range(200)]
    data = bytearray(dex([Class("Lcom/example/Many;", methods=(big, *small))]))
    unit = Unit("x", parse_dex(bytes(data)))
    (offset,) = {m.code_offset for m in unit.classes.methods if m.ref.name == "big"}
    with pytest.raises(ImageError, match="more code than the file can hold"):
        for _ in range(200):
            unit.parse(offset)


def test_the_bound_on_a_file_is_above_all_that_the_fixtures_take() -> None:
    for path in sorted(DEX.glob("*.dex")):
        unit = Unit(path.name, parse_dex(path.read_bytes()))
        scope = Scope(Program(path.name, [unit]))
        for body in scope.bodies.values():
            assert isinstance(body, Body)
            Graph(body.code)
        assert any(list(scope.uses.calls_by(body)) for body in scope.coded)
