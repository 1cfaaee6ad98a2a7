from __future__ import annotations

import zipfile
from typing import Any

import pytest

from rom_builder.edits import AppEdit, Obstacle
from tests.fixtures.make_apks import APKS
from tests.mechanisms.conftest import differing
from tests.roms import App

FIXTURE = {"/system/app/M.apk": (APKS / "messaging.apk").read_bytes()}


def binding(attribute: str, component: str | None = None, **more: str) -> dict[str, Any]:
    words = {"mechanism": "manifest-flag", "package": "com.example.messaging", **more}
    return {**words, "attribute": attribute, "component": component}


@pytest.mark.parametrize(
    ("attribute", "component", "values"),
    [
        ("allowBackup", None, (False,)),
        ("usesCleartextTraffic", None, (False,)),
        ("exported", ".BootReceiver", (True,)),
        ("exported", "com.example.messaging.BootReceiver", (True,)),
        ("exported", "BootReceiver", (True,)),
        ("enabled", ".SyncService", (False,)),  # through a resource
        ("enabled", ".BootReceiver", ()),
    ],
)
def test_reads_what_aapt2_compiled(
    bench: Any, attribute: str, component: str | None, values: tuple[bool, ...]
) -> None:
    (found,) = bench(FIXTURE, **binding(attribute, component)).found()
    assert found.values == values
    assert found.location.path == "system/app/M.apk!/AndroidManifest.xml"
    assert found.label == f"{attribute} of {component or 'application'}"


def test_what_is_not_there_is_not_found(bench: Any) -> None:
    assert bench(FIXTURE, **binding("enabled", ".NoSuchService")).found() == []
    assert bench(FIXTURE, **binding("enabled", package="com.example.other")).found() == []


@pytest.mark.parametrize("attribute", ["allowBackup", "usesCleartextTraffic", "debuggable"])
@pytest.mark.parametrize("value", [True, False])
def test_what_is_rendered_is_read(bench: Any, attribute: str, value: bool) -> None:
    place = bench(FIXTURE, **binding(attribute))
    changes = place.render(value)
    assert all(isinstance(change, AppEdit) for change in changes)
    place.apply(changes)
    assert place.read() == [(value,)]
    assert place.render(value) == []


def test_a_component_is_switched_off(bench: Any) -> None:
    components = {"receiver": {".Boot": {"enabled": True}, ".Other": {"enabled": True}}}
    files = {"/system/app/A.apk": App("com.example.a", components=components)}
    words = {"mechanism": "manifest-flag", "package": "com.example.a", "attribute": "enabled"}
    place = bench(files, **words, component=".Boot")
    place.apply(place.render(False))
    assert place.read() == [(False,)]
    assert bench({}, **words, component=".Other").read() == [(True,)]


def test_only_the_typed_value_changes(bench: Any) -> None:
    (edit,) = bench(FIXTURE, **binding("allowBackup")).render(True)
    assert edit.entry == "AndroidManifest.xml"
    before = zipfile.ZipFile(APKS / "messaging.apk").read("AndroidManifest.xml")
    assert len(differing(before, edit.data)) == 4


def test_what_the_manifest_does_not_set_needs_a_new_app(bench: Any) -> None:
    (obstacle,) = bench(FIXTURE, **binding("enabled", ".BootReceiver")).render(False)
    assert isinstance(obstacle, Obstacle)
    assert "does not set it" in obstacle.why
    assert "--replace /system/app/M.apk=FILE" in obstacle.hint


def test_a_boolean_demanded_as_text_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench(FIXTURE, **binding("allowBackup")).render("false")
    assert isinstance(obstacle, Obstacle)


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("1.0", False), ("no", False)])
def test_a_text_is_read_as_the_package_parser_does(bench: Any, text: str, value: bool) -> None:
    app = App("com.example.messaging", cleartext=text)
    place = bench({"/system/app/M.apk": app}, **binding("usesCleartextTraffic"))
    assert place.read() == [(value,)]
