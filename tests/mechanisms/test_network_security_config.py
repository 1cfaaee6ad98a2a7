from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from rom_builder.edits import AppEdit, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import NetworkSecurity, app_behind
from rom_builder.formats.network_security_answers import evaluate_cleartext, trust
from rom_builder.mechanisms.network_security_config import (
    NetworkSecurityConfigFile,
    configs_of,
    facts_of,
)
from rom_builder.readers.packages import Packages
from tests.fixtures.make_apks import APKS, TYPE_TRAPS
from tests.mechanisms.conftest import differing
from tests.roms import App, sign_v2

APK = (APKS / "messaging.apk").read_bytes()
FIXTURE = {"/system/build.prop": "ro.build.version.sdk=29\n", "/system/app/M.apk": APK}
ENTRY = "res/xml/network_security_config.xml"
PATH = "/system/etc/nsc.xml"
OF_APP = {"mechanism": "network-security-config", "package": "com.example.messaging"}
OF_FILE = {"mechanism": "network-security-config", "file": PATH}
TEXT = """<network-security-config>
  <!-- as a vendor wrote it -->
  <domain-config cleartextTrafficPermitted="no"><domain>a.example.com</domain></domain-config>
  <base-config cleartextTrafficPermitted="false"/>
</network-security-config>
"""


def test_one_domain_that_is_let_through_is_allowed(bench: Any) -> None:
    (found,) = bench(FIXTURE, **OF_APP).found()
    assert found.values == ("allowed",)
    assert 'says "no"' in found.label
    assert found.location.path == f"system/app/M.apk!/{ENTRY}"


def test_the_config_that_the_manifest_names_is_read(bench: Any) -> None:
    rom = bench(FIXTURE, **OF_APP).rom
    (apk,) = Packages(rom).named("com.example.messaging")
    ((_, entry, config),) = configs_of(rom, Packages(rom), apk)
    assert entry == ENTRY
    assert config is not None
    assert [domain.name for each in config.entries for domain in each.domains] == [
        "legacy.example.com",
        "api.example.com",
        "bücher.example",
    ]


@pytest.mark.parametrize("value", ["forbidden", "allowed"])
def test_what_is_rendered_into_an_app_is_read(bench: Any, value: str) -> None:
    place = bench(FIXTURE, **OF_APP)
    changes = place.render(value)
    assert [(type(c), c.entry) for c in changes] == [(AppEdit, ENTRY)]
    place.apply(changes)
    assert place.read() == [(value,)]
    assert place.render(value) == []


def test_only_typed_values_change(bench: Any) -> None:
    (edit,) = bench(FIXTURE, **OF_APP).render("forbidden")
    before = zipfile.ZipFile(APKS / "messaging.apk").read(ENTRY)
    assert 0 < len(differing(before, edit.data)) <= 2 * (4 + 8)


@pytest.mark.parametrize("value", ["forbidden", "allowed"])
@pytest.mark.parametrize("text", [TEXT, "<network-security-config/>"])
def test_what_is_rendered_into_a_file_is_read(bench: Any, text: str, value: str) -> None:
    place = bench({**FIXTURE, PATH: text}, **OF_FILE)
    place.apply(place.render(value))
    assert place.read() == [(value,)]
    assert place.render(value) == []


def test_comments_stay(bench: Any) -> None:
    (edit,) = bench({**FIXTURE, PATH: TEXT}, **OF_FILE).render("forbidden")
    assert b"<!-- as a vendor wrote it -->" in edit.new.data
    assert b'<domain-config cleartextTrafficPermitted="false">' in edit.new.data


def test_a_good_file_is_left_alone(bench: Any) -> None:
    good = TEXT.replace('"no"', '"false"')
    assert bench({**FIXTURE, PATH: good}, **OF_FILE).render("forbidden") == []


@pytest.mark.parametrize(
    ("sdk", "target", "values"),
    [(29, 27, ["allowed"]), (29, 28, ["forbidden"]), (22, 28, ["allowed"])],
)
def test_an_app_without_a_config(bench: Any, sdk: int, target: int, values: list[str]) -> None:
    files = {
        "/system/build.prop": f"ro.build.version.sdk={sdk}\n",
        "/system/app/A.apk": App("com.example.messaging", target_sdk=target),
    }
    assert bench(files, **OF_APP).read() == [(value,) for value in values]


