"""What update_engine's own checkers demand of a payload beyond being readable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from rom_builder.formats.payload.container import DEFAULT_BLOCK_SIZE, Payload
from rom_builder.formats.payload.manifest import InstallOperation, OperationType, PartitionUpdate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,35}", re.ASCII)
"""Names in a GPT have at most 36 characters, those in super's metadata as many bytes."""
_ZERO_SINCE = 4
_ZSTD_SINCE = 10
_FULL = (OperationType.REPLACE, OperationType.REPLACE_BZ, OperationType.REPLACE_XZ)
_ZEROS = (OperationType.ZERO, OperationType.DISCARD)
_XZ_CHECK_OFFSET = 7  # stream flags, second byte: 0 none, 1 CRC32, 4 CRC64, 10 SHA-256


def problems(payload: Payload) -> list[str]:
    """List the rules the payload breaks, in words; empty for a payload a device takes.

    Reads no blob but the first bytes of XZ ones. Rules on operations are those for full payloads
    if the minor version is 0.
    """
    found = list(_manifest_problems(payload))
    used: int | None = 0
    for update in payload.manifest.partitions:
        found += _partition_problems(payload, update)
        for index, operation in enumerate(update.operations):
            where = f"operation {index} of {update.partition_name}"
            found += [f"{where} {text}" for text in _operation_problems(payload, operation)]
            if operation.data_offset is not None and used is not None:
                if operation.data_offset != used:
                    found.append(f"{where} has its data at {operation.data_offset}, not at {used}")
                    used = None  # once is enough: all that follow are shifted
                else:
                    used += operation.data_length or 0
    found += _end_problems(payload, used)
    return found


def gaps(payload: Payload) -> list[str]:
    """List what a payload leaves out of the build it updates to, in words; reads no blob."""
    found: list[str] = []
    for update in payload.manifest.partitions:
        info = update.new_partition_info
        if payload.minor_version == 0 and info is not None and info.size is not None:
            blocks = -(-info.size // payload.block_size)
            found += _coverage_problems(update.partition_name or "", update, blocks)
    dynamic = payload.manifest.dynamic_partition_metadata
    names = {
        name for group in (dynamic.groups if dynamic else ()) for name in group.partition_names
    }
    missing = sorted(names - set(payload.names))
    if missing:
        found.append(f"a partial update: {', '.join(missing)} stay as they are on the device")
    elif payload.manifest.partial_update:
        found.append("a partial update: other partitions stay as they are on the device")
    return found


def _manifest_problems(payload: Payload) -> Iterator[str]:
    manifest = payload.manifest
    if payload.block_size != DEFAULT_BLOCK_SIZE:
        yield f"block size {payload.block_size}, not {DEFAULT_BLOCK_SIZE}"
    if manifest.max_timestamp is None:
        yield "no max_timestamp: nothing stops a downgrade"
    for name, count in Counter(payload.names).items():
        if count > 1:
            yield f"{count} partitions are named {name}"
    if not payload.metadata_signature:
        yield "no metadata signature"


def _partition_problems(payload: Payload, update: PartitionUpdate) -> Iterator[str]:
    name, info = update.partition_name, update.new_partition_info
    if not name:
        yield "a partition has no name"
    elif not _NAME.fullmatch(name):
        yield f"{name!r} is no name of a partition"
    if info is None or info.size is None or not info.hash:
        yield f"{name} has no size or no SHA-256"
        return
    if info.size % payload.block_size:
        yield f"{name} has {info.size} bytes, no multiple of the block size"
    if payload.minor_version == 0:
        if update.old_partition_info is not None:
            yield f"{name} names an old image in a full payload"
        yield from _coverage_problems(name or "", update, -(-info.size // payload.block_size))


def _coverage_problems(name: str, update: PartitionUpdate, blocks: int) -> Iterator[str]:
    extents = sorted(
        (extent.start_block or 0, extent.num_blocks or 0)
        for operation in update.operations
        for extent in operation.dst_extents
    )
    position = 0
    for start, count in extents:
        if start != position:
            yield f"block {min(start, position)} of {name} is not written exactly once"
            return
        position += count
    if position != blocks:
        yield f"{position} of {blocks} blocks of {name} are written"


def _operation_problems(payload: Payload, operation: InstallOperation) -> Iterator[str]:
    kind = operation.type or 0
    minor = payload.minor_version
    if (
        (minor == 0 and kind not in _FULL)
        or (minor < _ZERO_SINCE and kind in _ZEROS)
        or (minor < _ZSTD_SINCE and kind == OperationType.REPLACE_ZSTD)
    ):
        yield f"is {operation.name}, not allowed in minor version {minor}"
    if (operation.data_offset is None) != (operation.data_length is None):
        yield "has only one of data offset and data length"
    elif operation.data_offset is not None and operation.data_length is not None:
        if not operation.data_sha256_hash:
            yield "has no SHA-256 of its data"
        start = payload.blob_offset + operation.data_offset
        if start + operation.data_length > payload.source.size:
            yield "has data after the end of the file"
        elif kind == OperationType.REPLACE_XZ and operation.data_length > _XZ_CHECK_OFFSET:
            (check,) = payload.source.read_at(start + _XZ_CHECK_OFFSET, 1)
            if check & 0xF:
                yield f"is an XZ stream with integrity check {check & 0xF}, devices expect none"


def _end_problems(payload: Payload, used: int | None) -> Iterator[str]:
    manifest = payload.manifest
    if manifest.signatures_offset is None or not manifest.signatures_size:
        yield "no payload signature"
        end = used
    else:
        if used is not None and manifest.signatures_offset != used:
            yield f"payload signature at {manifest.signatures_offset}, the data ends at {used}"
        end = manifest.signatures_offset + manifest.signatures_size
    if end is not None and payload.blob_offset + end != payload.source.size:
        yield (
            f"the file has {payload.source.size} bytes, "
            f"data and signature end at {payload.blob_offset + end}"
        )
