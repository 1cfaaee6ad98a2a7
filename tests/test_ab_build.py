"""Full A/B packages that are built: what changes, what does not, and what is refused."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rom_builder.cli import main
from rom_builder.formats.ab_metadata import CareMap
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.signatures import (
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.source import BytesSource
from rom_builder.formats.vbmeta import Vbmeta, read_vbmeta, verify_vbmeta
from rom_builder.keys import NewKey, new_key
from rom_builder.rom import open_rom
from tests.ab_package import BLOCK, SYSTEM, ab_package, erofs_image, ext4_image
from tests.signing_material import key

POLICY = {
    "schema": "rom-builder/policy/v1",
    "id": "case",
    "title": "Off until it is turned on",
    "services": [{"profile": "case", "consent": {"mode": "opt-in"}}],
}
PROFILE = {
    "schema": "rom-builder/profile/v1",
    "id": "case",
    "title": "A service",
    "packages": ["com.example.case"],
    "switches": [
        {
            "mechanism": "system-property",
            "key": "ro.messaging.default",
            "read_by": "com.example.case",
            "value_on": "on",
            "value_off": "off",
        }
    ],
}
IMAGES: dict[str, Callable[[Path], bytes]] = {
    "erofs-lz4hc": lambda folder: erofs_image(folder, SYSTEM, "-zlz4hc"),
    "erofs-plain": lambda folder: erofs_image(folder, SYSTEM),
    "ext4": lambda folder: ext4_image(folder, SYSTEM),
}
NEEDED = ("mkfs.erofs", "fsck.erofs", "mkfs.ext4", "debugfs", "e2fsck")
pytestmark = pytest.mark.judge(*NEEDED)


def signing(folder: Path, ota: NewKey, avb: NewKey | None) -> Path:
    roles = {}
    for role, made in (("ota", ota), ("avb", avb)):
        if made is None:
            continue
        path = folder / f"{role}.pem"
        private = made.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private)
        path.chmod(0o600)
        cert = folder / f"{role}.x509.pem"
        cert.write_bytes(made.certificate.public_bytes(Encoding.PEM))
        roles[role] = {"signer": f"file:{path.name}", "certificate": cert.name}
    profile = {"schema": "rom-builder/signing/v1", "id": "t", "title": "Test", "roles": roles}
    (folder / "signing.yaml").write_text(yaml.safe_dump(profile))
    return folder / "signing.yaml"


AVB = new_key("avb", "rsa-2048", subject="AVB")


def command(folder: Path, output: str = "out.zip") -> list[str]:
    """Write policy and profile, and return the words of a build with a new file in it."""
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles/case.yaml").write_text(yaml.safe_dump(PROFILE))
    (folder / "case.yaml").write_text(yaml.safe_dump(POLICY))
    (folder / "new.txt").write_bytes(b"a new file\n")
    return [
        *("build", str(folder / "base.zip"), "-p", str(folder / "case.yaml")),
        *("-s", str(folder / "signing.yaml"), "-o", str(folder / output)),
        *("--replace", f"/system/etc/new.txt={folder / 'new.txt'}"),
    ]


def base(folder: Path, system: bytes, **options: object) -> None:
    made = key("rsa-2048")
    otacert = made.certificate.public_bytes(Encoding.PEM)
    ab_package(folder, system, key=made.private_key, otacert=otacert, **options)  # type: ignore[arg-type]


def payload_of(path: Path) -> Payload:
    with zipfile.ZipFile(path) as archive:
        return Payload(BytesSource(archive.read("payload.bin")))


@pytest.fixture(scope="module", params=IMAGES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and what was built from it."""
    folder = tmp_path_factory.mktemp(request.param)
    base(folder, IMAGES[request.param](folder))
    signing(folder, key("rsa-2048"), AVB)
    assert main(command(folder)) == 0
    return folder


def test_the_new_file_and_its_label_are_there(built: Path) -> None:
    rom = open_rom(built / "out.zip")
    new, sibling = (rom.files[f"/system/etc/{name}"] for name in ("new.txt", "hosts"))
    assert rom.read(new) == b"a new file\n"
    assert (new.node.mode, new.node.uid, new.node.gid) == (0o644, 0, 0)
    assert new.node.selinux_label == sibling.node.selinux_label
    if "ext4" in built.name:
        assert new.node.selinux_label == "u:object_r:system_file:s0"
    for path in SYSTEM:
        old = rom.files[f"/{path}"]
        assert path.endswith("build.prop") or rom.read(old) == SYSTEM[path]


