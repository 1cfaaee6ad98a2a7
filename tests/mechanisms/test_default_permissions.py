from __future__ import annotations

from typing import Any

import pytest

from rom_builder.edits import Obstacle
from rom_builder.findings import Location, Strength
from tests.roms import Link

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
