"""The manifest and the signatures of a payload, as messages.

Source of names and numbers: AOSP ``system/update_engine/update_metadata.proto``. Reserved numbers
and fields of later versions are kept as unknown fields.
"""

# ruff: noqa: RUF009 - proto() and repeated() are dataclasses.field()
from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rom_builder.formats.protobuf import Kind, Message, proto, repeated


class OperationType(IntEnum):
    """What an operation does; the comment gives the first minor version that knows it."""

    REPLACE = 0  # full
    REPLACE_BZ = 1  # full
    MOVE = 2  # dead
    BSDIFF = 3  # dead
    SOURCE_COPY = 4  # 2
    SOURCE_BSDIFF = 5  # 2
    ZERO = 6  # 4
    DISCARD = 7  # 4
    REPLACE_XZ = 8  # full
    PUFFDIFF = 9  # 5
    BROTLI_BSDIFF = 10  # 4
    ZUCCHINI = 11  # 8
    LZ4DIFF_BSDIFF = 12  # 9
    LZ4DIFF_PUFFDIFF = 13  # 9
    REPLACE_ZSTD = 14  # 10


@dataclass(frozen=True, slots=True)
class Signature(Message):
    """One signature.

    Attributes:
        data: The signature, padded with zeros to the largest size its key can give.
        unpadded_signature_size: Bytes of ``data`` that count; None for all.
    """

    version: int | None = proto(1, Kind.UINT)
    data: bytes | None = proto(2, Kind.BYTES)
    unpadded_signature_size: int | None = proto(3, Kind.FIXED32)


@dataclass(frozen=True, slots=True)
class Signatures(Message):
    """The signatures of one digest; any valid one is enough."""

    signatures: tuple[Signature, ...] = repeated(1, Signature)


@dataclass(frozen=True, slots=True)
class Extent(Message):
    """A run of blocks of a partition."""

    start_block: int | None = proto(1, Kind.UINT)
    num_blocks: int | None = proto(2, Kind.UINT)


@dataclass(frozen=True, slots=True)
class PartitionInfo(Message):
    """Size in bytes and SHA-256 of a whole partition image."""

    size: int | None = proto(1, Kind.UINT)
    hash: bytes | None = proto(2, Kind.BYTES)


@dataclass(frozen=True, slots=True)
class InstallOperation(Message):
    """One step that writes ``dst_extents``.

    Attributes:
        type: An :class:`OperationType`; unknown numbers are kept.
        data_offset: Where its blob starts, counted from the end of the metadata signature.
        data_length: Bytes of its blob.
        data_sha256_hash: SHA-256 of its blob.
    """

    type: int | None = proto(1, Kind.UINT)
    data_offset: int | None = proto(2, Kind.UINT)
    data_length: int | None = proto(3, Kind.UINT)
    src_extents: tuple[Extent, ...] = repeated(4, Extent)
    src_length: int | None = proto(5, Kind.UINT)
    dst_extents: tuple[Extent, ...] = repeated(6, Extent)
    dst_length: int | None = proto(7, Kind.UINT)
    data_sha256_hash: bytes | None = proto(8, Kind.BYTES)
    src_sha256_hash: bytes | None = proto(9, Kind.BYTES)

    @property
    def name(self) -> str:
        """The operation's type in words."""
        try:
            return OperationType(self.type or 0).name
        except ValueError:
            return f"operation type {self.type}"


@dataclass(frozen=True, slots=True)
class CowMergeOperation(Message):
    """A hint for merging a Virtual A/B snapshot; type 0 copy, 1 xor, 2 replace."""

    type: int | None = proto(1, Kind.UINT)
    src_extent: Extent | None = proto(2, Extent)
    dst_extent: Extent | None = proto(3, Extent)
    src_offset: int | None = proto(4, Kind.UINT)


