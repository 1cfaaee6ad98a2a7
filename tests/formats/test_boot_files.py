from __future__ import annotations

import gzip
import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.boot_files import with_file
from rom_builder.formats.boot_image import open_boot_image
from rom_builder.formats.compression import Codec, compress
from rom_builder.formats.ramdisk import open_ramdisk, read_ramdisk
from rom_builder.formats.ramdisk_files import with_ramdisk_file
from rom_builder.formats.source import BytesSource
from tests.formats.builders.boot_image import boot_v0, boot_v1, boot_v4, mtk, vendor_boot_v4
from tests.formats.builders.cpio import archive, entry
from tests.formats.damage import noise

PATH = "res/keys"
OLD, NEW = b"old keys", b"these are the new keys, and they are longer " * 300
CPIO = archive(
    entry(b"init", b"#!init", mode=0o100755),
    entry(b"./res/keys", OLD, mode=0o100600),
    entry(b"z", noise(9001, 1)),
)
PACKED = gzip.compress(CPIO)
BOOTS = {
    "v0": boot_v0(b"kernel" * 900, PACKED, device_tree=b"qcdt" * 900),
    "v0 MediaTek": boot_v0(mtk(b"KERNEL", b"k" * 99), mtk(b"ROOTFS", PACKED)),
    "v1": boot_v1(b"kernel" * 900, PACKED, b"second", b"dtbo" * 900),
    "v2": boot_v1(b"kernel" * 900, PACKED, b"", b"dtbo" * 900, b"dtb" * 900),
    "v4": boot_v4(b"kernel" * 900, PACKED),
    "vendor v4": vendor_boot_v4(
        [(b"", 1, gzip.compress(archive(entry(b"a", b"b")))), (b"recovery", 2, PACKED), (b"d", 3, PACKED)],
        b"dtb" * 900,
        b"a=b\n",
    ),
}  # fmt: skip


def files(image: bytes) -> dict[str, tuple[bytes, int | None]]:
    tree = open_ramdisk([each.content for each in open_boot_image(BytesSource(image)).ramdisks])
    return {
        node.path: (tree.open(node).read_at(0, node.size), node.mode)
        for node in tree.walk()
        if node.kind.value == "file"
    }


def sections(image: bytes) -> list[bytes]:
    boot = open_boot_image(BytesSource(image))
    found = (boot.kernel, boot.second, boot.recovery_dtbo, boot.dtb, boot.bootconfig)
    return [each.read_at(0, each.size) if each else b"" for each in found]


@pytest.mark.parametrize("name", BOOTS)
@pytest.mark.parametrize("data", [NEW, b""], ids=["longer", "empty"])
def test_one_file_changes_and_all_else_stays(name: str, data: bytes) -> None:
    before = BOOTS[name]
    after = with_file(BytesSource(before), PATH, data)
    assert files(after) == {**files(before), PATH: (data, 0o600)}
    assert sections(after) == sections(before)
    one, two = (open_boot_image(BytesSource(image)) for image in (before, after))
    assert [(r.name, r.kind) for r in one.ramdisks] == [(r.name, r.kind) for r in two.ramdisks]
    for old, new in zip(one.ramdisks, two.ramdisks, strict=True):
        assert (old.mtk_header is None) == (new.mtk_header is None)
        assert new.mtk_header is None or new.mtk_header.size == new.content.size
    assert with_file(BytesSource(before), PATH, data) == after


def test_the_offset_of_the_recovery_dtbo_moves() -> None:
    image = bytearray(BOOTS["v1"])
    at = image.index(b"dtbodtbo")
    image[1636:1644] = at.to_bytes(8, "little")
    new = with_file(BytesSource(bytes(image)), PATH, noise(20_000, 3))
    assert int.from_bytes(new[1636:1644], "little") == new.index(b"dtbodtbo") != at


def test_the_digest_of_mkbootimg_is_computed_anew() -> None:
    def digest(image: bytes) -> bytes:
        boot = open_boot_image(BytesSource(image))
        total = hashlib.sha1()
        for part in (boot.kernel, boot.ramdisks[0].content, boot.second):
            data = part.read_at(0, part.size) if part else b""
            total.update(data + len(data).to_bytes(4, "little"))
        return total.digest()

    image = boot_v0(b"kernel", PACKED)
    image = image[:576] + digest(image) + image[596:]
    after = with_file(BytesSource(image), PATH, NEW)
    assert after[576:596] == digest(after) != image[576:596]


def test_a_boot_signature_that_no_longer_holds_is_left_out() -> None:
    image = boot_v4(b"kernel", PACKED, b"AVB0".ljust(4096, b"s"))
    assert open_boot_image(BytesSource(with_file(BytesSource(image), PATH, NEW))).signature is None


