"""The dm-verity hash tree that Android Verified Boot appends to a partition image.

Source: AOSP ``external/avb/avbtool.py`` and the kernel's ``admin-guide/device-mapper/verity``, hash
format 1. The image is cut into blocks of 4096 bytes, the last padded with zeros. A block's digest
is ``H(salt, block)``, padded with zeros to a power of two. The digests of all blocks laid end to
end, padded to whole blocks, are level 0; each further level holds the digests of the level below,
until one block is enough::

    offset 0    top level, one block
    ...         the levels below it, each padded to 4096 bytes
    last        level 0: the digests of the image's blocks

The root digest is that of the top block. The tree of an image of one block is empty, its root
digest the block's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source

BLOCK_SIZE = 4096
"""Bytes of a data and of a hash block: avbtool's default."""

ALGORITHMS = ("sha256", "sha1", "sha512", "blake2b-256")
"""Names as descriptors give them; avbtool knows no other."""

_READ_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class Hashtree:
    """The tree of one image, top level first, and the digest a descriptor holds."""

    root_digest: bytes
    tree: bytes


def hashtree_size(image_size: int, digest_size: int = 32) -> int:
    """Bytes a hash tree takes for an image.

    >>> hashtree_size(1 << 30)      # 1 GiB, SHA-256
    8458240
    """
    return sum(_level_sizes(image_size, digest_size))


def build_hashtree(source: Source, salt: bytes = b"", algorithm: str = "sha256") -> Hashtree:
    """Hash an image, reading it once from start to end.

    Raises:
        ImageError: The image is empty or the algorithm unknown; or as ``source`` raises.
    """
    stream = HashtreeStream(salt, algorithm)
    step = _READ_BLOCKS * BLOCK_SIZE
    for start in range(0, source.size, step):
        stream.update(source.read_at(start, min(step, source.size - start)))
    return stream.finish()


