"""The same ROM in every kind of input: the same files, the same verdict."""

from __future__ import annotations

import zipfile
from datetime import date
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.check import check
from rom_builder.errors import ImageError
from rom_builder.findings import Report, Verdict
from rom_builder.formats.source import FileSource
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from rom_builder.readers.signatures import read_signing_certificates
from rom_builder.rom.nested import list_names, open_name
from rom_builder.rom.opening import open_file, open_rom
from tests.formats.builders import apex
from tests.kinds import (
    BOOT,
    CONTENT,
    KINDS,
    MESSAGING,
    NAMES,
    OLD_BOOT,
    TREES,
    apex_module,
    erofs_image,
    ext4_image,
    make,
    payload,
    squashfs_image,
    super_image,
    zipped,
)
from tests.roms import jar_signature

pytestmark = pytest.mark.judge("mkfs.ext4")
POLICIES = ("messaging-opt-in", "rom-baseline")
FILE_SYSTEMS = {
    "ext4": ext4_image,
    "EROFS": erofs_image,
    "SquashFS": squashfs_image,
}


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ext4_image(tmp_path_factory.mktemp("image"))


def report_of(path: Path) -> Report:
    policies = load_policies(POLICIES, binding_models())
    return check(path, policies, today=date(2026, 1, 1))


def said(report: Report) -> list[tuple[str, str, str]]:
    return [(f.rule, str(f.status), f.message) for f in report.findings]


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(make("folder", tmp_path_factory.mktemp("expected"), b""))


@pytest.mark.parametrize("name", [*TREES, *KINDS])
def test_the_verdict_and_the_files_are_the_same_in_every_kind(
    name: str, image: bytes, expected: Report, tmp_path: Path
) -> None:
    path = make(name, tmp_path, image)
    report = report_of(path)
    assert report.unread == ()
    assert said(report) == said(expected)
    assert report.requirements == expected.requirements
    assert report.verdict is expected.verdict is Verdict.NON_COMPLIANT
    rom = open_rom(path)
    listed = [entry.name for entry in list_names(rom, "/", recursive=True)]
    in_system = [name for name in listed if name.startswith("/system/")]
    assert [name for name in in_system if name != "/system/lost+found"] == NAMES
    for file, data in CONTENT.items():
        source = open_name(rom, f"/system/{file}")
        assert source.read_at(0, source.size) == data, file


@pytest.mark.judge("mkfs.erofs", "mksquashfs")
@pytest.mark.parametrize("system", FILE_SYSTEMS)
def test_the_verdict_is_the_same_in_every_file_system(
    system: str, expected: Report, tmp_path: Path
) -> None:
    path = tmp_path / "system.img"
    path.write_bytes(FILE_SYSTEMS[system](tmp_path))
    report = report_of(path)
    assert report.image.kind == f"{system} image"
    assert report.unread == ()
    assert said(report) == said(expected)


def test_every_file_of_the_reference_lies_where_its_name_says(image: bytes, tmp_path: Path) -> None:
    names = {
        "factory zip": "pine-up1a/image-pine-up1a.zip!/system.img!/etc/hosts",
        "super 10.2 with slots": "system_a!/etc/hosts",
        "disk image with a super partition": "super!/system_a!/etc/hosts",
        "A/B OTA": "payload.bin!/system!/etc/hosts",
        "fastboot tgz with a split super": "pine/images/super.img!/system_a!/etc/hosts",
        "block-based OTA 1, plain": "system.transfer.list!/etc/hosts",
        "file-based OTA": "system/etc/hosts",
    }
    for name, nested in names.items():
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        rom = open_rom(make(name, folder, image))
        source = open_name(rom, nested)
        assert source.read_at(0, source.size) == CONTENT["etc/hosts"], name


def test_a_boot_image_opens_down_to_the_files_of_its_ramdisk(tmp_path: Path) -> None:
    (tmp_path / "boot.img").write_bytes(BOOT)
    rom = open_rom(tmp_path / "boot.img")
    assert next(e.name for e in list_names(rom, ".", recursive=True)).startswith("ramdisk!/")
    source = open_name(rom, "ramdisk!/init")
    assert source.read_at(0, 2) == b"#!"


def test_the_old_boot_ramdisk_is_the_root_of_the_device(image: bytes, tmp_path: Path) -> None:
    rom = open_rom(zipped(tmp_path / "rom.zip", {"boot.img": OLD_BOOT, "system.img": image}))
    assert rom.find("/init.rc") is not None


