from __future__ import annotations

from typing import Any

import pytest

from rom_builder.edits import Obstacle
from rom_builder.findings import Strength
from tests.fixtures.make_apks import APKS
from tests.roms import App, sign_v2

PATH = "/system_ext/etc/sysconfig/initial-package-stopped-states.xml"
# As AOSP lists them.
SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<!-- This XML defines an allowlist for packages that should not be scanned in a "stopped" state. -->
<config>
    <initial-package-state package="com.android.other" stopped="false"/>
    <initial-package-state package="com.example.messaging" stopped="false"/> <!-- push -->
</config>
"""
STOP = "config_stopSystemPackagesByDefault"
ICON = {"activity": {".Inbox": {"category": "android.intent.category.LAUNCHER"}}}


def rom(*, sdk: str = "34", stops: Any = True, listed: str = "", app: Any = None) -> dict[str, Any]:
    bools = {} if stops is None else {STOP: stops}
    return {
        "/system/build.prop": f"ro.build.version.sdk={sdk}\n",
        "/system/framework/framework-res.apk": App("android", bools=bools),
        "/system/app/M.apk": app or (APKS / "launcher.apk").read_bytes(),
        **({PATH: listed} if listed else {}),
    }


BINDING = {"mechanism": "initial-package-state", "package": "com.example.messaging"}


@pytest.mark.parametrize(
    ("files", "values", "because"),
    [
        (rom(), ("stopped",), "has an icon, and no file exempts it"),
        (rom(sdk="33"), ("started",), "API level 33 stops no app"),
        (rom(stops=False), ("started",), f"bool/{STOP} is false"),
        (rom(listed=SAMPLE), ("started",), "exempts com.example.messaging"),
        (rom(listed=SAMPLE.replace("false", "true")), ("stopped",), "has an icon"),
        (rom(listed=SAMPLE.replace("messaging", "m")), ("stopped",), "has an icon"),
        (rom(app=App("com.example.messaging")), ("started",), "the app has no icon"),
        (rom(stops=None), (), "no framework with"),
        (rom(stops={"": True, "mcc310": False}), (), "its values differ"),
        (rom(sdk=""), (), "the API level of the ROM is unknown"),
    ],
)
def test_the_first_state(bench: Any, files: Any, values: Any, because: str) -> None:
    (found,) = bench(files, **BINDING).found()
    assert found.values == values
    assert because in found.chain[-1].text
    assert found.strength is Strength.EFFECTIVE


@pytest.mark.parametrize(
    ("attributes", "values"),
    [
        ({}, ("stopped",)),
        ({"enabled": False}, ("started",)),
        ({"exported": False}, ("started",)),
        ({"enabled": "@bool/none"}, ("started",)),  # nobody can tell: not taken for an icon
        ({"enabled": True, "exported": True}, ("stopped",)),
    ],
)
def test_an_icon_that_nobody_sees(bench: Any, attributes: Any, values: Any) -> None:
    activity = {**ICON["activity"][".Inbox"], **attributes}
    app = App("com.example.messaging", components={"activity": {".Inbox": activity}})
    assert bench(rom(app=app), **BINDING).read() == [values]


def test_an_overlay_of_the_framework_counts(bench: Any) -> None:
    from rom_builder.formats.overlay_apk import OverlayApk, OverlayResource

    overlay = OverlayApk("com.example.o", "android", (OverlayResource(f"bool/{STOP}", True),))
    files = {**rom(stops=False), "/product/overlay/o.apk": sign_v2(overlay.encode())}
    (found,) = bench(files, **BINDING).found()
    assert found.values == ("stopped",)
    assert any("overlay com.example.o" in link.text for link in found.chain)


def test_what_is_rendered_is_read(bench: Any) -> None:
    place = bench(rom(listed=SAMPLE), **BINDING)
    place.apply(place.render("stopped"))
    assert place.read() == [("stopped",)]
    assert place.render("stopped") == []
    text = (place.folder / PATH.lstrip("/")).read_text()
    assert "com.android.other" in text
    assert "<!-- push -->" in text
    (edit,) = place.render("started")
    path = place.folder / edit.path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(edit.new.data)
    assert place.read() == [("started",)]
    assert place.render("started") == []


@pytest.mark.parametrize(
    ("files", "why", "hint"),
    [
        (rom(sdk="33"), "stops no app", "bring a version of the app that starts nothing by itself"),
        (rom(stops=False), "is false", "resource-overlay of package android"),
        (rom(app=App("com.example.messaging")), "no icon", "resource-overlay of package android"),
    ],
)
def test_what_no_file_can_do_is_an_obstacle(bench: Any, files: Any, why: str, hint: str) -> None:
    changes = bench(files, **BINDING).render("stopped")
    assert isinstance(changes[-1], Obstacle)
    assert why in changes[-1].why
    assert hint in changes[-1].hint
    assert "--replace /system/app/M.apk=FILE" in changes[-1].hint


def test_another_word_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench(rom(), **BINDING).render("off")
    assert isinstance(obstacle, Obstacle)
