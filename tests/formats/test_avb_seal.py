from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
)
from rom_builder.formats.avb_key import Algorithm
from rom_builder.formats.avb_seal import Sealed, describe, seal
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.vbmeta import parse_vbmeta, read_footer, read_vbmeta, verify_vbmeta
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import (
    BLOCK,
    BOOT_KEY,
    CONTENT,
    NEW_KEY,
    SALT,
    SIZES,
    SYSTEM_KEY,
    TOP_KEY,
    avb_key,
    device,
)
from tests.formats.damage import noise, survives

KEYS = {
    "vbmeta": avb_key(TOP_KEY),
    "vbmeta_system": avb_key(SYSTEM_KEY),
    "boot": avb_key(BOOT_KEY),
}
SYSTEM = BytesSource(CONTENT["system"][: 200 * BLOCK] + noise(103 * BLOCK, 9))
VENDOR = BytesSource(b"edited" + CONTENT["vendor"][6:])
BOOT = BytesSource(b"edited" + CONTENT["boot"][6:] + b"longer")


def everything(source: Source) -> bytes:
    return source.read_at(0, source.size)


def descriptor_of(images: Mapping[str, Source], holder: str, name: str) -> object:
    found = [
        item
        for item in read_vbmeta(images[holder]).descriptors
        if getattr(item, "partition_name", None) == name
    ]
    assert len(found) == 1
    return found[0]


def verify_all(images: Mapping[str, Source], keys: Mapping[str, bytes]) -> None:
    """Follow the chain of trust as a bootloader and dm-verity do."""
    top = read_vbmeta(images["vbmeta"])
    verify_vbmeta(top, keys["vbmeta"])
    holders = [top]
    for item in top.descriptors:
        if isinstance(item, ChainPartitionDescriptor):
            holders.append(read_vbmeta(images[item.partition_name]))
            verify_vbmeta(holders[-1], item.public_key)
            assert item.public_key == keys[item.partition_name]
    seen = set()
    for holder in holders:
        for item in holder.descriptors:
            if isinstance(item, HashDescriptor | HashtreeDescriptor):
                verify_image(images[item.partition_name], item)
                seen.add(item.partition_name)
    assert seen == {"system", "vendor", "boot", "dtbo"}


BASE_KEYS = {name: key.public_key for name, key in KEYS.items()}


def merged(base: Mapping[str, Source], sealed: Sealed) -> dict[str, Source]:
    return {**base, **sealed.images}


def test_the_base_verifies() -> None:
    verify_all(device(), BASE_KEYS)


def test_a_changed_partition_remakes_only_what_names_it() -> None:
    base = device()
    sealed = seal(base, {"system": SYSTEM}, KEYS)
    assert sealed.images.keys() == {"system", "vbmeta_system"}
    verify_all(merged(base, sealed), BASE_KEYS)
    for name, image in sealed.images.items():
        assert image.size == base[name].size
    old, new = (
        descriptor_of(images, "vbmeta_system", "system") for images in (base, sealed.images)
    )
    assert isinstance(old, HashtreeDescriptor)
    assert isinstance(new, HashtreeDescriptor)
    assert new == sealed.descriptors["system"] == descriptor_of(sealed.images, "system", "system")
    assert (new.salt, new.flags, new.fec_roots) == (old.salt, old.flags, old.fec_roots)
    assert new.image_size == new.tree_offset == SYSTEM.size
    assert everything(sealed.images["system"])[: SYSTEM.size] == everything(SYSTEM)
    footer = read_footer(sealed.images["system"])
    assert footer
    assert footer.original_image_size == SYSTEM.size
    before, after = read_vbmeta(base["vbmeta_system"]), read_vbmeta(sealed.images["vbmeta_system"])
    assert (after.rollback_index, after.flags, after.release_string) == (7, 0, "avbtool 1.3.0")
    assert after.properties == before.properties
    assert sealed.vbmetas["vbmeta_system"] == after
    assert list(sealed.vbmetas) == ["vbmeta", "boot", "vbmeta_system"]


