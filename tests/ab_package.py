"""Full A/B packages around a system image made by mkfs.erofs, sealed and signed in every usual way."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from rom_builder.formats.ab_metadata import (
    CareMap,
    CarePartition,
    DeviceState,
    OtaMetadata,
    metadata_files,
)
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.properties import PayloadProperties
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip_writer import ZipWriter
from tests.formats.builders import vbmeta as build
from tests.formats.builders.boot_image import boot_v4
from tests.formats.builders.cpio import archive, entry
from tests.formats.builders.device import BOOT_KEY, SALT, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import Part, Spec, chunk, full_ops, number
from tests.formats.damage import noise

BLOCK = 4096
BUILD_PROP = """\
ro.build.version.sdk=34
ro.build.version.release=14
ro.build.version.incremental=100
ro.build.version.security_patch=2024-06-05
ro.build.date.utc=1700000000
ro.build.type=user
ro.build.tags=release-keys
ro.debuggable=0
ro.product.device=pine
ro.build.fingerprint=example/pine/pine:14/UP1A/100:user/release-keys
"""
SYSTEM = {
    "system/build.prop": BUILD_PROP.encode(),
    "system/etc/hosts": b"127.0.0.1 localhost\n",
    "system/framework/data.bin": noise(200_000, 5),
    "init": b"#!/bin/sh\n",
}
"""A system-as-root image: what stands in it by path."""
REPLACE, REPLACE_XZ = 0, 8


def erofs_image(folder: Path, files: Mapping[str, bytes]) -> bytes:
    """Make an image; needs mkfs.erofs."""
    tree, image = folder / "tree", folder / "system.img"
    for path, data in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    command = ["mkfs.erofs", "-zlz4hc", "-T1700000000", "--all-root", "--quiet", image, tree]
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


def sealed(name: str, data: bytes, size: int) -> tuple[bytes, bytes]:
    """Return a partition with hashtree and footer, and its descriptor."""
    tree = build_hashtree(BytesSource(data), SALT)
    item = build.hashtree(name.encode(), SALT, tree.root_digest, len(data), len(tree.tree), 0)
    image = build.with_footer(data + tree.tree, build.vbmeta(item), 0)
    image = image[:-64].ljust(size - 64, b"\0") + image[-64:]
    return image[:-52] + len(data).to_bytes(8, "big") + image[-44:], item


def images(folder: Path, files: Mapping[str, bytes] = SYSTEM) -> dict[str, bytes]:
    """Return system (EROFS, hashtree in vbmeta_system), boot (hash, chained), and vbmeta images."""
    system = erofs_image(folder, files)
    size = (len(system) // BLOCK + 64) * BLOCK
    system, system_item = sealed("system", system, size)
    ramdisk = gzip.compress(archive(entry(b"init", b"#!", mode=0o100755)), mtime=0)
    boot = boot_v4(noise(9 * BLOCK + 100, 3), ramdisk)
    boot_item = build.hashed(b"boot", SALT, hash_of(SALT + boot), len(boot))
    boot = build.with_footer(boot, build.vbmeta(boot_item, BOOT_KEY, rollback_index=5), 32 * BLOCK)
    chained = build.vbmeta(system_item, SYSTEM_KEY, rollback_index=7).ljust(16 * BLOCK, b"\0")
    top = build.vbmeta(
        build.chain(b"boot", 3, build.key_blob(BOOT_KEY))
        + build.chain(b"vbmeta_system", 2, build.key_blob(SYSTEM_KEY)),
        TOP_KEY,
        rollback_index=9,
    ).ljust(2 * BLOCK, b"\0")
    return {"boot": boot, "system": system, "vbmeta": top, "vbmeta_system": chained}


def ab_package(
    folder: Path, files: Mapping[str, bytes], *, key: rsa.RSAPrivateKey, otacert: bytes
) -> Path:
    """Write ``base.zip``, whose payload holds :func:`images`."""
    group = chunk(1, b"main") + number(2, 1 << 30) + chunk(3, b"system")
    spec = Spec(
        [
            Part(name, data, full_ops(data, [REPLACE_XZ, REPLACE], 8))
            for name, data in images(folder, files).items()
        ],
        sign=lambda digest: key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256())),
        extra=chunk(15, chunk(1, group)),
    )
    payload = spec.build()
    return written(folder / "base.zip", payload, otacert)


def written(path: Path, payload: bytes, otacert: bytes, care: str = "2,0,20") -> Path:
    """Put a payload into a package as releasetools does."""
    opened = Payload(BytesSource(payload))
    properties = PayloadProperties(
        hash_of(payload), len(payload), opened.metadata_digest(), opened.metadata_size
    ).encode()
    care = CareMap((CarePartition("system", care, "ro.build.fingerprint", "x"),)).encode()
    signature_size = len(opened.metadata_signature)
    entries = {"care_map.pb": care, "payload.bin": payload, "payload_properties.txt": properties}
    metadata = OtaMetadata(
        type=1,
        precondition=DeviceState(device=("pine",)),
        postcondition=DeviceState(device=("pine",), timestamp=1_700_000_000, sdk_level="34"),
    )
    files = metadata_files(
        metadata,
        {},
        [(name, len(data)) for name, data in entries.items()],
        opened.metadata_size + signature_size,
    )
    with path.open("w+b") as file:
        writer = ZipWriter(file)
        for name, data in {**files, **entries}.items():
            writer.add(name, data, compress=False)
        writer.add("META-INF/com/android/otacert", otacert, compress=True)
        writer.close()
    return path


def hash_of(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()