def test_an_image_with_something_behind_it_is_refused() -> None:
    with pytest.raises(ImageError, match="maybe a signature"):
        with_file(BytesSource(BOOTS["v0"] + b"0\x82\x02\x00"), PATH, NEW)


def test_a_file_that_is_not_there_is_refused() -> None:
    for image in BOOTS.values():
        with pytest.raises(ImageError, match="no ramdisk holds absent"):
            with_file(BytesSource(image), "absent", NEW)


@pytest.mark.parametrize("codec", [None, *Codec])
def test_a_ramdisk_is_compressed_as_it_was(codec: Codec | None) -> None:
    packed = compress(codec, CPIO) if codec else CPIO
    new = with_ramdisk_file(packed, PATH, NEW)
    assert new is not None
    (segment,) = read_ramdisk(BytesSource(new))
    assert segment.codec is codec
    assert NEW in segment.content


def test_other_streams_keep_their_bytes_and_places() -> None:
    first = gzip.compress(archive(entry(b"first", b"1"), entry(b"res/keys", b"shadowed")))
    last = archive(entry(b"last", b"2"))
    padded = [part + bytes(-len(part) % 4) for part in (first, PACKED)]
    new = with_ramdisk_file(b"".join([*padded, last]), PATH, NEW)
    assert new is not None
    assert new.startswith(padded[0])
    assert new.endswith(last)
    assert (len(new) - len(last)) % 4 == 0
    tree = open_ramdisk([BytesSource(new)])
    (node,) = [node for node in tree.walk() if node.path == PATH]
    assert tree.open(node).read_at(0, node.size) == NEW
    assert tree.unread == []


def test_a_hard_link_is_refused() -> None:
    linked = archive(entry(b"a", b"x", inode=5, links=2), entry(b"b", b"", inode=5, links=2))
    with pytest.raises(ImageError, match="no plain file with one name"):
        with_ramdisk_file(linked, "a", NEW)


@pytest.mark.judge("cpio")
def test_cpio_takes_the_archive(tmp_path: Path) -> None:
    new = with_ramdisk_file(CPIO, PATH, NEW)
    assert new is not None
    subprocess.run(["cpio", "-id", "--quiet"], input=new, cwd=tmp_path, check=True)
    assert (tmp_path / PATH).read_bytes() == NEW
    assert (tmp_path / "z").read_bytes() == noise(9001, 1)


@pytest.mark.judge("mkbootimg")
@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_an_edited_image_is_what_mkbootimg_makes_of_the_edited_ramdisk(
    version: int, tmp_path: Path
) -> None:
    new = with_ramdisk_file(PACKED, PATH, NEW)
    assert new is not None
    parts = {"kernel": b"kernel" * 900, "dtb": b"dtb" * 900, "old": PACKED}
    for name, data in {**parts, "new": new}.items():
        (tmp_path / name).write_bytes(data)
    options = ["--kernel", "kernel", "--header_version", str(version)]
    options += ["--dtb", "dtb"] if version == 2 else []

    def made(ramdisk: str) -> bytes:
        command = ["mkbootimg", *options, "--ramdisk", ramdisk, "-o", "boot.img"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / "boot.img").read_bytes()

    assert with_file(BytesSource(made("old")), PATH, NEW) == made("new")


@pytest.mark.judge("mkbootimg")
def test_an_edited_vendor_boot_is_what_mkbootimg_makes(tmp_path: Path) -> None:
    new = with_ramdisk_file(PACKED, PATH, NEW)
    assert new is not None
    for name, data in {"dtb": b"dtb" * 900, "old": PACKED, "new": new}.items():
        (tmp_path / name).write_bytes(data)

    def made(ramdisk: str) -> bytes:
        options = ["--vendor_boot", "v.img", "--header_version", "3", "--dtb", "dtb"]
        command = ["mkbootimg", *options, "--vendor_ramdisk", ramdisk]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / "v.img").read_bytes()

    assert with_file(BytesSource(made("old")), PATH, NEW) == made("new")


@pytest.mark.parametrize("name", BOOTS)
def test_damage_is_an_image_error(name: str) -> None:
    whole, chance = BOOTS[name], random.Random(name)
    for _ in range(60):
        image = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            image[chance.choice([chance.randrange(64), chance.randrange(len(image))])] = (
                chance.randrange(256)
            )
        del image[chance.choice([len(image), chance.randrange(len(image))]) :]
        try:
            new = with_file(BytesSource(bytes(image)), PATH, NEW)
        except ImageError:
            continue
        assert files(new)[PATH][0] == NEW
