"""Full block-based packages around an ext4 image: edited, rebuilt, judged by e2fsck."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import brotli
import pytest

from rom_builder.build import build
from rom_builder.check import check
from rom_builder.cli import main
from rom_builder.edits import FileData
from rom_builder.errors import BuildRefused, ImageError, SigningError
from rom_builder.findings import Verdict
from rom_builder.formats.ext4 import open_ext4
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.source import BytesSource, FileSource
from rom_builder.formats.transfer_list import BLOCK_SIZE, open_transfer, parse_transfer_list
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.updater_script import parse_updater_script
from rom_builder.formats.vbmeta import read_footer
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.mechanisms import binding_models
from rom_builder.packing.block_script import with_digests
from rom_builder.plan import plan, read_brought
from rom_builder.policy.load import load_policies
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from tests.ab_package import sealed
from tests.cases import TODAY
from tests.file_based import FIXED_APP, write_tree
from tests.formats.builders import vbmeta as vbmeta_builder
from tests.formats.builders.device import TOP_KEY
from tests.formats.damage import noise
from tests.formats.ext4_images import judge
from tests.formats.images import make_ext4
from tests.signing_material import key, signer

APP = "/system/priv-app/Messaging/Messaging.apk"
DEVICE = "/dev/block/bootdevice/by-name/system"
GUARDS = """\
assert(getprop("ro.product.device") == "pine" || abort("E3004: not for this device."));
assert(!less_than_int(1500000000, getprop("ro.build.date.utc")) || abort("E3003: too old."));
"""
UPDATE = (
    f'block_image_update("{DEVICE}", package_extract_file("system.transfer.list"), '
    '"system.new.dat{suffix}", "system.patch.dat") || '
    'abort("E1001: Failed to update system image.");\n'
)
pytestmark = pytest.mark.judge("mkfs.ext4", "e2fsck")


@dataclass
class Base:
    """What a package is made of; a test changes what it is about.

    Attributes:
        tail: What follows the file system in the partition.
        line: Added to the transfer list.
    """

    size: str = "1M"
    brotli: bool = True
    version: int = 4
    tail: bytes = b""
    script: str = ""
    entries: dict[str, bytes] = field(default_factory=dict)
    avb: bool = False
    line: str = ""

    def image(self, folder: Path) -> bytes:
        source, image = folder / "system", folder / "system.img"
        shutil.rmtree(source, ignore_errors=True)
        write_tree(folder / "tree")
        shutil.move(folder / "tree" / "system", source)
        shutil.rmtree(folder / "tree")
        (source / "data.bin").write_bytes(noise(90_000, 4))
        options = ["-b", "4096", "-O", "^has_journal,^resize_inode"]
        make_ext4(source, image, options, self.size)
        return image.read_bytes() + self.tail

    def write(self, folder: Path) -> Path:
        image = self.image(folder)
        entries = dict(self.entries)
        if self.avb:
            image, item = sealed("system", image, len(image) + 64 * BLOCK_SIZE)
            entries["vbmeta.img"] = vbmeta_builder.vbmeta(item, TOP_KEY).ljust(8192, b"\0")
        text, data = transfer(image, self.version)
        suffix = ".br" if self.brotli else ""
        script = GUARDS + UPDATE.replace("{suffix}", suffix) + self.script
        meta = "META-INF/com/google/android"
        path = folder / "base.zip"
        with path.open("w+b") as file:
            writer = ZipWriter(file)
            for name in ("update-binary",):
                writer.add(f"{meta}/{name}", b"\x7fELF", compress=True)
            writer.add(f"{meta}/updater-script", script.encode(), compress=True)
            metadata = b"ota-type=BLOCK\npost-timestamp=1\npre-device=pine\n"
            writer.add("META-INF/com/android/metadata", metadata, compress=False)
            writer.add("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n", compress=True)
            writer.add("boot.img", noise(3000, 9), compress=True)
            writer.add("system.transfer.list", text + self.line.encode(), compress=True)
            packed = brotli.compress(data, quality=6) if self.brotli else data
            writer.add(f"system.new.dat{suffix}", packed, compress=not self.brotli)
            writer.add("system.patch.dat", b"", compress=False)
            for name, content in entries.items():
                writer.add(name, content, compress=False)
            writer.close()
        return path


def transfer(image: bytes, version: int) -> tuple[bytes, bytes]:
    """Write what is not zeros; of the rest a part as zeros, a part not at all."""
    blocks = range(len(image) // BLOCK_SIZE)
    at = {block: image[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE] for block in blocks}
    filled = [block for block in blocks if any(at[block])]
    empty = [block for block in blocks if not any(at[block])]
    zeros, unused = empty[: len(empty) // 3], empty[len(empty) // 3 :]
    lines = [str(version), str(len(filled) + len(zeros)), *(["0", "0"] if version > 1 else [])]
    for name, named in ("erase", unused), ("new", filled), ("zero", zeros):
        ranges = ",".join(f"{block},{block + 1}" for block in named)
        if named:
            lines.append(f"{name} {2 * len(named)},{ranges}")
    return "\n".join([*lines, ""]).encode(), b"".join(at[block] for block in filled)


def built(base: Path, output: Path, **more: object) -> Path:
    policies = load_policies(["messaging-opt-in"], binding_models())
    brought = {**read_brought([(APP, FIXED_APP)], []), **more.pop("brought", {})}  # type: ignore[dict-item]
    avb = signer(key("rsa-2048")) if more.pop("avb", False) else None
    build(base, policies, Keyring(signer(key()), avb=avb), output, brought=brought, today=TODAY)
    return output


def entries(path: Path) -> dict[str, bytes]:
    archive = ZipArchive(FileSource(path))
    return {name: archive.read(entry, 1 << 24) for name, entry in archive.entries.items()}


def partition(files: dict[str, bytes]) -> bytes:
    packed = "system.new.dat.br" in files
    data = BytesSource(files["system.new.dat.br" if packed else "system.new.dat"])
    source = open_transfer(files["system.transfer.list"], data, brotli=packed)
    return source.read_at(0, source.size)


def file_contents(image: bytes) -> dict[str, bytes]:
    tree = open_ext4(BytesSource(image))
    return {
        node.path: tree.open(node).read_at(0, node.size)
        for node in tree.walk()
        if node.kind is NodeKind.FILE
    }


@pytest.mark.parametrize("base", [Base(), Base(brotli=False, version=1)], ids=["brotli", "plain"])
def test_a_failing_package_becomes_a_compliant_one(base: Base, tmp_path: Path) -> None:
    path = base.write(tmp_path)
    policies = load_policies(["messaging-opt-in"], binding_models())
    assert check(path, policies, today=TODAY).verdict is Verdict.NON_COMPLIANT
    output = built(path, tmp_path / "out.zip")
    report = check(output, policies, today=TODAY)
    assert report.verdict is Verdict.COMPLIANT
    assert report.image.kind == "block-based OTA"
    verify_ota_signature(FileSource(output), [key().certificate])
    before, after = entries(path), entries(output)
    judge(partition(after), tmp_path / "judged.img")
    old, new = file_contents(partition(before)), file_contents(partition(after))
    changed = {name for name in old | new if old.get(name) != new.get(name)}
    made = plan(open_rom(path), policies, read_brought([(APP, FIXED_APP)], []))
    assert {f"/system/{name}" for name in changed} == {edit.path for edit in made.edits}
    assert new["priv-app/Messaging/Messaging.apk"] == FIXED_APP.read_bytes()


def test_what_no_edit_touches_stays_as_it_is(tmp_path: Path) -> None:
    path = Base().write(tmp_path)
    output = built(path, tmp_path / "out.zip")
    before, after = ZipArchive(FileSource(path)), ZipArchive(FileSource(output))
    edited = {"system.transfer.list", "system.new.dat.br", "META-INF/com/android/metadata"}
    assert [name for name in after.entries if name in before.entries] == [
        name for name in before.entries if name != "META-INF/MANIFEST.MF"
    ]
    for name, entry in after.entries.items():
        if name in before.entries:
            assert entry.method == before.entries[name].method
        if name in before.entries and name not in edited:
            raw = after.raw(entry).read_at(0, entry.compressed_size)
            assert raw == before.raw(before.entries[name]).read_at(0, entry.compressed_size)
    old, new = partition(entries(path)), partition(entries(output))
    tree = open_ext4(BytesSource(old))
    changed = file_contents(new)
    for node in tree.walk():
        if node.kind is NodeKind.FILE and changed[node.path] == file_contents(old)[node.path]:
            for run in tree.map_blocks(tree.inode(node.inode or 0)):
                part = slice(run.physical * BLOCK_SIZE, (run.physical + run.count) * BLOCK_SIZE)
                assert new[part] == old[part]
    listed = parse_transfer_list(entries(path)["system.transfer.list"])
    made = parse_transfer_list(entries(output)["system.transfer.list"])
    news = [command.ranges for command in made.commands if command.name == "new"]
    covered = {block for ranges in news for start, end in ranges for block in range(start, end)}
    assert {
        s for command in listed.commands if command.name == "new" for s, _ in command.ranges
    } <= covered
    assert after.read(after.entries[OTACERT], 1 << 16).startswith(b"-----BEGIN CERTIFICATE")


def test_the_same_base_gives_the_same_package(tmp_path: Path) -> None:
    path = Base().write(tmp_path)
    first, second = (entries(built(path, tmp_path / name)) for name in ("1.zip", "2.zip"))
    assert first == second
    assert list(first) == list(second)


def test_a_file_of_zeros_is_written_where_the_base_wrote_nothing(tmp_path: Path) -> None:
    path = Base().write(tmp_path)
    zeros = {"/system/etc/zeros.bin": FileData(bytes(8 * BLOCK_SIZE))}
    files = entries(built(path, tmp_path / "out.zip", brought=zeros))
    image = partition(files)
    judge(image, tmp_path / "judged.img")
    tree = open_ext4(BytesSource(image))
    node = next(node for node in tree.walk() if node.path == "etc/zeros.bin")
    held = {
        block
        for run in tree.map_blocks(tree.inode(node.inode or 0))
        for block in range(run.physical, run.physical + run.count)
    }
    written = {
        block
        for command in parse_transfer_list(files["system.transfer.list"]).commands
        if command.name != "erase"
        for start, end in command.ranges
        for block in range(start, end)
    }
    assert held <= written


def test_an_unpacked_package_is_a_base_too(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    for name, data in entries(Base().write(tmp_path)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    files = entries(built(folder, tmp_path / "out.zip"))
    judge(partition(files), tmp_path / "judged.img")


def test_the_plan_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Base().write(tmp_path)
    assert main(["plan", str(path), "-p", "messaging-opt-in"]) == 0
    assert "+ro.messaging.default=off" in capsys.readouterr().out


def test_avb_is_sealed_again(tmp_path: Path) -> None:
    extract = 'package_extract_file("vbmeta.img", "/dev/block/bootdevice/by-name/vbmeta");\n'
    path = Base(avb=True, script=extract).write(tmp_path)
    with pytest.raises(SigningError, match="no key for vbmeta"):
        built(path, tmp_path / "out.zip")
    files = entries(built(path, tmp_path / "out.zip", avb=True))
    assert files["vbmeta.img"] != entries(path)["vbmeta.img"]
    image = partition(files)
    footer = read_footer(BytesSource(image))
    assert footer is not None
    assert len(image) == len(partition(entries(path)))
    judge(image[: footer.original_image_size], tmp_path / "judged.img")


def test_avb_without_its_vbmeta_image_is_refused(tmp_path: Path) -> None:
    image, _ = sealed("system", Base().image(tmp_path), 400 * BLOCK_SIZE)
    text, data = transfer(image, 4)
    path = Base(brotli=False).write(tmp_path)
    replace(path, {"system.transfer.list": text, "system.new.dat": data})
    refused(path, "AVB footer, and the package no vbmeta")


def test_a_vbmeta_image_that_nothing_installs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildRefused, match=r"vbmeta\.img has to change.*not install"):
        built(Base(avb=True).write(tmp_path), tmp_path / "out.zip", avb=True)


def replace(path: Path, new: dict[str, bytes]) -> None:
    old = entries(path)
    file = io.BytesIO()
    writer = ZipWriter(file)
    for name, data in (old | new).items():
        writer.add(name, data, compress=True)
    writer.close()
    path.write_bytes(file.getvalue())


def refused(path: Path, message: str, error: type[Exception] = BuildRefused) -> None:
    output = path.with_name("out.zip")
    with pytest.raises(error, match=message):
        built(path, output)
    assert not output.exists()


@pytest.mark.parametrize("magic", [b"\x01\xb0\x01\xb0", b"VOFF"])
def test_dm_verity_1_is_refused(magic: bytes, tmp_path: Path) -> None:
    tail = noise(2 * BLOCK_SIZE) + magic.ljust(8 * BLOCK_SIZE, b"\1")
    refused(Base(tail=tail).write(tmp_path), r"dm-verity 1\.0 metadata at byte 0x102000")


def test_an_incremental_package_is_refused(tmp_path: Path) -> None:
    refused(Base(line="move abc 2,0,1 1 2,1,2\n").write(tmp_path), "incremental: line")


@pytest.mark.parametrize(
    ("tail", "message", "error"),
    [(b"", "no room", BuildRefused), (noise(BLOCK_SIZE), "full, and other bytes", ImageError)],
)
def test_a_full_partition_is_refused(
    tail: bytes, message: str, error: type[Exception], tmp_path: Path
) -> None:
    base = Base(tail=tail).write(tmp_path)
    big = {"/system/etc/big.bin": FileData(noise(1 << 20))}
    with pytest.raises(error, match=message):
        built(base, tmp_path / "out.zip", brought=big)


def test_a_full_file_system_takes_the_rest_of_its_partition(tmp_path: Path) -> None:
    base = Base(tail=bytes(300 * BLOCK_SIZE)).write(tmp_path)
    big = {"/system/etc/big.bin": FileData(noise(1 << 20))}
    image = partition(entries(built(base, tmp_path / "out.zip", brought=big)))
    assert len(image) == (1 << 20) + 300 * BLOCK_SIZE
    judge(image, tmp_path / "judged.img")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (f'range_sha1("{DEVICE}", "2,0,9") == "{"0" * 40}" || abort("E");', "not that of the base"),
        (f'sha1_check(read_file("EMMC:{DEVICE}:9:0"), "0");', "asks for bytes"),
        ('range_sha1("/dev/block/by-name/system", "2,0,9");', "asks for bytes"),
        (f'range_sha1("{DEVICE}", "9") == "x";', "range set"),
    ],
)
def test_a_script_that_verifies_other_bytes_is_refused(
    call: str, message: str, tmp_path: Path
) -> None:
    refused(Base(script=call).write(tmp_path), message)


def test_a_digest_of_the_image_is_kept_true(tmp_path: Path) -> None:
    path = Base().write(tmp_path)
    digest = hashlib.sha1(partition(entries(path))[: 200 * BLOCK_SIZE]).hexdigest()
    other = 'range_sha1("/dev/block/bootdevice/by-name/vendor", "2,0,9") == "5";\n'
    line = f'if range_sha1("{DEVICE}", "2,0,200") == "{digest}" then ui_print("ok") endif;\n'
    name = "META-INF/com/google/android/updater-script"
    replace(path, {name: entries(path)[name] + (line + other).encode()})
    files = entries(built(path, tmp_path / "out.zip"))
    after = hashlib.sha1(partition(files)[: 200 * BLOCK_SIZE]).hexdigest()
    assert files[name] == entries(path)[name].replace(digest.encode(), after.encode())
    assert after != digest


def test_a_script_that_does_not_install_the_image_is_refused(tmp_path: Path) -> None:
    path = Base().write(tmp_path)
    replace(path, {"META-INF/com/google/android/updater-script": GUARDS.encode()})
    refused(path, "does not install it by one block_image_update")


def test_a_digest_in_either_order_is_found() -> None:
    image, edited = BytesSource(noise(BLOCK_SIZE, 1)), BytesSource(noise(BLOCK_SIZE, 2))
    old, new = (hashlib.sha1(s.read_at(0, s.size)).hexdigest() for s in (image, edited))
    script = parse_updater_script(f'assert("{old}" == range_sha1("/d", "2,0,1"));'.encode())
    changed = {"/d": (image, edited)}
    assert with_digests(script, changed, set()) == script.data.replace(old.encode(), new.encode())
