"""Write a full A/B package from partition images: every block encoded, and all that goes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import BuildRefused
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    PAYLOAD_NAME,
    PAYLOAD_PROPERTIES_NAME,
    CareMap,
    DeviceState,
    OtaMetadata,
    metadata_files,
    with_data_blocks,
)
from rom_builder.formats.avb_descriptors import HashtreeDescriptor
from rom_builder.formats.build_state import device_state
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.payload.container import DEFAULT_BLOCK_SIZE
from rom_builder.formats.payload.manifest import ApexMetadata, Manifest, PartitionUpdate
from rom_builder.formats.payload.properties import PayloadProperties
from rom_builder.formats.payload.writer import PayloadWriter, blank_payload
from rom_builder.formats.source import Pieces, Source
from rom_builder.formats.target_files import with_postinstall
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.packing.image_base import APEX_INFO_NAME, ImageBase, read_image_base
from rom_builder.packing.partitions import EditedPartitions, edit_partitions, verify_described
from rom_builder.plan import Plan
from rom_builder.rom import Rom
from rom_builder.rom.containers import Partition
from rom_builder.signers.keyring import Keyring

_AB = 1
_WITH_OPERATION_COUNT = 3
"""First version of the snapshot format that asks for a number of operations."""


def write_image_package(rom: Rom, plan: Plan, keys: Keyring, file: BinaryIO) -> None:
    """Write a full A/B package whose payload is signed and whose file is not yet.

    The same base, plan and RSA keys give the same bytes.

    Args:
        rom: The base: a target-files package, or partition images.
        plan: What changes.
        keys: What signs the payload and vbmeta images; the certificate of ``ota`` goes in.
        file: Open for writing, seekable, empty.

    Raises:
        BuildRefused: The base does not tell what a package must, or an edit cannot be made in it.
        ImageError: The base is damaged or contradicts itself.
        SigningError: A key is missing or fails.
    """
    base = read_image_base(rom)
    refuse_gaps(base.partitions)
    state = state_after(rom, plan, base)
    edited = edit_partitions(
        rom,
        plan.edits,
        base.partitions,
        keys.avb,
        growing=[
            name
            for group in (base.layout.groups if base.layout else ())
            for name in group.partition_names
        ],
        ramdisk_edits=plan.ramdisk_edits,
        wipe=plan.wipe,
    )
    unedited = base.partitions.keys() - edited.decoded.keys()
    verify_described(base.partitions, {name: base.partitions[name].source for name in unedited})
    images = {
        name: whole_blocks(edited.images.get(name, partition.source))
        for name, partition in base.partitions.items()
    }
    payload = blank_payload(manifest_of(base, state))
    key = keys.payload_key
    with PayloadWriter(payload, images, [key]) as written:
        entries = beside_payload(base, edited)
        write_entries(
            written, entries, state, keys.ota.certificate.public_bytes(Encoding.PEM), file
        )


def refuse_gaps(partitions: Mapping[str, Partition]) -> None:
    """Refuse images whose vbmeta images speak of a partition that is not among them.

    Raises:
        BuildRefused: They do.
    """
    for name, holder in partitions.items():
        for item in holder.vbmeta.descriptors if holder.vbmeta else ():
            described = getattr(item, "partition_name", name)
            if described not in partitions:
                raise BuildRefused(
                    f"{name} speaks of the partition {described}, of which an update from this base "
                    "would have no image",
                    hint=f"add {described}.img",
                )


def state_after(rom: Rom, plan: Plan, base: ImageBase) -> DeviceState:
    """Return what a phone is after it took the package, true to the properties that it installs.

    Raises:
        ImageError: A property is missing.
    """
    properties = read_platform(rom.with_edits(plan.edits)).properties
    values = {key: value for key, (value, _) in properties.items()}
    return device_state(values, base.partitions, base.device)


def whole_blocks(image: Source) -> Source:
    """Fill an image with zeros to a multiple of 4096 bytes, as AOSP's tool does."""
    rest = -image.size % DEFAULT_BLOCK_SIZE
    return Pieces([(image, image.size), (None, rest)]) if rest else image


def manifest_of(base: ImageBase, state: DeviceState) -> Manifest:
    """Return what the payload says, sizes, digests and operations aside.

    Raises:
        ImageError: ``apex_info.pb`` is damaged.
    """
    layout = base.layout
    versions = {item.partition_name: item.version for item in state.partition_state}
    dynamic = {
        name for group in (layout.groups if layout else ()) for name in group.partition_names
    }
    compressed = bool(layout and layout.vabc_enabled)
    counted = compressed and ((layout.cow_version if layout else 0) or 0) >= _WITH_OPERATION_COUNT
    partitions = []
    for name in base.partitions:
        in_snapshot = compressed and name in dynamic
        update = PartitionUpdate(
            name,
            version=versions.get(name),
            estimate_cow_size=0 if in_snapshot else None,
            estimate_op_count_max=0 if in_snapshot and counted else None,
        )
        partitions.append(with_postinstall(update, base.postinstall))
    return Manifest(
        block_size=DEFAULT_BLOCK_SIZE,
        minor_version=0,
        partitions=tuple(partitions),
        max_timestamp=state.timestamp,
        dynamic_partition_metadata=layout,
        apex_info=ApexMetadata.parse(base.entries.get(APEX_INFO_NAME, b"")).apex_info,
        security_patch_level=state.security_patch_level,
    )


def beside_payload(base: ImageBase, edited: EditedPartitions) -> dict[str, bytes]:
    """Return ``apex_info.pb``, and ``care_map.pb`` true to the edited partitions.

    Raises:
        ImageError: The base's is damaged.
    """
    entries = dict(base.entries)
    if entries.get(CARE_MAP_NAME):
        blocks = {
            name: descriptor.image_size // DEFAULT_BLOCK_SIZE
            for name, descriptor in edited.descriptors.items()
            if isinstance(descriptor, HashtreeDescriptor)
        }
        read = CareMap.parse(entries[CARE_MAP_NAME])
        entries[CARE_MAP_NAME] = with_data_blocks(read, blocks).encode()
    return entries


def write_entries(
    payload: PayloadWriter,
    entries: Mapping[str, bytes],
    state: DeviceState,
    otacert: bytes,
    file: BinaryIO,
) -> None:
    """Write every entry, in the order of AOSP's own packages."""
    blank = PayloadProperties(bytes(32), payload.size, bytes(32), payload.metadata_size).encode()
    sizes = {name: len(data) for name, data in entries.items()}
    sizes |= {PAYLOAD_NAME: payload.size, PAYLOAD_PROPERTIES_NAME: len(blank)}
    metadata = OtaMetadata(
        type=_AB,
        precondition=DeviceState(device=state.device),
        postcondition=state,
        required_cache=0,
    )
    writer = ZipWriter(file)
    found = metadata_files(
        metadata,
        {},
        sorted(sizes.items()),
        payload.metadata_size + payload.metadata_signature_size,
    )
    for name, data in found.items():
        writer.add(name, data, compress=False)
    for name in sorted(sizes):
        if name == PAYLOAD_NAME:
            writer.add(name, payload.pieces(), compress=False, size=payload.size)
        elif name == PAYLOAD_PROPERTIES_NAME:
            assert payload.properties is not None  # noqa: S101 - the payload stands before it
            writer.add(name, payload.properties.encode(), compress=False)
        else:
            writer.add(name, entries[name], compress=False)
    writer.add(OTACERT, otacert, compress=True)
    writer.close()
