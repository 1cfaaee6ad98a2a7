"""Carrier configurations as the app and its overlays have them, and what a SIM gets of them."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.carrier_config import CarrierFile, carrier_file, parse_carrier_config
from rom_builder.formats.carrier_config_answers import (
    Device,
    Source,
    answers,
    answers_without_sim,
)
from rom_builder.formats.typed_xml import from_text_xml

KEY = "ims.enable_presence_publish_bool"
SAMPLE = b"""<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<!-- by hand -->
<carrier_config_list>
    <carrier_config>
        <boolean name="a_bool" value="true" />
        <boolean name="b_bool" value="no" />
        <int name="an_int" value="-7" />
        <long name="a_long" value="9000000000" />
        <string name="url_string">https://<!-- -->example.com</string>
        <string-array name="texts" num="2"><item value="x"/><item value="y"/></string-array>
        <int-array name="numbers" num="1"><item value="1"/></int-array>
        <int-array name="odd" num="1"><item value="one"/></int-array>
        <null name="nothing"/>
        <boolean value="true"/>
        <boolean name="a_bool" value="False" />
    </carrier_config>
    <carrier_config gid1="ABCD" name="an MVNO"><int name="an_int" value="8"/></carrier_config>
</carrier_config_list>
"""


def test_values_and_filters() -> None:
    first, second = parse_carrier_config(from_text_xml(SAMPLE))
    assert {key: value.values for key, value in first.settings.items()} == {
        "a_bool": (False,),
        "b_bool": (),
        "an_int": (-7,),
        "a_long": (9_000_000_000,),
        "url_string": ("https://example.com",),
        "texts": ("x", "y"),
        "numbers": (1,),
        "odd": (),
        "nothing": (),
    }
    assert first.settings["a_bool"].line == 15
    assert (first.filters, second.filters) == ((), (("gid1", "ABCD"),))


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("carrier_config_carrierid_1187_AT&T.xml", "carrier-id", "AT&T (carrier id 1187)"),
        ("carrier_config_carrierid_20_.xml", "carrier-id", "a carrier (carrier id 20)"),
        ("carrier_config_mccmnc_26201.xml", "operator", "MCC 262 MNC 01"),
        ("carrier_config_310260.xml", "operator", "MCC 310 MNC 260"),
        ("carrier_config_no_sim.xml", "no-sim", "no SIM"),
    ],
)
def test_names_of_assets(name: str, kind: str, label: str) -> None:
    found = carrier_file(name)
    assert found is not None
    assert (found.kind, found.label) == (kind, label)


@pytest.mark.parametrize(
    "name", ["carrier_list.xml", "carrier_config_carrierid_x_y.xml", "carrier_config_1.xml", ""]
)
def test_other_assets(name: str) -> None:
    assert carrier_file(name) is None


def source(text: str, name: str = "") -> Source:
    root = from_text_xml(f"<carrier_config_list>{text}</carrier_config_list>".encode())
    return Source(name or "vendor.xml", parse_carrier_config(root), carrier_file(name))


def block(value: str, filters: str = "") -> str:
    return f'<carrier_config {filters}><boolean name="{KEY}" value="{value}"/></carrier_config>'


ATT = source(block("true"), "carrier_config_carrierid_1187_AT&T.xml")
TMO = source(
    block("true") + block("false", 'gid1="AB"') + block("true", 'mcc="999"'),
    "carrier_config_mccmnc_310260.xml",
)
MUTE = source("<carrier_config/>", "carrier_config_carrierid_5_Mute.xml")
DEVICE = Device("pine", "")


def told(
    *assets: Source, vendor: str = "", device: Device = DEVICE, key: str = KEY
) -> dict[str, tuple[object, ...] | None]:
    found = answers(key, assets, source(vendor), device)
    assert len({each.who for each in found}) == len(found)
    return {each.who: each.values for each in found}


def test_what_no_file_sets() -> None:
    assert told(MUTE) == {"every SIM": None}
    assert answers(KEY, [], None, DEVICE)[0].steps == ()


def test_each_carrier_that_sets_it_is_named() -> None:
    assert told(ATT, TMO, MUTE) == {
        "every other SIM": None,
        "AT&T (carrier id 1187)": (True,),
        "MCC 310 MNC 260": (True,),
        "MCC 310 MNC 260 with gid1=AB": (False,),
    }


def test_vendor_xml_has_the_last_word_for_all() -> None:
    assert told(ATT, TMO, vendor=block("false")) == {"every SIM": (False,)}
    (answer,) = answers(KEY, [ATT], source(block("true") + block("false")), DEVICE)
    assert [(step.source, step.values) for step in answer.steps] == [("vendor.xml", (False,))]


def test_a_filtered_block_speaks_for_its_sims() -> None:
    vendor = block("true", 'mcc="262" mnc="01"') + block("false", 'spn="null"')
    assert told(vendor=vendor) == {
        "every other SIM": None,
        "SIMs with mcc=262 mnc=01": (True,),
        "SIMs with spn=null": (False,),
    }


def test_only_what_comes_later_and_for_all_takes_a_filtered_block_back() -> None:
    assert told(vendor=block("true", 'mcc="262"') + block("false")) == {"every SIM": (False,)}
    assert told(vendor=block("false") + block("true", 'mcc="262"')) == {
        "every other SIM": (False,),
        "SIMs with mcc=262": (True,),
    }
    narrow_then_wide = block("true", 'mcc="262" mnc="01"') + block("false", 'mcc="262"')
    assert told(vendor=narrow_then_wide) == {
        "every other SIM": None,
        "SIMs with mcc=262": (False,),
    }


def test_a_carrier_that_vendor_xml_names_is_answered_there() -> None:
    assert told(ATT, vendor=block("false", 'cid="1187" name="att"')) == {
        "every other SIM": None,
        "SIMs with cid=1187": (False,),
    }
    assert told(TMO, vendor=block("false", 'mcc="310" mnc="260"')) == {
        "every other SIM": None,
        "SIMs with mcc=310 mnc=260": (False,),
    }
    assert "AT&T (carrier id 1187)" in told(ATT, vendor=block("false", 'mcc="310"'))


def test_filters_on_the_sim_are_not_asked_in_a_file_for_a_carrier_id() -> None:
    own = source(block("true", 'mcc="001"'), "carrier_config_carrierid_9_X.xml")
    assert told(own)["X (carrier id 9)"] == (True,)


def test_filters_on_the_device() -> None:
    assert told(vendor=block("true", 'device="PINE"')) == {"every SIM": (True,)}
    assert told(vendor=block("true", 'device="oak"')) == {"every SIM": None}
    assert told(vendor=block("true", 'device="oak"'), device=Device()) == {
        "every other SIM": None,
        "SIMs with device=oak": (True,),
    }
    assert told(vendor=block("true", 'hardwareSku="x"'))["SIMs with hardwareSku=x"] == (True,)
    assert told(vendor=block("true", 'sku="x"')) == {"every SIM": None}
    assert told(vendor=block("true", 'new="x"'))["SIMs with new=x"] == (True,)


def test_a_network_code_without_its_zeros_is_that_of_nobody() -> None:
    assert told(vendor=block("true", 'mcc="262" mnc="1"')) == {"every SIM": None}
    assert told(vendor=block("true", 'mcc="26"')) == {"every SIM": None}
    assert len(told(vendor=block("true", 'mcc="262" mnc="010"'))) == 2


def test_a_value_that_is_none_is_not_off() -> None:
    assert told(vendor=block("maybe")) == {"every SIM": ()}


def test_a_phone_without_a_sim() -> None:
    asset = source(block("true", 'mcc="1"'), "carrier_config_no_sim.xml")
    assert isinstance(asset.carrier, CarrierFile)
    (answer,) = answers_without_sim(KEY, [asset, ATT], None, DEVICE)
    assert (answer.who, answer.values) == ("no SIM", (True,))
    (answer,) = answers_without_sim(KEY, [asset], source(block("false")), DEVICE)
    assert answer.values == (False,)
    assert answers_without_sim(KEY, [ATT], None, DEVICE) == []
    assert told(asset) == {"every SIM": None}


@pytest.mark.parametrize("data", [b"", b"<carrier_config_list>", b"<!DOCTYPE a><a/>"])
def test_damaged_files(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_carrier_config(from_text_xml(data))


def test_more_blocks_than_any_file_has_are_refused() -> None:
    with pytest.raises(ImageError, match="more than 1000 blocks"):
        source(block("true", 'spn="x"') * 1001)
    assert len(told(vendor="".join(block("true", f'spn="{n}"') for n in range(1000)))) == 1001


def test_a_file_of_something_else_sets_nothing() -> None:
    assert parse_carrier_config(from_text_xml(b"<resources/>")) == ()