def test_the_first_slot_with_files_is_judged_and_the_other_named(
    image: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "super.img"
    path.write_bytes(super_image({"system_a": image, "system_b": image}))
    report = report_of(path)
    assert report.unread == ()
    assert report.notes == ("system_b is not judged: the input holds system another time",)
    rom = open_rom(path)
    assert open_name(rom, "system_b!/etc/hosts").size == len(CONTENT["etc/hosts"])


class Counting:
    """A source that counts the bytes read of another."""

    def __init__(self, path: Path) -> None:
        self._source = FileSource(path)
        self.size = self._source.size
        self.read = 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.read += size
        return self._source.read_at(offset, size)


@pytest.mark.parametrize("name", ["raw image", "sparse image", "super 10.0", "payload.bin"])
def test_one_small_file_costs_a_small_part_of_a_big_image(name: str, tmp_path: Path) -> None:
    noise = bytes(4096) + bytes(range(1, 256)) * 4112
    files = CONTENT | {f"media/{n}.bin": noise * 3 for n in range(4)}
    path = make(name, tmp_path, ext4_image(tmp_path, files, "16M"))
    source = Counting(path)
    rom = open_file(path, source)
    assert open_name(rom, "/system/etc/hosts").read_at(0, 20) == CONTENT["etc/hosts"]
    assert source.read < source.size / 8


def test_a_rom_of_images_without_a_system_is_never_compliant(tmp_path: Path) -> None:
    (tmp_path / "payload.bin").write_bytes(payload({"boot": BOOT}))
    report = report_of(tmp_path / "payload.bin")
    assert report.verdict is not Verdict.COMPLIANT
    assert [part.path for part in report.unread] == ["/system"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("song.mp3", b"ID3\3\0" + bytes(5000), "is of an unknown kind"),
        ("empty", b"", "it is empty"),
        ("text", b"no ROM\n", "is of an unknown kind"),
    ],
)
def test_what_is_no_rom_is_refused_in_one_line(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        open_rom(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_zip_without_a_rom_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday/photo.jpg").write_bytes(b"\xff\xd8")
    zipped(tmp_path / "holiday.zip", {"photo.jpg": b"\xff\xd8"})
    for name in ("holiday", "holiday.zip"):
        with pytest.raises(ImageError, match="holds nothing of a ROM"):
            open_rom(tmp_path / name)
    with pytest.raises(ImageError, match="No such file"):
        open_rom(tmp_path / "missing")


def test_archives_are_entered_by_name(image: bytes, tmp_path: Path) -> None:
    rom = open_rom(make("raw image", tmp_path, image))
    apk = "/system/app/Messaging/Messaging.apk"
    inside = [entry.name for entry in list_names(rom, f"{apk}!/")]
    assert f"{apk}!/AndroidManifest.xml" in inside
    manifest = open_name(rom, f"{apk}!/AndroidManifest.xml")
    assert manifest.read_at(0, 2) == b"\3\0"
    assert manifest.size < len(MESSAGING)
    with pytest.raises(ImageError, match="nothing of that name") as caught:
        open_name(rom, f"{apk}!/AndroidManifst.xml")
    assert caught.value.hint == f"did you mean {rom.find(apk).name}!/AndroidManifest.xml?"  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="no archive"):
        list_names(rom, "/system/etc/hosts!/")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_module_opens_alone_and_inside_a_rom(
    compressed: bool, image: bytes, tmp_path: Path
) -> None:
    module = apex_module(rsa.generate_private_key(65537, 2048), image)
    prefix = ""
    if compressed:
        with zipfile.ZipFile(BytesIO(module)) as file:
            outer = {n: file.read(n) for n in ("apex_manifest.pb", "apex_pubkey")}
        module = apex.archive(outer | {"original_apex": module}, deflated=True)
        prefix = "original_apex!/"
    alone = tmp_path / "example.apex"
    alone.write_bytes(module)
    suffix = "capex" if compressed else "apex"
    files = {"system/build.prop": b"", f"system/apex/example.{suffix}": module}
    inside = zipped(tmp_path / "rom.zip", files)
    for path, name in ((alone, ""), (inside, f"system/apex/example.{suffix}!/")):
        rom = open_rom(path)
        assert rom.unread == []
        for asked in ("/apex/com.android.example", f"{name}{prefix}apex_payload.img!"):
            source = open_name(rom, f"{asked}/etc/hosts")
            assert source.read_at(0, source.size) == CONTENT["etc/hosts"]


@pytest.mark.parametrize(
    ("name", "frozen"), [("com.android.apex.cts.shim", True), ("other", False)]
)
def test_only_the_test_shim_of_modules_may_have_the_test_key(
    name: str, frozen: bool, image: bytes, tmp_path: Path
) -> None:
    module = apex_module(rsa.generate_private_key(65537, 2048), image, name)
    with zipfile.ZipFile(BytesIO(module)) as file:
        entries = {entry: file.read(entry) for entry in file.namelist()}
    signed = apex.archive({**entries, **jar_signature(entries, "testkey")})
    rom = open_rom(zipped(tmp_path / "rom.zip", {"system/apex/a.apex": signed}))
    (found,) = read_signing_certificates(rom, 29)
    assert (found.known_as is not None, found.frozen) == (True, frozen)
