"""A small device whose partitions Android Verified Boot covers in every usual way."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA512

from rom_builder.formats.avb_key import Algorithm
from rom_builder.formats.avb_signing import AvbKey
from rom_builder.formats.fec import build_fec
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.source import BytesSource, Source
from tests.formats.builders import vbmeta as build
from tests.formats.damage import noise

BLOCK = 4096
SALT = bytes(range(32))
TOP_KEY, SYSTEM_KEY, BOOT_KEY, NEW_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(4))

CONTENT = {
    "system": noise(300 * BLOCK, 1),
    "vendor": noise(40 * BLOCK, 2),
    "boot": noise(9 * BLOCK + 100, 3),
    "dtbo": noise(3 * BLOCK + 5, 4),
}
SIZES = {"system": 330 * BLOCK, "vendor": 64 * BLOCK, "boot": 32 * BLOCK, "dtbo": 16 * BLOCK}
FINGERPRINT = build.prop(b"com.android.build.system.fingerprint", b"a/b/c:14/X/1:user/release-keys")


def avb_key(key: rsa.RSAPrivateKey, algorithm: Algorithm = Algorithm.SHA256_RSA2048) -> AvbKey:
    def sign(digest: bytes, name: str) -> bytes:
        kind = SHA256() if name == "sha256" else SHA512()
        return key.sign(digest, padding.PKCS1v15(), utils.Prehashed(kind))

    return AvbKey(algorithm, build.key_blob(key), sign)


def hashtree_image(name: str, *, fec: bool) -> tuple[bytes, bytes]:
    """Return the whole partition and its descriptor."""
    data = CONTENT[name]
    tree = build_hashtree(BytesSource(data), SALT)
    parity = build_fec(BytesSource(data + tree.tree)) if fec else b""
    item = build.hashtree(
        name.encode(), SALT, tree.root_digest, len(data), len(tree.tree), len(parity)
    )
    sealed = build.with_footer(data + tree.tree + parity, build.vbmeta(item + FINGERPRINT), 0)
    sealed = sealed[:-64].ljust(SIZES[name] - 64, b"\0") + sealed[-64:]
    footer = bytearray(sealed[-64:])
    footer[12:20] = len(data).to_bytes(8, "big")
    return sealed[:-64] + footer, item


def hash_image(name: str, key: rsa.RSAPrivateKey | None) -> tuple[bytes, bytes]:
    data = CONTENT[name]
    digest = hashlib.sha256(SALT + data).digest()
    item = build.hashed(name.encode(), SALT, digest, len(data))
    meta = build.vbmeta(item, key, rollback_index=5 if key else 0)
    return build.with_footer(data, meta, SIZES[name]), item


def device(flags: int = 0, cmdline: bytes = b"androidboot.x=1") -> dict[str, Source]:
    """``vbmeta`` holds vendor and dtbo and chains to boot and to ``vbmeta_system``, with system."""
    system, system_item = hashtree_image("system", fec=True)
    vendor, vendor_item = hashtree_image("vendor", fec=False)
    boot, _ = hash_image("boot", BOOT_KEY)
    dtbo, dtbo_item = hash_image("dtbo", None)
    chained = build.vbmeta(system_item + FINGERPRINT, SYSTEM_KEY, rollback_index=7)
    top = build.vbmeta(
        build.chain(b"boot", 3, build.key_blob(BOOT_KEY))
        + build.chain(b"vbmeta_system", 2, build.key_blob(SYSTEM_KEY))
        + build.cmdline(cmdline, 0)
        + dtbo_item
        + vendor_item,
        TOP_KEY,
        rollback_index=9,
        flags=flags,
    )
    images = {
        "vbmeta": top.ljust(2 * BLOCK, b"\0"),
        "vbmeta_system": chained.ljust(16 * BLOCK, b"\0"),
        "system": system,
        "vendor": vendor,
        "boot": boot,
        "dtbo": dtbo,
    }
    return {name: BytesSource(data) for name, data in images.items()}