def test_several_partitions_change_at_once() -> None:
    base = device()
    sealed = seal(base, {"system": SYSTEM, "vendor": VENDOR, "boot": BOOT}, KEYS)
    assert sealed.images.keys() == {"system", "vendor", "boot", "vbmeta_system", "vbmeta"}
    images = merged(base, sealed)
    verify_all(images, BASE_KEYS)
    assert read_vbmeta(images["boot"]).rollback_index == 5
    boot = descriptor_of(images, "boot", "boot")
    assert isinstance(boot, HashDescriptor)
    assert (boot.image_size, boot.salt, boot.flags) == (BOOT.size, SALT, 1)


def test_the_unchanged_content_gives_the_same_bytes_again() -> None:
    base = device()
    changed = {name: BytesSource(data) for name, data in CONTENT.items()}
    sealed = seal(base, changed, KEYS)
    assert sealed.images.keys() == changed.keys()
    for name, image in sealed.images.items():
        assert everything(image) == everything(base[name])


def test_another_key_is_carried_up_to_the_image_that_demands_it() -> None:
    base = device()
    keys = {"vbmeta": avb_key(TOP_KEY), "boot": avb_key(NEW_KEY, Algorithm.SHA512_RSA2048)}
    sealed = seal(base, {}, keys)
    assert sealed.images.keys() == {"boot", "vbmeta"}
    images = merged(base, sealed)
    verify_all(images, {**BASE_KEYS, "boot": build.key_blob(NEW_KEY)})
    assert read_vbmeta(images["boot"]).algorithm is Algorithm.SHA512_RSA2048
    assert everything(images["boot"])[: len(CONTENT["boot"])] == CONTENT["boot"]
    everywhere = {name: avb_key(NEW_KEY) for name in KEYS}
    sealed = seal(base, {"system": SYSTEM}, everywhere)
    verify_all(merged(base, sealed), dict.fromkeys(KEYS, build.key_blob(NEW_KEY)))


def test_nothing_to_do_changes_nothing() -> None:
    assert seal(device(), {}, {}).images == {}
    assert seal(device(), {}, KEYS).images == {}


def test_what_must_be_signed_needs_a_key() -> None:
    with pytest.raises(SigningError, match="vbmeta_system changes and there is no key"):
        seal(device(), {"system": SYSTEM}, {"vbmeta": avb_key(TOP_KEY)})
    with pytest.raises(SigningError, match="vbmeta changes and there is no key"):
        seal(device(), {}, {"boot": avb_key(NEW_KEY)})
    with pytest.raises(SigningError, match="boot changes and there is no key"):
        seal(device(), {"boot": BOOT}, {})


def test_a_wrong_signature_is_never_written() -> None:
    good = avb_key(SYSTEM_KEY)
    for sign in avb_key(NEW_KEY).sign, lambda digest, name: b"", lambda digest, name: bytes(256):
        liar = type(good)(good.algorithm, good.public_key, sign)
        with pytest.raises(SigningError, match="signer returned cannot be used"):
            seal(device(), {"system": SYSTEM}, {"vbmeta_system": liar})
    for algorithm in Algorithm.NONE, Algorithm.SHA256_RSA4096, Algorithm.MLDSA65:
        wrong = type(good)(algorithm, good.public_key, good.sign)
        with pytest.raises(SigningError, match=f"signed as {algorithm.name}"):
            seal(device(), {"system": SYSTEM}, {"vbmeta_system": wrong})


def test_rollback_indexes_rise_but_never_fall() -> None:
    sealed = seal(device(), {}, KEYS, rollback_indexes={"vbmeta": 10})
    assert sealed.images.keys() == {"vbmeta"}
    assert sealed.vbmetas["vbmeta"].rollback_index == 10
    with pytest.raises(ImageError, match="vbmeta would fall from 9 to 8"):
        seal(device(), {}, KEYS, rollback_indexes={"vbmeta": 8})


