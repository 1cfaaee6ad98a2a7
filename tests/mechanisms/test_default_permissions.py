from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rom_builder.edits import Obstacle
from rom_builder.findings import Location, Strength
from tests.roms import App, Link

PATH = "/system/etc/default-permissions/default.xml"
# As vendors write it: two apps, comments, a permission that opens nothing personal.
SAMPLE = """<?xml version='1.0' encoding='utf-8' standalone='yes' ?>
<!-- exceptions of the vendor -->
<exceptions>
    <exception package="com.example.other">
        <permission name="android.permission.READ_CONTACTS" fixed="true"/>
    </exception>
    <exception package="com.example.messaging">
        <!-- contacts -->
        <permission name="android.permission.READ_CONTACTS" fixed="false"/>
        <permission name="android.permission.READ_SMS" fixed="true"/>
        <permission name="android.permission.POST_NOTIFICATIONS" fixed="false"/>
    </exception>
</exceptions>
"""


def binding(**more: str) -> dict[str, str]:
    return {"mechanism": "default-permissions", "package": "com.example.messaging", **more}


def test_all_that_open_personal_data(bench: Any) -> None:
    found = bench({PATH: SAMPLE}, **binding()).found()
    assert [each.label for each in found] == [
        "android.permission.READ_CONTACTS of com.example.messaging",
        "android.permission.READ_SMS of com.example.messaging",
    ]
    assert {each.values for each in found} == {("given",)}
    assert found[0].location == Location("system/etc/default-permissions/default.xml", line=9)
    assert found[0].strength is Strength.EFFECTIVE


def test_one_permission(bench: Any) -> None:
    name = "android.permission.POST_NOTIFICATIONS"
    assert bench({PATH: SAMPLE}, **binding(permission=name)).read() == [("given",)]
    assert bench({}, **binding(permission="android.permission.CAMERA")).read() == []


@pytest.mark.parametrize("permission", [None, "android.permission.READ_SMS"])
def test_what_is_rendered_is_read(bench: Any, permission: str | None) -> None:
    more = {"permission": permission} if permission else {}
    place = bench({PATH: SAMPLE}, **binding(**more))
    place.apply(place.render("asked"))
    assert place.read() == []
    assert place.render("asked") == []
    text = (place.folder / PATH.lstrip("/")).read_text()
    kept = {"com.example.other", "POST_NOTIFICATIONS", "exceptions of the vendor", "contacts"}
    assert all(each in text for each in kept)
    assert text.count("READ_CONTACTS") == (1 if permission is None else 2)
    assert "READ_SMS" not in text


def test_what_is_given_is_added_once(bench: Any) -> None:
    place = bench({PATH: SAMPLE}, **binding(permission="android.permission.CAMERA"))
    (edit,) = place.render("given")
    assert edit.path == "/system/etc/default-permissions/com.example.messaging-CAMERA.xml"
    (place.folder / edit.path.lstrip("/")).write_bytes(edit.new.data)
    assert place.read() == [("given",)]
    assert place.render("given") == []


def test_a_file_that_a_link_leads_to_is_changed(bench: Any) -> None:
    files = {
        "/product/etc/default-permissions/real.xml": SAMPLE,
        "/system/etc/default-permissions/link.xml": Link(
            "/product/etc/default-permissions/real.xml"
        ),
    }
    (edit,) = bench(files, **binding()).render("asked")
    assert edit.path == "/product/etc/default-permissions/real.xml"


@pytest.mark.parametrize("values", [("given",), ("forbidden",), (True,)])
def test_what_cannot_be_rendered_is_an_obstacle(bench: Any, values: Any) -> None:
    (obstacle,) = bench({PATH: SAMPLE}, **binding()).render(*values)
    assert isinstance(obstacle, Obstacle)


def test_a_damaged_file_is_unread(bench: Any) -> None:
    place = bench({PATH: "<exceptions>"}, **binding())
    rom = place.rom
    from rom_builder.readers.packages import Packages

    assert list(place.mechanism.read(rom, Packages(rom), place.binding)) == []
    assert [part.path for part in rom.unread] == ["system/etc/default-permissions/default.xml"]


APP = "/system/app/M/M.apk"
ASKING = App("com.example.messaging", permissions=("READ_CONTACTS", "INTERNET"))


@pytest.mark.parametrize(
    ("sdk", "app", "values"),
    [
        (34, ASKING, ("asked",)),
        (23, ASKING, ("asked",)),
        (22, ASKING, ("given",)),
        (34, replace(ASKING, target_sdk=22), ("given",)),
        (22, App("com.example.messaging", permissions=("INTERNET",)), ("asked",)),
    ],
)
def test_what_no_file_names_depends_on_platform_and_app(
    bench: Any, sdk: int, app: App, values: tuple[str, ...]
) -> None:
    place = bench({APP: app, "/system/build.prop": f"ro.build.version.sdk={sdk}\n"}, **binding())
    (found,) = place.found()
    assert found.values == values
    assert found.strength is Strength.EFFECTIVE
    assert found.location.path.endswith("M.apk!/AndroidManifest.xml")
    obstacles = place.render("asked")
    assert len(obstacles) == (values == ("given",))
    for each in obstacles:
        assert isinstance(each, Obstacle)
        assert "gives an app" in each.why
        assert "READ_CONTACTS" in each.why
        assert "INTERNET" not in each.why
        assert f"--replace {APP}=FILE" in each.hint


def test_nothing_is_asked_for_where_a_file_is_unread(bench: Any) -> None:
    assert bench({APP: ASKING, PATH: "<exceptions>"}, **binding()).read() == []
