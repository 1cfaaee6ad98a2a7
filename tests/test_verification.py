from __future__ import annotations

import io
import random
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.cli import main
from rom_builder.cli.options import load
from rom_builder.cli.verify import verify
from rom_builder.errors import ImageError
from rom_builder.formats.ota_signature import parse_ota_signature, signed_size
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.packing.ab_pack import write_ab_package
from rom_builder.plan import plan, read_brought
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.package import sign_package
from rom_builder.signers.profile import open_role
from rom_builder.verification.checks import Verification
from rom_builder.verification.package import verify_package
from tests import roms
from tests.ab_package import BLOCK, REPLACE, REPLACE_XZ, SYSTEM, ab_package, written
from tests.cases import avb_test_key
from tests.formats.builders import device
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import BOOT_KEY, NEW_KEY, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import SOURCE_COPY, Op, Part, Spec, full_ops
from tests.signing_material import key, signer, unsigned_package

KEY = key("rsa-2048")
OTACERT = KEY.certificate.public_bytes(Encoding.PEM)
pytestmark = pytest.mark.judge("mkfs.erofs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verification")


@pytest.fixture(scope="module")
def base(folder: Path) -> dict[str, bytes]:
    """The partitions of a package that is good."""
    path = ab_package(folder, SYSTEM, key=KEY.private_key, otacert=OTACERT)
    archive = ZipArchive(BytesSource(path.read_bytes()))
    payload = Payload(archive.raw(archive.entries["payload.bin"]))
    images = {name: payload.partition(name) for name in payload.names}
    return {name: image.read_at(0, image.size) for name, image in images.items()}


@pytest.fixture(scope="module")
def built(folder: Path, base: dict[str, bytes]) -> bytes:
    """A package that rom-builder packed and signed with development keys."""
    (folder / "hosts").write_text("127.0.0.1 example\n")
    policy = folder / "policy.yaml"
    policy.write_text("schema: rom-builder/policy/v1\nid: covered\ntitle: Covered\n"
                      "rom: {verified_boot: required}\n")  # fmt: skip
    brought = read_brought([("/system/etc/hosts", folder / "hosts")], [])
    made = plan(rom := open_rom(folder / "base.zip"), load([str(policy)]), brought)
    ota, file = open_role("dev", "ota"), io.BytesIO()
    write_ab_package(rom, made, Keyring(ota, avb=open_role("dev", "avb")), file)
    package = file.getvalue()
    source = BytesSource(package)
    return package[: signed_size(source)] + sign_package(source, ota)


def signed(package: bytes) -> bytes:
    """Sign a package, or sign it again."""
    source = BytesSource(package)
    return package[: signed_size(source)] + sign_package(source, signer(KEY))


def verified(package: bytes, **options: object) -> Verification:
    return verify_package(BytesSource(package), [KEY.certificate], **options)  # type: ignore[arg-type]


def failed(package: bytes, **options: object) -> dict[str, str]:
    """What does not hold, by name; all else must, and could be found out."""
    found = verified(package, **options)
    assert not found.unknown
    assert found.signature is not None
    return {check.name: check.detail for check in found.failed}


@dataclass
class Package:
    """A package to make around some images, with the right keys but for what a test changes."""

    folder: Path
    images: dict[str, bytes]
    parts: Mapping[str, Part] = field(default_factory=dict)
    otacert: bytes = OTACERT
    sign_payload: bool = True

    def write(self, change: Callable[[bytes], bytes] = bytes) -> bytes:
        """Return it signed; ``change`` is made in the payload before anything speaks of it."""
        parts = [
            self.parts.get(name) or Part(name, data, full_ops(data, [REPLACE_XZ, REPLACE], 64))
            for name, data in self.images.items()
        ]
        spec = Spec(parts, sign=sign_with(KEY.private_key) if self.sign_payload else None)
        return signed(
            written(self.folder / "x.zip", change(spec.build()), self.otacert).read_bytes()
        )


def sign_with(private_key: object) -> Callable[[bytes], bytes]:
    return lambda digest: private_key.sign(  # type: ignore[attr-defined,no-any-return]
        digest, padding.PKCS1v15(), utils.Prehashed(SHA256())
    )


