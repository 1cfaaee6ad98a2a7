"""A writer of signed vbmeta images; avbtool is in no distribution."""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


def key_blob(key: rsa.RSAPrivateKey) -> bytes:
    n, bits = key.public_key().public_numbers().n, key.key_size
    inverse = (1 << 32) - pow(n, -1, 1 << 32)
    rr = (1 << 2 * bits) % n
    return (
        struct.pack(">II", bits, inverse)
        + n.to_bytes(bits // 8, "big")
        + rr.to_bytes(bits // 8, "big")
    )


def descriptor(tag: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 8)
    return struct.pack(">QQ", tag, len(padded)) + padded


def prop(key: bytes, value: bytes) -> bytes:
    return descriptor(0, struct.pack(">QQ", len(key), len(value)) + key + b"\0" + value + b"\0")


def hashtree(name: bytes, salt: bytes, digest: bytes, image: int, tree: int, fec: int) -> bytes:
    body = struct.pack(">IQQQIII", 1, image, image, tree, 4096, 4096, 2)
    body += struct.pack(">QQ", image + tree, fec) + b"sha256".ljust(32, b"\0")
    body += struct.pack(">IIII", len(name), len(salt), len(digest), 2) + bytes(60)
    return descriptor(1, body + name + salt + digest)


def hashed(name: bytes, salt: bytes, digest: bytes, image: int) -> bytes:
    body = struct.pack(">Q", image) + b"sha256".ljust(32, b"\0")
    body += struct.pack(">IIII", len(name), len(salt), len(digest), 1) + bytes(60)
    return descriptor(2, body + name + salt + digest)


def cmdline(text: bytes, flags: int) -> bytes:
    return descriptor(3, struct.pack(">II", flags, len(text)) + text)


def chain(name: bytes, location: int, blob: bytes) -> bytes:
    return descriptor(
        4, struct.pack(">IIII", location, len(name), len(blob), 0) + bytes(60) + name + blob
    )


def vbmeta(
    descriptors: bytes,
    key: rsa.RSAPrivateKey | None = None,
    *,
    rollback_index: int = 0,
    flags: int = 0,
    location: int = 0,
) -> bytes:
    """Write a vbmeta image, signed with SHA256_RSA2048 if there is a key."""
    blob = key_blob(key) if key else b""
    aux = descriptors + blob
    aux += bytes(-len(aux) % 64)
    hash_size, signature_size, auth_size = (32, 256, 320) if key else (0, 0, 0)
    header = b"AVB0" + struct.pack(">II", 1, 0)
    header += struct.pack(">QQI", auth_size, len(aux), 1 if key else 0)
    header += struct.pack(">QQQQ", 0, hash_size, hash_size, signature_size)
    header += struct.pack(">QQ", len(descriptors), len(blob))
    header += struct.pack(">QQ", len(descriptors) + len(blob), 0)
    header += struct.pack(">QQ", 0, len(descriptors))
    header += struct.pack(">QII", rollback_index, flags, location)
    header = (header + b"avbtool 1.3.0").ljust(256, b"\0")
    auth = b""
    if key:
        auth = hashlib.sha256(header + aux).digest()
        auth += key.sign(header + aux, padding.PKCS1v15(), SHA256())
    return header + auth.ljust(auth_size, b"\0") + aux


def with_footer(image: bytes, meta: bytes, partition_size: int) -> bytes:
    """Append a vbmeta image and a footer to a partition's image."""
    offset = -(-len(image) // 4096) * 4096
    footer = b"AVBf" + struct.pack(">IIQQQ", 1, 0, len(image), offset, len(meta))
    data = image.ljust(offset, b"\0") + meta
    return data.ljust(partition_size - 64, b"\0") + footer.ljust(64, b"\0")
