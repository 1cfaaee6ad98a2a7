"""Write a full payload in which some partitions have new images.

Operations whose blocks did not change keep their compressed bytes; only their offsets are new.
Everything the base's manifest says stays as long as it is true, fields not known here included.
The same base, images and (but for ECDSA) keys give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import IO, NamedTuple, Self

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.payload.container import (
    MAGIC,
    MAJOR_VERSION,
    MAX_MANIFEST_SIZE,
    Payload,
)
from rom_builder.formats.payload.manifest import (
    DynamicPartitionMetadata,
    InstallOperation,
    Manifest,
    OperationType,
    PartitionInfo,
    PartitionUpdate,
)
from rom_builder.formats.payload.operations import (
    Blocks,
    check_full,
    encode_blocks,
    planned_operations,
    read_blocks,
)
from rom_builder.formats.payload.properties import PayloadProperties
from rom_builder.formats.payload.signing import PayloadKey, sign_digest, signatures_size
from rom_builder.formats.payload.snapshot import snapshot_bytes
from rom_builder.formats.source import BytesSource, Source

COW_HEADROOM = 1 << 21
"""Bytes added to the estimate of a snapshot's size, 2 MiB: what update_engine itself adds."""

_HEADER = struct.Struct(">4sQQI")
_READ_SIZE = 1 << 20
_SPOOL_SIZE = 1 << 26  # bytes of new operations kept in memory before they go to a temporary file
_ENCODED_AHEAD = 4  # operations under way for each worker


class _Blob(NamedTuple):
    """Data of one operation: in the spool, or in the base if ``digest`` is given."""

    offset: int
    size: int
    digest: bytes | None
    name: str


class _Encoded(NamedTuple):
    """Type and data of a new operation, and the bytes that its blocks take in a snapshot."""

    type: OperationType
    data: bytes
    snapshot_size: int


class _Encoding(NamedTuple):
    """Blocks of a new operation, and what they are encoded to as soon as that is known."""

    blocks: Blocks
    result: Future[_Encoded]


def blank_payload(manifest: Manifest) -> Payload:
    """Return a payload whose partitions have no blocks: the base of one made from images alone.

    Args:
        manifest: What the new payload shall say; sizes, digests and operations are left out.
    """
    partitions = tuple(
        replace(update, new_partition_info=PartitionInfo(size=0), operations=())
        for update in manifest.partitions
    )
    encoded = replace(manifest, partitions=partitions).encode()
    return Payload(BytesSource(_HEADER.pack(MAGIC, MAJOR_VERSION, len(encoded), 0) + encoded))