def test_an_app_without_a_config_needs_a_new_version(bench: Any) -> None:
    files = {**FIXTURE, "/system/app/M.apk": App("com.example.messaging", target_sdk=27)}
    (obstacle,) = bench(files, **OF_APP).render("forbidden")
    assert isinstance(obstacle, Obstacle)
    assert "names no config" in obstacle.why


def test_a_flag_that_the_app_sets_itself_counts_without_a_config(bench: Any) -> None:
    app = App("com.example.messaging", target_sdk=29, cleartext=True)
    (obstacle,) = bench({**FIXTURE, "/system/app/M.apk": app}, **OF_APP).render("forbidden")
    assert isinstance(obstacle, Obstacle)
    app = App("com.example.messaging", target_sdk=27, cleartext=False)
    assert bench({**FIXTURE, "/system/app/M.apk": app}, **OF_APP).render("forbidden") == []


def test_a_config_without_a_base_needs_a_new_version(bench: Any) -> None:
    app = App(
        "com.example.messaging", target_sdk=27, network_security_config="<network-security-config/>"
    )
    (obstacle,) = bench({**FIXTURE, "/system/app/M.apk": app}, **OF_APP).render("forbidden")
    assert isinstance(obstacle, Obstacle)
    assert "no base value" in obstacle.why


def test_a_named_config_that_is_missing_is_unread(bench: Any) -> None:
    app = App("com.example.messaging", network_security_config="<network-security-config/>",
              entries={"resources.arsc": ""})  # fmt: skip
    place = bench({"/system/app/M.apk": app}, **OF_APP)
    rom = place.rom
    assert list(facts_of(rom, Packages(rom), "x", place.binding)) == []
    assert len(rom.unread) == 1


@pytest.mark.parametrize("text", ["", "<a>", "\3\0\10\0"])
def test_a_damaged_file_is_unread(bench: Any, text: str) -> None:
    place = bench({PATH: text}, **OF_FILE)
    rom = place.rom
    assert list(facts_of(rom, Packages(rom), "x", place.binding)) == []
    assert [part.path for part in rom.unread] == ["system/etc/nsc.xml"]


def test_either_package_or_file() -> None:
    for words in ({"mechanism": "x"}, {"mechanism": "x", "package": "a", "file": "/b"}):
        with pytest.raises(ValidationError, match="either package or file"):
            NetworkSecurityConfigFile.model_validate(words)


def test_rendering_into_a_damaged_file_is_an_image_error(bench: Any) -> None:
    with pytest.raises(ImageError, match="well-formed"):
        bench({PATH: "<a>"}, **OF_FILE).render("forbidden")


READ_AS_FALSE = ("false", "FALSE", "False", " false", "0", "0x0", "#00000000")
TRAPS = {"/system/app/T.apk": (APKS / "type-traps.apk").read_bytes()}
OF_TRAPS = {"mechanism": "network-security-config", "package": "com.example.traps"}


def traps(bench: Any, sdk: int) -> dict[str, NetworkSecurity]:
    build = {"/system/build.prop": f"ro.build.version.sdk={sdk}\n"}
    place = bench({**TRAPS, **build}, **OF_TRAPS)
    facts = list(facts_of(place.rom, Packages(place.rom), "x", place.binding))
    return {fact.location.path.partition("!/")[2]: fact for fact in facts}


@pytest.mark.parametrize(("number", "text"), list(enumerate(TYPE_TRAPS)), ids=map(repr, TYPE_TRAPS))
def test_what_aapt2_makes_of_a_value_decides(bench: Any, number: int, text: str) -> None:
    fact = traps(bench, 26)["res/xml/nsc.xml"]
    app = app_behind(fact, 26)
    assert app is not None
    answer = evaluate_cleartext(fact.config, app, f"d{number}.example.com")
    assert answer.permitted is (text not in READ_AS_FALSE)
    assert answer.enforced