@pytest.fixture
def package(tmp_path: Path, base: dict[str, bytes]) -> Package:
    return Package(tmp_path, dict(base))


def top(
    *, flags: int = 0, signing: object = TOP_KEY, boot: bytes = b"", extra: bytes = b""
) -> bytes:
    chains = build.chain(b"boot", 3, boot or build.key_blob(BOOT_KEY))
    chains += build.chain(b"vbmeta_system", 2, build.key_blob(SYSTEM_KEY))
    image = build.vbmeta(chains + extra, signing, flags=flags)  # type: ignore[arg-type]
    return image.ljust(2 * BLOCK, b"\0")


def entry_changed(package: bytes, name: str, old: bytes, new: bytes) -> bytes:
    """Replace text in a stored entry by text as long, both CRC-32s too, and sign again."""
    archive = ZipArchive(BytesSource(package))
    entry = archive.entries[name]
    data = archive.read(entry)
    assert old in data
    assert len(old) == len(new)
    data = data.replace(old, new)
    crc = zlib.crc32(data).to_bytes(4, "little")
    changed = bytearray(package)
    start = archive.data_offset(entry)
    changed[start : start + entry.size] = data
    changed[entry.header_offset + 14 : entry.header_offset + 18] = crc
    central = package.index(b"PK\1\2", archive.directory_offset)
    while package[central + 46 : central + 46 + len(name)] != name.encode() or (
        int.from_bytes(package[central + 28 : central + 30], "little") != len(name)
    ):
        central = package.index(b"PK\1\2", central + 4)
    changed[central + 16 : central + 20] = crc
    return signed(bytes(changed))


def run(package: bytes, folder: Path, *options: str | Path) -> Result:
    path = folder / "ota.zip"
    path.write_bytes(package)
    return CliRunner().invoke(verify, [str(path), *map(str, options)])


# What holds


def test_everything_in_a_package_of_our_own_holds(built: bytes, tmp_path: Path) -> None:
    found = verify_package(BytesSource(built))
    assert [check for check in found.checks if not check.ok] == []
    names = [check.name for check in found.checks]
    assert names == [
        "whole-file signature",
        "archive",
        "metadata signature",
        "payload signature",
        "payload rules",
        "operation data",
        "payload_properties.txt",
        "vbmeta image vbmeta",
        "vbmeta image boot",
        "vbmeta image vbmeta_system",
        "vbmeta image system",
        "verified boot covers",
        "partition boot",
        "partition system",
        "partition vbmeta",
        "partition vbmeta_system",
        "care_map.pb",
        "metadata",
    ]
    result = run(built, tmp_path)
    assert result.exit_code == 0
    assert "ota.zip: valid\n" in result.output
    assert "  holds        metadata signature          RSA-2048 e=65537, " in result.output
    assert "rollback index 7, location 2" in result.output
    assert "give --avb-key to demand" in result.output


def test_the_package_that_the_tests_below_change_holds(package: Package) -> None:
    assert failed(package.write()) == {}


def test_parity_is_computed_too(package: Package) -> None:
    assert failed(with_parity(package, 0).write()) == {}
    assert "parity" in failed(with_parity(package, 1).write())["partition system"]


def with_parity(package: Package, damage: int) -> Package:
    """Put a system partition with error correction into the package, its parity changed."""
    image, item = device.hashtree_image("system", fec=True)
    footer = int.from_bytes(image[-44:-36], "big")  # where the vbmeta image lies: after the parity
    changed = bytearray(image)
    changed[footer - 5] ^= damage
    chained = build.vbmeta(item, SYSTEM_KEY).ljust(16 * BLOCK, b"\0")
    package.images |= {"system": bytes(changed), "vbmeta_system": chained}
    return package


# Any byte


