"""Good A/B packages to make something wrong in: signed and sealed in every part."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli.verify import verify
from rom_builder.formats.ota_signature import signed_size
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.signers.package import sign_package
from rom_builder.verification.checks import Verification
from rom_builder.verification.package import verify_package
from tests.ab_package import BLOCK, REPLACE, REPLACE_XZ, SYSTEM, images, written
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import BOOT_KEY, NEW_KEY, SYSTEM_KEY, TOP_KEY
from tests.formats.builders.payload import Part, Spec, chunk, full_ops, number
from tests.signing_material import key, signer

KEY = key("rsa-2048")
OTACERT = KEY.certificate.public_bytes(Encoding.PEM)


@cache
def good_images() -> Mapping[str, bytes]:
    """The partitions of a package that is good; needs mkfs.erofs."""
    with tempfile.TemporaryDirectory() as folder:
        return images(Path(folder), SYSTEM)


@dataclass
class Package:
    """A package to make around some images, with the right keys but for what a test changes."""

    folder: Path
    images: dict[str, bytes] = field(default_factory=lambda: dict(good_images()))
    parts: Mapping[str, Part] = field(default_factory=dict)
    otacert: bytes = OTACERT
    sign_payload: bool = True
    dynamic: tuple[str, ...] = ()

    def write(self, change: Callable[[bytes], bytes] = bytes, **spec: Any) -> bytes:
        """Return it signed; ``change`` is made in the payload before anything speaks of it.

        ``spec`` is what else the payload's :class:`Spec` has.
        """
        parts = [
            self.parts.get(name) or Part(name, data, full_ops(data, [REPLACE_XZ, REPLACE], 64))
            for name, data in self.images.items()
        ]
        sign = sign_with(KEY.private_key) if self.sign_payload else None
        if self.dynamic:
            group = b"".join(chunk(3, name.encode()) for name in self.dynamic)
            spec["extra"] = chunk(15, chunk(1, chunk(1, b"main") + number(2, 1 << 30) + group))
        payload = Spec(parts, sign=sign, **spec).build()
        return signed(written(self.folder / "x.zip", change(payload), self.otacert).read_bytes())


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


def failed_any(package: bytes, **options: object) -> dict[str, str]:
    return {check.name: check.detail for check in verified(package, **options).failed}


def sign_with(private_key: object) -> Callable[[bytes], bytes]:
    return lambda digest: private_key.sign(  # type: ignore[attr-defined,no-any-return]
        digest, padding.PKCS1v15(), utils.Prehashed(SHA256())
    )


def top(
    *, flags: int = 0, signing: object = TOP_KEY, boot: bytes = b"", extra: bytes = b""
) -> bytes:
    chains = build.chain(b"boot", 3, boot or build.key_blob(BOOT_KEY))
    chains += build.chain(b"vbmeta_system", 2, build.key_blob(SYSTEM_KEY))
    image = build.vbmeta(chains + extra, signing, flags=flags)  # type: ignore[arg-type]
    return image.ljust(2 * BLOCK, b"\0")


def chained_system(package: Package, signing: object, **options: int) -> bytes:
    old = package.images["vbmeta_system"]
    end = 256 + int.from_bytes(old[12:20], "big")
    size = int.from_bytes(old[104:112], "big")
    image = build.vbmeta(old[end : end + size], signing, **options)  # type: ignore[arg-type]
    return image.ljust(16 * BLOCK, b"\0")


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


def metadata_changed(package: bytes, old: bytes, new: bytes, *names: str) -> bytes:
    for name in names or ("META-INF/com/android/metadata", "META-INF/com/android/metadata.pb"):
        package = entry_changed(package, name, old, new)
    return package


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


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 4
    return bytes(changed)


def run(package: bytes, folder: Path, *options: str | Path) -> Result:
    path = folder / "ota.zip"
    path.write_bytes(package)
    return CliRunner().invoke(verify, [str(path), *map(str, options)])
