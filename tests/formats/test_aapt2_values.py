"""Every bool, integer and string in every configuration is what aapt2 prints."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rom_builder.formats.arsc_writer import Resource, encode_arsc
from rom_builder.formats.axml import Attribute, Element
from rom_builder.formats.axml_writer import encode_axml
from tests.file_based import DEMO
from tests.fixtures.make_apks import APKS, FRAMEWORK
from tests.formats.aapt2_values import differences, values_of_aapt2, values_of_ours

APPS = [
    *(pytest.param(path, id=path.name) for path in sorted(APKS.glob("*.apk"))),
    *(pytest.param(path, id=f"demo-{path.name}") for path in sorted(DEMO.rglob("*.apk"))),
    # Android 10's own: 153,231 values in 285 configurations.
    pytest.param(Path(FRAMEWORK), id="framework", marks=pytest.mark.judge(FRAMEWORK)),
]
STRINGS = {
    "lines": "one\n two\n\n  three\n",
    "quotes": 'say "yes"\n"no"\n\nor "maybe"\nlater "',
    "like_a_record": "resource 0x7f010000 bool/x\n(de) true\ntype",
    "styled": '(styled string) "x" b:0,1',
    "found": "\n(2 found)",
    "recent": " (recent) ",
    "number": "12",
}


@pytest.mark.judge("aapt2")
@pytest.mark.parametrize("apk", APPS)
def test_every_value_is_the_one_that_aapt2_prints(apk: Path) -> None:
    compared, found = differences(apk)
    assert found == []
    assert bool(compared) != apk.name.startswith("carrier-config-overlay")  # they have files only


def app_with(path: Path, strings: dict[str, str]) -> Path:
    resources = [
        Resource("string", key, text, config)
        for key, text in strings.items()
        for config in ("", "mcc310-mnc004", "de-rDE")
    ]
    with zipfile.ZipFile(path, "w") as file:
        manifest = Element("manifest", attributes=(Attribute.of("package", "com.example"),))
        file.writestr("AndroidManifest.xml", encode_axml(manifest))
        file.writestr("resources.arsc", encode_arsc("com.example", resources))
    return path


@pytest.mark.judge("aapt2")
def test_strings_of_several_lines_are_compared_whole(tmp_path: Path) -> None:
    app = app_with(tmp_path / "app.apk", STRINGS)
    assert differences(app) == (3 * len(STRINGS), [])
    for key, text in STRINGS.items():
        other = app_with(tmp_path / "other.apk", {**STRINGS, key: f"{text} "})
        assert values_of_aapt2(other) != values_of_ours(app)
