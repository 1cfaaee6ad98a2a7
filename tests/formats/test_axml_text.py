from __future__ import annotations

from xml.etree import ElementTree

from rom_builder.formats.axml import Attribute, Element
from rom_builder.formats.axml_text import write_text
from rom_builder.formats.resource_chunk import ValueType


def test_the_text_parses_to_the_same_elements() -> None:
    flag = Attribute.of("debuggable", True, 0x0101000F)
    label = Attribute.of("label", 'a "b" <c>\n&')
    inner = Element("application", attributes=(flag, label), text="  some text ")
    other = Element("x", attributes=(Attribute.of("n", 5, namespace="urn:x"),))
    text = write_text(Element("manifest", children=(inner, other)))
    root = ElementTree.fromstring(text)
    application, x = root
    assert application.get("{http://schemas.android.com/apk/res/android}debuggable") == "true"
    assert application.get("label") == 'a "b" <c>\n&'
    assert application.text == "some text"
    assert x.get("{urn:x}n") == "5"


def test_values_without_text_are_spelled_out() -> None:
    reference = Attribute("icon", None, None, ValueType.REFERENCE, 0x7F010001)
    size = Attribute("size", None, None, 0x05, 0x1001)
    text = write_text(Element("a", attributes=(reference, size)))
    assert 'icon="@0x7f010001" size="(type 0x05)0x1001"' in text


def test_hostile_names_and_texts_stay_xml_and_off_the_terminal() -> None:
    odd = Attribute.of("on load", "\x1b[2J\0")
    text = write_text(Element("a><b", attributes=(odd,), text="\x07"))
    ElementTree.fromstring(text)
    assert "\x1b" not in text
    assert "\x07" not in text
