"""Every digest of a whole payload, from one reading of it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.payload.container import Payload

_READ_SIZE = 1 << 21


@dataclass(frozen=True, slots=True)
class PayloadDigests:
    """Digests of a payload.

    Attributes:
        metadata: SHA-256 of header and manifest, which the metadata signatures sign.
        payload: SHA-256 of header, manifest and blobs, which the payload signatures sign.
        file: SHA-256 of the whole file.
        crc32: CRC-32 of the whole file.
    """

    metadata: bytes
    payload: bytes
    file: bytes
    crc32: int


def digests_of(payload: Payload) -> PayloadDigests:
    """Hash a payload, reading it once.

    Raises:
        ImageError: The signatures' offset lies outside the file.
    """
    source = payload.source
    end = source.size
    if payload.manifest.signatures_offset is not None:
        end = payload.blob_offset + payload.manifest.signatures_offset
        if end > source.size:
            raise ImageError("the payload signature lies after the end of the file", offset=end)
    head = source.read_at(0, payload.blob_offset)
    metadata = hashlib.sha256(head[: payload.metadata_size])
    signed, file, crc = metadata.copy(), hashlib.sha256(head), zlib.crc32(head)
    for start in range(payload.blob_offset, source.size, _READ_SIZE):
        piece = source.read_at(start, min(_READ_SIZE, source.size - start))
        file.update(piece)
        crc = zlib.crc32(piece, crc)
        if start < end:
            signed.update(memoryview(piece)[: end - start])
    return PayloadDigests(metadata.digest(), signed.digest(), file.digest(), crc)


def check_operation_data(payload: Payload) -> int:
    """Compare the data of every operation with its digest; return how many operations have data.

    Raises:
        ImageError: One differs, lies outside the file or has no digest, or they share their data.
    """
    count = total = 0
    for update in payload.manifest.partitions:
        for index, operation in enumerate(update.operations):
            if operation.data_length is None or operation.data_offset is None:
                continue
            total += operation.data_length
            if total > payload.source.size:
                raise ImageError("operations share their data")
            start = payload.blob_offset + operation.data_offset
            digest = hashlib.sha256()
            for at in range(0, operation.data_length, _READ_SIZE):
                size = min(_READ_SIZE, operation.data_length - at)
                digest.update(payload.source.read_at(start + at, size))
            if digest.digest() != operation.data_sha256_hash:
                raise ImageError(
                    f"the data of operation {index} of partition {update.partition_name} does not "
                    "match its SHA-256",
                    offset=start,
                )
            count += 1
    return count
