"""Hold a partition image to what a vbmeta image says of it."""

from __future__ import annotations

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.fec import FecStream, compare_fec, fec_size
from rom_builder.formats.hashtree import (
    BLOCK_SIZE,
    Hashtree,
    HashtreeStream,
    compare_hashtree,
    hashtree_size,
    salted_hash,
)
from rom_builder.formats.source import Source

_READ_SIZE = 1 << 21


def verify_image(image: Source, descriptor: HashDescriptor | HashtreeDescriptor) -> None:
    """Compute digest, or tree and parity, of a partition image and compare them; reads it once.

    Raises:
        ImageError: Something differs, the image is shorter than the descriptor says, or the
            descriptor holds no digest or is of a kind dm-verity cannot use.
    """
    stream = stream_of(descriptor, image.size)
    for start in range(0, stream.end, _READ_SIZE):
        stream.update(image.read_at(start, min(_READ_SIZE, stream.end - start)))
    stream.finish()


class HashStream:
    """Holds an image that is given from start to end to a hash descriptor.

    Attributes:
        end: Bytes of the image that the descriptor speaks of.
        computed: The digest, once finished.
    """

    def __init__(self, descriptor: HashDescriptor, image_size: int) -> None:
        self.descriptor = descriptor
        self.end = descriptor.image_size
        self.computed = b""
        _refuse_short(descriptor.partition_name, self.end, image_size)
        self._digest = salted_hash(descriptor.hash_algorithm, descriptor.salt)
        self._left = self.end

    def update(self, data: bytes) -> None:
        """Take the next bytes; those after ``end`` do not count."""
        if self._left:
            self._digest.update(memoryview(data)[: self._left])
            self._left -= min(self._left, len(data))

    def finish(self) -> None:
        """Compare the digest.

        Raises:
            ImageError: It differs.
        """
        descriptor, self.computed = self.descriptor, self._digest.digest()
        if self.computed != descriptor.digest:
            raise ImageError(
                f"{descriptor.hash_algorithm} of {descriptor.partition_name} is "
                f"{self.computed.hex()}, the descriptor says {descriptor.digest.hex() or 'nothing'}"
            )


class TreeStream:
    """Holds an image that is given from start to end to a hashtree descriptor.

    Attributes:
        end: Bytes of the image that the descriptor speaks of.
        computed: The root digest, once finished.
    """

    def __init__(self, descriptor: HashtreeDescriptor, image_size: int) -> None:
        check_hashtree_kind(descriptor)
        self.descriptor = descriptor
        self.computed = b""
        _check_places(descriptor)
        tree_end = descriptor.tree_offset + descriptor.tree_size
        has_fec = bool(descriptor.fec_size)
        self.end = descriptor.fec_offset + descriptor.fec_size if has_fec else tree_end
        _refuse_short(descriptor.partition_name, self.end, image_size)
        self._hashes = HashtreeStream(descriptor.salt, descriptor.hash_algorithm)
        self._parity = FecStream(descriptor.fec_offset, descriptor.fec_roots) if has_fec else None
        self._tree, self._fec = bytearray(), bytearray()
        self._position = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes, whole blocks; those after ``end`` do not count."""
        item, view = self.descriptor, memoryview(data)

        def part(start: int, size: int) -> memoryview:
            first = max(start - self._position, 0)
            return view[first : max(first, start + size - self._position)]

        if self._position < item.image_size:
            self._hashes.update(part(0, item.image_size))
        self._tree += part(item.tree_offset, item.tree_size)
        if self._parity is not None:
            self._parity.update(part(0, item.fec_offset))
            self._fec += part(item.fec_offset, item.fec_size)
        self._position += len(data)

    def finish(self) -> None:
        """Compare tree, root digest and parity.

        Raises:
            ImageError: One differs.
        """
        item, expected = self.descriptor, self._hashes.finish()
        self.computed = expected.root_digest
        compare_hashtree(Hashtree(item.root_digest, bytes(self._tree)), expected, item.image_size)
        if self._parity is not None:
            compare_fec(bytes(self._fec), self._parity.finish())


ImageStream = HashStream | TreeStream


def stream_of(descriptor: HashDescriptor | HashtreeDescriptor, image_size: int) -> ImageStream:
    """Return what holds an image of a size to a descriptor while it is read.

    Raises:
        ImageError: The image is shorter than the descriptor says, or the descriptor is of a kind
            that dm-verity cannot use.
    """
    if isinstance(descriptor, HashDescriptor):
        return HashStream(descriptor, image_size)
    return TreeStream(descriptor, image_size)


def _refuse_short(name: str, end: int, image_size: int) -> None:
    if end > image_size:
        raise ImageError(
            f"{name}: a descriptor speaks of {end} bytes, the image has {image_size}",
            offset=image_size,
        )


def _check_places(descriptor: HashtreeDescriptor) -> None:
    """Refuse a tree or parity of another size, or in another place, than its data calls for."""
    name = descriptor.partition_name
    digest_size = salted_hash(descriptor.hash_algorithm, b"").digest_size
    size, tree_end = descriptor.image_size, descriptor.tree_offset + descriptor.tree_size
    if descriptor.tree_offset < size or descriptor.tree_size != hashtree_size(size, digest_size):
        raise ImageError(
            f"{name}: hash tree of {descriptor.tree_size} bytes at {descriptor.tree_offset} "
            f"of an image of {size}"
        )
    if len(descriptor.root_digest) != digest_size:
        raise ImageError(f"{name}: root digest of {len(descriptor.root_digest)} bytes")
    if descriptor.fec_size:
        expected = fec_size(descriptor.fec_offset, descriptor.fec_roots)
        if descriptor.fec_offset < tree_end or descriptor.fec_size != expected:
            raise ImageError(
                f"{name}: parity of {descriptor.fec_size} bytes at {descriptor.fec_offset}"
            )


def check_hashtree_kind(descriptor: HashtreeDescriptor) -> None:
    """Refuse a hashtree that is not dm-verity's format 1 with blocks of 4096 bytes.

    Raises:
        ImageError: It is of another version or block size.
    """
    kind = (
        descriptor.dm_verity_version,
        descriptor.data_block_size,
        descriptor.hash_block_size,
    )
    if kind != (1, BLOCK_SIZE, BLOCK_SIZE):
        raise ImageError(
            f"{descriptor.partition_name}: hash tree of version {kind[0]}, data blocks of "
            f"{kind[1]} and hash blocks of {kind[2]} bytes"
        )


def image_digest(image: Source, salt: bytes, algorithm: str) -> bytes:
    """Digest of a whole image as a hash descriptor holds it: ``H(salt, image)``.

    Raises:
        ImageError: The algorithm is unknown, or as ``image`` raises.
    """
    digest = salted_hash(algorithm, salt)
    for start in range(0, image.size, _READ_SIZE):
        digest.update(image.read_at(start, min(_READ_SIZE, image.size - start)))
    found: bytes = digest.digest()
    return found
