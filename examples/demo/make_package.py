"""Make the package of the demo ROM, ``pine-4118.zip``, from the folders beside this file.

Needs mkfs.erofs and mkfs.ext4, and root, for the SELinux labels: ``apt install erofs-utils e2fsprogs``.
Run it as ``python -m examples.demo.make_package``, after ``make_files`` if the apps are to change. The
package is one that a phone with slots takes: an ext4 system and an EROFS product partition under hash
trees with parity, a boot image with a copy of the update certificates, chained vbmeta images, a signed
payload and a signed file. The keys are made for one run and never written into the tree.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.formats.ab_metadata import CareMap, CarePartition
from rom_builder.formats.fec import build_fec
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.ota_signature import signed_size
from rom_builder.formats.source import BytesSource, FileSource
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.keys import new_key
from rom_builder.packing.image_pack import write_image_package
from rom_builder.plan import Plan
from rom_builder.rom.opening import open_rom
from rom_builder.signers.package import sign_package
from rom_builder.signers.signer import KeySigner, checked
from tests.formats.builders import vbmeta as avb
from tests.formats.builders.boot_image import boot_v1
from tests.formats.builders.cpio import archive, entry

HERE = Path(__file__).parent
PACKAGE = HERE / "pine-4118.zip"
OTACERTS = HERE / "system" / "system" / "etc" / "security" / "otacerts.zip"
BUILD_TIME = 1625443200
BUILD = "example/pine/pine:11/RQ3A.210705.001/4118:user/release-keys"
LABEL = b"u:object_r:system_file:s0\0"
BLOCK = 4096
PARTITION_SIZE = 1 << 20
EXT4_OPTIONS = "^has_journal,^metadata_csum,^64bit,^resize_inode,^dir_index,ext_attr"
META = {
    "ab_partitions.txt": "boot\nproduct\nsystem\nvbmeta\nvbmeta_system\n",
    "dynamic_partitions_info.txt": (
        "super_partition_groups=pine_dynamic_partitions\n"
        f"super_pine_dynamic_partitions_group_size={8 << 20}\n"
        "super_pine_dynamic_partitions_partition_list=product system\n"
        "virtual_ab=true\nvirtual_ab_compression=false\n"
    ),
}


def main() -> None:
    """Make the package anew."""
    updates = new_key("ota", "rsa-2048", subject="Example maker: updates of pine")
    make_otacerts(OTACERTS, updates.certificate.public_bytes(Encoding.PEM))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, data in images(work).items():
            (work / "base" / f"{name}.img").write_bytes(data)
        key = KeySigner(updates.private_key, updates.certificate)
        signer = checked(key, updates.certificate, "made:updates")
        with PACKAGE.open("w+b") as file:
            write_image_package(open_rom(work / "base"), Plan((), ()), signer, None, file)
            file.flush()
            unsigned = FileSource(PACKAGE)
            tail = sign_package(unsigned, signer)
            file.seek(signed_size(unsigned))
            file.write(tail)
            file.truncate()


def images(work: Path) -> dict[str, bytes]:
    """Return the partition images, and put what they cannot tell beside them."""
    (work / "base" / "META").mkdir(parents=True)
    top_key, system_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    found, items = {}, []
    cares = []
    for name, make in (("product", erofs), ("system", ext4)):
        tree = work / name
        shutil.copytree(HERE / name, tree)
        for path in (tree, *tree.rglob("*")):
            os.setxattr(path, "security.selinux", LABEL, follow_symlinks=False)
            os.utime(path, (BUILD_TIME, BUILD_TIME))
        found[name], item = sealed(name, make(tree, work / f"{name}.img"))
        items.append(item)
        blocks = int.from_bytes(item[20:28], "big") // BLOCK
        cares.append(CarePartition(name, f"2,0,{blocks}", f"ro.{name}.build.fingerprint", BUILD))
    found["boot"], item = boot()
    chained = avb.vbmeta(b"".join(items), system_key, rollback_index=BUILD_TIME)
    top = item + avb.chain(b"vbmeta_system", 1, avb.key_blob(system_key))
    found["vbmeta_system"] = chained.ljust(16 * BLOCK, b"\0")
    found["vbmeta"] = avb.vbmeta(top, top_key, rollback_index=0).ljust(16 * BLOCK, b"\0")
    for name, text in META.items():
        (work / "base" / "META" / name).write_text(text)
    (work / "base" / "META" / "care_map.pb").write_bytes(CareMap(tuple(cares)).encode())
    return found


def erofs(tree: Path, image: Path) -> bytes:
    """Make a compressed file system."""
    command = ["mkfs.erofs", "-zlz4hc", f"-T{BUILD_TIME}", "--all-root", "--quiet"]
    run(*command, "-U00000000-0000-4000-8000-000000000001", image, tree)
    return image.read_bytes()


def ext4(tree: Path, image: Path) -> bytes:
    """Make a file system as Android's own are: no journal."""
    size = (PARTITION_SIZE - (BLOCK << 5)) // BLOCK
    command = ["mkfs.ext4", "-q", "-b", str(BLOCK), "-m0", "-N256", "-I256", "-O", EXT4_OPTIONS]
    command += ["-E", "hash_seed=00000000-0000-4000-8000-000000000002,root_owner=0:0"]
    command += ["-U", "00000000-0000-4000-8000-000000000003", "-L", "system", "-d", str(tree)]
    run(*command, image, str(size), E2FSPROGS_FAKE_TIME=str(BUILD_TIME))
    return image.read_bytes()


def sealed(name: str, data: bytes) -> tuple[bytes, bytes]:
    """Return a partition with hash tree, parity and footer, and its descriptor."""
    data += bytes(-len(data) % BLOCK)
    salt = hashlib.sha256(name.encode()).digest()
    tree = build_hashtree(BytesSource(data), salt)
    covered = data + tree.tree
    fec = build_fec(BytesSource(covered))
    item = avb.hashtree(name.encode(), salt, tree.root_digest, len(data), len(tree.tree), len(fec))
    size = -(-(len(covered) + len(fec) + 8 * BLOCK) // BLOCK) * BLOCK
    image = avb.with_footer(covered + fec, avb.vbmeta(item), size)
    return image[:-52] + len(data).to_bytes(8, "big") + image[-44:], item


def boot() -> tuple[bytes, bytes]:
    """Return a boot image with recovery's ramdisk, and its descriptor."""
    certificates = OTACERTS.read_bytes()
    files = archive(
        entry(b"init", b"the program that a phone starts first\n", mode=0o100750),
        entry(b"system", b"", mode=0o040755),
        entry(b"system/etc", b"", mode=0o040755),
        entry(b"system/etc/security", b"", mode=0o040755),
        entry(b"system/etc/security/otacerts.zip", certificates),
    )
    image = boot_v1(
        b"a kernel\n" * 500, gzip.compress(files, mtime=0), b"", b"", b"a device tree\n"
    )
    salt = hashlib.sha256(b"boot").digest()
    item = avb.hashed(b"boot", salt, hashlib.sha256(salt + image).digest(), len(image))
    return avb.with_footer(image, avb.vbmeta(item), 32 * BLOCK), item


def make_otacerts(path: Path, certificate: bytes) -> None:
    """Make the list of certificates that the phone accepts updates from."""
    file = io.BytesIO()
    packed = ZipWriter(file)
    packed.add("releasekey.x509.pem", certificate, compress=True)
    packed.close()
    path.write_bytes(file.getvalue())


def run(*command: str | Path, **environment: str) -> None:
    """Run a program."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    subprocess.run(command, check=True, env={**os.environ, "PATH": path, **environment})


if __name__ == "__main__":
    main()
