"""Hold what stands beside a payload, metadata and care map, to the package and its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rom_builder.errors import ImageError
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    METADATA_PROTO_NAME,
    PAYLOAD_NAME,
    PROPERTY_FILES,
    CareMap,
    care_ranges,
    legacy_metadata,
    parse_property_files,
)
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.payload import Payload
from rom_builder.formats.zip import ZipArchive
from rom_builder.packing.ab_pack import base_metadata, verify_places

_BLOCK = 4096
_MAX_CARE_MAP = 1 << 20


def check_care_map(
    archive: ZipArchive,
    payload: Payload,
    descriptors: Mapping[str, Sequence[HashDescriptor | HashtreeDescriptor]],
) -> str:
    """Hold the blocks that are read after the update to those that dm-verity has.

    Raises:
        ImageError: The care map is damaged, or names others.
    """
    entry = archive.entries[CARE_MAP_NAME]
    care_map = CareMap.parse(archive.read(entry, _MAX_CARE_MAP))
    for item in care_map.partitions:
        name = item.name or ""
        if name not in payload.names:
            raise ImageError(f"names {name}, which the payload does not hold")
        info = payload.update(name).new_partition_info
        sizes = [d.image_size for d in descriptors.get(name, ())] or [(info and info.size) or 0]
        blocks = min(sizes) // _BLOCK
        ranges = care_ranges(item)
        if any(part.stop > blocks for part in ranges):
            raise ImageError(f"reads blocks of {name} after its {blocks} data blocks")
    return f"{len(care_map.partitions)} partitions"


def check_metadata(archive: ZipArchive, package_size: int) -> str:
    """Compare both forms of the metadata, and their property files with the package.

    Raises:
        ImageError: They are damaged, or differ.
    """
    verify_places(archive, package_size)
    proto, text = base_metadata(archive)
    if proto is not None:
        for key, value in legacy_metadata(proto).items():
            if key in text and text[key] != value.strip():
                raise ImageError(f"{key} differs from {METADATA_PROTO_NAME}")
    named = [key for key in text if key.endswith("property-files")]
    if PROPERTY_FILES in text:
        payload = Payload(archive.raw(archive.entries[PAYLOAD_NAME]))
        place = parse_property_files(text[PROPERTY_FILES]).get("payload_metadata.bin")
        if place is not None and place.size != payload.blob_offset:
            raise ImageError(
                f"payload_metadata.bin has {payload.blob_offset} bytes, not {place.size}"
            )
    return f"{', '.join(named) or 'no property files'}"
