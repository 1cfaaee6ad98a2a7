"""Descriptors of vbmeta images: what is verified how, read and written.

All integers are big-endian. Source: AOSP ``external/avb/libavb/avb_*_descriptor.h``. Every
descriptor starts with u64 tag and u64 bytes that follow, a multiple of 8; the rest is padded with
zeros. Layouts from byte 16 on:

=== =================== ========================================================================
tag kind                layout
=== =================== ========================================================================
0   property            u64 key size, u64 value size; key, NUL, value, NUL
1   hashtree            u32 dm-verity version, u64 image size, u64 tree offset, u64 tree size,
                        u32 data block size, u32 hash block size, u32 FEC roots, u64 FEC offset,
                        u64 FEC size, hash algorithm (32), u32 name size, u32 salt size,
                        u32 root digest size, u32 flags, 60 reserved; name, salt, root digest
2   hash                u64 image size, hash algorithm (32), u32 name size, u32 salt size,
                        u32 digest size, u32 flags, 60 reserved; name, salt, digest
3   kernel command line u32 flags, u32 size; text
4   chain partition     u32 rollback index location, u32 name size, u32 key size, u32 flags,
                        60 reserved; name, public key blob
=== =================== ========================================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from rom_builder.errors import ImageError

DO_NOT_USE_AB = 1
"""Flag of a hash or hashtree descriptor: the partition has no slot suffix."""

CHECK_AT_MOST_ONCE = 2
"""Flag of a hashtree descriptor: dm-verity reads each block's hash only once."""

_HEAD = struct.Struct(">QQ")


def _padded(tag: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 8)
    return _HEAD.pack(tag, len(body)) + body


