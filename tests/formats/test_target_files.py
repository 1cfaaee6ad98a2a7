"""The files of ``META/`` as AOSP's own tools read them, and damaged ones."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.payload.manifest import (
    DynamicPartitionGroup,
    DynamicPartitionMetadata,
    PartitionUpdate,
)
from rom_builder.formats.payload.snapshot import OPERATION_BYTES, snapshot_bytes
from rom_builder.formats.target_files import (
    MAX_INFO_SIZE,
    dynamic_partitions,
    parse_ab_partitions,
    parse_info,
    with_postinstall,
)
from tests.formats.damage import noise

INFO = {
    "super_partition_groups": "first second",
    "super_first_group_size": "4096",
    "super_first_partition_list": "system vendor",
    "second_size": "8192",
    "second_partition_list": "product",
}


def test_groups_have_either_form_of_name() -> None:
    layout = dynamic_partitions(INFO)
    assert layout is not None
    assert layout.groups == (
        DynamicPartitionGroup("first", 4096, ("system", "vendor")),
        DynamicPartitionGroup("second", 8192, ("product",)),
    )
    assert (layout.snapshot_enabled, layout.vabc_enabled) == (False, None)


def test_compression_has_the_defaults_of_delta_generator() -> None:
    layout = dynamic_partitions(INFO | {"virtual_ab": "true", "virtual_ab_compression": "true"})
    assert layout is not None
    found = (layout.vabc_compression_param, layout.cow_version, layout.compression_factor)
    assert found == ("gz", 2, 4096)


def test_a_device_without_super_has_no_layout() -> None:
    assert dynamic_partitions({"ab_update": "true"}) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_dynamic_partitions": "true"}, "super_partition_groups is missing"),
        ({"super_partition_groups": "x"}, "super_x_group_size is missing"),
        ({"super_partition_groups": "x", "x_size": "-1"}, "is no number"),
        ({"super_partition_groups": "x", "x_size": "9" * 400}, "is no number"),
        (INFO | {"virtual_ab_compression": "true", "virtual_ab_cow_version": "x"}, "is no number"),
    ],
)
def test_sizes_that_are_none_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        dynamic_partitions(values)


def test_comments_and_empty_lines_say_nothing() -> None:
    assert parse_info(b"# a=b\n\n c = d=e \nno sign\n") == {"c": "d=e"}
    assert parse_ab_partitions(b"# all\nboot\n\nsystem\n") == ("boot", "system")


@pytest.mark.parametrize("data", [b"", b"\n", b"boot\nboot\n", b"../boot\n", b"a b\n", b"\xff\n"])
def test_a_list_that_names_no_partitions_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_ab_partitions(data)


def test_a_file_of_any_size_is_not_read() -> None:
    with pytest.raises(ImageError, match="at most"):
        parse_info(bytes(MAX_INFO_SIZE + 1))


def test_a_partition_without_program_stays() -> None:
    update = PartitionUpdate("system")
    assert with_postinstall(update, {"RUN_POSTINSTALL_vendor": "true"}) is update


@pytest.mark.parametrize("method", ["gz", "lz4", "zstd", "brotli", "gz,9", "zstd,3"])
def test_what_compresses_takes_less_of_a_snapshot(method: str) -> None:
    layout = DynamicPartitionMetadata(vabc_enabled=True, vabc_compression_param=method)
    text = b"a line that is there again and again\n" * 1000
    text += bytes(-len(text) % 4096)
    entries = len(text) // 4096 * OPERATION_BYTES
    assert snapshot_bytes(text, layout, 4096) < len(text) // 4 + entries
    assert snapshot_bytes(noise(8192, 1), layout, 4096) == 8192 + 2 * OPERATION_BYTES


@pytest.mark.parametrize("method", ["none", "a method of later years"])
def test_what_is_not_known_to_compress_counts_as_it_is(method: str) -> None:
    layout = DynamicPartitionMetadata(vabc_enabled=True, vabc_compression_param=method)
    assert snapshot_bytes(bytes(8192), layout, 4096) == 8192 + 2 * OPERATION_BYTES
