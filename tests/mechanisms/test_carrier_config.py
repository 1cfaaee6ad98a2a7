from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.edits import Edit, Obstacle
from rom_builder.errors import ImageError
from rom_builder.findings import Strength
from rom_builder.formats.axml import parse_axml
from rom_builder.formats.typed_xml import from_axml
from rom_builder.mechanisms.carrier_config import over_https, with_setting
from rom_builder.readers.packages import Packages
from tests.fixtures.make_apks import APKS
from tests.fixtures.make_carrier_config import PUBLISH
from tests.mechanisms.conftest import Bench, with_entry
from tests.roms import App, axml, sign_v2

URL = "rcs_config_server_url_string"
APP = "/system_ext/priv-app/CarrierConfig/CarrierConfig.apk"
OVERLAY = "/product/overlay/CarrierConfigOverlay.apk"
FILES: dict[str, Any] = {
    "/system/build.prop": "ro.build.version.sdk=34\nro.product.device=pine\n",
    "/product/etc/x": "",
    APP: (APKS / "carrier-config.apk").read_bytes(),
}
ASSET = "CarrierConfig.apk!/assets/carrier_config_"


def overlay(name: str = "carrier-config-overlay.apk") -> dict[str, bytes]:
    return {OVERLAY: sign_v2((APKS / name).read_bytes())}


def binding(key: str = PUBLISH, **more: Any) -> dict[str, Any]:
    return {"mechanism": "carrier-config", "key": key, **more}


def told(place: Any) -> dict[str, Any]:
    return {each.label.removeprefix(f"{PUBLISH} for "): each.values for each in place.found()}


def test_each_carrier_of_the_app_is_named(bench: Any) -> None:
    place = bench(FILES, **binding(platform_default=False))
    assert told(place) == {
        "every other SIM": (False,),
        "MCC 001 MNC 01": (False,),
        "MCC 001 MNC 01 with gid1=BA01": (True,),
        "Pine Wireless (carrier id 1839)": (True,),
    }
    found = place.found()
    assert {each.strength for each in found} == {Strength.EFFECTIVE}
    assert str(found[-1].location).endswith(f"{ASSET}mccmnc_00101.xml:7")
    assert (
        "no file sets it: the platform's own false, as the profile says" in found[0].chain[0].text
    )


def test_without_the_profiles_word_the_default_is_not_known(bench: Any) -> None:
    (others,) = [f for f in bench(FILES, **binding()).found() if "other" in f.label]
    assert others.values == ()
    assert "the platform's own value is not known" in others.chain[-1].text


def test_vendor_xml_is_what_overlays_leave(bench: Any) -> None:
    place = bench(FILES | overlay(), **binding(platform_default=False))
    assert told(place)["SIMs with mcc=262 mnc=01"] == (True,)
    assert not any("device" in who for who in told(place))
    assert "SIMs with mcc=262 mnc=01" not in told(
        bench(overlay("carrier-config-overlay-typed.apk"), **binding(platform_default=False))
    )
    whole = bench(overlay(), **binding("config_ims_rtt_mode_bool"))
    (found,) = whole.found()
    assert found.values == (True,)
    assert any("overlay com.example.carrierconfig.overlay" in link.text for link in found.chain)


def test_a_platform_that_does_not_know_the_key(bench: Any) -> None:
    assert bench(FILES, **binding(since=35)).found() == []
    assert bench(FILES, **binding(since=34)).found() != []
    assert bench(FILES, **binding(package="com.example.other")).found() == []


def test_addresses(bench: Any) -> None:
    place = bench(FILES | overlay(), **binding(URL, meaning="cleartext"))
    assert {f.label.removeprefix(f"cleartext by {URL} for "): f.values for f in place.found()} == {
        "Oak (carrier id 1)": ("allowed",),
        "SIMs with mcc=262 mnc=01": ("forbidden",),
    }