class PayloadWriter:
    """A payload that is ready to be written; a context manager that owns a temporary file.

    Args:
        base: A full payload.
        changed: New images of partitions of the base, whole, by name.
        keys: What to sign with; at least one.
        decoded: Images of the base where they are at hand already; others are decoded.
        workers: Threads that compress; None for one a processor.
        completing: The base came out of this writer without its signatures, and ``changed`` differs
            from it in signatures of vbmeta images only: estimates are corrected, not added to.

    Attributes:
        manifest: The new manifest.
        size: Bytes of the new payload.
        metadata_size: Bytes of header and manifest.
        metadata_signature_size: Bytes of the message that follows them.
        properties: What ``payload_properties.txt`` says; None until everything was written.

    Raises:
        ImageError: The base is incremental or damaged, has no such partition, or a new image does
            not fit its group of dynamic partitions.
        SigningError: No key was given, or signing failed.
    """

    def __init__(
        self,
        base: Payload,
        changed: Mapping[str, Source],
        keys: Sequence[PayloadKey],
        *,
        decoded: Mapping[str, Source] | None = None,
        workers: int | None = None,
        completing: bool = False,
    ) -> None:
        if not keys:
            raise SigningError("a payload needs at least one signature")
        if base.minor_version:
            raise ImageError(
                f"the payload is incremental (minor version {base.minor_version})",
                hint="give the full package of the same build",
            )
        for name in changed:
            base.update(name)  # exactly one
        self._base = base
        self._keys = tuple(keys)
        self._completing = completing
        self._blobs: list[_Blob] = []
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_SIZE)  # noqa: SIM115
        self.properties: PayloadProperties | None = None
        try:
            self._prepare(changed, decoded or {}, workers or os.cpu_count() or 1)
        except BaseException:
            self._spool.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spool.close()

    def _prepare(
        self, changed: Mapping[str, Source], decoded: Mapping[str, Source], workers: int
    ) -> None:
        manifest = self._base.manifest
        partitions = []
        self._data_size = self._snapshot_size = 0
        with ThreadPoolExecutor(workers) as pool:
            for update in manifest.partitions:
                name = update.partition_name or ""
                if name in changed:
                    update = self._rewritten(
                        update, decoded.get(name), changed[name], pool, workers
                    )
                else:
                    operations = tuple(self._placed(name, item) for item in update.operations)
                    update = replace(update, operations=operations)
                partitions.append(update)
        self._signature_size = signatures_size(self._keys)
        self.manifest: Manifest = replace(
            manifest,
            partitions=tuple(partitions),
            signatures_offset=self._data_size,
            signatures_size=self._signature_size,
        )
        check_groups(self.manifest)
        encoded = self.manifest.encode()
        if len(encoded) > MAX_MANIFEST_SIZE:
            raise ImageError(f"manifest of {len(encoded)} bytes, at most {MAX_MANIFEST_SIZE}")
        self._metadata = (
            _HEADER.pack(MAGIC, MAJOR_VERSION, len(encoded), self._signature_size) + encoded
        )
        self.metadata_size = len(self._metadata)
        self.metadata_signature_size = self._signature_size
        self.size = self.metadata_size + self._data_size + 2 * self._signature_size

    def _rewritten(
        self,
        update: PartitionUpdate,
        decoded: Source | None,
        after: Source,
        pool: Executor,
        workers: int,
    ) -> PartitionUpdate:
        name, block_size = update.partition_name or "", self._base.block_size
        image = self._base.partition(name)
        check_full(update, image, block_size)
        before = image if decoded is None else decoded
        if before.size != image.size:
            raise ImageError(f"{before.size} bytes decoded of partition {name}, not {image.size}")
        if after.size % block_size or not after.size:
            raise ImageError(f"partition {name} of {after.size} bytes is no row of whole blocks")
        layout = self._snapshot_layout(update)
        digest = pool.submit(_sha256, after)
        old_digest = pool.submit(_sha256, before)
        steps: deque[InstallOperation | _Encoding] = deque()
        operations: list[InstallOperation] = []
        encoded_blocks = under_way = 0
        stored = self._snapshot_size
        for step in planned_operations(update, before, after, block_size):
            if isinstance(step, InstallOperation):
                steps.append(step)
                continue
            if self._completing and update.estimate_cow_size is not None:
                old = read_blocks(before, step, block_size)
                self._snapshot_size -= snapshot_bytes(old, layout, block_size)
            steps.append(_Encoding(step, pool.submit(_encoded, after, step, block_size, layout)))
            encoded_blocks += sum(item.num_blocks or 0 for item in step)
            under_way += 1
            while under_way > _ENCODED_AHEAD * workers:
                under_way -= isinstance(steps[0], _Encoding)
                operations.append(self._placed(name, steps.popleft()))
        operations += [self._placed(name, step) for step in steps]
        expected = (update.new_partition_info or PartitionInfo()).hash
        if expected is not None and old_digest.result() != expected:
            raise ImageError(
                f"SHA-256 of partition {name} is {old_digest.result().hex()}, the manifest of the "
                f"base says {expected.hex()}"
            )
        cow_size, cow_operations = update.estimate_cow_size, update.estimate_op_count_max
        if cow_size is not None:
            cow_size += self._snapshot_size - stored + (0 if self._completing else COW_HEADROOM)
        if cow_operations is not None and not self._completing:
            cow_operations += encoded_blocks
        return replace(
            update,
            new_partition_info=replace(
                update.new_partition_info or PartitionInfo(), size=after.size, hash=digest.result()
            ),
            operations=tuple(operations),
            estimate_cow_size=cow_size,
            estimate_op_count_max=cow_operations,
            new_partition_signature=(),
            merge_operations=(),
        )

    def _snapshot_layout(self, update: PartitionUpdate) -> DynamicPartitionMetadata | None:
        """Return how a partition's snapshot is compressed; None where no estimate is asked for."""
        known = update.estimate_cow_size is not None
        return self._base.manifest.dynamic_partition_metadata if known else None

    def _placed(self, name: str, step: InstallOperation | _Encoding) -> InstallOperation:
        """Return the operation of a step, its data at the next offset."""
        offset, digest = self._data_size, None
        if isinstance(step, _Encoding):
            kind, data, stored = step.result.result()
            self._snapshot_size += stored
            start, size = self._spool.tell(), len(data)
            self._spool.write(data)
            operation = InstallOperation(
                type=kind,
                data_offset=offset,
                data_length=size,
                dst_extents=step.blocks,
                data_sha256_hash=hashlib.sha256(data).digest(),
            )
        elif step.data_offset is None or step.data_length is None:
            return step
        else:
            start, size = self._base.blob_offset + step.data_offset, step.data_length
            digest = step.data_sha256_hash
            if start + size > self._base.source.size or not digest:
                raise ImageError(f"an operation of partition {name} has no data", offset=start)
            operation = replace(step, data_offset=offset)
        self._blobs.append(_Blob(start, size, digest, name))
        self._data_size += size
        return operation

    def pieces(self) -> Iterator[bytes]:
        """Yield the payload from start to end, and set ``properties``.

        Every operation of the base is compared with its digest as it is copied.

        Raises:
            ImageError: The base is damaged.
            SigningError: Signing failed.
        """
        metadata_digest = hashlib.sha256(self._metadata).digest()
        metadata_signature = sign_digest(metadata_digest, self._keys)
        whole = hashlib.sha256(self._metadata + metadata_signature)
        signed = hashlib.sha256(self._metadata)
        yield self._metadata
        yield metadata_signature
        with ThreadPoolExecutor(1) as pool:
            hashed: Future[None] | None = None
            for blob in self._blobs:
                data = self._data(blob)
                # hashlib lets other threads run: a second processor computes what is signed
                if hashed:
                    hashed.result()
                hashed = pool.submit(_update, (whole, signed), data)
                if blob.digest is not None and hashlib.sha256(data).digest() != blob.digest:
                    raise ImageError(
                        f"the data of an operation of partition {blob.name} does not match its "
                        "SHA-256",
                        offset=blob.offset,
                    )
                yield data
        signature = sign_digest(signed.digest(), self._keys)
        whole.update(signature)
        yield signature
        self.properties = PayloadProperties(
            whole.digest(), self.size, metadata_digest, self.metadata_size
        )

    def _data(self, blob: _Blob) -> bytes:
        if blob.digest is not None:
            return self._base.source.read_at(blob.offset, blob.size)
        self._spool.seek(blob.offset)
        return self._spool.read(blob.size)


