"""A payload as a whole: header, manifest, signature blobs and its partitions."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rom_builder.errors import ImageError
from rom_builder.formats.payload.manifest import Manifest, PartitionUpdate, Signatures
from rom_builder.formats.payload.operation_store import OperationStore
from rom_builder.formats.payload.partition import PartitionImage
from rom_builder.formats.source import Source

MAGIC = b"CrAU"
MAJOR_VERSION = 2
DEFAULT_BLOCK_SIZE = 4096

MAX_MANIFEST_SIZE = 1 << 24
"""Largest manifest accepted, 16 MiB; those of 5 GiB packages stay below 2 MiB."""

MAX_SIGNATURES_SIZE = 1 << 16
"""Largest signatures message accepted; two RSA-4096 signatures take 1 KiB."""

DECODED_AGAIN = 1 << 28
"""Bytes that verifying may decode beyond four times a partition: where a few large operations write
alternating blocks, each read would decode all of them again."""

_HEADER = struct.Struct(">4sQQI")
_READ_SIZE = 1 << 20
_PIECE_SIZE = 1 << 21  # an operation of a full payload, so that none is cut


def detect_payload(head: bytes) -> bool:
    """Tell whether a file that starts with ``head`` is an update payload."""
    return head[:4] == MAGIC


class Payload:
    """An opened payload.

    Args:
        source: The payload's bytes.
        store: Operations that were decoded already, of this payload or another.

    Attributes:
        source: The payload's bytes.
        manifest: The parsed manifest.
        metadata_size: Bytes of header and manifest: what the metadata signature covers.
        metadata_signature: The signatures message after the manifest, empty if unsigned.
        blob_offset: Where blobs start; every ``data_offset`` counts from here.
        block_size: Bytes of a block.
        minor_version: 0 for a full payload.

    Raises:
        ImageError: Not a payload of major version 2, or its header or manifest is damaged.
    """

    def __init__(self, source: Source, store: OperationStore | None = None) -> None:
        self.source = source
        magic, version, manifest_size, signature_size = _HEADER.unpack(
            source.read_at(0, _HEADER.size)
        )
        if magic != MAGIC:
            raise ImageError("not an update payload", offset=0)
        if version != MAJOR_VERSION:
            raise ImageError(f"payload of major version {version}, only 2 is known", offset=4)
        if manifest_size > MAX_MANIFEST_SIZE:
            raise ImageError(
                f"manifest of {manifest_size} bytes, at most {MAX_MANIFEST_SIZE}", offset=12
            )
        if signature_size > MAX_SIGNATURES_SIZE:
            raise ImageError(
                f"metadata signature of {signature_size} bytes, at most {MAX_SIGNATURES_SIZE}",
                offset=20,
            )
        self.metadata_size: int = _HEADER.size + manifest_size
        self.blob_offset: int = self.metadata_size + signature_size
        self.manifest = Manifest.parse(
            source.read_at(_HEADER.size, manifest_size), offset=_HEADER.size
        )
        self.metadata_signature = source.read_at(self.metadata_size, signature_size)
        block_size = self.manifest.block_size
        self.block_size = DEFAULT_BLOCK_SIZE if block_size is None else block_size
        if self.block_size.bit_count() != 1 or not 512 <= self.block_size <= 1 << 16:
            raise ImageError(f"payload block size {self.block_size}", offset=_HEADER.size)
        self.minor_version = self.manifest.minor_version or 0
        self._store = OperationStore() if store is None else store

    @property
    def names(self) -> tuple[str, ...]:
        """The partitions' names, without slot suffix, in the order they are written."""
        return tuple(update.partition_name or "" for update in self.manifest.partitions)

    def update(self, name: str) -> PartitionUpdate:
        """Return what the manifest says of one partition.

        Raises:
            ImageError: The payload has no such partition, or it has two.
        """
        found = [update for update in self.manifest.partitions if update.partition_name == name]
        if len(found) != 1:
            raise ImageError(f"the payload has {len(found) or 'no'} partitions named {name}")
        return found[0]

    def partition(self, name: str) -> PartitionImage:
        """Return the new image of a partition, decoded where it is read.

        Raises:
            ImageError: No such partition, damaged, or incremental: operations need the old image.
        """
        return PartitionImage(
            self.source, self.blob_offset, self.block_size, self.update(name), self._store
        )

    def verify_partition(self, name: str, *takers: Callable[[bytes], object]) -> None:
        """Decode a whole partition and compare it with the SHA-256 of the manifest.

        Args:
            name: The partition.
            takers: Given the image piece by piece as it is decoded, before the digest is compared.

        Raises:
            ImageError: As :meth:`partition`; or the digest is missing or differs.
        """
        self.expected_digest(name)
        self.compare_digest(name, self.partition_digest(name, *takers))

    def expected_digest(self, name: str) -> bytes:
        """Return the SHA-256 of a partition that the manifest gives.

        Raises:
            ImageError: It gives none, or there is no such partition.
        """
        info = self.update(name).new_partition_info
        if info is None or not info.hash:
            raise ImageError(f"the manifest gives no SHA-256 of partition {name}")
        return info.hash

    def partition_digest(self, name: str, *takers: Callable[[bytes], object]) -> bytes:
        """Decode a whole partition and return its SHA-256; see :meth:`verify_partition`.

        What the takers do runs beside hashing and decoding.

        Raises:
            ImageError: As :meth:`partition`, or as the takers raise.
        """
        image = self.partition(name)
        digest = hashlib.sha256()
        allowance = 4 * image.size + DECODED_AGAIN
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as thread:
            hashed: Future[None] | None = None
            for position in range(0, image.size, _PIECE_SIZE):
                piece = image.read_at(position, min(_PIECE_SIZE, image.size - position))
                if hashed is not None:
                    hashed.result()
                hashed = thread.submit(digest.update, piece)
                for take in takers:
                    take(piece)
                if image.decoded > allowance:
                    raise ImageError(
                        f"the operations of partition {name} are interleaved too finely"
                    )
            if hashed is not None:
                hashed.result()
        return digest.digest()

    def compare_digest(self, name: str, digest: bytes) -> None:
        """Compare a partition's SHA-256 with that of the manifest.

        Raises:
            ImageError: It differs, or the manifest gives none.
        """
        expected = self.expected_digest(name)
        if digest != expected:
            raise ImageError(
                f"SHA-256 of partition {name} is {digest.hex()}, the manifest says {expected.hex()}"
            )

    def metadata_signatures(self) -> Signatures:
        """Parse the signatures of the metadata.

        Raises:
            ImageError: The message is damaged.
        """
        return Signatures.parse(self.metadata_signature, offset=self.metadata_size)

    def payload_signatures(self) -> Signatures:
        """Parse the signatures of the whole payload; none if the manifest names none.

        Raises:
            ImageError: The message is damaged or lies outside the file.
        """
        size = self.manifest.signatures_size or 0
        if self.manifest.signatures_offset is None or not size:
            return Signatures()
        if size > MAX_SIGNATURES_SIZE:
            raise ImageError(
                f"payload signature of {size} bytes, at most {MAX_SIGNATURES_SIZE}",
                offset=_HEADER.size,
            )
        offset = self.blob_offset + self.manifest.signatures_offset
        return Signatures.parse(self.source.read_at(offset, size), offset=offset)

    def metadata_digest(self) -> bytes:
        """SHA-256 of header and manifest: what the metadata signatures sign."""
        return hashlib.sha256(self.source.read_at(0, self.metadata_size)).digest()

    def payload_digest(self) -> bytes:
        """SHA-256 of header, manifest and blobs, both signatures left out.

        Raises:
            ImageError: The signatures' offset lies outside the file.
        """
        digest = hashlib.sha256(self.source.read_at(0, self.metadata_size))
        end = self.source.size
        if self.manifest.signatures_offset is not None:
            end = self.blob_offset + self.manifest.signatures_offset
            if end > self.source.size:
                raise ImageError("the payload signature lies after the end of the file", offset=end)
        for position in range(self.blob_offset, end, _READ_SIZE):
            digest.update(self.source.read_at(position, min(_READ_SIZE, end - position)))
        return digest.digest()
