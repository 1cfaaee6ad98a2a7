from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rom_builder.edits import Obstacle
from rom_builder.findings import Location
from rom_builder.mechanisms.platform_exemption import PlatformExemption
from tests.roms import App

PATH = "/product/etc/sysconfig/vendor.xml"
SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<config>
    <!-- needed for push -->
    <allow-in-power-save package="com.example.messaging" /> <allow-in-power-save package="com.x" />
    <allow-in-data-usage-save package="com.example.messaging" />
    <app-link package="com.example.messaging" />
</config>
"""


def binding(**more: str) -> dict[str, str]:
    return {"mechanism": "platform-exemption", "package": "com.example.messaging", **more}


def test_every_exemption(bench: Any) -> None:
    power, data = bench({PATH: SAMPLE}, **binding()).found()
    assert power.values == data.values == ("exempt",)
    assert power.location == Location("product/etc/sysconfig/vendor.xml", line=4)
    assert data.label == "allow-in-data-usage-save of com.example.messaging"
    one = bench({}, **binding(element="allow-in-power-save"))
    assert one.read() == [("exempt",)]


@pytest.mark.parametrize("element", [None, "allow-in-power-save"])
def test_what_is_rendered_is_read(bench: Any, element: str | None) -> None:
    place = bench({PATH: SAMPLE}, **binding(**({"element": element} if element else {})))
    place.apply(place.render("limited"))
    assert place.read() == []
    assert place.render("limited") == []
    text = (place.folder / PATH.lstrip("/")).read_text()
    assert 'allow-in-power-save package="com.x"' in text
    assert "app-link" in text
    assert "needed for push" in text
    assert ("allow-in-data-usage-save" in text) == (element is not None)


def test_an_exemption_is_added_once(bench: Any) -> None:
    place = bench({"/system/build.prop": "a=b\n"}, **binding(element="allow-in-power-save"))
    (edit,) = place.render("exempt")
    path = place.folder / edit.path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(edit.new.data)
    assert place.read() == [("exempt",)]
    assert place.render("exempt") == []


def test_what_the_platform_ignores_is_not_found(bench: Any) -> None:
    assert bench({"/vendor/etc/sysconfig/v.xml": SAMPLE}, **binding()).found() == []


def test_a_word_that_is_none_is_refused(bench: Any) -> None:
    (obstacle,) = bench({PATH: SAMPLE}, **binding()).render("exempt")
    assert isinstance(obstacle, Obstacle)
    with pytest.raises(ValidationError, match="allow-in-power"):
        PlatformExemption.model_validate(binding(element="allow-all"))


def test_an_app_that_nothing_frees_is_limited(bench: Any) -> None:
    app = {"/system/app/M/M.apk": App("com.example.messaging")}
    (found,) = bench({**app, PATH: SAMPLE.replace("messaging", "m")}, **binding()).found()
    assert found.values == ("limited",)
    assert found.label == "freedom from limits of com.example.messaging"
    assert bench({PATH: "<config>"}, **binding()).read() == []  # it may free anybody
