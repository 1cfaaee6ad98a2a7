"""Files of ``etc/sysconfig`` and ``etc/permissions``, as Android devices have them."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.system_config import REFUSED, parse_system_config

SAMPLE = b"""<?xml version="1.0" encoding="utf-8"?>
<config>
    <!-- <allow-in-power-save package="com.example.commented"/> -->
    <allow-in-power-save package="com.example.a" />
    <allow-in-data-usage-save/>
    <initial-package-state package="com.example.b" stopped="false"/>
    <initial-package-state package="com.example.c" stopped="TRUE"/>
    <initial-package-state package="com.example.d" stopped="no"/>
    <initial-package-state package="com.example.e"/>
    <install-in-user-type package="com.example.f">
        <install-in user-type="FULL" /><do-not-install-in user-type="PROFILE" />
        <install-in />
    </install-in-user-type>
    <privapp-permissions package="com.example.g">
        <permission name="android.permission.A"/>
        <deny-permission name="android.permission.B"/>
        <library name="x"/>
    </privapp-permissions>
    <feature name="android.software.live_tv"><allow-in-power-save package="com.example.h"/></feature>
</config>
"""


def test_what_speaks_of_an_app() -> None:
    entries = {entry.package: entry for entry in parse_system_config(SAMPLE)}
    assert list(entries) == [f"com.example.{letter}" for letter in "abcdefg"]
    assert [entries[f"com.example.{x}"].stopped for x in "bcde"] == [False, True, False, None]
    assert entries["com.example.f"].user_types == (("FULL", True), ("PROFILE", False))
    assert entries["com.example.g"].permissions == (
        ("android.permission.A", True),
        ("android.permission.B", False),
    )
    assert entries["com.example.b"].line == 6


def test_a_file_of_permissions_is_the_same_format() -> None:
    (entry,) = parse_system_config(
        b'<permissions><bugreport-whitelisted package="a"/></permissions>'
    )
    assert entry.tag == "bugreport-whitelisted"
    assert parse_system_config(b"<permissions/>") == ()


def test_a_file_with_another_root_is_skipped_as_the_platform_does() -> None:
    data = b'<MediaCodecs><allow-in-power-save package="a"/></MediaCodecs>'
    assert parse_system_config(data) == ()


BOMB = b"<!DOCTYPE a [<!ENTITY b 'xxxxxxxxxx'>" + b"".join(
    f"<!ENTITY b{i} '{f'&b{i - 1 if i else str()};' * 10}'>".encode() for i in range(12)
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not well-formed"),
        (b"<config>", "not well-formed"),
        (b"<config/><config/>", "not well-formed"),
        (b"ABX\0\x10\0", "not well-formed"),
        (BOMB + b"]><config a='&b11;'/>", "not well-formed"),
        (b"<!DOCTYPE config><config/>", "has a DOCTYPE"),
        (b"<config>" + b"<a>" * 70 + b"</a>" * 70 + b"</config>", "nests deeper"),
        (b"<config>" + b"<a/>" * 20_001 + b"</config>", "more than 20000 elements"),
        (b"<config>" + b" " * (1 << 20) + b"</config>", "at most 1048576 are read"),
    ],
)
def test_what_is_not_believed(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_system_config(data)


def test_no_partition_but_the_systems_may_say_everything() -> None:
    assert "allow-in-power-save" in REFUSED["vendor"]
    assert not {"system", "product", "system_ext"} & set(REFUSED)
