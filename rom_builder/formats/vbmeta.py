"""Vbmeta images of Android Verified Boot 2.0, alone or behind an image with a footer.

All integers are big-endian. Source: AOSP ``external/avb/libavb/avb_vbmeta_image.h`` and
``avb_footer.h``. A vbmeta image is a header, an authentication block and an auxiliary block, the
blocks padded to 64 bytes:

======== ==== =====================================================================
offset   size header field
======== ==== =====================================================================
0        4    magic ``AVB0``
4, 8     4, 4 least libavb version that can read it: major 1, minor
12, 20   8, 8 size of the authentication and of the auxiliary block
28       4    algorithm
32, 40   8, 8 offset in the authentication block and size of the hash
48, 56   8, 8 offset in the authentication block and size of the signature
64, 72   8, 8 offset in the auxiliary block and size of the public key
80, 88   8, 8 offset in the auxiliary block and size of the public key metadata
96, 104  8, 8 offset in the auxiliary block and size of the descriptors
112      8    rollback index
120      4    flags
124      4    rollback index location
128      48   release string, NUL-terminated
176      80   reserved
======== ==== =====================================================================

Hash and signature cover header and auxiliary block. A footer is the last 64 bytes of a partition:
magic ``AVBf``, u32 major 1, u32 minor, u64 size of the image before anything was added, u64 offset
and u64 size of the vbmeta image, 28 reserved.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntFlag

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import (
    Descriptor,
    PropertyDescriptor,
    parse_descriptors,
)
from rom_builder.formats.avb_key import SIZES, Algorithm, verify_signature
from rom_builder.formats.source import Source

MAGIC = b"AVB0"
FOOTER_MAGIC = b"AVBf"
FOOTER_SIZE = 64
TOP = "vbmeta"
"""The partition whose vbmeta image the bootloader starts from."""
MAX_VBMETA_SIZE = 1 << 16
"""Most bytes of a vbmeta image, 64 KiB: libavb reads no more."""

_HEADER = struct.Struct(">4sLLQQLQQQQQQQQQQQLL48s80x")
_FOOTER = struct.Struct(">4sLLQQQ28x")


class VbmetaFlags(IntFlag):
    """Flags of the top-level vbmeta image; any one switches protection off."""

    HASHTREE_DISABLED = 1
    VERIFICATION_DISABLED = 2


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 64 bytes of a partition that carries its own vbmeta image."""

    original_image_size: int
    vbmeta_offset: int
    vbmeta_size: int
    minor_version: int = 0

    def encode(self) -> bytes:
        """Write the footer."""
        return _FOOTER.pack(
            FOOTER_MAGIC, 1, self.minor_version,
            self.original_image_size, self.vbmeta_offset, self.vbmeta_size,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vbmeta:
    """A vbmeta image.

    Attributes:
        algorithm: How it is signed.
        descriptors: What it says of partitions.
        public_key: The key blob its signature is made with, empty if unsigned.
        flags: :class:`VbmetaFlags`; any of them switches protection off.
        rollback_index: A device refuses an index below the one it has stored.
        rollback_index_location: Where it is stored; 0 for the top-level image.
        release_string: The program that wrote it.
        minor_version: Least minor version of libavb 1 that can read it.
        hash: Hash of header and auxiliary block; empty for algorithms without one.
        raw: The bytes it was read from, without padding; empty if it was not read.
    """

    algorithm: Algorithm
    descriptors: tuple[Descriptor, ...] = ()
    public_key: bytes = b""
    public_key_metadata: bytes = b""
    flags: int = 0
    rollback_index: int = 0
    rollback_index_location: int = 0
    release_string: str = ""
    minor_version: int = 0
    hash: bytes = b""
    signature: bytes = b""
    raw: bytes = field(default=b"", compare=False, repr=False)

    @property
    def public_key_sha1(self) -> str:
        """SHA-1 of the key blob in hex, as avbtool shows it; empty if there is no key."""
        return (
            hashlib.sha1(self.public_key, usedforsecurity=False).hexdigest()
            if self.public_key
            else ""
        )

    @property
    def public_key_sha256(self) -> str:
        """SHA-256 of the key blob in hex, as bootloaders show it; empty if there is no key."""
        return hashlib.sha256(self.public_key).hexdigest() if self.public_key else ""

    @property
    def properties(self) -> dict[str, bytes]:
        """Values of the property descriptors; the first of a name counts."""
        found: dict[str, bytes] = {}
        for item in self.descriptors:
            if isinstance(item, PropertyDescriptor):
                found.setdefault(item.key, item.value)
        return found

    def signed_data(self) -> bytes:
        """Header and auxiliary block: what hash and signature cover, for the algorithm's sizes.

        Raises:
            ValueError: The release string has more than 47 bytes, or the image 64 KiB.
        """
        release = self.release_string.encode("ascii")
        if len(release) > 47:
            raise ValueError(f"release string of {len(release)} bytes, at most 47")
        sizes = SIZES[self.algorithm]
        descriptors = b"".join(item.encode() for item in self.descriptors)
        aux = _aligned(descriptors + self.public_key + self.public_key_metadata)
        key_end = len(descriptors) + len(self.public_key)
        auth_size = _round_up(sizes.hash_size + sizes.signature_size)
        header = _HEADER.pack(
            MAGIC, 1, self.minor_version, auth_size, len(aux), self.algorithm,
            0, sizes.hash_size, sizes.hash_size, sizes.signature_size,
            len(descriptors), len(self.public_key), key_end, len(self.public_key_metadata),
            0, len(descriptors),
            self.rollback_index, self.flags, self.rollback_index_location,
            release,
        )  # fmt: skip
        if len(header) + auth_size + len(aux) > MAX_VBMETA_SIZE:
            raise ValueError(f"a vbmeta image has at most {MAX_VBMETA_SIZE} bytes")
        return header + aux

    def encode(self) -> bytes:
        """Write the image with its hash and signature as they are.

        Raises:
            ValueError: Hash or signature do not have the algorithm's size; as :meth:`signed_data`.
        """
        sizes = SIZES[self.algorithm]
        if (len(self.hash), len(self.signature)) != (sizes.hash_size, sizes.signature_size):
            raise ValueError(f"hash or signature is not of {self.algorithm.name}'s size")
        data = self.signed_data()
        return data[: _HEADER.size] + _aligned(self.hash + self.signature) + data[_HEADER.size :]


def _round_up(size: int) -> int:
    return -(-size // 64) * 64


def _aligned(data: bytes) -> bytes:
    return data.ljust(_round_up(len(data)), b"\0")


def detect_vbmeta(head: bytes) -> bool:
    """Tell whether an image that starts with ``head`` is a vbmeta image."""
    return head[:4] == MAGIC


def read_footer(source: Source) -> Footer | None:
    """Return the footer of a partition, None if it has none.

    Raises:
        ImageError: The footer names bytes outside the partition, or is of another version.
    """
    start = source.size - FOOTER_SIZE
    if start < 0:
        return None
    data = source.read_at(start, FOOTER_SIZE)
    magic, major, minor, image_size, offset, size = _FOOTER.unpack(data)
    if magic != FOOTER_MAGIC:
        return None
    if major != 1:
        raise ImageError(f"AVB footer of version {major}.{minor}", offset=start + 4)
    if size > MAX_VBMETA_SIZE or offset + size > start or image_size > offset:
        raise ImageError(
            f"AVB footer: image of {image_size} bytes, vbmeta of {size} at {offset}", offset=start
        )
    return Footer(image_size, offset, size, minor)


def read_vbmeta(source: Source) -> Vbmeta:
    """Return the vbmeta image of a vbmeta partition, or of a partition with a footer.

    Raises:
        ImageError: There is neither, or it is damaged.
    """
    footer = read_footer(source)
    if footer:
        return parse_vbmeta(
            source.read_at(footer.vbmeta_offset, footer.vbmeta_size), footer.vbmeta_offset
        )
    return parse_vbmeta(source.read_at(0, min(source.size, MAX_VBMETA_SIZE)))


def parse_vbmeta(data: bytes, offset: int = 0) -> Vbmeta:
    """Read a vbmeta image; bytes may follow it. ``offset`` is where it lies, for error messages.

    Raises:
        ImageError: Not a vbmeta image, damaged, or of a later version.
    """
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise ImageError("not a vbmeta image", offset=offset)
    (
        _, major, minor, auth_size, aux_size, number,
        hash_offset, hash_size, signature_offset, signature_size,
        key_offset, key_size, metadata_offset, metadata_size,
        descriptors_offset, descriptors_size,
        rollback_index, flags, location, release,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if major != 1:
        raise ImageError(f"vbmeta image of version {major}.{minor}", offset=offset + 4)
    if auth_size % 64 or aux_size % 64:
        raise ImageError("vbmeta blocks are no multiple of 64 bytes", offset=offset + 12)
    end = _HEADER.size + auth_size + aux_size
    if end > min(len(data), MAX_VBMETA_SIZE):
        raise ImageError(f"vbmeta image of {end} bytes", offset=offset + 12)
    try:
        algorithm = Algorithm(number)
    except ValueError:
        raise ImageError(f"unknown vbmeta algorithm {number}", offset=offset + 28) from None
    auth = _Block(data, _HEADER.size, auth_size, offset)
    aux = _Block(data, _HEADER.size + auth_size, aux_size, offset)
    descriptors = aux.part(descriptors_offset, descriptors_size)
    try:
        release_string = release.split(b"\0")[0].decode("ascii")
    except UnicodeDecodeError:
        raise ImageError("the release string is not ASCII", offset=offset + 128) from None
    return Vbmeta(
        algorithm=algorithm,
        descriptors=parse_descriptors(descriptors, aux.offset + descriptors_offset),
        public_key=aux.part(key_offset, key_size),
        public_key_metadata=aux.part(metadata_offset, metadata_size),
        flags=flags,
        rollback_index=rollback_index,
        rollback_index_location=location,
        release_string=release_string,
        minor_version=minor,
        hash=auth.part(hash_offset, hash_size),
        signature=auth.part(signature_offset, signature_size),
        raw=data[:end],
    )


class _Block:
    """The authentication or auxiliary block; its parts are named by offset and size."""

    def __init__(self, data: bytes, start: int, size: int, offset: int) -> None:
        self._data = data[start : start + size]
        self.offset = offset + start

    def part(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._data):
            raise ImageError(
                f"{size} bytes at {offset} of a vbmeta block of {len(self._data)}",
                offset=self.offset,
            )
        return self._data[offset : offset + size]


def verify_vbmeta(vbmeta: Vbmeta, key: bytes | None = None) -> None:
    """Check hash and signature of an image that was read, with the key it carries.

    A match says who signed, not that a device trusts the key or that protection is on: compare the
    key with a list, and look at ``flags``.

    Args:
        vbmeta: What :func:`read_vbmeta` returned.
        key: The key blob it must carry; None for any.

    Raises:
        ImageError: Unsigned, changed, or signed with another key.
    """
    if vbmeta.algorithm is Algorithm.NONE:
        raise ImageError("the vbmeta image is not signed")
    if key is not None and vbmeta.public_key != key:
        raise ImageError(
            f"the vbmeta image is signed with key {vbmeta.public_key_sha256}, "
            f"{hashlib.sha256(key).hexdigest()} expected"
        )
    sizes = SIZES[vbmeta.algorithm]
    aux_start = _HEADER.size + int.from_bytes(vbmeta.raw[12:20], "big")
    message = vbmeta.raw[: _HEADER.size] + vbmeta.raw[aux_start:]
    expected = hashlib.new(sizes.hash_name, message).digest() if sizes.hash_name else b""
    if vbmeta.hash != expected:
        raise ImageError("the vbmeta image does not match its hash")
    verify_signature(vbmeta.algorithm, vbmeta.public_key, vbmeta.signature, message)


def vbmeta_digest(images: Iterable[Vbmeta], hash_name: str = "sha256") -> bytes:
    """Digest over vbmeta images as the kernel is told it: the top-level one, then chained ones.

    Chained images follow in the order of their descriptors. Only what was read counts, padding of
    the partitions does not.
    """
    digest = hashlib.new(hash_name)
    for image in images:
        digest.update(image.raw)
    return digest.digest()
