"""Which operations of a full payload still hold for a changed image, and new ones for the rest."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from rom_builder.errors import ImageError
from rom_builder.formats.payload.manifest import (
    Extent,
    InstallOperation,
    OperationType,
    PartitionUpdate,
)
from rom_builder.formats.source import Source

OPERATION_SIZE = 1 << 21
"""Most bytes one new operation writes, 2 MiB: update_engine's chunk of full payloads."""

Blocks: TypeAlias = tuple[Extent, ...]
"""Blocks that need a new operation."""

_COMPARED_SIZE = 1 << 20


def planned_operations(
    update: PartitionUpdate, before: Source, after: Source, block_size: int
) -> Iterator[InstallOperation | Blocks]:
    """Yield what writes a changed image, in order: operations of the base, or blocks to encode.

    An operation stays if everything it writes is in the new image as it was. The blocks of others
    are written by new operations in their place, what the image has grown by at the end.

    Args:
        update: The partition in the base; its operations write every block of ``before`` once.
        before: The image it gives.
        after: The new image.
        block_size: Bytes of a block.

    Raises:
        ImageError: As the sources raise.
    """
    end = after.size // block_size
    written = 0
    for operation in update.operations:
        extents = [(item.start_block or 0, item.num_blocks or 0) for item in operation.dst_extents]
        written += sum(count for _, count in extents)
        if all(
            _same(before, after, start * block_size, count * block_size) for start, count in extents
        ):
            yield operation
        else:
            yield from _chunks(extents, end, block_size)
    yield from _chunks([(written, end - written)], end, block_size)


def _same(before: Source, after: Source, offset: int, size: int) -> bool:
    if offset + size > min(before.size, after.size):
        return False
    return all(
        before.read_at(start, count) == after.read_at(start, count)
        for start in range(offset, offset + size, _COMPARED_SIZE)
        for count in (min(_COMPARED_SIZE, offset + size - start),)
    )


def _chunks(extents: Sequence[tuple[int, int]], end: int, block_size: int) -> Iterator[Blocks]:
    """Cut extents to groups of at most :data:`OPERATION_SIZE`, dropping blocks from ``end`` on."""
    left = limit = OPERATION_SIZE // block_size
    chunk: list[Extent] = []
    for start, count in extents:
        stop = min(start + count, end)
        while start < stop:
            taken = min(stop - start, left)
            chunk.append(Extent(start, taken))
            start, left = start + taken, left - taken
            if not left:
                yield tuple(chunk)
                chunk, left = [], limit
    if chunk:
        yield tuple(chunk)


def encode_blocks(data: bytes) -> tuple[OperationType, bytes]:
    """Return the smallest form of an operation's data that every device decodes.

    XZ has no integrity check, for the decoder on devices knows none, and no dictionary larger than
    the data. The same data gives the same bytes as long as liblzma and libbz2 stay the same.
    """
    candidates = [(OperationType.REPLACE, data)]
    # What the fastest compression cannot shorten at all is noise: parity, encrypted files.
    if len(zlib.compress(data, 1)) < len(data):
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": max(4096, len(data))}]
        packed = lzma.compress(data, check=lzma.CHECK_NONE, filters=filters)
        candidates += [
            (OperationType.REPLACE_XZ, packed),
            (OperationType.REPLACE_BZ, bz2.compress(data)),
        ]
    return min(candidates, key=lambda item: len(item[1]))


def read_blocks(image: Source, blocks: Blocks, block_size: int) -> bytes:
    """Return the content of blocks, one after the other.

    Raises:
        ImageError: As ``image`` raises.
    """
    return b"".join(
        image.read_at((item.start_block or 0) * block_size, (item.num_blocks or 0) * block_size)
        for item in blocks
    )


def check_full(update: PartitionUpdate, image: Source, block_size: int) -> None:
    """Refuse a partition whose operations do not write every block of its image.

    Raises:
        ImageError: Blocks are missing, left to the device to compute, or kept from an old image.
    """
    name = update.partition_name
    if update.hash_tree_extent is not None or update.fec_extent is not None:
        raise ImageError(f"hash tree or parity of partition {name} is computed by the device")
    if update.old_partition_info is not None:
        raise ImageError(f"partition {name} is updated from an old image, not written whole")
    blocks = sum(item.num_blocks or 0 for o in update.operations for item in o.dst_extents)
    if blocks * block_size != image.size:
        raise ImageError(f"{blocks} blocks of partition {name} are written, of {image.size} bytes")
