"""Foreign tools judge built A/B packages: one from a package, one from images, the same way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rom_builder.cli import main
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.avb_descriptors import HashtreeDescriptor
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import read_footer, read_vbmeta
from rom_builder.formats.zip import ZipArchive

EXAMPLE = Path(__file__).parent.parent / "examples" / "demo"
BASE = EXAMPLE / "pine-4118.zip"
APP = f"/product/priv-app/Messaging/Messaging.apk={EXAMPLE / 'Messaging-2.0.apk'}"
BLOCK = 4096
TOOLS = f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}:/usr/sbin:/sbin"
LAYOUT = """\
super_partition_groups=pine_dynamic_partitions
super_pine_dynamic_partitions_group_size=8388608
super_pine_dynamic_partitions_partition_list=product system
virtual_ab=true
"""


def payload_of(package: Path) -> Payload:
    archive = ZipArchive(FileSource(package))
    return Payload(archive.open(archive.entries[PAYLOAD_NAME]))


def image_of(payload: Payload, name: str) -> bytes:
    source = payload.partition(name)
    return source.read_at(0, source.size)


def from_package(folder: Path) -> Path:
    return BASE


def from_images(folder: Path) -> Path:
    """Write the images of the package, and what they do not tell."""
    payload, base = payload_of(BASE), folder / "images"
    base.mkdir()
    for name in payload.names:
        (base / f"{name}.img").write_bytes(image_of(payload, name))
    (base / "dynamic_partitions_info.txt").write_text(LAYOUT)
    return base


@pytest.fixture(scope="module", params=[from_package, from_images])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("judges")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        command = ["build", str(request.param(folder)), "-p", "messaging-opt-in", "-s", "dev"]
        package = folder / "out.zip"
        assert main([*command, "--replace", APP, "--wipe", "-o", str(package)]) == 0
        assert main(["verify", str(package)]) == 0
        yield package


def run(*command: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    tool = shutil.which(command[0], path=TOOLS)
    assert tool is not None, command[0]
    # paycheck.py has messages that protoc of long ago made.
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    return subprocess.run(
        [tool, *command[1:]],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_an_independent_dumper_gives_the_same_partitions(built: Path, tmp_path: Path) -> None:
    """android-payload-dumper of the package index: another decoder of manifest and operations."""
    done = run("payload-dumper", built, "-o", tmp_path / "dumped")
    assert done.returncode == 0, done.stdout + done.stderr
    payload = payload_of(built)
    assert {path.name for path in (tmp_path / "dumped").iterdir()} == {
        f"{name}.img" for name in payload.names
    }
    for name in payload.names:
        assert (tmp_path / "dumped" / f"{name}.img").read_bytes() == image_of(payload, name)


def system_of(package: Path, name: str) -> tuple[bytes, bytes, HashtreeDescriptor]:
    """Return a partition, its file system, and the descriptor that a phone starts from."""
    payload = payload_of(package)
    image = image_of(payload, name)
    (item,) = (
        item
        for item in read_vbmeta(payload.partition("vbmeta_system")).descriptors
        if isinstance(item, HashtreeDescriptor) and item.partition_name == name
    )
    footer = read_footer(payload.partition(name))
    assert footer is not None
    return image, image[: footer.original_image_size], item


@pytest.mark.judge("veritysetup")
@pytest.mark.parametrize("name", ["product", "system"])
def test_veritysetup_verifies_tree_and_parity(built: Path, name: str, tmp_path: Path) -> None:
    image, _, item = system_of(built, name)
    path = tmp_path / "image"
    path.write_bytes(image)
    command: list[str | Path] = [
        "veritysetup", "verify", path, path, item.root_digest.hex(), "--no-superblock",
        "--format=1", "--hash=sha256", f"--salt={item.salt.hex()}",
        f"--data-blocks={item.image_size // BLOCK}", f"--hash-offset={item.tree_offset}",
        f"--fec-device={path}", f"--fec-offset={item.fec_offset}", f"--fec-roots={item.fec_roots}",
    ]  # fmt: skip
    assert run(*command).returncode == 0
    damaged = image[:8192] + bytes(b ^ 255 for b in image[8192:12288]) + image[12288:]
    path.write_bytes(damaged)
    done = run(*command)
    assert "repairable errors" in done.stdout + done.stderr


@pytest.mark.judge("fsck.erofs", "e2fsck")
@pytest.mark.parametrize(
    ("name", "command"), [("product", ["fsck.erofs"]), ("system", ["e2fsck", "-fn"])]
)
def test_file_systems_are_clean(built: Path, name: str, command: list[str], tmp_path: Path) -> None:
    _, content, _ = system_of(built, name)
    (tmp_path / "image").write_bytes(content)
    done = run(*command, tmp_path / "image")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.judge("unzip")
def test_unzip_takes_the_package(built: Path) -> None:
    assert run("unzip", "-tqq", built).returncode == 0


@pytest.mark.judge("openssl")
def test_openssl_verifies_each_signature(built: Path, tmp_path: Path) -> None:
    """The CMS of the whole file, and the two signatures of the payload over their digests."""
    package = built.read_bytes()
    footer = package[-6:]
    comment_size, start = (int.from_bytes(footer[at : at + 2], "little") for at in (4, 0))
    (tmp_path / "cms").write_bytes(package[-start:-6])
    (tmp_path / "content").write_bytes(package[: -comment_size - 2])
    archive = ZipArchive(FileSource(built))
    otacert = archive.read(archive.entries["META-INF/com/android/otacert"])
    (tmp_path / "cert").write_bytes(otacert)
    files = ("-in", "cms", "-content", "content", "-CAfile", "cert", "-out", "verified")
    command = ("openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any")
    done = run(*command, *files, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("openssl", "x509", "-in", "cert", "-pubkey", "-noout", folder=tmp_path)
    (tmp_path / "key").write_text(done.stdout)
    payload = payload_of(built)
    for digest, signatures in (
        (payload.metadata_digest(), payload.metadata_signatures()),
        (payload.payload_digest(), payload.payload_signatures()),
    ):
        (tmp_path / "digest").write_bytes(digest)
        (tmp_path / "signature").write_bytes(signatures.signatures[0].data or b"")
        options = ("-pkeyopt", "digest:sha256", "-sigfile", "signature", "-in", "digest")
        done = run(
            "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", *options, folder=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.judge("avbtool.py")
def test_avbtool_verifies_the_images(built: Path, tmp_path: Path) -> None:
    payload = payload_of(built)
    for name in payload.names:
        (tmp_path / f"{name}.img").write_bytes(image_of(payload, name))
    (tmp_path / "chain.bin").write_bytes(read_vbmeta(payload.partition("vbmeta_system")).public_key)
    done = run(
        "avbtool.py", "verify_image", "--image", "vbmeta.img",
        "--expected_chain_partition", "vbmeta_system:1:chain.bin", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "boot: Successfully verified sha256 hash" in done.stdout
    done = run("avbtool.py", "verify_image", "--image", "vbmeta_system.img", folder=tmp_path)
    for name in ("product", "system"):
        assert f"{name}: Successfully verified sha256 hashtree" in done.stdout


@pytest.mark.judge("paycheck.py")
def test_paycheck_accepts_the_payload(built: Path, tmp_path: Path) -> None:
    archive = ZipArchive(FileSource(built))
    payload = payload_of(built)
    (tmp_path / "payload.bin").write_bytes(archive.read(archive.entries[PAYLOAD_NAME]))
    (tmp_path / "cert").write_bytes(archive.read(archive.entries["META-INF/com/android/otacert"]))
    done = run("openssl", "x509", "-in", "cert", "-pubkey", "-noout", folder=tmp_path)
    (tmp_path / "key.pem").write_text(done.stdout)
    sizes = [str(payload.partition(name).size) for name in payload.names]
    tool = shutil.which("paycheck.py", path=TOOLS) or ""
    done = run(
        sys.executable, tool, "payload.bin", "--check", "--key", "key.pem", "--type", "full",
        "--part_names", *payload.names, "--part_sizes", *sizes, folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
