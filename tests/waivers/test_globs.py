from __future__ import annotations

import pytest

from rom_builder.waivers.globs import matches

NESTED = "system/app/X.apk!/res/xml/nsc.xml"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("system/app/X.apk", "system/app/X.apk", True),
        ("system/app/X.apk", NESTED, True),
        ("system/app/*", NESTED, True),
        ("**/nsc.xml", NESTED, True),
        ("**/*.apk", "X.apk", True),
        ("system/**", "system/x", True),
        ("system/app/X.apk!/res/**", NESTED, True),
        ("system/app/X.apk!/assets/**", NESTED, False),
        ("system/*.apk", "system/app/X.apk", False),
        ("system/app/?.apk", "system/app/X.apk", True),
        ("system/app/?.apk", "system/app/XX.apk", False),
        ("system/app/x.apk", "system/app/X.apk", False),
        ("app/X.apk", "system/app/X.apk", False),
        ("system/app", "system/app/X.apk", False),
        ("[x]", "x", False),
        ("a.b", "aXb", False),
        ("**", "", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


def test_many_stars_are_decided() -> None:
    assert not matches("*a" * 200 + "b", "a" * 300)  # 300 over 200 ways for one that backtracks
    assert matches("*a" * 200 + "**", "a" * 300)