def regions(package: bytes) -> dict[str, range]:
    """Every structure of a package by name, in bytes."""
    archive = ZipArchive(BytesSource(package))
    found = {}
    for name, entry in archive.entries.items():
        start = archive.data_offset(entry)
        found[f"header of {name}"] = range(entry.header_offset, start)
        found[name] = range(start, start + entry.compressed_size)
    payload_range = found.pop("payload.bin")
    payload = Payload(archive.raw(archive.entries["payload.bin"]))
    start, end = payload_range.start, payload_range.stop
    blobs, last = start + payload.blob_offset, end - (payload.manifest.signatures_size or 0)
    signature = parse_ota_signature(BytesSource(package))
    assert signature is not None
    return found | {
        "payload header": range(start, start + 24),
        "manifest": range(start + 24, start + payload.metadata_size),
        "metadata signature": range(start + payload.metadata_size, blobs),
        "blobs": range(blobs, last),
        "payload signature": range(last, end),
        "central directory": range(archive.directory_offset, archive.eocd_offset),
        "end record": range(archive.eocd_offset, archive.eocd_offset + 22),
        "comment": range(signature.signed_size + 2, len(package)),
    }


def test_no_byte_is_free(built: bytes) -> None:
    rng = random.Random(1)
    for name, region in regions(built).items():
        for at in rng.sample(region, min(8, len(region))):
            changed = bytearray(built)
            changed[at] ^= 1 << rng.randrange(8)
            found = verify_package(BytesSource(bytes(changed)), quick=True)
            assert found.failed, f"byte {at} of {name}"


def test_no_byte_of_the_payload_is_free_to_who_can_sign_the_package(package: Package) -> None:
    good = package.write()
    spans, rng = regions(good), random.Random(2)
    start = spans["payload header"].start
    for name, skip in (("manifest", 0), ("blobs", 0), ("metadata signature", 8), ("payload signature", 8)):  # fmt: skip
        region = spans[name][skip : skip + 256 if skip else len(spans[name])]
        for at in rng.sample(region, 6):
            changed = lambda data, at=at: flipped(data, at - start)  # noqa: E731
            try:
                made = package.write(changed)
            except ImageError:  # whoever writes the properties reads the manifest, too
                assert name == "manifest"
            else:
                found = verified(made)
                assert found.signature is not None
                assert found.failed, f"byte {at} of {name}"


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 4
    return bytes(changed)


@pytest.mark.parametrize("size", [0, 21, 4000, -700, -1])
def test_a_package_cut_short_fails(built: bytes, size: int) -> None:
    assert verify_package(BytesSource(built[:size])).failed


# The payload, in packages whose file signature holds


def resigned(where: str) -> Callable[[bytes], bytes]:
    """Replace one of the payload's signatures by one of another key."""

    def change(data: bytes) -> bytes:
        payload = Payload(BytesSource(data))
        other = sign_with(NEW_KEY)
        if where == "metadata":
            at, digest = payload.metadata_size, payload.metadata_digest()
        else:
            at = payload.blob_offset + (payload.manifest.signatures_offset or 0)
            digest = payload.payload_digest()
        return data[: at + 6] + other(digest) + data[at + 6 + 256 :]

    return change


@pytest.mark.parametrize("where", ["metadata", "payload"])
def test_each_signature_of_the_payload_counts(package: Package, where: str) -> None:
    faults = failed(package.write(resigned(where)))
    assert list(faults) == [f"{where} signature"]
    assert "none of 1 keys made" in faults[f"{where} signature"]


def test_a_payload_without_signatures_fails(package: Package) -> None:
    package.sign_payload = False
    faults = failed(package.write())
    assert list(faults) == ["metadata signature", "payload signature", "payload rules"]


def test_a_partition_digest_of_another_image_fails(package: Package) -> None:
    image = package.images["vbmeta_system"]
    other = bytes(len(image))
    package.parts = {"vbmeta_system": Part("vbmeta_system", other, full_ops(image, [REPLACE], 64))}
    faults = failed(package.write())
    assert list(faults) == ["partition vbmeta_system"]
    assert "SHA-256 of partition vbmeta_system is" in faults["partition vbmeta_system"]


def test_a_wrong_operation_digest_fails_even_quickly(package: Package) -> None:
    image = package.images["system"]
    (first, *rest) = full_ops(image, [REPLACE], 64)
    first.digest = bytes(32)
    package.parts = {"system": Part("system", image, [first, *rest])}
    assert "operation 0 of partition system" in failed_any(package.write(), quick=True)["operation data"]  # fmt: skip


def failed_any(package: bytes, **options: object) -> dict[str, str]:
    return {check.name: check.detail for check in verified(package, **options).failed}


