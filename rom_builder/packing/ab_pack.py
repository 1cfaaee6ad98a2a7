"""Write a full A/B package: the base's operations as they are, and new ones for changed blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    MAX_METADATA_SIZE,
    METADATA_PROTO_NAME,
    PAYLOAD_NAME,
    PAYLOAD_PROPERTIES_NAME,
    CareMap,
    metadata_files,
    read_metadata,
    with_data_blocks,
)
from rom_builder.formats.avb_descriptors import HashtreeDescriptor
from rom_builder.formats.ota_metadata import METADATA_NAME
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.payload.properties import PayloadProperties, parse_payload_properties
from rom_builder.formats.payload.writer import PayloadWriter
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import STORED
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.packing.file_pack import JAR_SIGNATURE
from rom_builder.packing.partitions import EditedPartitions, edit_partitions
from rom_builder.plan import Plan
from rom_builder.rom import Rom
from rom_builder.rom.containers import Partition
from rom_builder.signers.keyring import Keyring

CARE_MAP_BLOCK = 4096


def write_ab_package(rom: Rom, plan: Plan, keys: Keyring, file: BinaryIO) -> None:
    """Write a full A/B package whose payload is signed and whose file is not yet.

    Entries that no edit touches keep their bytes; those whose places the metadata tells are stored.
    The same base, plan and RSA keys give the same bytes.

    Args:
        rom: The base: a full A/B package.
        plan: What changes.
        keys: What signs the payload and vbmeta images; the certificate of ``ota`` goes in.
        file: Open for writing, seekable, empty.

    Raises:
        BuildRefused: The base is no such package, or an edit cannot be made in it.
        ImageError: The base is damaged where it has to be read.
        SigningError: A key is missing or fails.
    """
    tree, payload = rom.mounts[0].tree, rom.contents.payloads.get(PAYLOAD_NAME)
    if not isinstance(tree, ZipTree) or payload is None:
        raise BuildRefused(f"{rom.path}: no full A/B package")
    groups = payload.manifest.dynamic_partition_metadata
    edited = edit_partitions(
        rom,
        plan.edits,
        partitions_of(rom),
        keys.avb,
        growing=[
            name for group in (groups.groups if groups else ()) for name in group.partition_names
        ],
        ramdisk_edits=plan.ramdisk_edits,
        wipe=plan.wipe,
        resign=plan.resign,
    )
    key = keys.payload_key
    with PayloadWriter(payload, edited.images, [key], decoded=edited.decoded) as written:
        write_entries(
            tree.archive, written, edited, keys.ota.certificate.public_bytes(Encoding.PEM), file
        )


def partitions_of(rom: Rom) -> dict[str, Partition]:
    """Return the partitions of a payload by name."""
    prefix = f"{PAYLOAD_NAME}!/"
    return {
        path.removeprefix(prefix): partition
        for path, partition in rom.contents.partitions.items()
        if path.startswith(prefix)
    }


def write_entries(
    archive: ZipArchive,
    payload: PayloadWriter,
    edited: EditedPartitions,
    otacert: bytes,
    file: BinaryIO,
) -> None:
    """Write every entry: the metadata, what is stored in the base's order, what is compressed.

    Raises:
        ImageError: The base's metadata is damaged.
    """
    new = replaced_entries(archive, payload, edited)
    stored = [
        name
        for name, entry in archive.entries.items()
        if entry.method == STORED and name not in LEFT_OUT and not JAR_SIGNATURE.fullmatch(name)
    ]
    sizes = [
        (name, payload.size if name == PAYLOAD_NAME else len(new[name]))
        if name in new or name == PAYLOAD_NAME
        else (name, archive.entries[name].size)
        for name in stored
    ]
    proto, text = read_metadata(archive)
    payload_metadata_size = payload.metadata_size + payload.metadata_signature_size
    writer = ZipWriter(file)
    for name, data in metadata_files(proto, text, sizes, payload_metadata_size).items():
        writer.add(name, data, compress=False)
    for name in stored:
        if name == PAYLOAD_NAME:
            writer.add(name, payload.pieces(), compress=False, size=payload.size)
        elif name == PAYLOAD_PROPERTIES_NAME:
            assert payload.properties is not None  # noqa: S101 - the payload stands before it
            extra = base_properties(archive).extra
            writer.add(name, replace(payload.properties, extra=extra).encode(), compress=False)
        elif name in new:
            writer.add(name, new[name], compress=False)
        else:
            writer.copy(archive, archive.entries[name])
    for name, entry in archive.entries.items():
        if name not in stored and name not in LEFT_OUT and not JAR_SIGNATURE.fullmatch(name):
            writer.copy(archive, entry)
    writer.add(OTACERT, otacert, compress=True)
    writer.close()


LEFT_OUT = (METADATA_NAME, METADATA_PROTO_NAME, OTACERT)
"""Entries of the base that are made anew, wherever they stood."""


def replaced_entries(
    archive: ZipArchive, payload: PayloadWriter, edited: EditedPartitions
) -> dict[str, bytes]:
    """Return the entries beside the payload that follow from it, with their final sizes.

    Raises:
        ImageError: The base lacks one or it is damaged.
    """
    names = list(archive.entries)
    if PAYLOAD_PROPERTIES_NAME not in names:
        raise ImageError("is missing", path=PAYLOAD_PROPERTIES_NAME)
    if names.index(PAYLOAD_PROPERTIES_NAME) < names.index(PAYLOAD_NAME):
        raise BuildRefused(f"{PAYLOAD_PROPERTIES_NAME} stands before {PAYLOAD_NAME} in the base")
    blank = PayloadProperties(
        bytes(32), payload.size, bytes(32), payload.metadata_size, base_properties(archive).extra
    )
    new = {PAYLOAD_PROPERTIES_NAME: blank.encode()}
    care_map = archive.entries.get(CARE_MAP_NAME)
    if care_map is not None and care_map.size:
        blocks = {
            name: descriptor.image_size // CARE_MAP_BLOCK
            for name, descriptor in edited.descriptors.items()
            if isinstance(descriptor, HashtreeDescriptor)
        }
        read = CareMap.parse(archive.read(care_map, MAX_METADATA_SIZE))
        new[CARE_MAP_NAME] = with_data_blocks(read, blocks).encode()
    return new


def base_properties(archive: ZipArchive) -> PayloadProperties:
    """Return ``payload_properties.txt`` of the base.

    Raises:
        ImageError: It is damaged.
    """
    entry = archive.entries[PAYLOAD_PROPERTIES_NAME]
    return parse_payload_properties(archive.read(entry, MAX_METADATA_SIZE))
