"""Metadata of A/B packages: ``metadata.pb``, ``care_map.pb`` and the property files.

Source: AOSP ``build/tools/releasetools/ota_metadata.proto`` and ``ota_utils.py``, and
``bootable/recovery/update_verifier/care_map.proto``. An entry of a property file is
``basename:offset:size``, separated by commas: where in the package the data of a stored entry
lies, so that an updater can fetch it alone. There are two:

============================== ==================================================================
``ota-property-files``         ``payload_metadata.bin`` (header, manifest and metadata signature,
                               the first bytes of ``payload.bin``), then as below
``ota-streaming-property-...`` ``payload.bin``, ``payload_properties.txt``, of
                               :data:`OPTIONAL_ENTRIES` what the package has, ``metadata`` and
                               ``metadata.pb``
============================== ==================================================================

They stand in the metadata whose own place and size they tell, so they are filled with spaces to a
length that is fixed before any place is known.
"""

# ruff: noqa: RUF009 - proto() and repeated() are dataclasses.field()
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.ota_metadata import METADATA_NAME, encode_ota_metadata, parse_ota_metadata
from rom_builder.formats.protobuf import Kind, Message, proto, repeated
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import LOCAL_HEADER, STORED, U32_MAX

METADATA_PROTO_NAME = "META-INF/com/android/metadata.pb"
PAYLOAD_NAME = "payload.bin"
PAYLOAD_PROPERTIES_NAME = "payload_properties.txt"
CARE_MAP_NAME = "care_map.pb"
OPTIONAL_ENTRIES = ("apex_info.pb", CARE_MAP_NAME, "care_map.txt", "compatibility.zip")

PROPERTY_FILES = "ota-property-files"
STREAMING_PROPERTY_FILES = "ota-streaming-property-files"

MAX_METADATA_SIZE = 1 << 20
"""Most bytes read of metadata or of a care map."""

_PAYLOAD_METADATA = "payload_metadata.bin"
_OWN_ENTRIES = (METADATA_NAME, METADATA_PROTO_NAME)
_RESERVED = 15  # characters releasetools keeps free for ``offset:size`` of a metadata entry
_MAX_TEXT = 1 << 16
_TYPES = {1: "AB", 2: "BLOCK"}


