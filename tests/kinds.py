"""One tiny ROM in every kind of package and image that vendors publish."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import brotli
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fixtures.make_apks import APKS
from tests.formats.builders import apex, gpt, sparse, vbmeta
from tests.formats.builders.boot_image import boot_v0, boot_v4
from tests.formats.builders.cpio import archive, entry
from tests.formats.builders.payload import (
    BLOCK,
    REPLACE,
    REPLACE_BZ,
    REPLACE_XZ,
    REPLACE_ZSTD,
    ZERO,
    Op,
    Part,
    Spec,
    full_ops,
)
from tests.formats.builders.super_image import FIRST_SECTOR, SECTOR, Lp

BUILD_PROP = b"""\
ro.build.version.sdk=34
ro.build.version.release=14
ro.build.version.security_patch=2024-06-05
ro.build.type=user
ro.debuggable=0
ro.product.device=pine
ro.build.fingerprint=example/pine/pine:14/UP1A/100:user/release-keys
"""
MESSAGING = (APKS / "messaging.apk").read_bytes()
CONTENT: dict[str, bytes] = {
    "app/Messaging/Messaging.apk": MESSAGING,
    "build.prop": BUILD_PROP,
    "etc/hosts": b"127.0.0.1 localhost\n",
    "etc/big.bin": bytes(range(256)) * 400,
    "etc/permissions/pine.xml": b"<permissions/>\n",
}
"""What lies below ``/system``."""
NAMES = sorted(
    {f"/system/{name}" for name in CONTENT}
    | {f"/system/{folder}" for name in CONTENT for folder in map(str, Path(name).parents)}
    - {"/system/."}
)
"""What ``ls -R`` says of it, wherever it lies."""
SCRIPT = b"""\
mount("ext4", "EMMC", "/dev/block/system", "/system");
package_extract_dir("system", "/system");
package_extract_file("boot.img", "/dev/block/boot");
unmount("/system");
"""
KINDS: dict[str, Callable[[Path, bytes], Path]] = {}
"""Makers of inputs that hold the tree as a file-system image: folder to write to, image."""
Maker = Callable[[Path, bytes], Path]


def kind(name: str) -> Callable[[Maker], Maker]:
    def join(maker: Maker) -> Maker:
        KINDS[name] = maker
        return maker

    return join


def write_tree(folder: Path, files: Mapping[str, bytes] = CONTENT) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def ext4_image(folder: Path, files: Mapping[str, bytes] = CONTENT, size: str = "2M") -> bytes:
    """Make an image as Android's own are: no journal, labels left out; needs mkfs.ext4."""
    tree, image = write_tree(folder / "ext4", files), folder / "ext4.img"
    options = "^has_journal,^metadata_csum,^64bit,^resize_inode"
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", options, "-d", tree, image, size],
        check=True,
        capture_output=True,
    )
    return image.read_bytes()


def erofs_image(folder: Path, files: Mapping[str, bytes] = CONTENT) -> bytes:
    """Make a compressed image; needs mkfs.erofs."""
    tree, image = write_tree(folder / "erofs", files), folder / "erofs.img"
    subprocess.run(
        ["mkfs.erofs", "-zlz4hc", "--all-root", image, tree], check=True, capture_output=True
    )
    return image.read_bytes()


def squashfs_image(folder: Path, files: Mapping[str, bytes] = CONTENT) -> bytes:
    """Make an image; needs mksquashfs."""
    tree, image = write_tree(folder / "squashfs", files), folder / "squashfs.img"
    command = ["mksquashfs", tree, image, "-noappend", "-quiet", "-no-progress", "-all-root"]
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


