"""Write a large full A/B package: ``python -m bench.large_ota PACKAGE``.

Four partitions with files, system as ext4 and the others as EROFS, each under a hash tree and error
correction, described in vbmeta and a chained vbmeta_system; a payload of operations of 2 MiB that
are compressed with xz where that makes them smaller, as AOSP writes it. Nothing large is held in
memory.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

from bench.measure import TOOL_PATH
from bench.synthetic_tree import write_partition
from rom_builder.formats.ab_metadata import DeviceState, OtaMetadata, metadata_files
from rom_builder.formats.avb_descriptors import ChainPartitionDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_key import Algorithm, encode_public_key
from rom_builder.formats.avb_seal import ImageDescriptor, describe
from rom_builder.formats.avb_signing import AvbKey, sign_vbmeta, written
from rom_builder.formats.payload.manifest import (
    DynamicPartitionGroup,
    DynamicPartitionMetadata,
    Extent,
    InstallOperation,
    Manifest,
    OperationType,
    PartitionInfo,
    PartitionUpdate,
)
from rom_builder.formats.payload.properties import PayloadProperties
from rom_builder.formats.payload.signing import PayloadKey, sign_digest, signatures_size
from rom_builder.formats.source import BytesSource, FileSource, Pieces, Source
from rom_builder.formats.vbmeta import Footer, Vbmeta
from rom_builder.formats.zip_writer import ZipWriter
from tests.signing_material import key as otacert_key

TOOLS = ("mkfs.erofs", "mke2fs")
"""What makes the file systems."""

BLOCK = 4096
OPERATION = 512 * BLOCK
GROUP_SIZE = 8 << 30
PARTITIONS = {
    "system": (600, 50),
    "system_ext": (200, 15),
    "product": (600, 50),
    "vendor": (300, 5),
}
"""Mebibytes of files in each partition, and how many apps hold a third of them."""
CHAINED = ("system", "system_ext", "product")
"""Partitions that vbmeta_system describes; vbmeta describes the others."""
SALT = bytes(range(32))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large_ota", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--tree", type=Path, help="a /system to take the content of files from")
    parser.add_argument("--scale", type=float, default=1.0, help="size, 1 for about 1.1 GiB")
    parser.add_argument("--preset", type=int, default=0, help="of xz")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.package.parent) as scratch:
        folder = Path(scratch)
        images = {}
        for seed, (name, (mebibytes, apps)) in enumerate(PARTITIONS.items()):
            root = folder / "root"
            size = max(1, round(mebibytes * arguments.scale))
            write_partition(root, name, mebibytes=size, apps=apps, seed=seed, tree=arguments.tree)
            images[name] = file_system(folder / f"{name}.img", root)
            shutil.rmtree(root)
        write_package(arguments.package, images, folder, arguments.preset)


def file_system(image: Path, root: Path) -> Path:
    """Make the image of a partition: system as ext4, others as EROFS."""
    if image.stem == "system":
        used = sum(path.lstat().st_size + BLOCK for path in root.rglob("*"))
        blocks = used // BLOCK * 104 // 100 + 2048
        # Android's images have no journal and no room to spare for root.
        features = "^has_journal,^resize_inode,extents,^metadata_csum,uninit_bg,sparse_super"
        command = [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            str(BLOCK),
            "-m",
            "0",
            "-O",
            features,
            "-d",
            root,
        ]
        command += [image, str(blocks)]
    else:
        command = ["mkfs.erofs", "-zlz4", "--all-root", image, root]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "PATH": TOOL_PATH},
    )  # fmt: skip
    return image


def write_package(package: Path, images: Mapping[str, Path], folder: Path, preset: int) -> None:
    """Seal the images, put them into a signed payload and that into a package."""
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
    sealed, descriptors = {}, {}
    for name, image in images.items():
        sealed[name], descriptors[name] = seal(name, FileSource(image))
    chained = signed(keys[0], [descriptors[name] for name in CHAINED])
    chain = ChainPartitionDescriptor("vbmeta_system", 1, chained.public_key)
    others = [descriptors[name] for name in images if name not in CHAINED]
    top = signed(keys[1], [chain, *others])
    sealed["vbmeta"] = BytesSource(top.raw.ljust(2 * BLOCK, b"\0"))
    sealed["vbmeta_system"] = BytesSource(chained.raw.ljust(2 * BLOCK, b"\0"))
    payload = folder / "payload.bin"
    properties, metadata_size = write_payload(payload, sealed, folder, keys[2], preset)
    source = FileSource(payload)
    metadata = OtaMetadata(
        type=1,
        precondition=DeviceState(device=("pine",)),
        postcondition=DeviceState(device=("pine",), timestamp=1_700_000_000, sdk_level="34"),
    )
    entries: dict[str, bytes | Source] = {
        "payload.bin": source,
        "payload_properties.txt": properties,
    }
    sizes = [("payload.bin", source.size), ("payload_properties.txt", len(properties))]
    with package.open("w+b") as file:
        writer = ZipWriter(file)
        for name, data in {**metadata_files(metadata, {}, sizes, metadata_size), **entries}.items():
            writer.add(name, data, compress=False)
        otacert = otacert_key().certificate.public_bytes(Encoding.PEM)
        writer.add("META-INF/com/android/otacert", otacert, compress=True)
        writer.close()


def seal(name: str, image: Source) -> tuple[Source, ImageDescriptor]:
    """Return a partition with hash tree, error correction and footer, and its descriptor."""
    template = HashtreeDescriptor(name, 0, 0, BLOCK, bytes(32), SALT, fec_roots=2, fec_size=BLOCK)
    descriptor, pieces = describe(image, template)
    own = written(Vbmeta(Algorithm.NONE, (descriptor,), release_string="avbtool 1.3.0"))
    end = sum(size for _, size in pieces)
    footer = Footer(image.size, end, len(own.raw)).encode()
    tail = own.raw.ljust(16 * BLOCK - len(footer), b"\0") + footer
    return Pieces([*pieces, (BytesSource(tail), len(tail))]), descriptor


def signed(
    key: rsa.RSAPrivateKey, descriptors: list[ImageDescriptor | ChainPartitionDescriptor]
) -> Vbmeta:
    def sign(digest: bytes, name: str) -> bytes:
        kind = SHA256() if name == "sha256" else SHA512()
        return key.sign(digest, padding.PKCS1v15(), utils.Prehashed(kind))

    blob = encode_public_key(key.public_key())
    vbmeta = Vbmeta(Algorithm.NONE, tuple(descriptors), release_string="avbtool 1.3.0")
    return sign_vbmeta(vbmeta, AvbKey(Algorithm.SHA256_RSA2048, blob, sign))


def write_payload(
    path: Path, images: Mapping[str, Source], folder: Path, key: rsa.RSAPrivateKey, preset: int
) -> tuple[bytes, int]:
    """Write a payload; return its properties file and the bytes before its first blob."""
    with tempfile.TemporaryFile(dir=folder) as blobs, ThreadPoolExecutor() as pool:
        updates = []
        for name, image in images.items():
            updates.append(partition(name, image, blobs, pool, preset))
        sizes = tuple(name for name in images if name in PARTITIONS)
        size = blobs.tell()
        payload_key = PayloadKey(
            key.public_key(),
            lambda digest, _: key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256())),
        )
        signature_size = signatures_size([payload_key])
        group = DynamicPartitionGroup(name="main", size=GROUP_SIZE, partition_names=sizes)
        manifest = Manifest(
            block_size=BLOCK,
            signatures_offset=size,
            signatures_size=signature_size,
            minor_version=0,
            partitions=tuple(updates),
            max_timestamp=1_700_000_000,
            dynamic_partition_metadata=DynamicPartitionMetadata(groups=(group,)),
        ).encode()
        head = struct.pack(">4sQQI", b"CrAU", 2, len(manifest), signature_size) + manifest
        metadata_digest = hashlib.sha256(head)
        whole, covered = hashlib.sha256(head), metadata_digest.copy()
        first = sign_digest(metadata_digest.digest(), [payload_key])
        whole.update(first)
        with path.open("wb") as file:
            file.write(head + first)
            blobs.seek(0)
            while piece := blobs.read(1 << 20):
                whole.update(piece)
                covered.update(piece)
                file.write(piece)
            last = sign_digest(covered.digest(), [payload_key])
            whole.update(last)
            file.write(last)
            total = file.tell()
    properties = PayloadProperties(whole.digest(), total, metadata_digest.digest(), len(head))
    return properties.encode(), len(head) + len(first)


def partition(
    name: str, image: Source, blobs: IO[bytes], pool: ThreadPoolExecutor, preset: int
) -> PartitionUpdate:
    """Write the operations of one partition behind ``blobs``."""
    digest = hashlib.sha256()
    operations = []
    for first in range(0, image.size, 8 * OPERATION):
        starts = range(first, min(first + 8 * OPERATION, image.size), OPERATION)
        pieces = [image.read_at(at, min(OPERATION, image.size - at)) for at in starts]
        for start, piece, blob in zip(
            starts, pieces, pool.map(lambda data: xz(data, preset), pieces), strict=True
        ):
            digest.update(piece)
            smaller = len(blob) < len(piece)
            data = blob if smaller else piece
            operations.append(
                InstallOperation(
                    type=OperationType.REPLACE_XZ if smaller else OperationType.REPLACE,
                    data_offset=blobs.tell(),
                    data_length=len(data),
                    dst_extents=(Extent(start // BLOCK, len(piece) // BLOCK),),
                    data_sha256_hash=hashlib.sha256(data).digest(),
                )
            )
            blobs.write(data)
    info = PartitionInfo(size=image.size, hash=digest.digest())
    return PartitionUpdate(
        partition_name=name, new_partition_info=info, operations=tuple(operations)
    )


def xz(data: bytes, preset: int) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_NONE, preset=preset)


if __name__ == "__main__":
    main()