@pytest.mark.parametrize(
    ("sdk", "entries"),
    [
        (24, {"res/xml/nsc.xml", "res/xml-mcc310/nsc.xml"}),
        (28, {"res/xml-v28/nsc.xml", "res/xml-mcc310/nsc.xml"}),
        (35, {"res/xml-v35/nsc.xml", "res/xml-mcc310/nsc.xml"}),
    ],
)
def test_the_config_is_the_one_for_the_platform(bench: Any, sdk: int, entries: set[str]) -> None:
    assert set(traps(bench, sdk)) == entries


def test_a_config_for_one_network_counts(bench: Any) -> None:
    build = {"/system/build.prop": "ro.build.version.sdk=34\n"}
    place = bench({**TRAPS, **build}, **OF_TRAPS)
    assert place.read() == [("forbidden",), ("allowed",)]
    assert "/res/xml-mcc310/" in place.found()[1].location.path


def test_a_debuggable_app_has_the_debug_file_too(bench: Any) -> None:
    for fact in traps(bench, 34).values():
        app = app_behind(fact, 34)
        assert app is not None
        assert trust(fact.config, app, "example.com").user
        assert not trust(fact.config, replace(app, debuggable=False), "example.com").user


def phone(sdk: int, **files: Any) -> dict[str, Any]:
    """A phone with partitions for overlays."""
    return {
        "/system/app/M.apk": APK,
        "/system/build.prop": f"ro.build.version.sdk={sdk}\n",
        "/vendor/build.prop": "a=b\n",
        "/product/build.prop": "a=b\n",
        **files,
    }


@pytest.mark.parametrize("sdk", range(26, 37))
def test_an_overlay_refuses_cleartext_for_an_app_whose_key_nobody_has(bench: Any, sdk: int) -> None:
    place = bench(phone(sdk), **OF_APP)
    (edit,) = place.render("forbidden")
    assert edit.new.unsigned_app
    assert edit.path.startswith("/vendor/overlay/" if sdk < 28 else "/product/overlay/")
    place.apply([edit])
    assert place.read() == [("forbidden",)]
    assert place.render("forbidden") == []
    (found,) = place.found()
    assert f"{edit.path}!/res/xml/network_security_config.xml".endswith(found.location.path)


def test_an_overlay_that_lets_cleartext_through_is_read(bench: Any) -> None:
    other = {"/product/overlay/N.apk": sign_v2((APKS / "overlay-network.apk").read_bytes())}
    place = bench(phone(34, **other), **OF_APP)
    (found,) = place.found()
    assert found.values == ("allowed",)
    assert found.location.path.startswith("product/overlay/N.apk!/")
    place.apply(place.render("forbidden"))
    assert place.read() == [("forbidden",)]


def test_a_config_without_a_base_gets_one_by_an_overlay(bench: Any) -> None:
    app = App(
        "com.example.messaging", target_sdk=27, network_security_config="<network-security-config/>"
    )
    place = bench(phone(34, **{"/system/app/M.apk": app}), **OF_APP)
    assert place.read() == [("allowed",)]
    place.apply(place.render("forbidden"))
    assert place.read() == [("forbidden",)]


def test_a_config_that_names_a_file_of_the_app_cannot_be_overlaid(bench: Any) -> None:
    config = """<network-security-config><base-config cleartextTrafficPermitted="true">
      <trust-anchors><certificates src="@string/ca"/></trust-anchors>
    </base-config></network-security-config>"""
    app = App("com.example.messaging", network_security_config=config, strings={"ca": "x"})
    (change,) = bench(phone(34, **{"/system/app/M.apk": app}), **OF_APP).render("forbidden")
    assert isinstance(change, AppEdit)
    assert (
        "refers to another resource (certificates src), which an overlay's file cannot"
        in change.why
    )


def test_an_overlay_cannot_add_a_config_to_a_manifest(bench: Any) -> None:
    app = App("com.example.messaging", target_sdk=27)
    (obstacle,) = bench(phone(34, **{"/system/app/M.apk": app}), **OF_APP).render("forbidden")
    assert "names no config, and no overlay can add one to its manifest" in obstacle.why
    assert obstacle.hint == "bring a new version of the app: --replace /system/app/M.apk=FILE"
