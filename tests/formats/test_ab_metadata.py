from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    METADATA_PROTO_NAME,
    PAYLOAD_NAME,
    PAYLOAD_PROPERTIES_NAME,
    PROPERTY_FILES,
    STREAMING_PROPERTY_FILES,
    CareMap,
    CarePartition,
    DeviceState,
    MapEntry,
    OtaMetadata,
    PartitionState,
    Place,
    legacy_metadata,
    metadata_files,
    parse_property_files,
    verify_property_files,
    with_data_blocks,
)
from rom_builder.formats.ota_metadata import METADATA_NAME, parse_ota_metadata
from rom_builder.formats.zip_writer import ZipWriter
from tests.formats.builders.payload import chunk, number
from tests.formats.damage import noise, survives

FINGERPRINT = "a/b/c:14/X/1:user/release-keys"
STATE = (
    chunk(1, b"shiba") + chunk(2, FINGERPRINT.encode()) + chunk(3, b"42")
    + number(4, 1_700_000_000) + chunk(5, b"34") + chunk(6, b"2026-11-05")
    + chunk(7, chunk(1, b"system") + chunk(2, b"d") + chunk(3, b"b") + chunk(4, b"1700000000"))
)  # fmt: skip
ENCODED = (
    number(1, 1) + number(2, 1)
    + chunk(4, chunk(1, b"ota-property-files") + chunk(2, b"payload.bin:1:2  "))
    + chunk(5, chunk(1, b"shiba") + chunk(1, b"husky")) + chunk(6, STATE) + chunk(90, b"later")
)  # fmt: skip
METADATA = OtaMetadata.parse(ENCODED)
OTHERS = {CARE_MAP_NAME: b"care", PAYLOAD_NAME: noise(5000), PAYLOAD_PROPERTIES_NAME: b"FILE=1\n"}


def package(metadata: OtaMetadata | None, others: dict[str, bytes], **text: str) -> bytes:
    sizes = [(name, len(data)) for name, data in others.items()]
    file = io.BytesIO()
    writer = ZipWriter(file)
    files = metadata_files(metadata, text, sizes, 538)
    for name, data in {**files, **others}.items():
        writer.add(name, data, compress=False)
    writer.add("META-INF/com/android/otacert", b"cert" * 300, compress=True)
    writer.close()
    return file.getvalue()


def stored_entries(data: bytes) -> dict[str, Place]:
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name_size = int.from_bytes(data[info.header_offset + 26 :][:2], "little")
            extra_size = int.from_bytes(data[info.header_offset + 28 :][:2], "little")
            if info.compress_type == zipfile.ZIP_STORED:
                start = info.header_offset + 30 + name_size + extra_size
                found[info.filename] = Place(start, info.file_size)
    return found


def property_files(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return parse_ota_metadata(archive.read(METADATA_NAME))


def test_the_proto_reads_and_encodes_to_the_same_bytes() -> None:
    assert METADATA.type == 1
    assert METADATA.wipe is True
    assert METADATA.property_files == (MapEntry("ota-property-files", "payload.bin:1:2  "),)
    assert METADATA.precondition == DeviceState(device=("shiba", "husky"))
    assert METADATA.postcondition == DeviceState(
        ("shiba",), (FINGERPRINT,), "42", 1_700_000_000, "34", "2026-11-05",
        (PartitionState("system", ("d",), ("b",), "1700000000"),),
    )  # fmt: skip
    assert METADATA.encode() == ENCODED
    survives(OtaMetadata.parse, ENCODED)


def test_the_text_form_says_the_same() -> None:
    assert legacy_metadata(METADATA) == {
        "ota-type": "AB",
        "ota-required-cache": "0",
        "ota-wipe": "yes",
        "ota-property-files": "payload.bin:1:2  ",
        "pre-device": "shiba|husky",
        "post-build": FINGERPRINT,
        "post-build-incremental": "42",
        "post-sdk-level": "34",
        "post-security-patch-level": "2026-11-05",
        "post-timestamp": "1700000000",
    }


def test_property_files_tell_where_the_entries_are() -> None:
    data = package(METADATA, OTHERS, **{"vendor-key": "kept", "ota-property-files": "stale:1:1"})
    text = property_files(data)
    entries = stored_entries(data)
    for key in PROPERTY_FILES, STREAMING_PROPERTY_FILES:
        verify_property_files(text[key], entries, len(data))
        for name, (offset, size) in parse_property_files(text[key]).items():
            if name in OTHERS:
                assert data[offset : offset + size] == OTHERS[name]
    assert list(parse_property_files(text[PROPERTY_FILES])) == [
        "payload_metadata.bin", "payload.bin", "payload_properties.txt", "care_map.pb",
        "metadata", "metadata.pb",
    ]  # fmt: skip
    payload = entries[PAYLOAD_NAME]
    assert text[PROPERTY_FILES].startswith(
        f"payload_metadata.bin:{payload.offset}:538,payload.bin:"
    )
    assert text["vendor-key"] == "kept"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        proto = OtaMetadata.parse(archive.read(METADATA_PROTO_NAME))
        lines = archive.read(METADATA_NAME).decode().splitlines()
    assert {item.key: (item.value or "").strip() for item in proto.property_files} == {
        key: text[key] for key in (PROPERTY_FILES, STREAMING_PROPERTY_FILES)
    }
    assert replace(proto, property_files=()) == replace(METADATA, property_files=())
    assert [line.partition("=")[0] for line in lines] == sorted(text)


def test_a_package_without_a_proto_has_the_text_form_alone() -> None:
    data = package(None, OTHERS, **{"ota-type": "AB", "pre-device": "shiba"})
    text = property_files(data)
    assert METADATA_PROTO_NAME not in stored_entries(data)
    verify_property_files(text[PROPERTY_FILES], stored_entries(data), len(data))
    assert text["pre-device"] == "shiba"
    assert "metadata.pb" not in parse_property_files(text[PROPERTY_FILES])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 120_000), min_size=3, max_size=3), st.text("abc-", max_size=40))