def ramdisk(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(archive(*(entry(n.encode(), data) for n, data in files.items())))


BOOT = boot_v4(
    b"kernel" * 900,
    ramdisk({"init": b"#!", "system/etc/ramdisk/build.prop": b"a=b\n"}),
    os_version=14 << 25 | 24 << 4 | 6,
)
OLD_BOOT = boot_v0(b"kernel" * 900, ramdisk({"init.rc": b"on boot\n"}))


def payload_ops(image: bytes) -> list[Op]:
    """Cover an image with operations of every kind that full payloads have."""
    ops = full_ops(image, [REPLACE, REPLACE_BZ, REPLACE_XZ, REPLACE_ZSTD])
    for op in ops:
        if not any(op.data):
            op.kind, op.data = ZERO, b""
    return ops


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def payload(images: Mapping[str, bytes], **options: object) -> bytes:
    parts = [Part(name, padded(data), payload_ops(padded(data))) for name, data in images.items()]
    return Spec(parts, **options).build()  # type: ignore[arg-type]


def super_image(images: Mapping[str, bytes], **options: int) -> bytes:
    """Lay partitions end to end into a super image."""
    sector, content, partitions, extents = FIRST_SECTOR, {}, [], []
    for name, data in images.items():
        sectors = len(padded(data)) // SECTOR
        content[sector] = data
        partitions.append((name, 1, 0))
        extents.append([(sectors, 0, sector, 0)] if data else [])
        sector += sectors
    size = max(1 << 20, sector * SECTOR)
    return Lp(partitions, extents, devices=[("super", size)], **options).image(content)  # type: ignore[arg-type]


def transfer(image: bytes) -> tuple[bytes, bytes]:
    """Return the ranges and the data of a block-based package, zeros left out."""
    blocks = [n for n in range(len(image) // BLOCK) if any(image[n * BLOCK : (n + 1) * BLOCK])]
    ranges = ",".join(f"{n},{n + 1}" for n in blocks)
    data = b"".join(image[n * BLOCK : (n + 1) * BLOCK] for n in blocks)
    total = len(image) // BLOCK
    lines = f"erase 2,0,{total}\nnew {2 * len(blocks)},{ranges}\n"
    return lines.encode(), data


def sparse_parts(image: bytes) -> tuple[bytes, bytes]:
    """Split an image into two sparse files that each describe the whole."""
    half = len(image) // 2 // BLOCK * BLOCK
    rest = (len(image) - half) // BLOCK
    return (
        sparse.sparse_image(sparse.raw(image[:half]), sparse.gap(rest)),
        sparse.sparse_image(sparse.gap(half // BLOCK), sparse.raw(image[half:])),
    )


def disk(partitions: Mapping[str, bytes]) -> bytes:
    """Write a disk image with 4096-byte blocks."""
    first, rows = 8, []
    for name, data in partitions.items():
        count = len(padded(data)) // BLOCK
        rows.append((name, first, first + count - 1))
        first += count
    image = bytearray(gpt.disk_image(rows, blocks=first + 8))
    for (_, start, _), data in zip(rows, partitions.values(), strict=True):
        image[start * BLOCK : start * BLOCK + len(padded(data))] = padded(data)
    return bytes(image)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@kind("raw image")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "system.img", image)


@kind("sparse image")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "system.img", sparse.sparse_image(sparse.raw(image)))


@kind("folder of images")
def _(folder: Path, image: bytes) -> Path:
    (folder / "rom").mkdir()
    written(folder / "rom/boot.img", BOOT)
    written(folder / "rom/system.img", image)
    return folder / "rom"


@kind("zip of images")
def _(folder: Path, image: bytes) -> Path:
    return zipped(folder / "rom.zip", {"boot.img": OLD_BOOT, "system.img": image})


@kind("super 10.0")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "super.img", super_image({"system": image}, minor=0, flags=0))


@kind("super 10.2 with slots")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "super.img", super_image({"system_a": image, "system_b": b""}))


@kind("fastboot tgz with a split super")
def _(folder: Path, image: bytes) -> Path:
    first, second = sparse_parts(super_image({"system_a": image}))
    path = folder / "pine_images.tgz"
    with tarfile.open(path, "w:gz") as file:
        for name, data in {
            "pine/images/boot.img": BOOT,
            "pine/images/super.img_sparsechunk.0": first,
            "pine/images/super.img_sparsechunk.1": second,
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@kind("split super by number")
def _(folder: Path, image: bytes) -> Path:
    first, second = sparse_parts(super_image({"system_a": image}))
    return zipped(
        folder / "rom.zip", {"super.0.1a2b3c4d.img": first, "super.1.99aabbcc.img": second}
    )


@kind("payload.bin")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "payload.bin", payload({"system": image, "boot": BOOT}))


@kind("A/B OTA")
def _(folder: Path, image: bytes) -> Path:
    data = payload({"boot": BOOT, "system": image})
    return zipped(
        folder / "ota.zip",
        {"payload.bin": data, "META-INF/com/android/metadata": b"ota-type=AB\npre-device=pine\n"},
        zipfile.ZIP_STORED,
    )


@kind("block-based OTA 4, brotli")
def _(folder: Path, image: bytes) -> Path:
    commands, data = transfer(image)
    head = f"4\n{len(data) // BLOCK}\n0\n0\n".encode()
    return zipped(
        folder / "ota.zip",
        {
            "META-INF/com/google/android/updater-script": b'ui_print("pine");\n',
            "system.transfer.list": head + commands,
            "system.new.dat.br": brotli.compress(data, quality=1),
            "system.patch.dat": b"",
            "boot.img": OLD_BOOT,
        },
    )


@kind("block-based OTA 1, plain")
def _(folder: Path, image: bytes) -> Path:
    commands, data = transfer(image)
    head = f"1\n{len(data) // BLOCK}\n".encode()
    return zipped(
        folder / "ota.zip", {"system.transfer.list": head + commands, "system.new.dat": data}
    )


@kind("target-files with images only")
def _(folder: Path, image: bytes) -> Path:
    return zipped(
        folder / "target-files.zip",
        {"META/misc_info.txt": b"ab_update=true\n", "IMAGES/system.img": image},
    )


@kind("factory zip")
def _(folder: Path, image: bytes) -> Path:
    inner = zipped(
        folder / "inner.zip",
        {"boot.img": BOOT, "system.img": sparse.sparse_image(sparse.raw(image))},
    )
    return zipped(
        folder / "pine-factory.zip",
        {
            "pine-up1a/flash-all.sh": b"#!/bin/sh\n",
            "pine-up1a/image-pine-up1a.zip": inner.read_bytes(),
        },
        zipfile.ZIP_STORED,
    )


@kind("disk image")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "disk.img", disk({"boot_a": BOOT, "system_a": image}))


