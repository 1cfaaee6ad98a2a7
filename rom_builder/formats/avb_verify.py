"""Hold a partition image to what a vbmeta image says of it."""

from __future__ import annotations

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.fec import fec_size, verify_fec
from rom_builder.formats.hashtree import BLOCK_SIZE, hashtree_size, salted_hash, verify_hashtree
from rom_builder.formats.source import Slice, Source

_READ_SIZE = 1 << 20


def verify_image(image: Source, descriptor: HashDescriptor | HashtreeDescriptor) -> None:
    """Compute digest, or tree and parity, of a partition image and compare them.

    Reads the image once, twice if it has parity.

    Raises:
        ImageError: Something differs, the image is shorter than the descriptor says, or the
            descriptor holds no digest or is of a kind dm-verity cannot use.
    """
    if isinstance(descriptor, HashDescriptor):
        _verify_hash(image, descriptor)
        return
    check_hashtree_kind(descriptor)
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
    data = Slice(image, 0, size)
    tree = image.read_at(descriptor.tree_offset, descriptor.tree_size)
    verify_hashtree(data, tree, descriptor.root_digest, descriptor.salt, descriptor.hash_algorithm)
    if descriptor.fec_size:
        covered = Slice(image, 0, descriptor.fec_offset)
        expected = fec_size(covered.size, descriptor.fec_roots)
        if descriptor.fec_offset < tree_end or descriptor.fec_size != expected:
            raise ImageError(
                f"{name}: parity of {descriptor.fec_size} bytes at {descriptor.fec_offset}"
            )
        fec = image.read_at(descriptor.fec_offset, descriptor.fec_size)
        verify_fec(covered, fec, descriptor.fec_roots)


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


def _verify_hash(image: Source, descriptor: HashDescriptor) -> None:
    data = Slice(image, 0, descriptor.image_size)
    found = image_digest(data, descriptor.salt, descriptor.hash_algorithm)
    if found != descriptor.digest:
        raise ImageError(
            f"{descriptor.hash_algorithm} of {descriptor.partition_name} is {found.hex()}, "
            f"the descriptor says {descriptor.digest.hex() or 'nothing'}"
        )
