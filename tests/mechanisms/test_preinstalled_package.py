from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rom_builder.edits import Obstacle
from rom_builder.mechanisms.preinstalled_package import PreinstalledPackage
from tests.roms import App

PATH = "/product/etc/sysconfig/preinstalled-packages-product.xml"
# As AOSP writes them.
SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<config>
    <!-- apps for full users -->
    <install-in-user-type package="com.android.other"><install-in user-type="FULL"/></install-in-user-type>
    <install-in-user-type package="com.example.messaging">
        <install-in user-type="FULL" />
        <install-in user-type="PROFILE" />
        <do-not-install-in user-type="android.os.usertype.profile.CLONE" />
    </install-in-user-type>
</config>
"""
MODE = "config_userTypePackageWhitelistMode"
BINDING = {"mechanism": "preinstalled-package", "package": "com.example.messaging"}


def rom(listed: str = "", *, mode: int | None = 29, props: str = "", sdk: str = "34") -> Any:
    integers = {} if mode is None else {MODE: mode}
    return {
        "/system/build.prop": f"ro.build.version.sdk={sdk}\n{props}",
        "/system/framework/framework-res.apk": App("android", integers=integers, bools={"x": True}),
        "/system/app/M.apk": App("com.example.messaging"),
        **({PATH: listed} if listed else {}),
    }


def user(name: str) -> str:
    return f"android.os.usertype.{name}"


@pytest.mark.parametrize(
    ("files", "user_type", "values", "because"),
    [
        (rom(SAMPLE), "full.SYSTEM", ("installed",), "is for FULL"),
        (rom(SAMPLE), "profile.MANAGED", ("installed",), "is for PROFILE"),
        (rom(SAMPLE), "profile.CLONE", ("left-out",), "is not for android.os.usertype.profile.CLONE"),
        (rom(SAMPLE), "system.HEADLESS", ("left-out",), "files name other users for it only"),
        (rom(SAMPLE, mode=0), "profile.CLONE", ("installed",), "asks no file"),
        (rom(SAMPLE, sdk="29"), "profile.CLONE", ("installed",), "asks no file"),
        (rom(SAMPLE, props="persist.debug.user.package_whitelist_mode=0\n"), "profile.CLONE",
         ("installed",), "asks no file"),
        (rom(), "full.SECONDARY", ("installed",), "the mode installs such apps"),
        (rom(mode=1), "full.SECONDARY", ("left-out",), "the mode asks for one"),
        (rom(mode=9), "full.SYSTEM", ("installed",), "the mode installs such apps"),
        (rom(mode=9), "full.SECONDARY", ("left-out",), "the mode asks for one"),
        (rom(mode=None), "full.SYSTEM", (), "no framework with"),
        (rom(sdk=""), "full.SYSTEM", (), "API level of the ROM is unknown"),
    ],
)  # fmt: skip
def test_who_gets_the_app(
    bench: Any, files: Any, user_type: str, values: tuple[str, ...], because: str
) -> None:
    (found,) = bench(files, **BINDING, user_type=user(user_type)).found()
    assert found.values == values
    assert because in found.chain[-1].text


@pytest.mark.parametrize("listed", ["", SAMPLE])
def test_what_is_rendered_is_read(bench: Any, listed: str) -> None:
    place = bench(rom(listed), **BINDING)
    (edit,) = place.render("left-out")
    path = place.folder / edit.path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(edit.new.data)
    assert place.read() == [("left-out",)]
    assert place.render("left-out") == []
    (obstacle,) = place.render("installed")
    assert isinstance(obstacle, Obstacle)
    assert "is not for android.os.usertype.full.SYSTEM" in obstacle.why


def test_an_app_that_the_mode_leaves_out_is_named(bench: Any) -> None:
    place = bench(rom(mode=1), **BINDING)
    (edit,) = place.render("installed")
    path = place.folder / edit.path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(edit.new.data)
    assert place.read() == [("installed",)]


@pytest.mark.parametrize(
    ("files", "value"), [(rom(mode=0), "left-out"), (rom(mode=None), "left-out"), (rom(), "off")]
)
def test_what_no_file_can_do_is_an_obstacle(bench: Any, files: Any, value: str) -> None:
    (obstacle,) = bench(files, **BINDING).render(value)
    assert isinstance(obstacle, Obstacle)


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="user_type"):
        PreinstalledPackage.model_validate({**BINDING, "user_type": "FULL"})