@pytest.mark.parametrize("with_overlay", [False, True])
@pytest.mark.parametrize("value", [False, True])
def test_what_is_rendered_is_read(bench: Any, *, with_overlay: bool, value: bool) -> None:
    files = FILES | (overlay() if with_overlay else {})
    place = bench(files, **binding(platform_default=not value))
    changes = place.render(value)
    assert [change.path for change in changes] == [
        "/product/overlay/com.android.carrierconfig.rombuilder.rro.apk"
    ]
    put(place.folder, changes)
    assert told(place) == {"every SIM": (value,)}
    assert place.render(value) == []
    kept = bench({}, **binding("config_ims_rtt_mode_bool"))
    assert ([f.values for f in kept.found()] == [(True,)]) is with_overlay


def test_one_overlay_holds_all_keys(bench: Any) -> None:
    place = bench(FILES, **binding(platform_default=False))
    put(place.folder, place.render(False))
    other = bench({}, **binding("use_rcs_presence_bool"))
    put(other.folder, other.render(False))
    assert told(place) == {"every SIM": (False,)}
    assert other.read() == [(False,)]
    assert len(list((place.folder / "product/overlay").iterdir())) == 1


def test_addresses_are_turned_to_https_for_their_carrier_only(bench: Any) -> None:
    place = bench(FILES | overlay(), **binding(URL, meaning="cleartext"))
    put(place.folder, place.render("forbidden"))
    assert set(place.read()) == {("forbidden",)}
    plain = bench({}, **binding(URL))
    assert {f.values for f in plain.found() if "cid=1" in f.label} == {
        ("https://rcs.oak.example/config",)
    }
    assert place.render("forbidden") == []


def put(folder: Path, changes: list[Edit]) -> None:
    """Write a plan's files as build does: new apps signed."""
    for change in changes:
        assert change.new is not None
        path = folder / change.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sign_v2(change.new.data) if change.new.unsigned_app else change.new.data)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"/system/build.prop": "ro.build.version.sdk=25\n"}, "turns no overlay on by itself"),
        ({APP: App("com.android.carrierconfig")}, "xml/vendor is not in the app"),
        ({"/system/build.prop": ""}, "API level of the ROM is unknown"),
    ],
)
def test_what_no_overlay_can_do_is_an_obstacle(bench: Any, files: Any, why: str) -> None:
    (obstacle,) = bench(FILES | files, **binding()).render(False)
    assert isinstance(obstacle, Obstacle)
    assert why in obstacle.why
    assert f"{PUBLISH} is to be false for every SIM" in obstacle.why


def test_an_address_that_may_be_plain_is_left_alone(bench: Any) -> None:
    (obstacle,) = bench(FILES, **binding(URL, meaning="cleartext")).render("other")
    assert isinstance(obstacle, Obstacle)


def test_another_app_that_the_phone_asks(bench: Any) -> None:
    phone = App(
        "com.android.phone",
        strings={"platform_carrier_config_package": "com.google.android.carrier"},
    )
    place = bench(FILES | {"/system/priv-app/Phone.apk": phone}, **binding(platform_default=False))
    (found,) = place.found()
    assert found.values == ()
    assert "asks com.google.android.carrier" in found.label
    (obstacle,) = place.render(False)
    assert isinstance(obstacle, Obstacle)


def test_a_damaged_asset_matters_to_the_keys_that_it_may_set(bench: Any) -> None:
    entry = "assets/carrier_config_carrierid_1839_Pine-Wireless.xml"
    app = (APKS / "carrier-config.apk").read_bytes()
    damaged = zipfile.ZipFile(APKS / "carrier-config.apk").read(entry)[:-5]
    place = bench(FILES | {APP: with_entry(app, entry, damaged)}, **binding(platform_default=False))
    rom = place.rom
    found = list(place.mechanism.read(rom, Packages(rom), place.binding))
    values = {each.label.removeprefix(f"{PUBLISH} for "): each.values for each in found}
    assert values["Pine Wireless (carrier id 1839)"] == ()
    assert [part.path.rpartition("!/")[2] for part in rom.unread] == [entry]
    # AOSP's own broken file for no SIM, which sets nothing, is not held against a ROM.
    other = bench({}, **binding("use_rcs_presence_bool"))
    rom = other.rom
    assert list(other.mechanism.read(rom, Packages(rom), other.binding))
    assert rom.unread == []