def test_flags_that_switch_verification_off_are_refused_unless_allowed() -> None:
    base = device(flags=2)
    with pytest.raises(ImageError, match="switched off in vbmeta: flags 2"):
        seal(base, {"vendor": VENDOR}, KEYS)
    sealed = seal(base, {"vendor": VENDOR}, KEYS, allow_flags=True)
    assert sealed.vbmetas["vbmeta"].flags == 2


def test_a_partition_grows_only_if_it_may() -> None:
    base = device()
    larger = BytesSource(CONTENT["system"] + noise(40 * BLOCK))
    with pytest.raises(ImageError, match="system takes 1433600 bytes and has 1351680"):
        seal(base, {"system": larger}, KEYS)
    sealed = seal(base, {"system": larger}, KEYS, growing={"system"})
    image = sealed.images["system"]
    assert image.size % BLOCK == 0
    assert SIZES["system"] < image.size < SIZES["system"] + 40 * BLOCK
    verify_all(merged(base, sealed), BASE_KEYS)


def test_a_base_that_contradicts_itself_is_refused() -> None:
    base = device()
    with pytest.raises(ImageError, match="no vbmeta image of the base describes partition odm"):
        seal({**base, "odm": BytesSource(bytes(BLOCK))}, {"odm": VENDOR}, KEYS)
    with pytest.raises(ImageError, match="no image of partition odm"):
        seal(base, {"odm": VENDOR}, KEYS)
    with pytest.raises(ImageError, match="no image of partition boot"):
        seal({n: image for n, image in base.items() if n != "boot"}, {}, KEYS)
    foreign = build.vbmeta(build.hashed(b"system", SALT, bytes(32), 9), NEW_KEY)
    with pytest.raises(ImageError, match="vbmeta_system is not signed with the key"):
        seal({**base, "vbmeta_system": BytesSource(foreign)}, {"system": SYSTEM}, KEYS)
    other_salt = build.hashtree(b"system", b"other", bytes(32), 300 * BLOCK, BLOCK, 0)
    contradicting = BytesSource(build.vbmeta(other_salt, SYSTEM_KEY))
    with pytest.raises(ImageError, match="describes system unlike another vbmeta image"):
        seal({**base, "vbmeta_system": contradicting}, {"system": SYSTEM}, KEYS)
    chain = build.vbmeta(build.chain(b"x", 4, build.key_blob(NEW_KEY)), SYSTEM_KEY)
    with pytest.raises(ImageError, match="vbmeta_system chains further"):
        seal({**base, "vbmeta_system": BytesSource(chain)}, {}, KEYS)
    with pytest.raises(ImageError, match="not a vbmeta image") as caught:
        seal({**base, "vbmeta": BytesSource(bytes(BLOCK))}, {}, KEYS)
    assert caught.value.path == "vbmeta"


def test_a_base_that_was_tampered_with_is_not_signed_anew() -> None:
    base = device()
    for name, partition in (("vbmeta", "vendor"), ("vbmeta_system", "system"), ("boot", "boot")):
        data = bytearray(everything(base[name]))
        data[data.index(SALT)] ^= 1
        changed = {"boot": BOOT} if partition == "boot" else {}
        with pytest.raises(ImageError, match="does not match its hash") as caught:
            seal({**base, name: BytesSource(bytes(data))}, changed, KEYS)
        assert caught.value.path == name


def test_a_kernel_command_line_with_the_old_root_digest_is_refused() -> None:
    item = descriptor_of(device(), "vbmeta", "vendor")
    assert isinstance(item, HashtreeDescriptor)
    base = device(cmdline=b'dm="1 vroot none ro 1,0 8 verity ' + item.root_digest.hex().encode())
    with pytest.raises(ImageError, match="repeats the root digest of vendor"):
        seal(base, {"vendor": VENDOR}, KEYS)
    assert seal(base, {"system": SYSTEM}, KEYS).images