def test_places_are_right_for_any_size(sizes: list[int], extra: str) -> None:
    others = dict(zip(OTHERS, map(bytes, sizes), strict=True))
    others = {f"x{extra}": b"not listed", **others}
    data = package(METADATA, others)
    text = property_files(data)
    for key in PROPERTY_FILES, STREAMING_PROPERTY_FILES:
        entries = stored_entries(data)
        if others[PAYLOAD_NAME][538:]:
            verify_property_files(text[key], entries, len(data))
        found = parse_property_files(text[key])
        assert found["payload.bin"] == entries[PAYLOAD_NAME]
        assert found["metadata.pb"] == entries[METADATA_PROTO_NAME]


def test_more_digits_than_reserved_still_fit() -> None:
    big = [("a" * 60_000, 1 << 40), (PAYLOAD_NAME, 1 << 41), (PAYLOAD_PROPERTIES_NAME, 1 << 40)]
    names = ("apex_info.pb", CARE_MAP_NAME, "care_map.txt", "compatibility.zip")
    files = metadata_files(METADATA, {}, big + [(name, 1 << 40) for name in names], 538)
    text = parse_ota_metadata(files[METADATA_NAME])
    payload = parse_property_files(text[PROPERTY_FILES])["payload.bin"]
    assert payload.size == 1 << 41
    assert payload.offset == (1 << 40) + sum(
        30 + len(name) + size for name, size in
        [(METADATA_NAME, len(files[METADATA_NAME])),
         (METADATA_PROTO_NAME, len(files[METADATA_PROTO_NAME])),
         ("a" * 60_000 + "z" * 20, 0), (PAYLOAD_NAME + "z" * 20, 0)]
    )  # fmt: skip


def test_wrong_property_files_are_noticed() -> None:
    data = package(METADATA, OTHERS)
    entries, good = stored_entries(data), property_files(data)[PROPERTY_FILES]
    payload = entries[PAYLOAD_NAME]
    verify_property_files(good + ",custom.txt:5:10   ", entries, len(data))
    for bad, message in (
        (
            good.replace(f":{payload.offset}:5000", f":{payload.offset + 1}:5000"),
            "payload.bin is not",
        ),
        (good.replace(":538", ":5001"), "payload_metadata.bin is not where"),
        (good.replace("payload.bin:", "pay.bin:"), "payload.bin is missing"),
        (good.replace(":5000", ":999999"), "ends after the package"),
        (good.replace("care_map.pb", "care_map.txt"), "care_map.txt is not where"),
        (good + ",x", "entry 'x'"),
        (good + ",payload.bin:1:1", "entry 'payload.bin:1:1'"),
        (good.replace(":538", ":-38"), "entry"),
        ("", "entry ''"),
        ("x" * 70_000, "at most 65536"),
    ):
        with pytest.raises(ImageError, match=message):
            verify_property_files(bad, entries, len(data))
    survives(lambda bad: parse_property_files(bad.decode("latin-1")), good.encode())


def test_a_package_without_a_payload_has_no_such_metadata() -> None:
    with pytest.raises(ImageError, match="needs a payload"):
        metadata_files(METADATA, {}, [(PAYLOAD_PROPERTIES_NAME, 1)], 538)


def test_a_care_map_follows_changed_partitions() -> None:
    data = chunk(
        1, chunk(1, b"system") + chunk(2, b"4,0,5,9,20") + chunk(3, b"ro.x") + chunk(4, b"f")
    )
    data += chunk(1, chunk(1, b"vendor") + chunk(2, b"2,0,40"))
    care_map = CareMap.parse(data)
    assert care_map.partitions[1] == CarePartition("vendor", "2,0,40")
    assert care_map.encode() == data
    changed = with_data_blocks(care_map, {"system": 303, "odm": 5})
    assert changed.partitions == (
        CarePartition("system", "2,0,303", "ro.x", "f"),
        CarePartition("vendor", "2,0,40"),
    )
    assert CareMap.parse(b"").encode() == b""
    survives(CareMap.parse, data)
