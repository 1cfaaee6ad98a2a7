"""The new image of one partition of a payload, decoded operation by operation as it is read."""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.compression import STEPWISE, Codec, Stepwise, decompress_exactly
from rom_builder.formats.payload.manifest import InstallOperation, OperationType, PartitionUpdate
from rom_builder.formats.payload.operation_store import OperationKey, OperationStore
from rom_builder.formats.source import Source, check_range

MAX_PARTITION_SIZE = 1 << 38
"""Largest partition accepted, 256 GiB."""

MAX_OPERATION_SIZE = 1 << 28
"""Most bytes one operation with data may write or carry, 256 MiB; full payloads use 2 MiB."""

READ_AHEAD = 1 << 23
"""Largest output of an operation that is decoded before it is asked for, 8 MiB."""

PART_STEP = 1 << 16
"""Operations that are read in part are decoded to a multiple of 64 KiB."""

STREAMS = 8
"""Readers of an image that are followed at a time, to tell those that read on from those that jump."""

_CODECS = {
    OperationType.REPLACE: None,
    OperationType.REPLACE_BZ: Codec.BZIP2,
    OperationType.REPLACE_XZ: Codec.XZ,
    OperationType.REPLACE_ZSTD: Codec.ZSTD,
}
_ZEROS = (OperationType.ZERO, OperationType.DISCARD)


class _Run(NamedTuple):
    """Blocks that one extent of one operation writes."""

    block: int
    blocks: int
    operation: int
    skipped: int  # blocks of the operation's output before this extent


