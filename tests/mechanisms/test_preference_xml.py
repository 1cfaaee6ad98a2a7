from __future__ import annotations

import zipfile
from typing import Any

import pytest

from rom_builder.edits import AppEdit, Obstacle
from rom_builder.findings import Strength
from tests.fixtures.make_apks import APKS
from tests.mechanisms.conftest import differing
from tests.roms import App

FIXTURE = {"/system/app/M.apk": (APKS / "messaging.apk").read_bytes()}
ENTRY = "res/xml/preferences.xml"


def binding(key: str, package: str = "com.example.messaging", **more: Any) -> dict[str, Any]:
    return {"mechanism": "preference-xml", "package": package, "key": key, **more}


def test_reads_what_aapt2_compiled(bench: Any) -> None:
    (found,) = bench(FIXTURE, **binding("cloud_messaging_service")).found()
    assert found.values == (True,)
    assert found.label == "preference cloud_messaging_service"
    assert found.strength is Strength.UI_DEFAULT
    assert found.location.path == f"system/app/M.apk!/{ENTRY}"


def test_follows_a_reference_in_every_configuration(bench: Any) -> None:
    found = bench(FIXTURE, **binding("auto_resend")).found()
    assert [(each.label, each.values) for each in found] == [
        ("preference auto_resend", (False,)),
        ("preference auto_resend (mcc310)", (True,)),
    ]


def test_text_keeps_its_type(bench: Any) -> None:
    assert bench(FIXTURE, **binding("server")).read() == [("https://messaging.example.com",)]


@pytest.mark.parametrize(
    "words",
    [
        binding("no_such_key"),
        binding("cloud_messaging_service", package="com.example.other"),
        binding("cloud_messaging_service", file="res/xml/other.xml"),
    ],
)
def test_what_is_not_there_is_not_found(bench: Any, words: dict[str, Any]) -> None:
    assert bench(FIXTURE, **words).found() == []


def test_a_key_without_a_default_is_found_unset(bench: Any) -> None:
    files = {"/system/app/A.apk": App("com.example.a", preferences={"x": None})}
    place = bench(files, **binding("x", package="com.example.a"))
    assert place.read() == [()]
    assert place.render(False) == []
    (obstacle,) = place.render(True)
    assert isinstance(obstacle, Obstacle)
    assert "no default to change" in obstacle.why


def test_a_damaged_page_is_unread_and_the_others_are_read(bench: Any) -> None:
    app = App("com.example.a", preferences={"x": True}, entries={"res/xml/bad.xml": "\3\0x x"})
    place = bench({"/system/app/A.apk": app}, **binding("x", package="com.example.a"))
    rom = place.rom
    from rom_builder.readers.packages import Packages

    found = list(place.mechanism.read(rom, Packages(rom), place.binding))
    assert [each.values for each in found] == [(True,)]
    assert [part.path for part in rom.unread] == ["system/app/A.apk!/res/xml/bad.xml"]


@pytest.mark.parametrize("key", ["cloud_messaging_service", "auto_resend"])
@pytest.mark.parametrize("value", [True, False])
def test_what_is_rendered_is_read(bench: Any, key: str, value: bool) -> None:
    place = bench(FIXTURE, **binding(key))
    changes = place.render(value)
    assert all(isinstance(change, AppEdit) for change in changes)
    place.apply(changes)
    assert set(place.read()) == {(value,)}
    assert place.render(value) == []


def test_only_the_typed_value_changes(bench: Any) -> None:
    (edit,) = bench(FIXTURE, **binding("cloud_messaging_service")).render(False)
    assert (edit.path, edit.entry) == ("/system/app/M.apk", ENTRY)
    before = zipfile.ZipFile(APKS / "messaging.apk").read(ENTRY)
    changed = differing(before, edit.data)
    assert len(changed) == 4
    assert max(changed) - min(changed) == 3


def test_a_boolean_demanded_as_text_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench(FIXTURE, **binding("cloud_messaging_service")).render("false")
    assert isinstance(obstacle, Obstacle)
    assert "'false' is demanded of a setting that is true or false" in obstacle.why