@kind("disk image with a super partition")
def _(folder: Path, image: bytes) -> Path:
    return written(folder / "disk.img", disk({"super": super_image({"system_a": image})}))


TREES: dict[str, Callable[[Path], Path]] = {}
"""Makers of inputs that hold the tree as files."""


def folder_of(folder: Path) -> Path:
    write_tree(folder / "rom/system")
    return folder / "rom"


def file_based(folder: Path) -> Path:
    script = {"META-INF/com/google/android/updater-script": SCRIPT, "boot.img": OLD_BOOT}
    files = {f"system/{name}": data for name, data in CONTENT.items()}
    return zipped(folder / "ota.zip", script | files)


def target_files(folder: Path) -> Path:
    files = {f"SYSTEM/{name}": data for name, data in CONTENT.items()}
    return zipped(folder / "target-files.zip", {"META/misc_info.txt": b"a=b\n", **files})


def tar_of_files(folder: Path) -> Path:
    with tarfile.open(folder / "rom.tar", "w") as file:
        file.add(write_tree(folder / "rom/system"), "system")
    return folder / "rom.tar"


TREES |= {
    "folder": folder_of,
    "file-based OTA": file_based,
    "target-files": target_files,
    "tar": tar_of_files,
}


def make(name: str, folder: Path, image: bytes) -> Path:
    """Write the ROM as the kind of that name."""
    return TREES[name](folder) if name in TREES else KINDS[name](folder, image)


def apex_module(key: rsa.RSAPrivateKey, image: bytes, name: str = "com.android.example") -> bytes:
    """Write a module around an ext4 image."""
    tree = vbmeta.hashtree(b"", b"salt", bytes(32), len(image), 4096, 0)
    footed = vbmeta.with_footer(image, vbmeta.vbmeta(tree, key), len(padded(image)) + (1 << 16))
    return apex.archive(
        {
            "apex_manifest.pb": apex.manifest(name),
            "apex_payload.img": footed,
            "apex_pubkey": vbmeta.key_blob(key),
        }
    )
