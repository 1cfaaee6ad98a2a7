from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from rom_builder.cli import cli, main
from tests.formats.builders import apex
from tests.kinds import BOOT, CONTENT, MESSAGING, padded, payload, zipped

APP = "/system/app/Messaging/Messaging.apk"
ANDROID = "{http://schemas.android.com/apk/res/android}"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["cat", *map(str, arguments)])


@pytest.fixture
def rom(tmp_path: Path) -> Path:
    files = {f"system/{name}": data for name, data in CONTENT.items()}
    return zipped(tmp_path / "rom.zip", files | {"payload.bin": payload({"boot": BOOT})})


def test_a_file_is_written_byte_for_byte(rom: Path) -> None:
    assert run(rom, "/system/etc/big.bin").stdout_bytes == CONTENT["etc/big.bin"]
    assert run(rom, "system/etc/big.bin").stdout_bytes == CONTENT["etc/big.bin"]


def test_a_partition_image_is_written(rom: Path) -> None:
    assert run(rom, "payload.bin!/boot").stdout_bytes == padded(BOOT)
    assert run(rom, "payload.bin!/boot!/ramdisk!/init").stdout_bytes == b"#!"


def test_archives_in_archives_are_entered(tmp_path: Path) -> None:
    jar = apex.archive({"inner/x.txt": b"deep"}, deflated=True)
    files = {"system/framework/a.jar": apex.archive({"lib/b.jar": jar}), "system/build.prop": b""}
    path = zipped(tmp_path / "rom.zip", files)
    name = "/system/framework/a.jar!/lib/b.jar!/inner/x.txt"
    assert run(path, name).stdout_bytes == b"deep"


def test_compiled_xml_is_written_as_it_is_or_decoded(rom: Path) -> None:
    name = f"{APP}!/AndroidManifest.xml"
    assert run(rom, name).stdout_bytes[:4] == b"\3\0\x08\0"
    text = run(rom, name, "--xml").output
    root = ElementTree.fromstring(text)
    assert root.tag == "manifest"
    assert root.get("package")
    application = root.find("application")
    assert application is not None
    assert any(key.startswith(ANDROID) for key in application.attrib)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/system/etc", "is a folder, not a file"),
        ("/system/etc/none", "nothing of that name is in the input"),
        (f"{APP}!/none", "nothing of that name is in the input"),
        ("/system/etc/hosts!/x", "is no archive that can be entered"),
        ("/../../etc/passwd", "nothing of that name is in the input"),
        ("../rom.zip", "nothing of that name is in the input"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_2(
    name: str, message: str, rom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cat", str(rom), name]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err.splitlines()[0]


def test_text_is_no_compiled_xml(rom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", str(rom), "/system/etc/hosts", "--xml"]) == 2
    assert capsys.readouterr().err.startswith("error: /system/etc/hosts: ")


def test_the_app_is_the_one_that_was_put_in(rom: Path) -> None:
    assert run(rom, APP).stdout_bytes == MESSAGING