class HashtreeStream:
    """The tree of an image that is given from start to end.

    Raises:
        ImageError: The algorithm is unknown.
    """

    def __init__(self, salt: bytes = b"", algorithm: str = "sha256") -> None:
        self._salted = _Salted(salt, algorithm)
        self._level = bytearray()

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes: whole blocks, but at the end of the image."""
        self._level += self._salted.digests(data)

    def finish(self) -> Hashtree:
        """Return the tree of all that was given.

        Raises:
            ImageError: That was nothing.
        """
        if not self._level:
            raise ImageError("an empty image has no hash tree")
        level, levels = bytes(self._level), []
        while len(level) > self._salted.padded_size:
            level = level.ljust(_round_up(len(level)), b"\0")
            levels.append(level)
            level = self._salted.digests(level)
        return Hashtree(level[: self._salted.digest_size], b"".join(reversed(levels)))


def update_hashtree(
    tree: bytes,
    changed: Iterable[tuple[int, int]],
    source: Source,
    salt: bytes = b"",
    algorithm: str = "sha256",
) -> Hashtree:
    """Redo only what follows from changed bytes; the image must have kept its size.

    The rest of ``tree`` is believed: damage in it stays.

    Args:
        tree: The tree before the change.
        changed: ``(offset, size)`` in bytes of the image; may overlap.
        source: The image after the change.
        salt: As the tree was built with.
        algorithm: As the tree was built with.

    Raises:
        ImageError: The tree is not of this image's size, a range lies outside the image, or as
            :func:`build_hashtree`.
    """
    salted = _Salted(salt, algorithm)
    sizes = _level_sizes(source.size, salted.digest_size)
    if not source.size or len(tree) != sum(sizes):
        raise ImageError(
            f"hash tree of {len(tree)} bytes, an image of {source.size} has one of {sum(sizes)}"
        )
    blocks: set[int] = set()
    for offset, size in changed:
        if offset < 0 or size < 0 or offset + size > source.size:
            raise ImageError(f"changed range of {size} bytes outside the image", offset=offset)
        blocks.update(range(offset // BLOCK_SIZE, -(-(offset + size) // BLOCK_SIZE)))
    new = bytearray(tree)
    end = len(new)
    below: Source | memoryview = source
    for size in sizes:
        start = end - size
        for block in blocks:
            position = start + block * salted.padded_size
            new[position : position + salted.padded_size] = salted.digests(_block(below, block))
        below = memoryview(bytes(new[start:end]))
        blocks = {block * salted.padded_size // BLOCK_SIZE for block in blocks}
        end = start
    return Hashtree(salted.digests(_block(below, 0))[: salted.digest_size], bytes(new))


def compare_hashtree(found: Hashtree, expected: Hashtree, image_size: int) -> None:
    """Compare the tree that an image has with the one that follows from its data.

    Raises:
        ImageError: They differ, with the image's first block that does.
    """
    tree, root_digest = found.tree, found.root_digest
    if expected == found:
        return
    size = _level_sizes(image_size, len(expected.root_digest))[:1]
    if len(tree) == len(expected.tree) and size:
        start, width = len(tree) - size[0], _padded(len(expected.root_digest))
        for position in range(start, len(tree), width):
            if tree[position : position + width] != expected.tree[position : position + width]:
                block = (position - start) // width
                raise ImageError(
                    f"block {block} of the image does not match its hash tree",
                    offset=block * BLOCK_SIZE,
                )
    if len(tree) != len(expected.tree):
        raise ImageError(f"hash tree of {len(tree)} bytes, expected {len(expected.tree)}")
    if tree != expected.tree:
        raise ImageError("the upper levels of the hash tree do not match the lowest")
    raise ImageError(
        f"root digest of the hash tree is {expected.root_digest.hex()}, not {root_digest.hex()}"
    )


def salted_hash(algorithm: str, salt: bytes) -> Any:
    """Return a ``hashlib`` object of an algorithm named as in descriptors, fed with the salt.

    Raises:
        ImageError: The algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise ImageError(
            f"unknown hash algorithm {algorithm[:40]!r}", hint=f"known: {', '.join(ALGORITHMS)}"
        )
    if algorithm == "blake2b-256":
        return hashlib.blake2b(salt, digest_size=32)
    return hashlib.new(algorithm, salt, usedforsecurity=algorithm != "sha1")


class _Salted:
    """Digests of blocks: the context that has seen the salt is copied for each of them."""

    def __init__(self, salt: bytes, algorithm: str) -> None:
        self._base = salted_hash(algorithm, salt)
        self.digest_size: int = self._base.digest_size
        self.padded_size = _padded(self.digest_size)
        self._fill = bytes(self.padded_size - self.digest_size)

    def digests(self, data: bytes | memoryview) -> bytes:
        """Return the padded digests of the blocks in ``data``, the last one filled with zeros."""
        copy, fill, found = self._base.copy, self._fill, []
        size = len(data)
        if size % BLOCK_SIZE:
            data = bytes(data).ljust(_round_up(size), b"\0")
        view = memoryview(data)
        for start in range(0, len(view), BLOCK_SIZE):
            block = copy()
            block.update(view[start : start + BLOCK_SIZE])
            found.append(block.digest())
        return b"".join([digest + fill for digest in found] if fill else found)


def _block(below: Source | memoryview, index: int) -> bytes:
    start = index * BLOCK_SIZE
    if isinstance(below, memoryview):
        return bytes(below[start : start + BLOCK_SIZE])
    return below.read_at(start, min(BLOCK_SIZE, below.size - start))


def _level_sizes(image_size: int, digest_size: int) -> list[int]:
    """Bytes of every level, level 0 first."""
    sizes = []
    blocks = -(-image_size // BLOCK_SIZE)
    while blocks > 1:
        sizes.append(_round_up(blocks * _padded(digest_size)))
        blocks = sizes[-1] // BLOCK_SIZE
    return sizes


def _padded(digest_size: int) -> int:
    return 1 << (digest_size - 1).bit_length()


def _round_up(size: int) -> int:
    return -(-size // BLOCK_SIZE) * BLOCK_SIZE