def test_a_block_that_is_not_written_breaks_the_rules(package: Package) -> None:
    image = package.images["system"]
    package.parts = {"system": Part("system", image, full_ops(image, [REPLACE], 64)[1:])}
    assert "block 0 of system" in failed_any(package.write())["payload rules"]


@pytest.mark.parametrize("key_", ["FILE_HASH", "FILE_SIZE", "METADATA_HASH", "METADATA_SIZE"])
def test_properties_must_be_those_of_the_payload(package: Package, key_: str) -> None:
    good = package.write()
    archive = ZipArchive(BytesSource(good))
    lines = archive.read(archive.entries["payload_properties.txt"]).decode().splitlines()
    (line,) = [line for line in lines if line.startswith(key_ + "=")]
    at = len(key_) + 2
    other = line[:at] + ("7" if line[at] != "7" else "8") + line[at + 1 :]
    faults = failed(entry_changed(good, "payload_properties.txt", line.encode(), other.encode()))
    assert faults == {"payload_properties.txt": f"{key_} is not that of the payload"}


# Verified boot, in packages whose every signature holds


@pytest.mark.parametrize("flags", [1, 2, 3])
def test_flags_fail(package: Package, flags: int) -> None:
    package.images["vbmeta"] = top(flags=flags)
    assert failed(package.write()) == {
        "vbmeta image vbmeta": f"flags {flags} switch protection off"
    }


@pytest.mark.parametrize("flags", [0, 3])
def test_a_top_image_without_signature_fails(package: Package, flags: int) -> None:
    package.images["vbmeta"] = top(flags=flags, signing=None)
    faults = failed(package.write())
    assert list(faults) == ["vbmeta image vbmeta"]
    assert "not signed (algorithm NONE)" in faults["vbmeta image vbmeta"]


def chained_system(package: Package, signing: object, **options: int) -> bytes:
    old = package.images["vbmeta_system"]
    end = 256 + int.from_bytes(old[12:20], "big")
    size = int.from_bytes(old[104:112], "big")
    image = build.vbmeta(old[end : end + size], signing, **options)  # type: ignore[arg-type]
    return image.ljust(16 * BLOCK, b"\0")


@pytest.mark.parametrize(
    ("signing", "flags", "message"),
    [
        (None, 0, "not signed (algorithm NONE)"),
        (SYSTEM_KEY, 2, "flags 2 switch protection off"),
        (NEW_KEY, 0, "vbmeta demands the key"),
    ],
)
def test_a_chained_image_is_held_to_the_same(
    package: Package, signing: object, flags: int, message: str
) -> None:
    package.images["vbmeta_system"] = chained_system(package, signing, flags=flags)
    faults = failed(package.write())
    assert list(faults) == ["vbmeta image vbmeta_system"]
    assert message in faults["vbmeta image vbmeta_system"]


def test_a_changed_vbmeta_image_fails(package: Package) -> None:
    package.images["vbmeta"] = flipped(top(), 119)
    assert "does not match its hash" in failed(package.write())["vbmeta image vbmeta"]


def test_a_footer_that_nothing_leads_to_is_looked_at(package: Package) -> None:
    system = bytearray(package.images["system"])
    at = int.from_bytes(system[-44:-36], "big") + 123
    system[at] = 2
    package.images["system"] = bytes(system)
    assert failed(package.write()) == {"vbmeta image system": "flags 2 switch protection off"}


def test_the_publicly_known_key_of_avb_fails(package: Package) -> None:
    package.images["vbmeta"] = top(boot=avb_test_key())
    faults = failed(package.write())
    assert "the key for boot is publicly known" in faults["vbmeta image vbmeta"]


def test_a_stale_hash_descriptor_fails(package: Package) -> None:
    package.images["boot"] = flipped(package.images["boot"], 5000)
    faults = failed(package.write())
    assert list(faults) == ["partition boot"]
    assert "sha256 of boot is" in faults["partition boot"]


