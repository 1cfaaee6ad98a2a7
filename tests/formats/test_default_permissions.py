"""Files of ``etc/default-permissions``, read as leniently as the platform does."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.default_permissions import parse_default_permissions
from rom_builder.formats.runtime_permissions import SENSITIVE

SAMPLE = b"""<?xml version='1.0' encoding='utf-8' standalone='yes' ?>
<!-- Custom permission exceptions -->
<exceptions>
    <exception package="com.example.maps" cert="AB:cd">
        <!-- Location -->
        <permission name="android.permission.ACCESS_FINE_LOCATION" fixed="true" whitelisted="true"/>
        <permission fixed="true"><permission name="nested"/></permission>
    </exception>
    <exception><permission name="of nobody"/></exception>
    <exception package="com.example.dialer">
        <permission name="android.permission.READ_CONTACTS" fixed="yes"/>
    </exception>
</exceptions>
"""


def test_what_a_vendor_writes() -> None:
    maps, dialer = parse_default_permissions(SAMPLE)
    assert (maps.package, maps.fixed, maps.certificate, maps.line) == (
        "com.example.maps", True, "abcd", 6,
    )  # fmt: skip
    assert (dialer.permission, dialer.fixed, dialer.certificate) == (
        "android.permission.READ_CONTACTS", False, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<exceptions/>", 0),
        ("<exception package='a'><permission name='b'/></exception>", 0),
        ("<x><exceptions><exception package='a'><permission name='b'/></exception></exceptions></x>", 1),
        ("<exceptions><x><exception package='a'><permission name='b'/></exception></x></exceptions>", 1),
        ("<exceptions><exception package='a'><x><miss name='b'/></x></exception></exceptions>", 1),
        ("<exceptions><exception package='a'><grant name='b'/></exception></exceptions>", 0),
        (
            "<exceptions><exception package='a'><permission name='b'><permission name='c'/>"
            "</permission></exception></exceptions>",
            2,
        ),
    ],
)  # fmt: skip
def test_the_platforms_own_leniency(text: str, found: int) -> None:
    assert len(parse_default_permissions(text.encode())) == found


@pytest.mark.parametrize("data", [b"", b"ABX\0", b"<exceptions>", b"<!DOCTYPE a><exceptions/>"])
def test_what_is_not_believed(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_default_permissions(data)


def test_what_permissions_open() -> None:
    assert SENSITIVE["android.permission.READ_SMS"] == "messages"
    assert "android.permission.POST_NOTIFICATIONS" not in SENSITIVE
