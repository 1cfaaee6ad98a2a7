from __future__ import annotations

from typing import Any

import pytest

from rom_builder.edits import Obstacle
from tests.roms import App

PATH = "/system/etc/permissions/privapp-permissions-platform.xml"
SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<!-- This XML file declares which signature|privileged permissions should be granted -->
<permissions>
    <privapp-permissions package="com.android.phone">
        <permission name="android.permission.READ_PRIVILEGED_PHONE_STATE"/>
    </privapp-permissions>
    <privapp-permissions package="com.example.messaging">
        <permission name="android.permission.READ_PRIVILEGED_PHONE_STATE"/>
        <deny-permission name="android.permission.CALL_PRIVILEGED"/>
    </privapp-permissions>
</permissions>
"""
PHONE_STATE = "android.permission.READ_PRIVILEGED_PHONE_STATE"


def binding(permission: str = PHONE_STATE) -> dict[str, str]:
    return {
        "mechanism": "privileged-permission",
        "package": "com.example.messaging",
        "permission": permission,
    }


def test_given_and_denied(bench: Any) -> None:
    (found,) = bench({PATH: SAMPLE}, **binding()).found()
    assert found.values == ("given",)
    assert found.location.line == 7
    assert bench({}, **binding("android.permission.CALL_PRIVILEGED")).read() == [("denied",)]
    assert bench({}, **binding("android.permission.REBOOT")).read() == []


@pytest.mark.parametrize("permission", [PHONE_STATE, "android.permission.CALL_PRIVILEGED"])
@pytest.mark.parametrize("value", ["given", "denied"])
def test_what_is_rendered_is_read(bench: Any, permission: str, value: str) -> None:
    place = bench({PATH: SAMPLE}, **binding(permission))
    place.apply(place.render(value))
    assert place.read() == [(value,)]
    assert place.render(value) == []
    other = bench({}, **binding(PHONE_STATE) | {"package": "com.android.phone"})
    assert other.read() == [("given",)]


def test_what_no_list_names_gets_a_list_on_the_apps_partition(bench: Any) -> None:
    files = {"/product/priv-app/M/M.apk": App("com.example.messaging"), PATH: SAMPLE}
    place = bench(files, **binding("android.permission.REBOOT"))
    (edit,) = place.render("denied")
    assert edit.path == (
        "/product/etc/permissions/privapp-permissions-com.example.messaging-REBOOT.xml"
    )
    assert b'<deny-permission name="android.permission.REBOOT"/>' in edit.new.data


def test_another_word_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench({PATH: SAMPLE}, **binding()).render("forbidden")
    assert isinstance(obstacle, Obstacle)


ASKING = App("com.example.messaging", permissions=(PHONE_STATE,))


@pytest.mark.parametrize(
    ("sdk", "files", "read"),
    [
        (34, {"/system/priv-app/M/M.apk": ASKING, PATH: SAMPLE}, [("given",)]),
        (34, {"/system/app/M/M.apk": ASKING, PATH: SAMPLE}, [("denied",)]),
        (
            34,
            {"/system/priv-app/M/M.apk": App("com.example.messaging"), PATH: SAMPLE},
            [("denied",)],
        ),
        (34, {"/system/priv-app/M/M.apk": ASKING}, []),  # up to whether lists are enforced
        (25, {"/system/priv-app/M/M.apk": ASKING}, [("given",)]),
        (25, {"/system/app/M/M.apk": ASKING, PATH: SAMPLE}, [("denied",)]),
    ],
)
def test_a_list_counts_for_privileged_apps_of_android_8_that_ask(
    bench: Any, sdk: int, files: Any, read: Any
) -> None:
    properties = {"/system/build.prop": f"ro.build.version.sdk={sdk}\n"}
    assert bench({**files, **properties}, **binding()).read() == read


def test_before_android_8_no_list_denies_anything(bench: Any) -> None:
    files = {
        "/system/priv-app/M/M.apk": ASKING,
        "/system/build.prop": "ro.build.version.sdk=25\n",
        PATH: SAMPLE,
    }
    (obstacle,) = bench(files, **binding()).render("denied")
    assert isinstance(obstacle, Obstacle)
    assert "Android of API level 25 gives a privileged app all that it asks for" in obstacle.why
    assert obstacle.hint.startswith("move the app out of priv-app")