def test_a_partition_without_a_footer_is_sealed_too() -> None:
    base = device()
    item = descriptor_of(base, "vbmeta", "vendor")
    assert isinstance(item, HashtreeDescriptor)
    bare = everything(base["vendor"])[: item.tree_offset + item.tree_size]
    base["vendor"] = BytesSource(bare + bytes(10 * BLOCK))
    sealed = seal(base, {"vendor": VENDOR}, KEYS)
    assert sealed.images.keys() == {"vendor", "vbmeta"}
    assert read_footer(sealed.images["vendor"]) is None
    assert sealed.images["vendor"].size == base["vendor"].size
    verify_all(merged(base, sealed), BASE_KEYS)


def test_descriptors_that_cannot_be_made_anew_are_refused() -> None:
    content = BytesSource(noise(3 * BLOCK))
    tree = HashtreeDescriptor("system", 8192, 8192, 4096, bytes(32), b"")
    for template, message in (
        (HashDescriptor("boot", 9, b"", b""), "digest of boot is kept on the device"),
        (HashtreeDescriptor("x", 8192, 8192, 4096, b"", b""), "digest of x is kept on the device"),
        (HashtreeDescriptor("x", 8192, 8192, 0, bytes(32), b""), "tree of x is not in its"),
        (HashtreeDescriptor("x", 1, 1, 1, bytes(32), b"", "md5"), "unknown hash algorithm"),
        (HashtreeDescriptor("x", 1, 1, 1, bytes(32), b"", "sha256", 0), "hash tree of version 0"),
        (
            HashtreeDescriptor("x", 1, 1, 1, bytes(32), b"", data_block_size=1024),
            "data blocks of 1024",
        ),
    ):
        with pytest.raises(ImageError, match=message):
            describe(content, template)
    with pytest.raises(ImageError, match="empty image"):
        describe(BytesSource(b""), tree)


def test_no_flipped_byte_of_a_sealed_partition_verifies() -> None:
    sealed = seal(device(), {"system": SYSTEM}, KEYS)
    descriptor = sealed.descriptors["system"]
    assert isinstance(descriptor, HashtreeDescriptor)
    good = everything(sealed.images["system"])
    end = descriptor.fec_offset + descriptor.fec_size
    for position in (0, SYSTEM.size - 1, SYSTEM.size, descriptor.fec_offset, end - 1):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(ImageError):
            verify_image(BytesSource(bytes(bad)), descriptor)
    with pytest.raises(ImageError):
        verify_image(BytesSource(good[: end - 1]), descriptor)


def test_damaged_bases_raise_nothing_but_image_errors() -> None:
    base = device()

    def read(data: bytes) -> None:
        with contextlib.suppress(SigningError):
            seal({**base, "vbmeta": BytesSource(data)}, {"dtbo": VENDOR}, KEYS)

    assert survives(read, everything(base["vbmeta"]), within=2500)

    def verify(data: bytes) -> None:
        for item in parse_vbmeta(data).descriptors:
            if isinstance(item, HashDescriptor | HashtreeDescriptor):
                verify_image(base[item.partition_name], item) if item.partition_name in base else 0

    assert survives(verify, everything(base["vbmeta_system"])[:2000])


@pytest.fixture
def sealed_folder(tmp_path: Path) -> Path:
    base = device()
    changed = {"system": SYSTEM, "vendor": VENDOR, "boot": BOOT}
    images = merged(base, seal(base, changed, KEYS))
    for name, image in images.items():
        (tmp_path / f"{name}.img").write_bytes(everything(image))
    for name, key in BASE_KEYS.items():
        (tmp_path / f"{name}.avbpubkey").write_bytes(key)
    pem = TOP_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "top.pem").write_bytes(pem)
    return tmp_path