@pytest.mark.parametrize("where", ["data", "tree"])
def test_a_stale_hash_tree_fails(package: Package, where: str) -> None:
    system = package.images["system"]
    size = int.from_bytes(system[-52:-44], "big")
    package.images["system"] = flipped(system, 9000 if where == "data" else size + 40)
    faults = failed(package.write())
    assert list(faults) == ["partition system"]
    assert "does not match its hash tree" in faults["partition system"]
    assert failed(package.write(), quick=True) == {}


def test_a_partition_that_nothing_covers_fails(package: Package) -> None:
    package.images["vendor"] = bytes(4 * BLOCK)
    assert failed(package.write()) == {"verified boot covers": "nothing covers vendor"}


def test_a_top_partition_without_image_fails(package: Package) -> None:
    package.images["vbmeta"] = bytes(2 * BLOCK)
    assert "vbmeta image vbmeta" in failed(package.write())


def test_a_care_map_past_the_data_fails(package: Package) -> None:
    faults = failed(entry_changed(package.write(), "care_map.pb", b"2,0,20", b"2,9,99"))
    assert "reads blocks of system after its" in faults["care_map.pb"]


# What other tools pass, as a user sees it


def second_end_record(package: Package) -> bytes:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    comment = b"PK\5\6" + bytes(18) + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    return good[: signature.signed_size] + len(comment).to_bytes(2, "little") + comment


def with_images(package: Package, **images: bytes) -> bytes:
    package.images |= images
    return package.write()


def known_otacert(package: Package) -> bytes:
    package.otacert = roms.pem(roms.certificate("testkey"))
    return package.write()


BLIND_SPOTS: dict[str, tuple[Callable[[Package], bytes], str]] = {
    "metadata signature": (lambda p: p.write(resigned("metadata")), "metadata signature"),
    "vbmeta without algorithm": (
        lambda p: with_images(p, vbmeta=top(signing=None)),
        "vbmeta image vbmeta",
    ),
    "flags 2": (lambda p: with_images(p, vbmeta=top(flags=2)), "vbmeta image vbmeta"),
    "flags 3": (lambda p: with_images(p, vbmeta=top(flags=3)), "vbmeta image vbmeta"),
    "second end record": (second_end_record, ""),
    "a chain to a key that the top image does not list": (
        lambda p: with_images(p, vbmeta_system=chained_system(p, NEW_KEY)),
        "vbmeta image vbmeta_system",
    ),
    "a publicly known key in a chain": (
        lambda p: with_images(p, vbmeta=top(boot=avb_test_key())),
        "vbmeta image vbmeta",
    ),
    "a publicly known package key": (known_otacert, "package key"),
}


@pytest.mark.parametrize("name", BLIND_SPOTS)
def test_verify_fails_what_other_tools_pass(name: str, package: Package, tmp_path: Path) -> None:
    make, check = BLIND_SPOTS[name]
    (tmp_path / "cert.pem").write_bytes(OTACERT)
    result = run(make(package), tmp_path, "--cert", tmp_path / "cert.pem")
    assert result.exit_code == 1
    assert "ota.zip: NOT valid: " in result.output
    assert not check or re.search(rf"^  FAILS +{check} ", result.output, re.MULTILINE)


# What cannot be found out is no pass


@pytest.mark.parametrize("name", ["vbmeta", "vbmeta_system", "system"])
def test_what_is_missing_leaves_the_answer_open(
    package: Package, name: str, tmp_path: Path
) -> None:
    del package.images[name]
    data = package.write()
    found = verified(data)
    assert found.unknown
    if name != "system":  # the care map speaks of it
        assert not found.failed
        result = run(data, tmp_path)
        assert result.exit_code == 2
        assert "could not be" in result.output