def _text(data: bytes, what: str, offset: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ImageError(f"{what} is not UTF-8", offset=offset) from None


class _Body:
    """The bytes of one descriptor after tag and size, taken from the front."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset
        self.position = 0

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def take(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self._data):
            raise ImageError(
                f"{size} bytes are wanted in a descriptor of {len(self._data)}",
                offset=self._offset + start,
            )
        return self._data[start : self.position]

    def text(self, size: int, what: str) -> str:
        start = self.position
        return _text(self.take(size), what, self._offset + start)

    def algorithm(self, raw: bytes) -> str:
        return _text(raw.split(b"\0")[0], "a hash algorithm's name", self._offset)


@dataclass(frozen=True, slots=True)
class PropertyDescriptor:
    """A named value, such as ``com.android.build.system.security_patch``."""

    TAG: ClassVar[int] = 0
    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(">QQ")

    key: str
    value: bytes

    @classmethod
    def _parse(cls, body: _Body) -> PropertyDescriptor:
        key_size, value_size = body.fields(cls._LAYOUT)
        key = body.text(key_size, "a property's name")
        nul = body.take(1)
        value = body.take(value_size)
        if nul + body.take(1) != b"\0\0":
            raise ImageError(f"property {key} does not end in NUL")
        return cls(key, value)

    def encode(self) -> bytes:
        """Write the descriptor."""
        key = self.key.encode()
        head = self._LAYOUT.pack(len(key), len(self.value))
        return _padded(self.TAG, head + key + b"\0" + self.value + b"\0")


@dataclass(frozen=True, slots=True)
class HashtreeDescriptor:
    """A partition that dm-verity checks as it is read; sizes and offsets in bytes."""

    TAG: ClassVar[int] = 1
    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(">LQQQLLLQQ32sLLLL60x")

    partition_name: str
    image_size: int
    tree_offset: int
    tree_size: int
    root_digest: bytes
    salt: bytes
    hash_algorithm: str = "sha256"
    dm_verity_version: int = 1
    data_block_size: int = 4096
    hash_block_size: int = 4096
    fec_roots: int = 0
    fec_offset: int = 0
    fec_size: int = 0
    flags: int = 0

    @classmethod
    def _parse(cls, body: _Body) -> HashtreeDescriptor:
        version, *sizes = body.fields(cls._LAYOUT)
        image_size, tree_offset, tree_size, data_block, hash_block, *sizes = sizes
        fec_roots, fec_offset, fec_size, algorithm, name_size, salt_size, digest_size, flags = sizes
        name = body.text(name_size, "a partition's name")
        salt, digest = body.take(salt_size), body.take(digest_size)
        return cls(
            name, image_size, tree_offset, tree_size, digest, salt, body.algorithm(algorithm),
            version, data_block, hash_block, fec_roots, fec_offset, fec_size, flags,
        )  # fmt: skip

    def encode(self) -> bytes:
        """Write the descriptor."""
        name = self.partition_name.encode()
        head = self._LAYOUT.pack(
            self.dm_verity_version, self.image_size, self.tree_offset, self.tree_size,
            self.data_block_size, self.hash_block_size,
            self.fec_roots, self.fec_offset, self.fec_size,
            self.hash_algorithm.encode(), len(name), len(self.salt), len(self.root_digest),
            self.flags,
        )  # fmt: skip
        return _padded(self.TAG, head + name + self.salt + self.root_digest)


@dataclass(frozen=True, slots=True)
class HashDescriptor:
    """A partition hashed whole at boot: ``digest = H(salt, image[:image_size])``."""

    TAG: ClassVar[int] = 2
    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(">Q32sLLLL60x")

    partition_name: str
    image_size: int
    digest: bytes
    salt: bytes
    hash_algorithm: str = "sha256"
    flags: int = 0

    @classmethod
    def _parse(cls, body: _Body) -> HashDescriptor:
        image_size, algorithm, name_size, salt_size, digest_size, flags = body.fields(cls._LAYOUT)
        name = body.text(name_size, "a partition's name")
        salt, digest = body.take(salt_size), body.take(digest_size)
        return cls(name, image_size, digest, salt, body.algorithm(algorithm), flags)

    def encode(self) -> bytes:
        """Write the descriptor."""
        name = self.partition_name.encode()
        head = self._LAYOUT.pack(
            self.image_size, self.hash_algorithm.encode(), len(name), len(self.salt),
            len(self.digest), self.flags,
        )  # fmt: skip
        return _padded(self.TAG, head + name + self.salt + self.digest)


@dataclass(frozen=True, slots=True)
class KernelCmdlineDescriptor:
    """Text for the kernel; flags: 1 only with hashtrees enabled, 2 only with them disabled."""

    TAG: ClassVar[int] = 3
    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(">LL")

    cmdline: str
    flags: int = 0

    @classmethod
    def _parse(cls, body: _Body) -> KernelCmdlineDescriptor:
        flags, size = body.fields(cls._LAYOUT)
        return cls(body.text(size, "a kernel command line"), flags)

    def encode(self) -> bytes:
        """Write the descriptor."""
        text = self.cmdline.encode()
        return _padded(self.TAG, self._LAYOUT.pack(self.flags, len(text)) + text)


@dataclass(frozen=True, slots=True)
class ChainPartitionDescriptor:
    """A partition with a vbmeta image of its own, signed with ``public_key``."""

    TAG: ClassVar[int] = 4
    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(">LLLL60x")

    partition_name: str
    rollback_index_location: int
    public_key: bytes
    flags: int = 0

    @classmethod
    def _parse(cls, body: _Body) -> ChainPartitionDescriptor:
        location, name_size, key_size, flags = body.fields(cls._LAYOUT)
        name = body.text(name_size, "a partition's name")
        return cls(name, location, body.take(key_size), flags)

    def encode(self) -> bytes:
        """Write the descriptor."""
        name = self.partition_name.encode()
        head = self._LAYOUT.pack(
            self.rollback_index_location, len(name), len(self.public_key), self.flags
        )
        return _padded(self.TAG, head + name + self.public_key)


@dataclass(frozen=True, slots=True)
class UnknownDescriptor:
    """A descriptor of a later version, kept as it is."""

    tag: int
    data: bytes

    def encode(self) -> bytes:
        """Write the descriptor."""
        return _padded(self.tag, self.data)


Descriptor: TypeAlias = (
    PropertyDescriptor
    | HashtreeDescriptor
    | HashDescriptor
    | KernelCmdlineDescriptor
    | ChainPartitionDescriptor
    | UnknownDescriptor
)

_KINDS = {
    kind.TAG: kind
    for kind in (
        PropertyDescriptor,
        HashtreeDescriptor,
        HashDescriptor,
        KernelCmdlineDescriptor,
        ChainPartitionDescriptor,
    )
}


def parse_descriptors(data: bytes, offset: int = 0) -> tuple[Descriptor, ...]:
    """Read descriptors laid end to end; ``offset`` is where they lie, for error messages.

    Raises:
        ImageError: One of them is damaged.
    """
    found: list[Descriptor] = []
    position = 0
    while position < len(data):
        here = offset + position
        if position + _HEAD.size > len(data):
            raise ImageError("a descriptor ends after its block", offset=here)
        tag, size = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        if size % 8 or position + size > len(data):
            raise ImageError(f"descriptor of {size} bytes", offset=here + 8)
        kind = _KINDS.get(tag)
        body = data[position : position + size]
        position += size
        if kind is None:
            found.append(UnknownDescriptor(tag, body))
            continue
        found.append(kind._parse(_Body(body, here + _HEAD.size)))
    return tuple(found)
