"""Bills of materials: what is in them, that a foreign validator accepts them, that they repeat."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from rom_builder.cli import main
from rom_builder.formats.payload import PartitionImage
from rom_builder.provenance.sbom import components, read_ahead
from rom_builder.rom.opening import open_rom
from tests.fixtures.make_apks import APKS
from tests.formats.builders.payload import BLOCK, REPLACE_XZ, Part, Spec, full_ops
from tests.formats.damage import noise
from tests.kinds import erofs_image, padded
from tests.roms import Content, write_rom

FILES: dict[str, Content] = {
    "/system/build.prop": "ro.build.version.incremental=V7\nro.product.device=pine\n",
    "/system/app/Messaging/Messaging.apk": (APKS / "messaging.apk").read_bytes(),
}


@pytest.fixture(autouse=True)
def _new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")


def made(
    image: Path, capsys: pytest.CaptureFixture[str], code: int = 0
) -> tuple[str, dict[str, Any]]:
    assert main(["sbom", str(image)]) == code
    text = capsys.readouterr().out
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return text, json.loads(text)


def test_an_app_has_version_digest_path_and_signer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = made(write_rom(tmp_path / "rom", FILES), capsys)
    assert said["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    root = said["metadata"]["component"]
    assert (root["type"], root["name"], root["version"]) == ("firmware", "pine", "V7")
    (app,) = said["components"]
    assert app["name"] == "com.example.messaging"
    content = (APKS / "messaging.apk").read_bytes()
    assert app["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    properties = {each["name"]: each["value"] for each in app["properties"]}
    assert properties["rom-builder:path"] == "/system/app/Messaging/Messaging.apk"
    assert len(properties.get("rom-builder:signer-spki-sha256", "0" * 64)) == 64


def test_the_same_rom_gives_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rom = write_rom(tmp_path / "rom", FILES)
    assert made(rom, capsys)[0] == made(rom, capsys)[0]


def test_a_damaged_app_is_listed_and_said_to_be_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rom = write_rom(tmp_path / "rom", {**FILES, "/system/app/X.apk": "junk"})
    assert main(["sbom", str(rom), "-o", str(tmp_path / "out.json")]) == 2
    assert "not read: system/app/X.apk" in capsys.readouterr().err
    said = json.loads((tmp_path / "out.json").read_text())
    names = {component["name"] for component in said["components"]}
    assert names == {"com.example.messaging", "X.apk"}


@pytest.mark.judge("mkfs.erofs")
def test_apps_that_were_read_ahead_are_not_decoded_again(tmp_path: Path) -> None:
    files = {
        "build.prop": b"ro.product.device=pine\n",
        "framework/large.jar": noise(1 << 20, 1),
        "app/A/A.apk": noise(3_000_000, 2),
        "lib/large.so": noise(3_000_000, 3),
    }
    image = padded(erofs_image(tmp_path, files))
    operations = full_ops(image, [REPLACE_XZ], (1 << 21) // BLOCK)
    (tmp_path / "payload.bin").write_bytes(Spec([Part("system", image, operations)]).build())
    rom = open_rom(tmp_path / "payload.bin")
    (partition,) = rom.contents.partitions.values()
    source = partition.source
    assert isinstance(source, PartitionImage)
    read_ahead(rom)
    decoded = source.decoded
    assert 3_000_000 < decoded < len(image)
    assert "A.apk" in {component.name for component in components(rom)}
    assert source.decoded < decoded + (1 << 18)