def test_other_partitions_and_operations_keep_their_bytes(built: Path) -> None:
    before, after = payload_of(built / "base.zip"), payload_of(built / "out.zip")
    assert before.names == after.names
    boot = before.partition("boot")
    assert after.partition("boot").read_at(0, boot.size) == boot.read_at(0, boot.size)
    for name in before.names:
        old = {op.data_sha256_hash for op in before.update(name).operations}
        new = [op.data_sha256_hash for op in after.update(name).operations]
        encoded = [digest for digest in new if digest not in old]
        if name == "boot":
            assert encoded == []
        elif name == "system":
            assert len(encoded) < len(new)
    for name in after.names:
        after.verify_partition(name)


def test_verified_boot_holds_and_keeps_its_rollback_indexes(built: Path) -> None:
    before, after = payload_of(built / "base.zip"), payload_of(built / "out.zip")

    def read(payload: Payload, name: str) -> Vbmeta:
        return read_vbmeta(payload.partition(name))

    for name in ("vbmeta", "vbmeta_system", "boot"):
        old, new = read(before, name), read(after, name)
        verify_vbmeta(new)
        assert (new.rollback_index, new.flags) == (old.rollback_index, old.flags)
        for item in new.descriptors:
            if isinstance(item, HashDescriptor | HashtreeDescriptor):
                verify_image(after.partition(item.partition_name), item)


def test_the_payload_is_signed_and_its_neighbours_agree(built: Path) -> None:
    payload = payload_of(built / "out.zip")
    public = key("rsa-2048").private_key.public_key()
    verify_metadata_signature(payload, [public])
    verify_payload_signature(payload, [public])
    (item,) = (
        item
        for item in read_vbmeta(payload.partition("vbmeta_system")).descriptors
        if isinstance(item, HashtreeDescriptor)
    )
    with zipfile.ZipFile(built / "out.zip") as archive:
        care = CareMap.parse(archive.read("care_map.pb"))
        places = archive.read("META-INF/com/android/metadata").decode()
        for name, offset, size in re.findall(r"(payload\.bin|care_map\.pb):(\d+):(\d+)", places):
            data = (built / "out.zip").read_bytes()[int(offset) : int(offset) + int(size)]
            assert data == archive.read(name)
    assert care.partitions[0].ranges == f"2,0,{item.image_size // BLOCK}"


def test_the_file_system_is_clean(built: Path) -> None:
    image = built / "new.img"
    partition = payload_of(built / "out.zip").partition("system")
    image.write_bytes(partition.read_at(0, partition.size))
    checker = ["/usr/sbin/e2fsck", "-fn"] if "ext4" in built.name else ["fsck.erofs"]
    ended = subprocess.run([*checker, image], capture_output=True, check=False)
    assert ended.returncode == 0, ended


def test_the_same_base_gives_the_same_package(built: Path) -> None:
    assert main(command(built, "again.zip")) == 0
    assert (built / "again.zip").read_bytes() == (built / "out.zip").read_bytes()


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "small group": ({"group_size": 4096}, "main"),
    "hashtree disabled": ({"flags": 1}, "flags 1"),
    "verification disabled": ({"flags": 2}, "flags 2"),
    "both disabled": ({"flags": 3}, "flags 3"),
    "wrong digest": ({"wrong_digest": True}, "system"),
    "incremental": ({"minor": 6}, "incremental"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_base_that_cannot_be_sealed_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, said = REFUSED[kind]
    base(tmp_path, erofs_image(tmp_path, SYSTEM), **options)
    signing(tmp_path, key("rsa-2048"), AVB)
    assert main(command(tmp_path)) in (1, 2)
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert "internal error" not in captured.err
    assert not list(tmp_path.glob("*out.zip*"))


def test_keys_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base(tmp_path, erofs_image(tmp_path, SYSTEM))
    for avb, said in ((None, "roles.avb"), (key("p256", 1), "RSA")):
        signing(tmp_path, key("rsa-2048"), avb)
        assert main(command(tmp_path)) == 2
        assert said in capsys.readouterr().err
        assert not list(tmp_path.glob("*out.zip*"))
