from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rom_builder.cli import cli
from rom_builder.errors import ImageError
from tests.formats.erofs_tree import CAPABILITIES, LABELS, fixture
from tests.kinds import CONTENT, SCRIPT, zipped


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["ls", *map(str, arguments)])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    script = {"META-INF/com/google/android/updater-script": SCRIPT}
    return zipped(tmp_path / "ota.zip", script | {f"system/{n}": d for n, d in CONTENT.items()})


def test_the_device_is_listed_folder_by_folder(package: Path) -> None:
    assert run(package).output == "/system\n"
    assert run(package, "/system").output.split() == [
        "/system/app",
        "/system/build.prop",
        "/system/etc",
    ]
    assert run(package, "/system/build.prop").output == "/system/build.prop\n"


def test_a_dot_lists_what_the_input_itself_holds(package: Path) -> None:
    assert run(package, ".").output.split() == ["META-INF", "system"]
    assert run(package, "system/etc/hosts").output == "system/etc/hosts\n"


def test_everything_below_is_listed_on_demand(package: Path) -> None:
    listed = run(package, "-R", "/system/etc").output.split()
    assert listed == [
        "/system/etc/big.bin",
        "/system/etc/hosts",
        "/system/etc/permissions",
        "/system/etc/permissions/pine.xml",
    ]


def test_an_archive_is_entered(package: Path) -> None:
    app = "/system/app/Messaging/Messaging.apk"
    assert f"{app}!/AndroidManifest.xml\n" in run(package, f"{app}!/").output
    assert run(package, app).output == f"{app}\n"


def test_the_long_form_shows_all_that_a_device_would_use(tmp_path: Path) -> None:
    (tmp_path / "system.img").write_bytes(fixture("plain"))
    result = run(tmp_path / "system.img", "-l", "bin")
    (ping,) = (line for line in result.output.splitlines() if line.endswith("/ping"))
    assert ping.startswith("-rwsr-xr-x     0     0        600 ")
    assert LABELS["bin/ping"] in ping
    assert CAPABILITIES.hex() in ping
    (link,) = run(tmp_path / "system.img", "-l", "etc/mtab").output.splitlines()
    assert link.startswith("lrwxrwxrwx")
    assert link.endswith("etc/mtab -> /proc/mounts")


def test_what_the_input_does_not_say_is_a_dash(package: Path) -> None:
    (line,) = run(package, "-l", "/system/etc/hosts").output.splitlines()
    assert line.split()[1:3] == ["-", "-"]


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    zipped(tmp_path / "rom.zip", {"system/a\x1b[2Jb": b"", "system/build.prop": b""})
    assert run(tmp_path / "rom.zip", "/system").output.splitlines()[0] == "/system/a?[2Jb"


def test_what_could_not_be_read_is_said_on_the_other_stream(tmp_path: Path) -> None:
    files = {"system/build.prop": b"", "product.img": b"unknown " * 1024}
    result = run(zipped(tmp_path / "rom.zip", files))
    assert result.exit_code == 0
    assert result.stdout == "/system\n"
    assert "not read: product.img: a file system of an unknown kind" in result.stderr


def test_a_misspelt_name_is_answered_with_the_nearest(package: Path) -> None:
    result = run(package, "/system/etc/hots")
    assert isinstance(result.exception, ImageError)
    assert result.exception.hint == "did you mean /system/etc/hosts?"