def test_an_incremental_partition_is_not_checked(package: Package, tmp_path: Path) -> None:
    image = package.images["system"]
    package.parts = {"system": Part("system", image, [Op(SOURCE_COPY, b"", [(0, len(image) // BLOCK)])])}  # fmt: skip
    found = {check.name: check for check in verified(package.write()).checks}
    assert found["partition system"].ok is None
    assert "the build before" in found["partition system"].detail


# The package


def metadata_changed(package: bytes, old: bytes, new: bytes, *names: str) -> bytes:
    for name in names or ("META-INF/com/android/metadata", "META-INF/com/android/metadata.pb"):
        package = entry_changed(package, name, old, new)
    return package


def test_property_files_must_tell_the_places(package: Package) -> None:
    good = package.write()
    archive = ZipArchive(BytesSource(good))
    text = archive.read(archive.entries["META-INF/com/android/metadata"])
    token = text[text.index(b"payload.bin:") :].split(b",")[0]
    moved = token[:-1] + (b"1" if token[-1:] != b"1" else b"2")
    assert "payload.bin is not where it says" in failed(metadata_changed(good, token, moved))["metadata"]  # fmt: skip
    token = text[text.index(b"payload_metadata.bin:") :].split(b",")[0]
    moved = token[:-1] + (b"1" if token[-1:] != b"1" else b"2")
    assert "payload_metadata.bin has" in failed(metadata_changed(good, token, moved))["metadata"]


def test_both_forms_of_the_metadata_must_agree(package: Package) -> None:
    changed = metadata_changed(
        package.write(), b"pre-device=pine", b"pre-device=oaks", "META-INF/com/android/metadata"
    )
    assert "pre-device differs" in failed(changed)["metadata"]


def test_a_second_end_record_in_the_comment_fails(package: Package) -> None:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    hidden = b"PK\5\6" + bytes(18)
    comment = hidden + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    size = len(comment).to_bytes(2, "little")
    faults = failed_any(good[: signature.signed_size] + size + comment)
    assert "second end-of-central-directory record" in faults["archive"]


def test_anything_else_in_the_comment_fails(package: Package) -> None:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    comment = b"signed by SignApk\0 and more" + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    size = len(comment).to_bytes(2, "little")
    faults = failed_any(good[: signature.signed_size] + size + comment)
    assert "covered by nothing" in faults["whole-file signature"]


def test_a_publicly_known_otacert_fails_unless_allowed(package: Package, tmp_path: Path) -> None:
    package.otacert = roms.pem(roms.certificate("testkey"))
    data = package.write()
    assert "publicly known" in failed(data)["package key"]
    assert failed(data, allow_public_key=True) == {}
    cert = tmp_path / "cert.pem"
    cert.write_bytes(OTACERT)
    assert run(data, tmp_path, "--cert", cert).exit_code == 1
    result = run(data, tmp_path, "--cert", cert, "--allow-public-key")
    assert result.exit_code == 0
    assert "as allowed" in result.output


# The command


def test_the_key_of_verified_boot_can_be_demanded(package: Package, tmp_path: Path) -> None:
    data = package.write()
    blob, pem, other = tmp_path / "key.bin", tmp_path / "key.pem", tmp_path / "other.bin"
    blob.write_bytes(build.key_blob(TOP_KEY))
    pem.write_bytes(
        TOP_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    other.write_bytes(build.key_blob(NEW_KEY))
    assert run(data, tmp_path, "--avb-key", blob).exit_code == 0
    assert run(data, tmp_path, "--avb-key", other, "--avb-key", pem).exit_code == 0
    result = run(data, tmp_path, "--avb-key", other)
    assert result.exit_code == 1
    assert "NOT valid: vbmeta image vbmeta: its key is not" in result.output
    assert "give --avb-key" not in result.output
    blob.write_bytes(b"no key")
    assert main(["verify", str(tmp_path / "ota.zip"), "--avb-key", str(blob)]) == 2


def test_quick_says_what_it_leaves_out(package: Package, tmp_path: Path) -> None:
    result = run(package.write(), tmp_path, "--quick")
    assert result.exit_code == 0
    assert "partition system" not in result.output
    assert "left out (--quick)" in result.output


def test_a_failure_is_said_first(package: Package, tmp_path: Path) -> None:
    package.images["vbmeta"] = top(flags=2)
    result = run(package.write(), tmp_path)
    assert result.exit_code == 1
    assert result.output.splitlines()[0].endswith(
        "NOT valid: vbmeta image vbmeta: flags 2 switch protection off"
    )
    assert "  FAILS        vbmeta image vbmeta " in result.output


def test_packages_of_other_kinds_are_checked_as_a_whole(tmp_path: Path) -> None:
    result = run(signed(unsigned_package()), tmp_path)
    assert result.exit_code == 0
    assert "payload" not in result.output
