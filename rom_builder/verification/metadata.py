"""Hold what stands beside a payload, metadata and care map, to the package and its partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rom_builder.errors import ImageError
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    LEGACY_KEYS,
    MAX_METADATA_SIZE,
    METADATA_PROTO_NAME,
    PAYLOAD_NAME,
    PAYLOAD_PROPERTIES_NAME,
    PROPERTY_FILES,
    CareMap,
    care_ranges,
    legacy_metadata,
    parse_property_files,
    read_metadata,
    verify_places,
)
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.ota_metadata import METADATA_NAME
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.properties import MAX_SIZE, parse_payload_properties
from rom_builder.formats.zip import ZipArchive
from rom_builder.verification.checks import Check, tried

UPDATE_BINARY = "META-INF/com/google/android/update-binary"

_AB = 1
_BLOCK = 4096


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
    care_map = CareMap.parse(archive.read(entry, MAX_METADATA_SIZE))
    seen: set[str] = set()
    for item in care_map.partitions:
        name = item.name or ""
        if name in seen:
            raise ImageError(f"names {name} twice")
        seen.add(name)
        if name not in payload.names:
            raise ImageError(f"names {name}, which the payload does not hold")
        info = payload.update(name).new_partition_info
        sizes = [d.image_size for d in descriptors.get(name, ())] or [(info and info.size) or 0]
        blocks = min(sizes) // _BLOCK
        ranges = care_ranges(item)
        if any(part.stop > blocks for part in ranges):
            raise ImageError(f"reads blocks of {name} after its {blocks} data blocks")
    return f"{len(care_map.partitions)} partitions"


def verify_metadata(archive: ZipArchive, package_size: int) -> Iterator[Check]:
    """Yield the check of the metadata of an A/B package, and of what it says of another kind."""
    if PAYLOAD_NAME in archive.entries:
        yield tried("metadata", lambda: _check_metadata(archive, package_size))
        if UPDATE_BINARY in archive.entries:
            detail = "a device without slots would run it instead of the payload; not looked into"
            yield Check(UPDATE_BINARY, None, "", detail)
    elif METADATA_NAME in archive.entries:
        found = tried("metadata", lambda: _check_other_kind(archive))
        if not found.ok:
            yield found


def is_retrofit(archive: ZipArchive) -> bool:
    """Return whether a package says that it splits super among the partitions of an older device."""
    try:
        return read_metadata(archive)[1].get("ota-retrofit-dynamic-partitions") == "yes"
    except ImageError:
        return False


def _check_other_kind(archive: ZipArchive) -> str:
    proto, text = read_metadata(archive)
    if text.get("ota-type") == "AB" or (proto is not None and proto.type == _AB):
        raise ImageError(f"it says A/B, and there is no {PAYLOAD_NAME}")
    return ""


def _check_metadata(archive: ZipArchive, package_size: int) -> str:
    """Compare both forms of the metadata, and both with the package and its payload."""
    verify_places(archive, package_size)
    proto, text = read_metadata(archive)
    if proto is not None:
        said = legacy_metadata(proto)
        for key in sorted({*said, *(text.keys() & LEGACY_KEYS)}):
            if _plain(key, text.get(key, "")) != _plain(key, said.get(key, "")):
                raise ImageError(f"{key} differs from {METADATA_PROTO_NAME}")
    if text.get("ota-type", "AB") != "AB":
        raise ImageError(f"ota-type is {text['ota-type']}, and there is a {PAYLOAD_NAME}")
    payload = Payload(archive.raw(archive.entries[PAYLOAD_NAME]))
    if PROPERTY_FILES in text:
        place = parse_property_files(text[PROPERTY_FILES]).get("payload_metadata.bin")
        if place is not None and place.size != payload.blob_offset:
            raise ImageError(
                f"payload_metadata.bin has {payload.blob_offset} bytes, not {place.size}"
            )
    _compare_with_payload(archive, text, payload)
    named = [key for key in text if key.endswith("property-files")]
    return f"{', '.join(named) or 'no property files'}"


def _plain(key: str, value: str) -> str:
    """Return a value as it counts: without filling spaces, and empty where it says nothing."""
    value = value.strip()
    return "" if value == "0" and key in ("ota-required-cache", "post-timestamp") else value


def _compare_with_payload(archive: ZipArchive, text: Mapping[str, str], payload: Payload) -> None:
    """Hold what devices and people are told to what update_engine goes by."""
    manifest = payload.manifest
    told, timestamp = text.get("post-timestamp"), manifest.max_timestamp
    goes_back = text.get("ota-downgrade") == "yes" or "pre-build" in text
    if told and timestamp is not None and told != str(timestamp) and not goes_back:
        raise ImageError(f"post-timestamp is {told}, the payload's max_timestamp {timestamp}")
    level, patched = text.get("post-security-patch-level"), manifest.security_patch_level
    if level and patched and level != patched:
        raise ImageError(f"post-security-patch-level is {level}, the payload says {patched}")
    entry = archive.entries.get(PAYLOAD_PROPERTIES_NAME)
    if entry is not None:
        extra = parse_payload_properties(archive.read(entry, MAX_SIZE)).extra
        wipes = extra.get("POWERWASH", "0") != "0"
        if wipes != (text.get("ota-wipe") == "yes"):
            raise ImageError(
                f"{PAYLOAD_PROPERTIES_NAME} says that user data is "
                f"{'wiped' if wipes else 'kept'}, the metadata says otherwise"
            )
