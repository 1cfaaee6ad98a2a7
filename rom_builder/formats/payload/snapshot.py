"""How large the snapshot of a Virtual A/B update with compression becomes.

A device sets the space aside before it writes: it refuses an update whose manifest gives no estimate,
and fails in the middle if the estimate is too small. So these are upper bounds of what libsnapshot
(AOSP ``system/core/fs_mgr/libsnapshot``) writes, not averages.
"""

from __future__ import annotations

import zlib

from rom_builder.formats.payload.manifest import DynamicPartitionMetadata

OPERATION_BYTES = 24
"""Bytes of one entry in a snapshot's list of blocks, its share of cluster and label entries included;
20 in version 2 of the format, fewer in version 3."""
_MAX_FACTOR = 1 << 18


def snapshot_bytes(data: bytes, layout: DynamicPartitionMetadata | None, block_size: int) -> int:
    """Return the most bytes that blocks take in a snapshot.

    Blocks count as they are where nothing compresses them, or something that is not known here.

    >>> snapshot_bytes(bytes(8192), None, 4096)
    8240
    """
    entries = -(-len(data) // block_size) * OPERATION_BYTES
    if layout is None or not layout.vabc_enabled:
        return len(data) + entries
    method, _, level = (layout.vabc_compression_param or "gz").partition(",")
    factor = min(max(layout.compression_factor or block_size, block_size), _MAX_FACTOR)
    size = sum(
        min(factor, _compressed(method, level, data[start : start + factor]))
        for start in range(0, len(data), factor)
    )
    return size + entries


def _compressed(method: str, level: str, data: bytes) -> int:
    """Return the bytes of one piece, with the setting that devices use or a weaker one."""
    number = int(level) if level.isascii() and level.isdigit() else None
    if method == "gz":
        return len(zlib.compress(data, min(number or 9, 9)))
    if method == "lz4":
        import lz4.block

        return len(lz4.block.compress(data, store_size=False))
    if method == "zstd":
        import zstandard

        return len(zstandard.compress(data, min(number or 3, 22)))
    if method == "brotli":
        import brotli

        return len(brotli.compress(data, quality=5))
    return len(data)
