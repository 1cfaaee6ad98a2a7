from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.overlay_config import (
    MAX_FILE_SIZE,
    ConfiguredOverlay,
    Merge,
    parse_overlay_config,
    with_overlay,
)

CONFIG = b"""<?xml version="1.0" encoding="utf-8"?>
<!-- ours -->
<config>
  <merge path="more.xml"/>
  <overlay package="com.example.one" mutable="false" enabled="true"/>
  <unknown/>
  <overlay package="com.example.two" enabled="yes"/>
  <overlay package="com.example.three"/>
</config>
"""


def test_the_defaults_are_the_platforms() -> None:
    assert parse_overlay_config(CONFIG) == (
        Merge("more.xml", 4),
        ConfiguredOverlay("com.example.one", True, False, 5),
        ConfiguredOverlay("com.example.two", True, True, 7),
        ConfiguredOverlay("com.example.three", False, True, 8),
    )


def test_a_new_overlay_comes_behind_the_immutable_ones() -> None:
    lines = parse_overlay_config(with_overlay(CONFIG, "com.example.new"))
    named = [line.package for line in lines if isinstance(line, ConfiguredOverlay)]
    assert named == ["com.example.one", "com.example.new", "com.example.two", "com.example.three"]
    assert b"<!-- ours -->" in with_overlay(CONFIG, "com.example.new")


def test_without_mutable_ones_it_comes_last() -> None:
    only = b'<config><overlay package="a.b" mutable="false" enabled="true"/></config>'
    lines = parse_overlay_config(with_overlay(only, "c.d"))
    assert [line.package for line in lines if isinstance(line, ConfiguredOverlay)] == ["a.b", "c.d"]


def test_an_overlay_that_was_listed_is_listed_once() -> None:
    lines = parse_overlay_config(with_overlay(CONFIG, "com.example.three"))
    three = [each for each in lines if getattr(each, "package", "") == "com.example.three"]
    assert [(t.enabled, t.mutable) for t in three if isinstance(t, ConfiguredOverlay)] == [
        (True, False)
    ]
    again = with_overlay(CONFIG, "com.example.three")
    assert with_overlay(again, "com.example.three") == again


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no well-formed XML"),
        (b"<config>", "no well-formed XML"),
        (b"<overlays/>", "begins with 'overlays'"),
        (b"<config><overlay/></config>", "line 1: overlay without package"),
        (b"<config>\n<merge/></config>", "line 2: merge needs a path"),
        (b'<config><merge path="/a.xml"/></config>', "inside the folder"),
        (b'<config><merge path="../a.xml"/></config>', "inside the folder"),
        (b" " * (MAX_FILE_SIZE + 1), "bytes; at most"),
        (b'<!DOCTYPE c [<!ENTITY e "x">]><config>&e;</config>', ""),
    ],
)
def test_what_the_platform_throws_at_is_refused(data: bytes, why: str) -> None:
    if not why:
        assert parse_overlay_config(data) == ()  # the entity is not expanded
        return
    with pytest.raises(ImageError, match=why):
        parse_overlay_config(data)
