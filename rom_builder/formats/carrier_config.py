"""Carrier configuration: what the phone does for the SIM of one operator.

The files are read by the app ``com.android.carrierconfig`` when a SIM is seen (AOSP
``DefaultCarrierConfigService``, ``PersistableBundle.restoreFromXml``)::

    <carrier_config_list>
      <carrier_config mcc="310" mnc="260" gid1="ABCD">
        <boolean name="use_rcs_presence_bool" value="false"/>
        <int name="x" value="1"/> <long .../> <double .../>
        <string name="rcs_config_server_url_string">https://example.com</string>
        <string-array name="y" num="1"><item value="a"/></string-array> <int-array .../>
      </carrier_config>
    </carrier_config_list>

======================================  ==================================================
file                                    for
======================================  ==================================================
assets/carrier_config_carrierid_ID_*    a carrier id, Android 9 and later; its filters on the SIM
                                        are not asked
assets/carrier_config_mccmnc_NNNNN.xml  operators without a carrier id
assets/carrier_config_NNNNN.xml         the same, Android 6 to 8
assets/carrier_config_no_sim.xml        no SIM
res/xml/vendor.xml                      every SIM, after the file above
res/xml/vendor_no_sim.xml               no SIM, after the file above
======================================  ==================================================

Blocks count in file order and the last value of a key wins. A block counts if all of its attributes
match; with one that the app does not know it never does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.formats.typed_xml import ConfigElement

Scalar = str | bool | int

MAX_BLOCKS = 1000
"""Blocks of one file; real ones have a few dozen at most."""

SIM_FILTERS = ("mcc", "mnc", "gid1", "gid2", "spn", "imsi", "cid")
DEVICE_FILTERS = ("device", "vendorSku", "hardwareSku", "sku")
IGNORED = ("name",)

_CARRIER_ID = re.compile(r"carrier_config_carrierid_([0-9]{1,10})_(.*)\.xml")
_OPERATOR = re.compile(r"carrier_config_(?:mccmnc_)?([0-9]{5,6})\.xml")
_NO_SIM = "carrier_config_no_sim.xml"

_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class CarrierValue:
    """One value of a key.

    Attributes:
        values: One, or those of an array; empty for a null or one that the platform cannot take.
        line: In the file, 0 if it has no lines.
    """

    values: tuple[Scalar, ...]
    line: int


@dataclass(frozen=True, slots=True)
class CarrierBlock:
    """One ``carrier_config`` element.

    Attributes:
        filters: What must match for it to count, in file order.
        settings: The last value of each key.
    """

    filters: tuple[tuple[str, str], ...]
    settings: dict[str, CarrierValue]
    line: int

    @property
    def sim_filters(self) -> tuple[tuple[str, str], ...]:
        """The filters on the SIM."""
        return tuple(each for each in self.filters if each[0] in SIM_FILTERS)

    @property
    def other_filters(self) -> tuple[tuple[str, str], ...]:
        """The filters on the device, and those that are not known here."""
        return tuple(each for each in self.filters if each[0] not in SIM_FILTERS)


@dataclass(frozen=True, slots=True)
class CarrierFile:
    """What the name of an asset says.

    Attributes:
        kind: Whom it is for.
        identity: The carrier id, or MCC and MNC; empty without a SIM.
        name: The carrier's name, empty if the file does not say.
    """

    kind: Literal["carrier-id", "operator", "no-sim"]
    identity: str
    name: str

    @property
    def label(self) -> str:
        """The carrier in words, ``AT&T (carrier id 1187)``."""
        if self.kind == "no-sim":
            return "no SIM"
        if self.kind == "operator":
            return f"MCC {self.identity[:3]} MNC {self.identity[3:]}"
        return f"{self.name or 'a carrier'} (carrier id {self.identity})"


def carrier_file(name: str) -> CarrierFile | None:
    """Return what the name of an asset says; None if the app does not read such a file.

    >>> carrier_file("carrier_config_carrierid_1187_AT&T.xml").label
    'AT&T (carrier id 1187)'
    >>> carrier_file("carrier_config_mccmnc_310260.xml").label
    'MCC 310 MNC 260'
    """
    if name == _NO_SIM:
        return CarrierFile("no-sim", "", "")
    if found := _OPERATOR.fullmatch(name):
        return CarrierFile("operator", found[1], "")
    if found := _CARRIER_ID.fullmatch(name):
        return CarrierFile("carrier-id", found[1], found[2].replace("-", " "))
    return None


def parse_carrier_config(root: ConfigElement) -> tuple[CarrierBlock, ...]:
    """Return the blocks of a file, text or compiled, in file order.

    Raises:
        ImageError: There are more than :data:`MAX_BLOCKS`.
    """
    blocks = tuple(islice(_blocks(root), MAX_BLOCKS + 1))
    if len(blocks) > MAX_BLOCKS:
        raise ImageError(f"has more than {MAX_BLOCKS} blocks")
    return blocks


def _blocks(element: ConfigElement) -> Iterator[CarrierBlock]:
    if element.name == "carrier_config":
        settings = {}
        for child in element.children:
            name = next((a.text for a in child.attributes if a.name == "name"), None)
            if name is not None:
                settings[name] = CarrierValue(_values(child), child.line)
        filters = tuple((a.name, a.text) for a in element.attributes if a.name not in IGNORED)
        yield CarrierBlock(filters, settings, element.line)
        return
    for child in element.children:
        yield from _blocks(child)


def _values(element: ConfigElement) -> tuple[Scalar, ...]:
    kind, is_array, _ = element.name.partition("-array")
    if kind == "string" and not is_array:
        return ("".join(element.texts),)
    if not is_array:
        return _scalar(kind, _text(element))
    items: list[Scalar] = []
    for child in element.children:
        if child.name == "item":
            found = _scalar(kind, _text(child))
            if not found:
                return ()
            items += found
    return tuple(items)


def _text(element: ConfigElement) -> str | None:
    return next((a.text for a in element.attributes if a.name == "value"), None)


def _scalar(kind: str, text: str | None) -> tuple[Scalar, ...]:
    if text is None:
        return ()
    if kind in ("string", "double"):
        return (text,)
    if kind == "boolean":
        return (text.lower() == "true",) if text.lower() in ("true", "false") else ()
    if kind in ("int", "long") and re.fullmatch(r"[+-]?[0-9]{1,19}", text.strip(_SPACE)):
        return (int(text),)
    return ()