@pytest.mark.judge("avbtool.py")
def test_avbtool_verifies_the_set(sealed_folder: Path) -> None:
    def avbtool(*arguments: str) -> str:
        return subprocess.run(
            ["avbtool.py", *arguments],
            cwd=sealed_folder,
            check=True,
            text=True,
            capture_output=True,
        ).stdout

    said = avbtool(
        "verify_image", "--image", "vbmeta.img", "--key", "top.pem",
        "--expected_chain_partition", "boot:3:boot.avbpubkey",
        "--expected_chain_partition", "vbmeta_system:2:vbmeta_system.avbpubkey",
    )  # fmt: skip
    assert "vendor: Successfully verified sha256 hashtree" in said
    assert "dtbo: Successfully verified sha256 hash" in said
    for name, line in (
        ("vbmeta_system", "system: Successfully verified sha256 hashtree"),
        ("boot", "boot: Successfully verified sha256 hash"),
        ("system", "system: Successfully verified sha256 hashtree"),
    ):
        assert line in avbtool("verify_image", "--image", f"{name}.img")
    info = avbtool("info_image", "--image", "system.img")
    assert f"Original image size:      {SYSTEM.size} bytes" in info
    assert ["FEC", "offset:", str((303 + 4) * BLOCK)] in map(str.split, info.splitlines())


@pytest.mark.judge("avbtool.py")
def test_avbtool_writes_the_same_bytes(tmp_path: Path) -> None:
    def avbtool(*arguments: str) -> None:
        subprocess.run(["avbtool.py", *arguments], cwd=tmp_path, check=True, capture_output=True)

    pem = TOP_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    shared = ["--partition_size", str(SIZES["system"]), "--salt", SALT.hex(), "--prop", "a:b"]

    def made(content: Mapping[str, bytes]) -> dict[str, Source]:
        for name, data in content.items():
            (tmp_path / f"{name}.img").write_bytes(data)
        avbtool(
            "add_hashtree_footer", "--image", "system.img", "--partition_name", "system",
            "--do_not_generate_fec", *shared,
        )  # fmt: skip
        avbtool("add_hash_footer", "--image", "boot.img", "--partition_name", "boot", *shared)
        avbtool(
            "make_vbmeta_image", "--output", "vbmeta.img", "--key", "key.pem", "--algorithm",
            "SHA512_RSA2048", "--rollback_index", "3", "--padding_size", "4096",
            "--include_descriptors_from_image", "system.img",
            "--include_descriptors_from_image", "boot.img",
        )  # fmt: skip
        names = ("system", "boot", "vbmeta")
        return {name: BytesSource((tmp_path / f"{name}.img").read_bytes()) for name in names}

    changed = {"system": SYSTEM, "boot": BOOT}
    base = made({name: CONTENT[name] for name in changed})
    key = avb_key(TOP_KEY, Algorithm.SHA512_RSA2048)
    ours = seal(base, changed, {"vbmeta": key}).images
    theirs = made({name: everything(source) for name, source in changed.items()})
    assert ours.keys() == theirs.keys()
    for name, image in ours.items():
        assert everything(image) == everything(theirs[name])


@pytest.mark.judge("veritysetup")
def test_veritysetup_verifies_tree_and_parity_where_they_lie(sealed_folder: Path) -> None:
    image = sealed_folder / "system.img"
    item = descriptor_of({"system": BytesSource(image.read_bytes())}, "system", "system")
    assert isinstance(item, HashtreeDescriptor)
    tool = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    command = [
        tool or "veritysetup", "verify", image, image, item.root_digest.hex(), "--no-superblock",
        "--format=1", "--hash=sha256", f"--salt={item.salt.hex()}",
        f"--data-blocks={item.image_size // BLOCK}", f"--hash-offset={item.tree_offset}",
        f"--fec-device={image}", f"--fec-offset={item.fec_offset}", f"--fec-roots={item.fec_roots}",
    ]  # fmt: skip
    assert subprocess.run(command, check=False).returncode == 0
    damaged = bytearray(image.read_bytes())
    damaged[5 * BLOCK : 6 * BLOCK] = noise(BLOCK, 77)
    image.write_bytes(damaged)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "repairable errors" in done.stdout + done.stderr
