"""Effective values of resources, and overlays that change them.

The apps and the overlays that are read here were made by aapt2 (tests/fixtures/make_apks.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.edits import Edit, Obstacle
from rom_builder.errors import ImageError
from rom_builder.findings import Strength
from rom_builder.mechanisms.overlays import Overlays
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom
from tests.ab_package import erofs_image
from tests.fixtures.make_apks import APKS
from tests.kinds import apex_module
from tests.roms import App, Content, Link, overlay, sign_v2

MESSAGING = "/system/app/M/M.apk"
SWITCH = "bool/cloud_messaging_default"
ON_MCC310 = f"{SWITCH} (mcc310)"


def signed(name: str) -> bytes:
    return sign_v2((APKS / f"overlay-{name}.apk").read_bytes())


def rom(
    sdk: int | None, overlays: dict[str, str] | None = None, **files: Content
) -> dict[str, Any]:
    """A phone with the messaging app; overlays by their device path."""
    return {
        MESSAGING: sign_v2((APKS / "messaging.apk").read_bytes()),
        "/system/build.prop": "" if sdk is None else f"ro.build.version.sdk={sdk}\n",
        "/product/etc/build.prop": "ro.product.kind=quiet\n",
        "/vendor/build.prop": "ro.vendor.x=1\n",
        **{path: signed(name) for path, name in (overlays or {}).items()},
        **files,
    }


def values(place: Any) -> dict[str, Any]:
    return {f.label: f.values[0] if f.values else None for f in place.found()}


def switch(bench: Any, files: dict[str, Any], resource: str = SWITCH) -> Any:
    return bench(
        files, mechanism="resource-overlay", package="com.example.messaging", resource=resource
    )


# Reading


def test_without_overlays_the_apps_own_values_count(bench: Any) -> None:
    found = switch(bench, rom(34)).found()
    assert [(f.label, f.values, f.strength, f.chain) for f in found] == [
        (SWITCH, (False,), Strength.EFFECTIVE, ()),
        (ON_MCC310, (True,), Strength.EFFECTIVE, ()),
    ]


def test_the_chain_tells_who_said_what(bench: Any) -> None:
    two = {"/vendor/overlay/On.apk": "on", "/product/overlay/Off.apk": "off"}
    default, other = switch(bench, rom(34, two)).found()
    assert default.values == (False,)
    assert default.location.path == "product/overlay/Off.apk!/resources.arsc"
    assert [link.location.path for link in default.chain] == [
        "system/app/M/M.apk!/resources.arsc",
        "vendor/overlay/On.apk!/resources.arsc",
        "product/overlay/Off.apk!/resources.arsc",
    ]
    assert [link.text for link in default.chain] == [
        f"{SWITCH} is false",
        f"overlay com.example.overlay.on sets {SWITCH} to true (static, priority 5, and vendor has "
        "no overlay/config/config.xml)",
        f"overlay com.example.overlay.off sets {SWITCH} to false (static, priority 9, and product "
        "has no overlay/config/config.xml)",
    ]
    assert other.values == (False,)


def test_a_value_for_one_network_survives_an_overlay_of_the_default(bench: Any) -> None:
    one = {"/product/overlay/Off.apk": "off-everywhere-but"}
    assert values(switch(bench, rom(34, one))) == {SWITCH: False, ON_MCC310: True}


@pytest.mark.parametrize(
    ("sdk", "path", "name", "expected"),
    [
        (19, "/vendor/overlay/On.apk", "on", False),  # no overlays yet
        (21, "/vendor/overlay/On.apk", "on", True),
        (25, "/vendor/overlay/On.apk", "on", True),
        (25, "/product/overlay/On.apk", "on", False),  # not a folder of this platform
        (25, "/vendor/overlay/Dynamic.apk", "dynamic", True),  # isStatic is not known yet
        (26, "/vendor/overlay/On.apk", "on", True),
        (26, "/vendor/overlay/Dynamic.apk", "dynamic", False),  # off until somebody turns it on
        (27, "/product/overlay/On.apk", "on", False),
        (28, "/product/overlay/On.apk", "on", True),
        (28, "/vendor/app/On/On.apk", "on", False),  # outside of the folder
        (28, "/vendor/overlay/Unnamed.apk", "unnamed", True),  # no overlayable before Android 10
        (29, "/product/overlay/On.apk", "on", True),
        (29, "/odm/overlay/On.apk", "on", False),  # granted to product and vendor only
        (29, "/product/overlay/Unnamed.apk", "unnamed", False),  # names no overlayable
        (29, "/product/overlay/Old.apk", "old", True),  # made before overlayable was enforced
        (29, "/vendor/overlay/Old.apk", "old", False),  # but enforced on a vendor of Android 10
        (30, "/vendor/overlay/On/On.apk", "on", True),
        (34, "/product/overlay/On.apk", "on", True),
        (34, "/product/app/On/On.apk", "on", True),  # static, anywhere on the partition
        (34, "/system_ext/overlay/On.apk", "on", False),  # granted to product and vendor only
        (34, "/product/overlay/Dynamic.apk", "dynamic", False),
        (34, "/data/app/On.apk", "on", False),
    ],
)
def test_what_is_on_differs_by_platform(
    bench: Any, sdk: int, path: str, name: str, expected: bool
) -> None:
    assert values(switch(bench, rom(sdk, {path: name})))[SWITCH] is expected


@pytest.mark.parametrize("sdk", [26, 28, 29, 30, 34])
def test_the_highest_priority_wins(bench: Any, sdk: int) -> None:
    two = {"/vendor/overlay/Z.apk": "on", "/vendor/overlay/A.apk": "off"}
    assert values(switch(bench, rom(sdk, two)))[SWITCH] is False


@pytest.mark.parametrize(("sdk", "expected"), [(28, False), (30, False), (33, False), (34, True)])
def test_priority_counts_across_partitions_until_android_13(
    bench: Any, sdk: int, expected: bool
) -> None:
    two = {"/product/overlay/On.apk": "on", "/vendor/overlay/Off.apk": "off"}
    assert values(switch(bench, rom(sdk, two)))[SWITCH] is expected


ORDER = ("product", "system", "odm", "oem", "system_ext", "vendor")


@pytest.mark.parametrize(
    ("sdk", "names", "expected"),
    [
        (34, ORDER, False),  # now vendor has the last word
        (33, ORDER, False),  # where priority has it
        (34, ORDER[1:], True),  # not all partitions: ignored
        (34, (*ORDER, "vendor"), True),  # one twice: ignored
    ],
)
def test_a_rom_may_order_its_partitions(
    bench: Any, sdk: int, names: tuple[str, ...], expected: bool
) -> None:
    order = "".join(f'<partition name="{name}"/>' for name in names)
    files = rom(
        sdk,
        {"/product/overlay/On.apk": "on", "/vendor/overlay/Off.apk": "off"},
        **{"/product/overlay/partition_order.xml": f"<partition-order>{order}</partition-order>"},
    )
    assert values(switch(bench, files))[SWITCH] is expected


def test_a_configuration_anywhere_lets_partitions_outrank_priority(bench: Any) -> None:
    two = {"/product/overlay/On.apk": "on", "/vendor/overlay/Off.apk": "off"}
    empty = {"/odm/overlay/config/config.xml": "<config/>"}
    assert values(switch(bench, rom(33, two, **empty)))[SWITCH] is True
    assert values(switch(bench, rom(29, two, **empty)))[SWITCH] is False


CONFIG = "/product/overlay/config/config.xml"


def configured(*lines: str) -> str:
    return "<config>" + "".join(lines) + "</config>"


def line(name: str, mutable: bool, enabled: bool) -> str:
    return (
        f'<overlay package="com.example.overlay.{name}" mutable="{str(mutable).lower()}" '
        f'enabled="{str(enabled).lower()}"/>'
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (configured(), False),  # static ones that are not listed are off
        (configured(line("on", False, True)), True),
        (configured(line("on", False, False)), False),
        (configured(line("on", True, True)), True),  # the default of what the user may change
        (configured(line("dynamic", True, True)), True),
        (configured(line("off", False, True), line("on", False, True)), True),  # the order decides
        (configured(line("on", False, True), line("off", False, True)), False),
    ],
)
def test_a_configuration_decides_for_its_partition(bench: Any, config: str, expected: bool) -> None:
    three = {f"/product/overlay/{n}.apk": n for n in ("on", "off", "dynamic")}
    assert values(switch(bench, rom(34, three, **{CONFIG: config})))[SWITCH] is expected


def test_a_configuration_may_merge_others(bench: Any) -> None:
    files = rom(
        34,
        {"/product/overlay/On.apk": "on"},
        **{
            CONFIG: '<config><merge path="parts/one.xml"/></config>',
            "/product/overlay/config/parts/one.xml": configured(line("on", False, True)),
        },
    )
    (default, _) = switch(bench, files).found()
    assert default.values == (True,)
    assert "enabled by product/overlay/config/parts/one.xml:1" in default.chain[-1].text


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (configured(line("on", True, True), line("off", False, True)), "behind a mutable one"),
        (configured(line("on", True, True) * 2), "is listed twice"),
        ('<config><merge path="none.xml"/></config>', "none.xml is not there"),
        ('<config><merge path="config.xml"/></config>', "is merged too deep"),
        ("<config", "no well-formed XML"),
    ],
)
def test_a_configuration_that_stops_the_boot_is_an_error(bench: Any, config: str, why: str) -> None:
    two = {"/product/overlay/On.apk": "on", "/product/overlay/Off.apk": "off"}
    with pytest.raises(ImageError, match=why):
        switch(bench, rom(34, two, **{CONFIG: config})).found()


@pytest.mark.parametrize(("kind", "expected"), [("quiet", False), ("loud", True)])
def test_an_overlay_for_another_property_is_not_installed(
    bench: Any, kind: str, expected: bool
) -> None:
    files = rom(
        34,
        {"/product/overlay/P.apk": "for-a-property"},
        **{"/product/etc/build.prop": f"ro.product.kind={kind}\n"},
    )
    assert values(switch(bench, files))[SWITCH] is expected


def test_what_depends_on_a_property_nobody_knows_cannot_be_told(bench: Any) -> None:
    files = rom(
        34, {"/product/overlay/P.apk": "for-a-property"}, **{"/product/etc/build.prop": "a=b\n"}
    )
    default, other = switch(bench, files).found()
    assert default.values == ()
    assert "ro.product.kind=loud, which no property file has" in default.doubt
    assert other.values == (True,)


def test_equal_priorities_cannot_be_told_before_android_11(bench: Any) -> None:
    two = {
        "/vendor/overlay/A.apk": "off-everywhere-but",
        "/vendor/overlay/B.apk": "on",
        "/vendor/overlay/C.apk": "unnamed",
    }
    files = rom(28, two)
    assert values(switch(bench, files))[SWITCH] is False  # 9 over 5 and 7
    files["/vendor/overlay/D.apk"] = overlay("d.d", "com.example.messaging", {SWITCH: True}, 9)
    default, _ = switch(bench, files).found()
    assert default.values == ()
    assert "has the same priority as /vendor/overlay/D.apk" in default.doubt
    files["/vendor/overlay/E.apk"] = overlay("e.e", "com.example.messaging", {SWITCH: True}, 10)
    assert values(switch(bench, files))[SWITCH] is True


def test_without_an_api_level_an_overlay_leaves_it_open(bench: Any) -> None:
    default, _ = switch(bench, rom(None, {"/vendor/overlay/On.apk": "on"})).found()
    assert default.values == ()
    assert "the API level of the ROM is unknown" in default.doubt


def test_without_overlays_the_api_level_does_not_matter(bench: Any) -> None:
    assert values(switch(bench, rom(None)))[SWITCH] is False


def test_an_unsigned_overlay_is_not_installed(bench: Any) -> None:
    files = rom(34)
    files["/product/overlay/On.apk"] = (APKS / "overlay-on.apk").read_bytes()
    assert values(switch(bench, files))[SWITCH] is False


def test_a_resources_map_gives_values_in_every_configuration(bench: Any) -> None:
    files = rom(34, {"/product/overlay/Map.apk": "map"})
    assert values(switch(bench, files)) == {SWITCH: True, ON_MCC310: True}
    assert values(switch(bench, files, "string/server_url")) == {
        "string/server_url": "http://elsewhere.example.com"
    }


def test_an_overlay_may_give_a_value_of_another_type(bench: Any) -> None:
    files = rom(34, {"/product/overlay/F.apk": "faulty"})
    found = values(switch(bench, files))
    assert (type(found[SWITCH]), found[SWITCH]) == (int, 7)


def test_an_overlays_own_reference_is_followed_from_android_11(bench: Any) -> None:
    for sdk, expected in ((30, True), (29, None)):
        files = rom(sdk, {"/product/overlay/B.apk": "backup"})
        files["/system/priv-app/S/S.apk"] = (APKS / "settings-provider.apk").read_bytes()
        place = bench(
            files,
            mechanism="resource-overlay",
            package="com.android.providers.settings",
            resource="bool/def_backup_enabled",
        )
        assert values(place)["bool/def_backup_enabled"] is expected


def test_references_are_followed_through_overlays(bench: Any) -> None:
    files = rom(34, {"/product/overlay/Off.apk": "off", "/vendor/overlay/On.apk": "on"})
    default, other = switch(bench, files, "bool/auto_resend").found()
    assert (default.values, other.values) == ((False,), (False,))
    assert len(default.chain) == 4
    assert default.chain[0].text.startswith("bool/auto_resend is @0x7f")


def test_integers_and_strings_are_read_in_each_configuration(bench: Any) -> None:
    deep = "integer/min_tls (mcc262-mnc01-de-rDE-sw600dp-land-v26)"
    assert values(switch(bench, rom(34), "integer/min_tls")) == {"integer/min_tls": 12, deep: 13}
    # A platform older than the configuration asks for never takes it.
    assert values(switch(bench, rom(25), "integer/min_tls")) == {"integer/min_tls": 12}
    assert values(switch(bench, rom(34), "string/app_name")) == {
        "string/app_name": "Cloud Messaging",
        "string/app_name (de)": "Nachrichten 😀",
    }


def test_an_overlay_on_a_linked_partition_belongs_to_it(bench: Any) -> None:
    files = rom(34, {"/system/product/overlay/On.apk": "on"})
    del files["/product/etc/build.prop"]
    files["/product"] = Link("system/product")
    assert values(switch(bench, files))[SWITCH] is True


@pytest.mark.judge("mkfs.erofs")
@pytest.mark.parametrize(
    ("sdk", "module", "expected"),
    [
        (34, "/product/apex/x.apex", True),
        (34, "/system/apex/x.apex", False),  # the app grants nothing to system
        (31, "/product/apex/x.apex", False),
    ],
)
def test_an_overlay_in_a_module_counts_as_its_partitions(
    bench: Any, tmp_path: Path, sdk: int, module: str, expected: bool
) -> None:
    image = erofs_image(tmp_path, {"overlay/On.apk": signed("on")})
    key = rsa.generate_private_key(65537, 2048)
    place = switch(bench, rom(sdk, **{module: apex_module(key, image)}))
    assert values(place)[SWITCH] is expected
    assert place.rom.unread == []


# Rendering


def test_every_platform_without_overlays_says_what_is_needed_instead(bench: Any) -> None:
    for sdk in (19, 25):
        (obstacle,) = switch(bench, rom(sdk)).render(False)
        assert isinstance(obstacle, Obstacle)
        assert "turns no overlay on by itself; the first is Android 8" in obstacle.why
        assert obstacle.hint.startswith("bring a new version of the app: --replace /system/app/M")


@pytest.mark.parametrize("sdk", range(26, 37))
@pytest.mark.parametrize(
    ("resource", "value"),
    [
        (SWITCH, False),
        (SWITCH, True),
        ("string/server_url", "https://messaging.example.com/v3"),
    ],
)
def test_what_is_rendered_is_read(bench: Any, sdk: int, resource: str, value: Any) -> None:
    place = switch(bench, rom(sdk), resource)
    changes = place.render(value)
    assert [type(change) for change in changes] == [Edit]
    partition = "vendor" if sdk < 28 else "product"
    assert changes[0].path == f"/{partition}/overlay/" + (
        "com.example.messaging.rombuilder.rro.apk"
        if sdk < 29
        else "com.example.messaging.rombuilder.messagingconfig.rro.apk"
    )
    assert changes[0].new.unsigned_app
    place.apply(changes)
    assert set(values(place).values()) == {value}
    assert place.render(value) == []


def test_a_second_resource_joins_the_overlay_that_is_there(bench: Any) -> None:
    place = switch(bench, rom(34))
    place.apply(place.render(False))
    second = switch(bench, {}, "string/server_url")
    second.apply(second.render("https://a.example"))
    assert set(values(second).values()) == {"https://a.example"}
    assert set(values(switch(bench, {})).values()) == {False}
    rom34 = open_rom(place.folder)
    assert len(Overlays(rom34, Packages(rom34)).all) == 1


def test_it_wins_over_the_overlays_that_are_there(bench: Any) -> None:
    for sdk in (28, 29, 34):
        place = switch(bench, rom(sdk, {"/vendor/overlay/On.apk": "on"}))
        place.apply(place.render(False))
        assert set(values(place).values()) == {False}


def test_a_partition_with_a_configuration_gets_a_line_in_it(bench: Any) -> None:
    config = configured(line("on", False, True), line("dynamic", True, False))
    three = {f"/product/overlay/{n}.apk": n for n in ("on", "dynamic")}
    place = switch(bench, rom(34, three, **{CONFIG: config}))
    changes = place.render(False)
    assert [change.path for change in changes] == [
        "/product/overlay/com.example.messaging.rombuilder.messagingconfig.rro.apk",
        CONFIG,
    ]
    place.apply(changes)
    assert set(values(place).values()) == {False}


def test_what_no_overlay_may_change_is_an_obstacle(bench: Any) -> None:
    (closed,) = switch(bench, rom(34), "bool/read_receipts").render(False)
    assert "no <overlayable> names it" in closed.why
    place = switch(bench, rom(28), "bool/read_receipts")
    place.apply(place.render(False))  # before Android 10 an app is open to every overlay
    assert values(place)["bool/read_receipts"] is False


def test_a_resource_that_the_app_lacks_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = switch(bench, rom(34), "bool/no_such").render(False)
    assert "the app has no bool/no_such, and an overlay only replaces what is there" in obstacle.why
    assert "--replace /system/app/M/M.apk=FILE" in obstacle.hint


def test_a_value_of_another_type_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = switch(bench, rom(34)).render("false")
    assert "is of another type than the value that is demanded" in obstacle.why


def test_a_partition_that_the_app_does_not_grant_is_refused(bench: Any) -> None:
    files = rom(34)
    del files["/product/etc/build.prop"], files["/vendor/build.prop"]
    files["/system_ext/build.prop"] = "a=b\n"
    (obstacle,) = switch(bench, files).render(False)
    assert "on system_ext: " in obstacle.why
    assert "grants it to vendor, product only" in obstacle.why


def test_an_overlay_that_cannot_be_outdone_is_named(bench: Any) -> None:
    top = overlay("t.t", "com.example.messaging", {SWITCH: True}, 9999, "MessagingConfig")
    files = rom(33, **{"/vendor/overlay/top.apk": top})
    (obstacle,) = switch(bench, files).render(False)
    assert "wins over it" in obstacle.why
    assert "take out the overlay that wins" in obstacle.hint


def test_a_base_without_such_a_partition_is_refused(bench: Any) -> None:
    files = {
        MESSAGING: App("com.example.messaging", bools={"cloud_messaging_default": True}),
        "/system/build.prop": "ro.build.version.sdk=34\n",
    }
    (obstacle,) = switch(bench, files).render(False)
    assert "the base has no partition that overlays could go to" in obstacle.why


def test_an_app_without_overlayable_is_open_to_overlays_of_the_rom(bench: Any) -> None:
    files = rom(34)
    files[MESSAGING] = App("com.example.messaging", bools={"cloud_messaging_default": True})
    place = switch(bench, files)
    place.apply(place.render(False))
    assert values(place) == {SWITCH: False}
