"""A/B payloads (``payload.bin``), major version 2: read, verified, and partitions decoded lazily.

All integers of the header are big-endian. Source: AOSP ``system/update_engine``.

========================= ======================= =============================================
offset                    size                    field
========================= ======================= =============================================
0                         4                       magic ``CrAU``
4                         8                       major version, 2
12                        8                       manifest size
20                        4                       metadata signature size
24                        manifest size           manifest, a protobuf message
24 + manifest size        metadata signature size signatures of header and manifest, a message
after that                                        blobs; ``data_offset`` counts from here
blobs + signatures_offset signatures_size         signatures of everything but the signatures
========================= ======================= =============================================
"""

from rom_builder.formats.payload.container import Payload, detect_payload
from rom_builder.formats.payload.manifest import (
    Extent,
    InstallOperation,
    Manifest,
    OperationType,
    PartitionInfo,
    PartitionUpdate,
    Signature,
    Signatures,
)
from rom_builder.formats.payload.operation_store import OperationStore
from rom_builder.formats.payload.partition import PartitionImage
from rom_builder.formats.payload.rules import gaps, problems
from rom_builder.formats.payload.signatures import (
    verify_metadata_signature,
    verify_payload_signature,
)

__all__ = [
    "Extent",
    "InstallOperation",
    "Manifest",
    "OperationStore",
    "OperationType",
    "PartitionImage",
    "PartitionInfo",
    "PartitionUpdate",
    "Payload",
    "Signature",
    "Signatures",
    "detect_payload",
    "gaps",
    "problems",
    "verify_metadata_signature",
    "verify_payload_signature",
]