def test_more_assets_than_any_app_has_are_refused(bench: Any) -> None:
    entries = {f"assets/carrier_config_carrierid_{n}_x.xml": "<a/>" for n in range(4001)}
    place = bench(FILES | {APP: App("com.android.carrierconfig", entries=entries)}, **binding())
    with pytest.raises(ImageError, match="4001 files of carriers"):
        place.found()


def test_a_damaged_vendor_xml_is_unread(bench: Any) -> None:
    app = with_entry((APKS / "carrier-config.apk").read_bytes(), "res/xml/vendor.xml", b"\3\0x")
    place = bench(FILES | {APP: app}, **binding())
    rom = place.rom
    assert list(place.mechanism.read(rom, Packages(rom), place.binding)) == []
    assert [part.path.rpartition("!/")[2] for part in rom.unread] == ["res/xml/vendor.xml"]


def test_the_last_word_is_said_once() -> None:
    root = parse_axml(
        axml("<carrier_config_list><carrier_config mcc='262'/></carrier_config_list>")
    )
    once = with_setting(root, "a_bool", value=False)
    again = with_setting(once, "a_bool", value=True)
    more = with_setting(again, "url", "https://example.com")
    assert [child.name for child in again.children] == ["carrier_config", "carrier_config"]
    assert len(more.children[1].children) == 2
    (setting,) = again.children[1].children
    assert from_axml(setting).attributes[1].text == "true"
    assert over_https(root, "url", []) == root


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "mcc": st.sampled_from(["310", "262", "1"]),
        "mnc": st.sampled_from(["01", "260", "1"]),
        "gid1": st.sampled_from(["BA01", "0"]),
        "cid": st.sampled_from(["1", "1839"]),
        "device": st.sampled_from(["pine", "oak"]),
        "vendorSku": st.just("x"),
        "name": st.just("a carrier"),
    },
)
BLOCKS = st.lists(st.tuples(FILTERS, st.sampled_from(["true", "false", "odd", None])), max_size=4)


def written(blocks: list[tuple[dict[str, str], str | None]]) -> str:
    text = ""
    for filters, value in blocks:
        words = " ".join(f'{name}="{text}"' for name, text in filters.items())
        setting = (
            f'<boolean name="{PUBLISH}" value="{value}"/>' if value else '<int name="x" value="1"/>'
        )
        text += f"<carrier_config {words}>{setting}</carrier_config>"
    return f"<carrier_config_list>{text}</carrier_config_list>"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    assets=st.dictionaries(
        st.sampled_from(["carrierid_7_Elm", "carrierid_8_Fir", "mccmnc_310260"]), BLOCKS
    ),
    vendor=BLOCKS,
    value=st.booleans(),
    overlaid=st.booleans(),
)
def test_whatever_the_app_says_the_rendered_word_is_the_last(
    tmp_path_factory: pytest.TempPathFactory,
    assets: dict[str, Any],
    vendor: Any,
    *,
    value: bool,
    overlaid: bool,
) -> None:
    app = with_entry(
        (APKS / "carrier-config.apk").read_bytes(), "res/xml/vendor.xml", axml(written(vendor))
    )
    file = io.BytesIO(app)
    with zipfile.ZipFile(file, "a") as archive:
        for name, blocks in assets.items():
            archive.writestr(f"assets/carrier_config_{name}.xml", written(blocks))
    files = FILES | {APP: file.getvalue()} | (overlay() if overlaid else {})
    place = Bench(tmp_path_factory.mktemp("rom"), files, binding(platform_default=not value))
    put(place.folder, place.render(value))
    assert set(place.read()) == {(value,)}
    assert place.render(value) == []