@dataclass(frozen=True, slots=True)
class PartitionUpdate(Message):
    """What happens to one partition, named without slot suffix."""

    partition_name: str | None = proto(1, Kind.TEXT)
    run_postinstall: bool | None = proto(2, Kind.BOOL)
    postinstall_path: str | None = proto(3, Kind.TEXT)
    filesystem_type: str | None = proto(4, Kind.TEXT)
    new_partition_signature: tuple[Signature, ...] = repeated(5, Signature)
    old_partition_info: PartitionInfo | None = proto(6, PartitionInfo)
    new_partition_info: PartitionInfo | None = proto(7, PartitionInfo)
    operations: tuple[InstallOperation, ...] = repeated(8, InstallOperation)
    postinstall_optional: bool | None = proto(9, Kind.BOOL)
    hash_tree_data_extent: Extent | None = proto(10, Extent)
    hash_tree_extent: Extent | None = proto(11, Extent)
    hash_tree_algorithm: str | None = proto(12, Kind.TEXT)
    hash_tree_salt: bytes | None = proto(13, Kind.BYTES)
    fec_data_extent: Extent | None = proto(14, Extent)
    fec_extent: Extent | None = proto(15, Extent)
    fec_roots: int | None = proto(16, Kind.UINT)
    version: str | None = proto(17, Kind.TEXT)
    merge_operations: tuple[CowMergeOperation, ...] = repeated(18, CowMergeOperation)
    estimate_cow_size: int | None = proto(19, Kind.UINT)
    estimate_op_count_max: int | None = proto(20, Kind.UINT)


@dataclass(frozen=True, slots=True)
class DynamicPartitionGroup(Message):
    """A group of logical partitions and the most bytes they may take together."""

    name: str | None = proto(1, Kind.TEXT)
    size: int | None = proto(2, Kind.UINT)
    partition_names: tuple[str, ...] = repeated(3, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class VabcFeatureSet(Message):
    """Switches of Virtual A/B compression."""

    threaded: bool | None = proto(1, Kind.BOOL)
    batch_writes: bool | None = proto(2, Kind.BOOL)


@dataclass(frozen=True, slots=True)
class DynamicPartitionMetadata(Message):
    """How the super partition is laid out and updated."""

    groups: tuple[DynamicPartitionGroup, ...] = repeated(1, DynamicPartitionGroup)
    snapshot_enabled: bool | None = proto(2, Kind.BOOL)
    vabc_enabled: bool | None = proto(3, Kind.BOOL)
    vabc_compression_param: str | None = proto(4, Kind.TEXT)
    cow_version: int | None = proto(5, Kind.UINT)
    vabc_feature_set: VabcFeatureSet | None = proto(6, VabcFeatureSet)
    compression_factor: int | None = proto(7, Kind.UINT)


@dataclass(frozen=True, slots=True)
class ApexInfo(Message):
    """An APEX that will need space to be decompressed."""

    package_name: str | None = proto(1, Kind.TEXT)
    version: int | None = proto(2, Kind.INT)
    is_compressed: bool | None = proto(3, Kind.BOOL)
    decompressed_size: int | None = proto(4, Kind.INT)


@dataclass(frozen=True, slots=True)
class ApexMetadata(Message):
    """``apex_info.pb``: what the build says of its APEX modules (``ota_metadata.proto``)."""

    apex_info: tuple[ApexInfo, ...] = repeated(1, ApexInfo)


@dataclass(frozen=True, slots=True)
class Manifest(Message):
    """DeltaArchiveManifest: everything a payload does.

    Attributes:
        block_size: Bytes of a block; None means 4096.
        signatures_offset: Where the payload signature starts, counted like ``data_offset``.
        minor_version: None or 0 for a full payload.
        max_timestamp: Seconds since 1970 of the newest build that may take this payload.
    """

    block_size: int | None = proto(3, Kind.UINT)
    signatures_offset: int | None = proto(4, Kind.UINT)
    signatures_size: int | None = proto(5, Kind.UINT)
    minor_version: int | None = proto(12, Kind.UINT)
    partitions: tuple[PartitionUpdate, ...] = repeated(13, PartitionUpdate)
    max_timestamp: int | None = proto(14, Kind.INT)
    dynamic_partition_metadata: DynamicPartitionMetadata | None = proto(
        15, DynamicPartitionMetadata
    )
    partial_update: bool | None = proto(16, Kind.BOOL)
    apex_info: tuple[ApexInfo, ...] = repeated(17, ApexInfo)
    security_patch_level: str | None = proto(18, Kind.TEXT)