@dataclass(frozen=True, slots=True)
class MapEntry(Message):
    """One key and value of a map."""

    key: str | None = proto(1, Kind.TEXT)
    value: str | None = proto(2, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class PartitionState(Message):
    """The build of one partition; ``version`` is its ``ro.<partition>.build.date.utc``."""

    partition_name: str | None = proto(1, Kind.TEXT)
    device: tuple[str, ...] = repeated(2, Kind.TEXT)
    build: tuple[str, ...] = repeated(3, Kind.TEXT)
    version: str | None = proto(4, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class DeviceState(Message):
    """What a device must be before the package, or is after it; ``build`` holds fingerprints."""

    device: tuple[str, ...] = repeated(1, Kind.TEXT)
    build: tuple[str, ...] = repeated(2, Kind.TEXT)
    build_incremental: str | None = proto(3, Kind.TEXT)
    timestamp: int | None = proto(4, Kind.INT)
    sdk_level: str | None = proto(5, Kind.TEXT)
    security_patch_level: str | None = proto(6, Kind.TEXT)
    partition_state: tuple[PartitionState, ...] = repeated(7, PartitionState)


@dataclass(frozen=True, slots=True)
class OtaMetadata(Message):
    """``metadata.pb``; ``type`` is 0 unknown, 1 A/B, 2 block, 3 brick."""

    type: int | None = proto(1, Kind.UINT)
    wipe: bool | None = proto(2, Kind.BOOL)
    downgrade: bool | None = proto(3, Kind.BOOL)
    property_files: tuple[MapEntry, ...] = repeated(4, MapEntry)
    precondition: DeviceState | None = proto(5, DeviceState)
    postcondition: DeviceState | None = proto(6, DeviceState)
    retrofit_dynamic_partitions: bool | None = proto(7, Kind.BOOL)
    required_cache: int | None = proto(8, Kind.INT)
    spl_downgrade: bool | None = proto(9, Kind.BOOL)


@dataclass(frozen=True, slots=True)
class CarePartition(Message):
    """Blocks that are read through dm-verity before an update is marked good.

    Attributes:
        ranges: ``count,start,end,...``: blocks of 4096 bytes, ends excluded.
        id: Name of the property that holds the fingerprint.
        fingerprint: The partition's build; update_verifier skips a map of another build.
    """

    name: str | None = proto(1, Kind.TEXT)
    ranges: str | None = proto(2, Kind.TEXT)
    id: str | None = proto(3, Kind.TEXT)
    fingerprint: str | None = proto(4, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class CareMap(Message):
    """``care_map.pb``; an empty file has no partitions."""

    partitions: tuple[CarePartition, ...] = repeated(1, CarePartition)


def with_data_blocks(care_map: CareMap, blocks: Mapping[str, int]) -> CareMap:
    """Return a care map that reads all data blocks of partitions that changed.

    Args:
        care_map: The base's.
        blocks: Number of blocks under the hash tree, of 4096 bytes, by partition.
    """
    return replace(
        care_map,
        partitions=tuple(
            replace(item, ranges=f"2,0,{blocks[name]}")
            if (name := item.name or "") in blocks
            else item
            for item in care_map.partitions
        ),
    )


def care_ranges(partition: CarePartition) -> list[range]:
    """Return the blocks of a care map's partition.

    >>> care_ranges(CarePartition("system", "4,0,20,32,40"))
    [range(0, 20), range(32, 40)]

    Raises:
        ImageError: Not a count and that many rising numbers.
    """
    text = partition.ranges or ""
    if len(text) > _MAX_TEXT or not re.fullmatch(r"[0-9]{1,19}(,[0-9]{1,19})*", text, re.ASCII):
        raise ImageError(f"care map: ranges {text[:80]!r} of {partition.name}")
    count, *numbers = map(int, text.split(","))
    if count != len(numbers) or count % 2 or numbers != sorted(numbers):
        raise ImageError(f"care map: ranges {text[:80]!r} of {partition.name}")
    return [range(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


class Place(NamedTuple):
    """Where the data of a stored entry lies in a package, in bytes."""

    offset: int
    size: int


def parse_property_files(text: str) -> dict[str, Place]:
    """Read a property file's entries by basename; trailing spaces do not count.

    Raises:
        ImageError: Not such a list, or a name is there twice.
    """
    if len(text) > _MAX_TEXT:
        raise ImageError(f"a property file of {len(text)} characters, at most {_MAX_TEXT}")
    found: dict[str, Place] = {}
    for token in text.strip().split(","):
        match = re.fullmatch(r"([^:,]+):([0-9]{1,19}):([0-9]{1,19})", token, re.ASCII)
        if not match or match[1] in found:
            raise ImageError(f"property file entry {token[:100]!r}")
        found[match[1]] = Place(int(match[2]), int(match[3]))
    return found


def verify_property_files(text: str, entries: Mapping[str, Place], package_size: int) -> None:
    """Compare a property file with the package it is in.

    Entries not known here, which vendors add, need only lie inside the package.

    Args:
        text: The property file.
        entries: Every stored entry of the package by full name.
        package_size: Bytes of the package.

    Raises:
        ImageError: A place is wrong, or the payload is not in the list.
    """
    found = parse_property_files(text)
    places = {name.rpartition("/")[2]: place for name, place in entries.items()}
    known = (*_OWN_ENTRIES, PAYLOAD_NAME, PAYLOAD_PROPERTIES_NAME, *OPTIONAL_ENTRIES)
    own = {name.rpartition("/")[2] for name in known}
    # Of a second payload, in a folder, property files say nothing: its basename is not meant.
    places |= {name.rpartition("/")[2]: entries[name] for name in known if name in entries}
    for name, place in found.items():
        if place.offset + place.size > package_size:
            raise ImageError(f"property file: {name} ends after the package", offset=place.offset)
        expected = places.get(name)
        if name == _PAYLOAD_METADATA:
            payload = places.get(PAYLOAD_NAME, Place(-1, 0))
            right = place.offset == payload.offset and place.size <= payload.size
        else:
            right = place == expected or (expected is None and name not in own)
        if not right:
            raise ImageError(f"property file: {name} is not where it says", offset=place.offset)
    if PAYLOAD_NAME in entries and PAYLOAD_NAME not in found:
        raise ImageError(f"property file: {PAYLOAD_NAME} is missing")


def read_metadata(archive: ZipArchive) -> tuple[OtaMetadata | None, dict[str, str]]:
    """Return both forms of a package's metadata: protobuf, None if it has only the other, and text.

    Raises:
        ImageError: There is no text form, or one is damaged.
    """
    entry = archive.entries.get(METADATA_NAME)
    if entry is None:
        raise ImageError("is missing", path=METADATA_NAME)
    text = parse_ota_metadata(archive.read(entry, MAX_METADATA_SIZE))
    proto = archive.entries.get(METADATA_PROTO_NAME)
    if proto is None:
        return None, text
    return OtaMetadata.parse(archive.read(proto, MAX_METADATA_SIZE)), text


def verify_places(archive: ZipArchive, package_size: int) -> None:
    """Compare the property files of a finished package with where its entries are.

    Raises:
        ImageError: A place is wrong.
    """
    _, text = read_metadata(archive)
    places = {
        name: Place(archive.data_offset(entry), entry.size)
        for name, entry in archive.entries.items()
        if entry.method == STORED
    }
    for key, value in text.items():
        if key.endswith("property-files"):
            verify_property_files(value, places, package_size)


def metadata_files(
    metadata: OtaMetadata | None,
    text: Mapping[str, str],
    others: Sequence[tuple[str, int]],
    payload_metadata_size: int,
) -> dict[str, bytes]:
    """Return the metadata entries of a package in which they come first and all is stored.

    The package must have the two entries in the order returned, then ``others`` in theirs, each
    stored without alignment, as :class:`~.zip_writer.ZipWriter` writes them.

    Args:
        metadata: What ``metadata.pb`` says, property files aside; None for a package without one.
        text: What the text form says beside, for keys that ``metadata`` does not give.
        others: Names and sizes of the entries that follow; those compressed come last and are left
            out.
        payload_metadata_size: Bytes of payload header, manifest and metadata signature.

    Raises:
        ImageError: The package has no payload, or the text form cannot hold a value.
    """
    names = [name for name, _ in others]
    if PAYLOAD_NAME not in names or PAYLOAD_PROPERTIES_NAME not in names:
        raise ImageError("an A/B package needs a payload and its properties")
    own = _OWN_ENTRIES if metadata else _OWN_ENTRIES[:1]
    kept = {key: value for key, value in text.items() if not key.endswith("property-files")}
    reserved = {name: f"{name.rpartition('/')[2]}:{' ' * _RESERVED}" for name in own}
    first = _property_files(_placed(others), reserved, payload_metadata_size)
    lengths = {key: len(value) for key, value in first.items()}
    while True:
        blank = {key: " " * length for key, length in lengths.items()}
        sizes = [(name, len(data)) for name, data in _files(metadata, kept, blank).items()]
        places = _placed([*sizes, *others])
        tokens = {name: _token(name, places) for name in own}
        found = _property_files(places, tokens, payload_metadata_size)
        if all(len(found[key]) <= length for key, length in lengths.items()):
            filled = {key: value.ljust(lengths[key]) for key, value in found.items()}
            return _files(metadata, kept, filled)
        lengths = {key: max(length, len(found[key])) for key, length in lengths.items()}


LEGACY_KEYS = frozenset(
    {
        *("ota-type", "ota-required-cache", "ota-wipe", "ota-downgrade", "spl-downgrade"),
        *("ota-retrofit-dynamic-partitions", "pre-device", "pre-build", "pre-build-incremental"),
        *("post-build", "post-build-incremental", "post-sdk-level", "post-timestamp"),
        *("post-security-patch-level", PROPERTY_FILES, STREAMING_PROPERTY_FILES),
    }
)
"""Keys of the text form that ``metadata.pb`` gives, too (``BuildLegacyOtaMetadata``)."""


def legacy_metadata(metadata: OtaMetadata) -> dict[str, str]:
    """Return the text form of ``metadata.pb``, property files included."""
    before, after = metadata.precondition or DeviceState(), metadata.postcondition or DeviceState()
    kind = metadata.type or 0
    values = {
        "ota-type": _TYPES.get(kind, ""),
        "ota-required-cache": str(metadata.required_cache or 0),
        "ota-wipe": "yes" if metadata.wipe else "",
        "ota-downgrade": "yes" if metadata.downgrade else "",
        "ota-retrofit-dynamic-partitions": "yes" if metadata.retrofit_dynamic_partitions else "",
        "spl-downgrade": "yes" if metadata.spl_downgrade else "",
        "pre-device": "|".join(before.device),
        "pre-build": "|".join(before.build),
        "pre-build-incremental": before.build_incremental or "",
        "post-build": "|".join(after.build),
        "post-build-incremental": after.build_incremental or "",
        "post-sdk-level": after.sdk_level or "",
        "post-security-patch-level": after.security_patch_level or "",
        "post-timestamp": str(after.timestamp or 0),
    }
    values |= {item.key or "": item.value or "" for item in metadata.property_files}
    return {key: value for key, value in values.items() if value}


def _files(
    metadata: OtaMetadata | None, text: Mapping[str, str], property_files: Mapping[str, str]
) -> dict[str, bytes]:
    """Return both forms of the metadata.

    The text form keeps the filling spaces as releasetools does; they follow a value that its codec
    would not give back, so the lines are put in place by themselves.
    """
    derived = legacy_metadata(replace(metadata, property_files=())) if metadata else {}
    lines = encode_ota_metadata({**text, **derived}).splitlines(keepends=True)
    lines += [f"{key}={value}\n".encode() for key, value in property_files.items()]
    lines.sort(key=lambda line: line.partition(b"=")[0])
    found = {METADATA_NAME: b"".join(lines)}
    if metadata:
        items = tuple(MapEntry(key, value) for key, value in sorted(property_files.items()))
        found[METADATA_PROTO_NAME] = replace(metadata, property_files=items).encode()
    return found


def _placed(entries: Sequence[tuple[str, int]]) -> dict[str, Place]:
    """Places of stored entries laid end to end, each behind its local header."""
    found: dict[str, Place] = {}
    position = 0
    for name, size in entries:
        wide = size + (size >> 10) + 1024 >= U32_MAX  # as ZipWriter.add decides about zip64
        position += LOCAL_HEADER.size + len(name.encode()) + (20 if wide else 0)
        found[name] = Place(position, size)
        position += size
    return found


def _token(name: str, places: Mapping[str, Place]) -> str:
    return f"{name.rpartition('/')[2]}:{places[name].offset}:{places[name].size}"


def _property_files(
    places: Mapping[str, Place], own: Mapping[str, str], payload_metadata_size: int
) -> dict[str, str]:
    """Return both property files; ``own`` holds the metadata's own entries as they are to stand."""
    names = [PAYLOAD_NAME, PAYLOAD_PROPERTIES_NAME]
    names += [name for name in OPTIONAL_ENTRIES if name in places]
    streaming = ",".join([*(_token(name, places) for name in names), *own.values()])
    head = f"{_PAYLOAD_METADATA}:{places[PAYLOAD_NAME].offset}:{payload_metadata_size}"
    return {PROPERTY_FILES: f"{head},{streaming}", STREAMING_PROPERTY_FILES: streaming}
