"""EROFS extended attributes: behind the inode, and in an area shared by all inodes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.inode import Inode
from rom_builder.formats.erofs.superblock import PLAIN_XATTR_PFX, Superblock
from rom_builder.formats.source import Source, check_range

_HEADER = struct.Struct("<4xB7x")
_ENTRY = struct.Struct("<BBH")
_LONG_PREFIX = 0x80
_MAX_PREFIX_SIZE = 256

_NAMESPACES = {
    0: b"",
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    5: b"lustre.",
    6: b"security.",
}

# Linux allows 64 KiB of names and 64 KiB for one value; a phone's files have about 50 bytes.
_INODE_LIMIT = 128 << 10
_CACHE_LIMIT = 4 << 20


class Xattrs:
    """Reads the extended attributes of inodes.

    Behind the inode stand u32 name filter, u8 number of shared attributes, 7 reserved bytes; a u32
    for each shared attribute (its place, in 4 bytes, in the shared area); then entries up to the
    end: u8 name length, u8 namespace, u16 value size, name, value, padding to 4. Namespace bit 7
    means a long prefix: u16 length, u8 namespace, the rest of the prefix, padding to 4.

    Args:
        image: The file system.
        superblock: Its superblock.
        packed: Gives the content of the packed inode.

    Raises:
        ImageError: The long prefixes are damaged.
    """

    def __init__(self, image: Source, superblock: Superblock, packed: Callable[[], Source]) -> None:
        self._image = image
        self._shared_offset = superblock.xattr_offset
        self._shared: dict[int, tuple[str, bytes]] = {}
        self._shared_held = 0
        self._prefixes: list[bytes] = []
        if superblock.prefix_count:
            inside = superblock.packed_nid and not superblock.compat & PLAIN_XATTR_PFX
            self._load_prefixes(packed() if inside else image, superblock)

    def read(self, inode: Inode) -> dict[str, bytes]:
        """Return every extended attribute of ``inode`` by its full name.

        Raises:
            ImageError: They are damaged, or more than 128 KiB.
        """
        offset, size = inode.xattr_offset, inode.end - inode.xattr_offset
        if not size:
            return {}
        if size > _INODE_LIMIT:
            raise ImageError(f"{size} bytes of extended attributes", offset=offset)
        body = self._image.read_at(offset, size)
        (shared_count,) = _HEADER.unpack_from(body)
        position = _HEADER.size + 4 * shared_count
        if position > size:
            raise ImageError(f"{shared_count} shared attributes in {size} bytes", offset=offset)
        held = size
        attributes: dict[str, bytes] = {}
        while position + _ENTRY.size <= size:
            name, value, length = self._entry(body[position:], offset + position)
            if name in attributes:
                raise ImageError(f"attribute {name} is there twice", offset=offset + position)
            attributes[name] = value
            position += length
        for (number,) in struct.iter_unpack(
            "<I", body[_HEADER.size : _HEADER.size + 4 * shared_count]
        ):
            name, value = self._shared_entry(number)
            held += len(name) + len(value)
            if name in attributes or held > _INODE_LIMIT:
                raise ImageError(f"attribute {name} is there twice or too much", offset=offset)
            attributes[name] = value
        return attributes

    def _shared_entry(self, number: int) -> tuple[str, bytes]:
        found = self._shared.get(number)
        if found is None:
            offset = self._shared_offset + 4 * number
            head = self._image.read_at(offset, _ENTRY.size)
            name_size, _, value_size = _ENTRY.unpack(head)
            data = self._image.read_at(offset, _ENTRY.size + name_size + value_size)
            name, value, length = self._entry(data, offset)
            if self._shared_held + length > _CACHE_LIMIT:
                self._shared.clear()
                self._shared_held = 0
            found = self._shared[number] = name, value
            self._shared_held += length
        return found

    def _entry(self, data: bytes, offset: int) -> tuple[str, bytes, int]:
        """Return name, value and padded size of the entry ``data`` starts with."""
        name_size, namespace, value_size = _ENTRY.unpack_from(data)
        end = _ENTRY.size + name_size + value_size
        if end > len(data):
            raise ImageError("an extended attribute is cut off", offset=offset)
        if namespace & _LONG_PREFIX:
            index = namespace & ~_LONG_PREFIX
            prefix = self._prefixes[index] if index < len(self._prefixes) else None
        else:
            prefix = _NAMESPACES.get(namespace)
        if prefix is None:
            raise ImageError(f"attribute namespace {namespace:#x}", offset=offset + 1)
        name = prefix + data[_ENTRY.size : _ENTRY.size + name_size]
        if not name:
            raise ImageError("an extended attribute without a name", offset=offset)
        value = data[_ENTRY.size + name_size : end]
        return name.decode("utf-8", "surrogateescape"), value, (end + 3) & ~3

    def _load_prefixes(self, source: Source, superblock: Superblock) -> None:
        position = superblock.prefix_offset
        for _ in range(superblock.prefix_count):
            check_range(source, position, 3)
            size = int.from_bytes(source.read_at(position, 2), "little")
            if not 1 <= size <= _MAX_PREFIX_SIZE:
                raise ImageError(f"a name prefix of {size} bytes", offset=position)
            record = source.read_at(position + 2, size)
            namespace = _NAMESPACES.get(record[0])
            if namespace is None:
                raise ImageError(f"attribute namespace {record[0]:#x}", offset=position + 2)
            self._prefixes.append(namespace + record[1:])
            position = (position + 2 + size + 3) & ~3


def encode_xattrs(xattrs: Mapping[str, bytes]) -> bytes:
    """Return extended attributes as they stand behind an inode, all of them inline.

    The name filter stays 0, which rules no attribute out.

    Raises:
        ImageError: A name has no namespace here, or they are too long.
    """
    if not xattrs:
        return b""
    parts = [_HEADER.pack(0)]
    for name in sorted(xattrs):
        value, raw = xattrs[name], name.encode("utf-8", "surrogateescape")
        namespace = max(
            (index for index, prefix in _NAMESPACES.items() if index and raw.startswith(prefix)),
            key=lambda index: len(_NAMESPACES[index]),
            default=0,
        )
        rest = raw[len(_NAMESPACES[namespace]) :]
        if not namespace or len(rest) > 255 or len(value) > 0xFFFF:
            raise ImageError(f"the attribute {name!r} of {len(value)} bytes cannot be stored")
        entry = _ENTRY.pack(len(rest), namespace, len(value)) + rest + value
        parts.append(entry + bytes(-len(entry) % 4))
    return b"".join(parts)