def check_groups(manifest: Manifest) -> None:
    """Refuse partitions that together are larger than their group of dynamic partitions.

    update_engine resizes each partition inside its group on the device and fails otherwise.

    Raises:
        ImageError: A group is too small.
    """
    sizes = {
        update.partition_name: (update.new_partition_info or PartitionInfo()).size or 0
        for update in manifest.partitions
    }
    metadata = manifest.dynamic_partition_metadata
    for group in metadata.groups if metadata else ():
        total = sum(sizes.get(name, 0) for name in group.partition_names)
        if group.size and total > group.size:
            raise ImageError(
                f"the partitions of group {group.name} take {total} bytes, it has {group.size}"
            )


def _encoded(
    image: Source, blocks: Blocks, block_size: int, layout: DynamicPartitionMetadata | None
) -> _Encoded:
    data = read_blocks(image, blocks, block_size)
    kind, packed = encode_blocks(data)
    return _Encoded(kind, packed, snapshot_bytes(data, layout, block_size))


def _update(digests: Sequence[hashlib._Hash], data: bytes) -> None:
    for digest in digests:
        digest.update(data)


def _sha256(image: Source) -> bytes:
    digest = hashlib.sha256()
    for start in range(0, image.size, _READ_SIZE):
        digest.update(image.read_at(start, min(_READ_SIZE, image.size - start)))
    return digest.digest()