class PartitionImage:
    """A source over the new image of one partition; safe to use from several threads.

    Operations are decoded as far as they are read; one of which most is read is decoded whole.
    Whoever reads on without a gap finds operations decoded ahead, on every processor: as many bytes as
    were read in a row so far. Whoever jumps, from inode to inode, pays for no operation that is not read.

    Args:
        store: Operations that were decoded already, of this partition or another.

    Attributes:
        size: Bytes of the image.
        decoded: Bytes decoded so far, repeats included.

    Raises:
        ImageError: The operations are damaged, or one of them needs the old image.
    """

    def __init__(
        self,
        source: Source,
        blob_offset: int,
        block_size: int,
        update: PartitionUpdate,
        store: OperationStore | None = None,
    ) -> None:
        self._source = source
        self._blob_offset = blob_offset
        self._block_size = block_size
        self._name = update.partition_name or ""
        self._operations = update.operations
        self._store = OperationStore() if store is None else store
        self.decoded = 0
        self._verified: set[int] = set()
        self._under_way: dict[int, Future[None]] = {}
        self._streams: OrderedDict[int, int] = OrderedDict()  # bytes read in a row, by their end
        self._lock = threading.Lock()
        info = update.new_partition_info
        if info is None or info.size is None:
            raise ImageError(f"the manifest gives no size of partition {self._name}")
        self.size: int = info.size
        if self.size > MAX_PARTITION_SIZE:
            raise ImageError(f"partition {self._name} of {self.size} bytes is too large")
        for index, operation in enumerate(self._operations):
            self._check(index, operation)
        self._runs = self._map()
        self._starts = [run.block for run in self._runs]

    def _check(self, index: int, operation: InstallOperation) -> None:
        kind = operation.type or 0
        where = self._place(index)
        if kind in _ZEROS:
            return
        if kind not in _CODECS:
            raise ImageError(
                f"partition {self._name} is incremental: {where} is {operation.name}, "
                "which needs the image of the build before",
                hint="give the full package of the same build",
            )
        if operation.data_offset is None or operation.data_length is None:
            raise ImageError(f"{where} has no data")
        start = self._blob_offset + operation.data_offset
        if start + operation.data_length > self._source.size:
            raise ImageError(f"the data of {where} ends after the file", offset=start)
        if max(operation.data_length, self._output_size(operation)) > MAX_OPERATION_SIZE:
            raise ImageError(f"{where} exceeds {MAX_OPERATION_SIZE} bytes", offset=start)
        if not operation.data_sha256_hash:
            raise ImageError(f"{where} has no SHA-256 of its data", offset=start)

    def _output_size(self, operation: InstallOperation) -> int:
        return sum(extent.num_blocks or 0 for extent in operation.dst_extents) * self._block_size

    def _map(self) -> list[_Run]:
        runs = []
        for index, operation in enumerate(self._operations):
            skipped = 0
            for extent in operation.dst_extents:
                blocks = extent.num_blocks or 0
                if blocks:
                    runs.append(_Run(extent.start_block or 0, blocks, index, skipped))
                skipped += blocks
        runs.sort()
        end = 0
        for run in runs:
            if run.block < end:
                raise ImageError(f"block {run.block} of partition {self._name} is written twice")
            end = run.block + run.blocks
        if end * self._block_size >= self.size + self._block_size:
            raise ImageError(f"operations write after the end of partition {self._name}")
        return runs

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        in_a_row = self._follow(offset, size)
        parts = []
        while size:
            run = self._run_at(offset)
            start = offset - run.block * self._block_size
            count = min(size, run.blocks * self._block_size - start)
            if (self._operations[run.operation].type or 0) in _ZEROS:
                parts.append(bytes(count))
            else:
                if not start:
                    self._decode_ahead(run.operation + 1, in_a_row)
                start += run.skipped * self._block_size
                parts.append(self._output(run.operation, start, count))
            offset += count
            in_a_row += count
            size -= count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _follow(self, offset: int, size: int) -> int:
        """Return how many bytes before ``offset`` were read in a row up to it."""
        with self._lock:
            in_a_row = self._streams.pop(offset, 0)
            self._streams[offset + size] = in_a_row + size
            if len(self._streams) > STREAMS:
                self._streams.popitem(last=False)
        return in_a_row

    def _run_at(self, offset: int) -> _Run:
        block = offset // self._block_size
        index = bisect_right(self._starts, block) - 1
        if index < 0 or block >= self._runs[index].block + self._runs[index].blocks:
            raise ImageError(
                f"no operation writes block {block} of partition {self._name}", offset=offset
            )
        return self._runs[index]

    def _output(self, index: int, start: int, size: int) -> bytes:
        """Return bytes of what an operation gives; its data is compared with its SHA-256 once."""
        while True:
            if index in self._verified:
                found = self._store.read(self._key(index), start, size)
                if found is not None:
                    return found
            with self._lock:
                under_way = self._under_way.get(index)
                if under_way is None:
                    own = self._under_way[index] = Future()
            if under_way is None:
                return self._finish(index, start, size, own)
            under_way.result()

    def _decode_ahead(self, first: int, size: int) -> None:
        """Start to decode the operations from ``first`` on that give ``size`` bytes, if not at hand."""
        for index in range(first, min(first + 2 * (os.cpu_count() or 1), len(self._operations))):
            operation = self._operations[index]
            output = self._output_size(operation)
            size -= output
            if size < 0:
                break
            if (operation.type or 0) in _ZEROS or output > READ_AHEAD:
                continue
            if index in self._verified and self._store.held(self._key(index)) == output:
                continue
            with self._lock:
                if index in self._under_way:
                    continue
                own = self._under_way[index] = Future()
            try:
                self._store.decode_ahead(partial(self._finish, index, 0, output, own))
            except RuntimeError:  # no thread is to be had: it is decoded when it is read
                self._release(index, own)
                break

    def _finish(self, index: int, start: int, size: int, own: Future[None]) -> bytes:
        """Decode an operation as far as wanted, and return that; those who wait try it anew."""
        try:
            return self._decoded(index, start, size)
        finally:
            self._release(index, own)

    def _release(self, index: int, own: Future[None]) -> None:
        with self._lock:
            del self._under_way[index]
        own.set_result(None)

    def _key(self, index: int) -> OperationKey:
        operation = self._operations[index]
        digest = operation.data_sha256_hash or b""
        return OperationKey(operation.type or 0, digest, self._output_size(operation))

    def _decoded(self, index: int, start: int, size: int) -> bytes:
        """Return bytes of what an operation gives, decoded up to them at least.

        Its data is checked first. Decoding goes on where it stopped, if it did not long ago.
        """
        key = self._key(index)
        begun = self._store.take_begun(key)
        blob = b"" if begun and index in self._verified else self._blob(index)
        content = None if begun else self._store.read(key, start, size)
        if content is None:
            try:
                content = self._decode(key, blob, begun, start, size)
            except ImageError as error:
                raise ImageError(
                    f"{self._place(index)}: {error.message}", offset=self._start(index)
                ) from error
        self._verified.add(index)
        return content

    def _blob(self, index: int) -> bytes:
        """Read the data of an operation and compare it with its SHA-256."""
        operation, start = self._operations[index], self._start(index)
        blob = self._source.read_at(start, operation.data_length or 0)
        if hashlib.sha256(blob).digest() != operation.data_sha256_hash:
            raise ImageError(
                f"the data of {self._place(index)} does not match its SHA-256", offset=start
            )
        return blob

    def _start(self, index: int) -> int:
        return self._blob_offset + (self._operations[index].data_offset or 0)

    def _place(self, index: int) -> str:
        return f"operation {index} of partition {self._name}"

    def _decode(
        self, key: OperationKey, blob: bytes, begun: Stepwise | None, start: int, size: int
    ) -> bytes:
        """Decode an operation; it fails if what is wanted cannot be had, or if that is its end."""
        codec = _CODECS[OperationType(key.kind)]
        if codec in STEPWISE:
            stop = self._stop(key, start + size, begun)
            begun = begun or Stepwise(codec, blob, key.size)
            before = begun.decoded
            try:
                begun.decode(stop)
            except ImageError:
                if start + size > begun.decoded or start + size == key.size:
                    raise
                # Never whole: whoever reads its end must hear of it.
                self._store.put(key, begun.read(0, min(begun.decoded, key.size - 1)))
                return begun.read(start, size)
            finally:
                self._count(begun.decoded - before)
            if begun.decoded < key.size:
                self._store.put_begun(key, begun)
                return begun.read(start, size)
            content = begun.read(0, key.size)
        else:
            content = decompress_exactly(codec, blob, key.size) if codec else blob
            self._count(len(content))
        if len(content) != key.size:
            raise ImageError(f"has {len(content)} bytes, not {key.size}")
        self._store.put(key, content)
        return content[start : start + size]

    def _stop(self, key: OperationKey, end: int, begun: Stepwise | None) -> int:
        """Return how far to decode an operation that is read up to ``end``.

        Whole if most of it is wanted, or if it was begun before and its decoder is gone.
        """
        stop = -(-end // PART_STEP) * PART_STEP
        in_part = (
            stop <= key.size * 3 // 4
            and key.size <= READ_AHEAD
            and self._name not in self._store.whole
            and (begun is not None or not self._store.held(key))
        )
        return stop if in_part else key.size

    def _count(self, size: int) -> None:
        with self._lock:
            self.decoded += size
