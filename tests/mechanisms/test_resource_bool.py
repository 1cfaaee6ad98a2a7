from __future__ import annotations

import zipfile
from typing import Any

import pytest

from rom_builder.edits import Obstacle
from rom_builder.findings import Strength
from rom_builder.formats.arsc import parse_arsc
from rom_builder.mechanisms.resource_bool import with_bool
from tests.fixtures.make_apks import APKS
from tests.mechanisms.conftest import differing

FILES = {
    "/system/app/M.apk": (APKS / "messaging.apk").read_bytes(),
    "/system/priv-app/S/S.apk": (APKS / "settings-provider.apk").read_bytes(),
    "/system/app/Sparse.apk": (APKS / "messaging-debuggable.apk").read_bytes(),
}
MESSAGING = {"/system/app/M.apk": FILES["/system/app/M.apk"]}


def binding(resource: str, package: str = "com.example.messaging") -> dict[str, str]:
    return {"mechanism": "resource-bool", "package": package, "resource": resource}


def test_every_configuration_is_read(bench: Any) -> None:
    found = bench(MESSAGING, **binding("cloud_messaging_default")).found()
    assert [(each.label, each.values, each.strength) for each in found] == [
        ("bool/cloud_messaging_default", (False,), Strength.PRESENCE),
        ("bool/cloud_messaging_default (mcc310)", (True,), Strength.PRESENCE),
    ]


def test_the_settings_provider_acts_on_its_own(bench: Any) -> None:
    found = bench(FILES, **binding("def_backup_enabled", "com.android.providers.settings")).found()
    assert [(each.values, each.strength) for each in found] == [
        ((False,), Strength.EFFECTIVE),
        ((True,), Strength.EFFECTIVE),
    ]


def test_two_apps_of_one_name_are_both_read(bench: Any) -> None:
    assert bench(FILES, **binding("read_receipts")).read() == [(True,), (True,)]


def test_what_is_not_there_is_not_found(bench: Any) -> None:
    assert bench(FILES, **binding("no_such_bool")).found() == []
    assert bench(FILES, **binding("app_name")).found() == []
    assert bench(FILES, **binding("no_such_bool")).render(True) == []


@pytest.mark.parametrize("resource", ["cloud_messaging_default", "auto_resend", "read_receipts"])
@pytest.mark.parametrize("value", [True, False])
def test_what_is_rendered_is_read(bench: Any, resource: str, value: bool) -> None:
    place = bench(FILES, **binding(resource))
    place.apply(place.render(value))
    assert set(place.read()) == {(value,)}
    assert place.render(value) == []


def test_only_typed_values_of_that_resource_change() -> None:
    before = zipfile.ZipFile(APKS / "messaging.apk").read("resources.arsc")
    after = with_bool(before, "cloud_messaging_default", False)
    assert len(differing(before, after)) == 4
    after = with_bool(before, "auto_resend", True)
    table = parse_arsc(after)
    other = table.find("bool", "cloud_messaging_default")
    assert other is not None
    assert [value.as_value() for value in table.values(other)] == [False, True]


def test_a_boolean_demanded_as_text_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench(MESSAGING, **binding("read_receipts")).render("false")
    assert isinstance(obstacle, Obstacle)
