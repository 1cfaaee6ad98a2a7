"""Extended attributes being written, into an inode or a block; layout in ``xattr.py``."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from rom_builder.errors import ImageError
from rom_builder.formats.ext4.checksum import crc32c
from rom_builder.formats.ext4.superblock import Superblock

_MAGIC = 0xEA020000
_ENTRY = struct.Struct("<BBHIII")
_BLOCK_HEADER = struct.Struct("<5I12x")

# Access control lists have another form on disk and are not written.
_INDEXES = {"user.": 1, "trusted.": 4, "security.": 6, "system.": 7}
_UNWRITTEN = ("system.posix_acl_access", "system.posix_acl_default", "system.data")


def encode_body(xattrs: Mapping[str, bytes], size: int) -> bytes | None:
    """Return the ``size`` bytes behind an inode's fields; None if the attributes do not fit.

    Raises:
        ImageError: A name cannot be stored.
    """
    if not xattrs:
        return bytes(size)
    area = _encode_area(xattrs, size - 4, 0)
    return None if area is None else struct.pack("<I", _MAGIC) + area


def encode_block(xattrs: Mapping[str, bytes], number: int, superblock: Superblock) -> bytes:
    """Return a block that holds attributes for one inode.

    Args:
        xattrs: By full name.
        number: The block's own number, part of its checksum.
        superblock: The file system's.

    Raises:
        ImageError: They do not fit, or a name cannot be stored.
    """
    size = superblock.block_size - _BLOCK_HEADER.size
    area = _encode_area(xattrs, size, _BLOCK_HEADER.size)
    if area is None:
        total = sum(len(name) + len(value) for name, value in xattrs.items())
        raise ImageError(f"extended attributes of {total} bytes do not fit in a block")
    hash_ = 0
    position = 0
    while area[position : position + 4] != bytes(4):
        name_size, _, _, _, _, entry_hash = _ENTRY.unpack_from(area, position)
        hash_ = (hash_ << 16 | hash_ >> 16) & 0xFFFFFFFF ^ entry_hash
        position += _ENTRY.size + name_size + -name_size % 4
    return seal_block(_BLOCK_HEADER.pack(_MAGIC, 1, 1, hash_, 0) + area, number, superblock)


def seal_block(block: bytes, number: int, superblock: Superblock) -> bytes:
    """Return an attribute block with its checksum set."""
    if not superblock.has_checksums:
        return block
    seed = crc32c(superblock.checksum_seed, number.to_bytes(8, "little"))
    checksum = crc32c(seed, block[:16] + bytes(4) + block[20:])
    return block[:16] + checksum.to_bytes(4, "little") + block[20:]


def users_of(block: bytes) -> int:
    """Return how many inodes an attribute block says it serves."""
    return int.from_bytes(block[4:8], "little")


def with_users(block: bytes, users: int) -> bytes:
    """Return an attribute block that serves another number of inodes; seal it again."""
    return block[:4] + users.to_bytes(4, "little") + block[8:]


def _encode_area(xattrs: Mapping[str, bytes], size: int, start: int) -> bytes | None:
    """Return entries from the front and values from the back of an area.

    Args:
        xattrs: By full name.
        size: Bytes of the area.
        start: What value offsets count more than the area.
    """
    entries = sorted(
        (index, len(rest), rest, value)
        for (index, rest), value in ((_split(name), value) for name, value in xattrs.items())
    )
    heads = b""
    values = b""
    for index, _, rest, value in entries:
        padded = value + bytes(-len(value) % 4)
        values = padded + values
        offset = size - len(values) + start if value else 0
        name = rest + bytes(-len(rest) % 4)
        if offset < 0 or offset > 0xFFFF:
            return None
        hash_ = _hash(rest, padded)
        heads += _ENTRY.pack(len(rest), index, offset, 0, len(value), hash_) + name
    room = size - len(heads) - len(values)
    if room < 4:
        return None
    return heads + bytes(room) + values


def _split(name: str) -> tuple[int, bytes]:
    """Return name index and the rest of the name."""
    for prefix, index in _INDEXES.items():
        if name.startswith(prefix) and name not in _UNWRITTEN:
            rest = name[len(prefix) :].encode("utf-8", "surrogateescape")
            if 0 < len(rest) < 256:
                return index, rest
    raise ImageError(f"the attribute {name!r} cannot be stored")


def _hash(name: bytes, padded_value: bytes) -> int:
    """Return an entry's hash: of its name and of its value in 32-bit words."""
    value = 0
    for byte in name:
        value = (value << 5 ^ value >> 27 ^ byte) & 0xFFFFFFFF
    for (word,) in struct.iter_unpack("<I", padded_value):
        value = (value << 16 ^ value >> 16 ^ word) & 0xFFFFFFFF
    return value
