"""Bases and keys of which no package is made: each is refused by the command, and nothing is written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from rom_builder.cli import main
from tests.ab_package import BLOCK, SYSTEM, images, written
from tests.formats.builders import vbmeta as avb
from tests.formats.builders.device import BOOT_KEY, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import (
    REPLACE,
    REPLACE_XZ,
    Op,
    Part,
    Spec,
    chunk,
    full_ops,
    number,
)
from tests.signing_material import certificate, key

pytestmark = pytest.mark.judge("mkfs.erofs")

POLICY = ("-p", "messaging-opt-in")
Parts = dict[str, Part]


@pytest.fixture(scope="module")
def partitions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def parts(partitions: dict[str, bytes]) -> Parts:
    return {
        name: Part(name, data, full_ops(data, [REPLACE_XZ, REPLACE], 64))
        for name, data in partitions.items()
    }


def package(folder: Path, parts: Parts, *, group: int = 1 << 30, minor: int = 0) -> Path:
    made = key("rsa-2048")
    layout = chunk(1, b"main") + number(2, group) + chunk(3, b"system")
    payload = Spec(
        list(parts.values()),
        sign=lambda digest: made.private_key.sign(  # type: ignore[union-attr,call-arg,return-value,arg-type]
            digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256())
        ),
        minor=minor,
        extra=chunk(15, chunk(1, layout)) if group else b"",
    ).build()
    return written(folder / "base.zip", payload, made.certificate.public_bytes(Encoding.PEM))


def refused(
    base: Path, capsys: pytest.CaptureFixture[str], signing: str = "dev", *more: str
) -> str:
    """Build, and return what is said; exactly the base is there before and after."""
    there = sorted(base.parent.iterdir())
    output = base.parent / "out.zip"
    assert main(["build", str(base), *POLICY, "-s", signing, "-o", str(output), *more]) in (1, 2)
    assert sorted(base.parent.iterdir()) == there
    said = capsys.readouterr()
    assert "internal error" not in said.err
    return said.out + said.err


def test_the_base_that_is_spoiled_below_builds(parts: Parts, tmp_path: Path) -> None:
    base, output = package(tmp_path, parts), tmp_path / "out.zip"
    assert main(["build", str(base), *POLICY, "-s", "dev", "-o", str(output)]) == 0
    assert main(["verify", str(output)]) == 0


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_image(parts: Parts, name: str, data: bytes) -> None:
    parts[name] = Part(name, data, full_ops(data, [REPLACE], 64))


def wrong_manifest_digest(parts: Parts) -> None:
    parts["system"].image = flipped(parts["system"].image, 9)


def wrong_operation_digest(parts: Parts) -> None:
    parts["boot"].ops[0].digest = bytes(32)


def stale_hash_tree(parts: Parts) -> None:
    data = parts["system"].image
    size = int.from_bytes(data[-52:-44], "big")
    with_image(parts, "system", flipped(data, size + 40))


def stale_data(parts: Parts) -> None:
    data = parts["system"].image
    at = data.index(SYSTEM["system/framework/data.bin"][8192:8224])
    with_image(parts, "system", flipped(data, at))


def unknown_operation(parts: Parts) -> None:
    parts["system"].ops[0].kind = 99


def a_block_unwritten(parts: Parts) -> None:
    del parts["system"].ops[-1]


def top(flags: int = 0, system_key: rsa.RSAPrivateKey = SYSTEM_KEY, **options: object) -> bytes:
    signing = options.get("signing", TOP_KEY)
    chains = avb.chain(b"boot", 3, avb.key_blob(BOOT_KEY))
    chains += avb.chain(b"vbmeta_system", 2, avb.key_blob(system_key))
    image = avb.vbmeta(chains, signing, flags=flags)  # type: ignore[arg-type]
    return image.ljust(2 * BLOCK, b"\0")


SPOILED: dict[str, tuple[Callable[[Parts], object], str]] = {
    "wrong partition hash": (wrong_manifest_digest, "SHA-256 of partition system is"),
    "wrong operation hash": (wrong_operation_digest, "does not match its SHA-256"),
    "hash tree of another image": (stale_hash_tree, "block 1 of the image does not match its hash tree"),
    "data changed after it was sealed": (stale_data, "does not match its hash tree"),
    "unknown operation": (unknown_operation, "type 99"),
    "blocks that nothing writes": (a_block_unwritten, "no operation writes block"),
    "flags 1": (lambda p: with_image(p, "vbmeta", top(1)), "flags 1"),
    "flags 2": (lambda p: with_image(p, "vbmeta", top(2)), "flags 2"),
    "flags 3": (lambda p: with_image(p, "vbmeta", top(3)), "flags 3"),
    "tampered vbmeta": (
        lambda p: with_image(p, "vbmeta", flipped(p["vbmeta"].image, 130)),
        "does not match its hash",
    ),
    "a chain key that is not the image's": (
        lambda p: with_image(p, "vbmeta", top(system_key=TOP_KEY)),
        "vbmeta_system is not signed with the key that vbmeta demands",
    ),
    "sealed without vbmeta": (lambda p: p.pop("vbmeta"), "no vbmeta image that leads to it"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_base_that_is_not_sound_is_refused(
    name: str, parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = SPOILED[name]
    spoil(parts)
    assert message in refused(package(tmp_path, parts), capsys)


def test_an_unpacked_package_is_refused(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = package(tmp_path, parts)
    with zipfile.ZipFile(base) as archive:
        archive.extractall(tmp_path / "unpacked" / "base")
    assert "is unpacked" in refused(tmp_path / "unpacked" / "base", capsys)


def test_a_second_payload_is_refused(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = package(tmp_path, parts)
    with zipfile.ZipFile(base, "a") as archive:
        archive.writestr("secondary/payload.bin", archive.read("payload.bin"))
    assert "secondary/payload.bin is a second payload" in refused(base, capsys)


def test_an_incremental_package_is_refused(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts["system"].ops = [Op(4, b"", [(0, len(parts["system"].image) // BLOCK)])]
    assert "incremental" in refused(package(tmp_path, parts, minor=7), capsys)


def brought(folder: Path) -> tuple[str, str]:
    """Return options that bring a file of 2 MiB that does not compress."""
    import random

    path = folder / "big"
    path.write_bytes(random.Random(3).randbytes(2 << 20))
    return "--replace", f"/system/etc/big={path}"


def test_a_partition_that_outgrows_its_group_is_refused(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = package(tmp_path, parts, group=len(parts["system"].image) + (1 << 20))
    said = refused(base, capsys, "dev", *brought(tmp_path))
    assert "the partitions of group main take" in said


def test_a_partition_without_group_has_no_more_room(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = package(tmp_path, parts, group=0)
    said = refused(base, capsys, "dev", *brought(tmp_path))
    assert "only a dynamic partition can be made larger" in said


def keys_of_no_use() -> Iterator[tuple[str, str, object, hashes.HashAlgorithm | None, str]]:
    rsa_2048 = rsa.generate_private_key(65537, 2048)
    p256 = ec.generate_private_key(ec.SECP256R1())
    sha256 = hashes.SHA256()
    yield "RSA-3072", "ota", rsa.generate_private_key(65537, 3072), sha256, "3072"
    yield "P-384", "ota", ec.generate_private_key(ec.SECP384R1()), sha256, "secp384r1"
    yield (
        "Ed25519",
        "ota",
        ed25519.Ed25519PrivateKey.generate(),
        None,
        "the key is neither RSA nor EC",
    )
    yield "SHA-384", "ota", rsa_2048, hashes.SHA384(), "recovery refuses this certificate"
    yield "EC for verified boot", "avb", p256, sha256, "RSA"
    yield (
        "RSA-3072 for verified boot",
        "avb",
        rsa.generate_private_key(65537, 3072),
        sha256,
        "2048, 4096",
    )


def profile(folder: Path, role: str, private: object, digest: hashes.HashAlgorithm | None) -> Path:
    """Write a signing profile in which the key of one role is of no use."""
    folder.mkdir()
    good = key("rsa-2048")
    roles = {}
    for name in ("ota", "avb"):
        odd = name == role
        pem = (private if odd else good.private_key).private_bytes(  # type: ignore[attr-defined]
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        cert = certificate(private, digest) if odd else good.certificate  # type: ignore[arg-type]
        (folder / f"{name}.pem").write_bytes(pem)
        (folder / f"{name}.pem").chmod(0o600)
        (folder / f"{name}.x509.pem").write_bytes(cert.public_bytes(Encoding.PEM))
        roles[name] = {"signer": f"file:{name}.pem", "certificate": f"{name}.x509.pem"}
        if odd:
            roles[name]["not_after"] = "2199-12-31"
    path = folder / "signing.yaml"
    schema = {"schema": "rom-builder/signing/v1", "id": "test", "title": "Test", "roles": roles}
    path.write_text(yaml.safe_dump(schema))
    return path


@pytest.mark.parametrize(
    ("role", "private", "digest", "message"),
    [pytest.param(*case[1:], id=case[0]) for case in keys_of_no_use()],
)
def test_a_key_of_the_wrong_kind_signs_nothing(
    role: str,
    private: object,
    digest: hashes.HashAlgorithm | None,
    message: str,
    parts: Parts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = package(tmp_path, parts)
    signing = profile(tmp_path / "keys", role, private, digest)
    said = refused(base, capsys, str(signing))
    assert message in said


def test_a_list_of_certificates_that_recovery_would_drop_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One certificate of RSA-3072 in the base's otacerts.zip, and no update is taken any more."""
    odd = certificate(rsa.generate_private_key(65537, 3072), hashes.SHA256())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("odd.x509.pem", odd.public_bytes(Encoding.PEM))
    folder = tmp_path / "work"
    folder.mkdir()
    files = SYSTEM | {"system/etc/security/otacerts.zip": file.getvalue()}
    found = {
        name: Part(name, data, full_ops(data, [REPLACE], 64))
        for name, data in images(folder, files).items()
    }
    base = package(tmp_path, found)
    assert main(["plan", str(base), *POLICY]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3072" in said
    assert "otacerts.zip" in said
