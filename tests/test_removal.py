"""Files that are taken out of partition images and packages, and bytes that are not to stay."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from rom_builder.cli import main
from rom_builder.errors import BuildRefused
from rom_builder.formats.erofs import plan_edits
from rom_builder.formats.image_edit import FileChange
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import BytesSource, FileSource
from rom_builder.formats.vbmeta import read_footer
from rom_builder.formats.zip import ZipArchive
from rom_builder.packing.partitions import refuse_remains
from rom_builder.rom.opening import open_rom
from tests.file_based import write_package
from tests.formats.erofs_tree import FIXTURES

EXAMPLE = Path(__file__).parent.parent / "examples" / "demo"
BASE = EXAMPLE / "pine-4118.zip"
APP = "/product/priv-app/Messaging/Messaging.apk"
NOTES = "/system/app/Notes/Notes.apk"
FIXED = f"{APP}={EXAMPLE / 'Messaging-2.0.apk'}"


def build(output: Path, *options: str, base: Path = BASE) -> int:
    return main(
        ["build", str(base), "-p", "messaging-opt-in", "-s", "dev", "-o", str(output), *options]
    )


def image(package: Path, name: str) -> bytes:
    archive = ZipArchive(FileSource(package))
    source = Payload(archive.open(archive.entries["payload.bin"])).partition(name)
    return source.read_at(0, source.size)


def traces(content: bytes, of: bytes) -> int:
    """Count the pieces of 64 bytes of a file, at any offset, that an image still holds."""
    pieces = {of[start : start + 64] for start in range(0, len(of) - 64, 64)}
    return sum(piece in content for piece in pieces if len(set(piece)) > 8)


OLD_APP = (EXAMPLE / "product/priv-app/Messaging/Messaging.apk").read_bytes()
OLD_NOTES = (EXAMPLE / "system/system/app/Notes/Notes.apk").read_bytes()
OLD_NOTICE = (EXAMPLE / "system/system/etc/reference-messaging/consent_notice.txt").read_bytes()


@pytest.mark.judge("fsck.erofs", "e2fsck")
def test_what_is_removed_and_replaced_is_wiped_on_request(tmp_path: Path) -> None:
    """EROFS: the app is replaced; ext4: an app is removed and a text replaced."""
    kept, wiped = tmp_path / "kept.zip", tmp_path / "wiped.zip"
    options = ("--replace", FIXED, "--remove", "/system/app/Notes")
    assert build(kept, *options) == 0
    assert build(wiped, *options, "--wipe") == 0
    for name, old in (("product", OLD_APP), ("system", OLD_NOTES), ("system", OLD_NOTICE)):
        assert traces(image(BASE, name), old) > 0
        assert traces(image(kept, name), old) > 0
        left = image(wiped, name)
        new = (EXAMPLE / "Messaging-2.0.apk").read_bytes() if name == "product" else b""
        shared = sum(
            piece in new
            for piece in {old[at : at + 64] for at in range(0, len(old) - 64, 64)}
            if len(set(piece)) > 8
        )
        assert traces(left, old) <= shared
    for package in (kept, wiped):
        assert main(["verify", str(package)]) == 0
        rom = open_rom(package)
        assert rom.find("/system/app") is not None
        assert [path for path in rom.files if path.startswith("/system/app/")] == []
        judged(package, tmp_path)


def judged(package: Path, folder: Path) -> None:
    for name, command in (("product", ["fsck.erofs"]), ("system", ["e2fsck", "-fn"])):
        data = image(package, name)
        (folder / "image").write_bytes(data)
        footer = read_footer(FileSource(folder / "image"))
        assert footer is not None
        (folder / "image").write_bytes(data[: footer.original_image_size])
        done = subprocess.run(
            [*command, folder / "image"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_plan_names_what_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", str(BASE), "-p", "messaging-opt-in", "--remove", "/system/app"]
    assert main(command) == 0
    output = capsys.readouterr().out
    for path in ("/system/app", "/system/app/Notes", NOTES):
        assert f"# remove {path}: taken out by --remove" in output


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/system/app/None.apk", "no file of the base lies there"),
        ("/", "cannot be removed"),
        ("system/app", "not an absolute device path"),
        ("/system/../system/app", "not an absolute device path"),
        ("/system/etc/reference-messaging/service.xml", "is to be removed, and is needed"),
    ],
)
def test_what_cannot_be_removed_is_refused(
    path: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path / "out.zip", "--replace", FIXED, "--remove", path) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_both_brought_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path / "out.zip", "--replace", FIXED, "--remove", APP) == 2
    assert "is to be removed, and is needed" in capsys.readouterr().err


def test_a_file_based_package_is_left_without_the_file(tmp_path: Path) -> None:
    base = write_package(tmp_path / "base.zip")
    output = tmp_path / "out.zip"
    fixed = f"/system/priv-app/Messaging/Messaging.apk={EXAMPLE / 'Messaging-2.0.apk'}"
    assert build(output, "--replace", fixed, "--remove", NOTES, base=base) == 0
    names = set(ZipArchive(FileSource(output)).entries)
    assert "system/app/Notes/Notes.apk" not in names
    assert "system/priv-app/Messaging/Messaging.apk" in names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b'delete_recursive("/system/app", "/system/priv-app", "/system/etc");\n',
            b"",
            "phones that have the file would keep it",
        ),
        (
            b"unmount(",
            b'set_metadata("/system/app/Notes/Notes.apk", "uid", 0, "gid", 0, "mode", 0644);\nunmount(',
            "the updater-script names it in set_metadata()",
        ),
    ],
)
def test_a_script_that_would_keep_or_ask_for_the_file_is_refused(
    old: bytes, new: bytes, message: str, tmp_path: Path
) -> None:
    from rom_builder.packing.file_pack import refuse_lasting
    from tests.file_based import write_tree

    base = write_tree(tmp_path / "base")
    script = base / "META-INF/com/google/android/updater-script"
    script.write_bytes(script.read_bytes().replace(old, new))
    with pytest.raises(BuildRefused, match=message.replace("(", r"\(").replace(")", r"\)")):
        refuse_lasting(open_rom(base), NOTES)


def test_content_that_other_files_share_cannot_be_wiped() -> None:
    """In an image with deduplicated content the bytes of one file are another's, too."""
    data = gzip.decompress((FIXTURES / "zstd-dedupe.img.gz").read_bytes())
    planned = plan_edits(BytesSource(data), [FileChange("app/Big.apk", None)], wipe=True)
    with pytest.raises(
        BuildRefused, match=r"bytes of app/Big\.apk cannot be wiped: other files use"
    ):
        refuse_remains("payload.bin!/product", planned)
