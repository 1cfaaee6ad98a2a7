"""What AOSP's build says about a device in files beside its images.

They lie in ``META/`` of a target-files package. Each is text, a value a line:

============================== ==================================================================
``ab_partitions.txt``          names of the partitions that an update writes
``misc_info.txt``              ``key=value``: how images were made
``dynamic_partitions_info.txt``  the keys of ``misc_info.txt`` that an update needs to know of the
                               super partition
``update_engine_config.txt``   ``PAYLOAD_MAJOR_VERSION``, ``PAYLOAD_MINOR_VERSION``
``postinstall_config.txt``     ``RUN_POSTINSTALL_<partition>=true``, ``POSTINSTALL_PATH_...``,
                               ``FILESYSTEM_TYPE_...``, ``POSTINSTALL_OPTIONAL_...``
============================== ==================================================================

Sources: AOSP ``build/tools/releasetools/common.py``; ``system/update_engine``,
``payload_generator/payload_generation_config.cc`` and ``scripts/brillo_update_payload``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from rom_builder.errors import ImageError
from rom_builder.formats.payload.manifest import (
    DynamicPartitionGroup,
    DynamicPartitionMetadata,
    PartitionUpdate,
)

MAX_INFO_SIZE = 1 << 20
"""Largest of these files that is read, 1 MiB; real ones stay below 64 KiB."""
COW_VERSION = 2
"""Snapshot format of a device that names none (libsnapshot, ``kCowVersionManifest``)."""
COMPRESSION_FACTOR = 4096
"""Bytes that a snapshot compresses at once where none are named."""

_PARTITION = re.compile(r"[A-Za-z0-9_\-.]{1,36}")
_MAX_SIZE = 1 << 63


def parse_info(data: bytes) -> dict[str, str]:
    r"""Return the keys and values of a file, the last line of a key winning.

    >>> parse_info(b"# made\nvirtual_ab=true\n")
    {'virtual_ab': 'true'}

    Raises:
        ImageError: Larger than :data:`MAX_INFO_SIZE`, or not UTF-8.
    """
    values = {}
    for line in _lines(data):
        key, equals, value = line.partition("=")
        if equals:
            values[key.strip()] = value.strip()
    return values


def parse_ab_partitions(data: bytes) -> tuple[str, ...]:
    """Return the partitions that an update writes, in order.

    Raises:
        ImageError: None, one twice, or something that is no partition's name.
    """
    names = [line.strip() for line in _lines(data)]
    for name in names:
        if not _PARTITION.fullmatch(name):
            raise ImageError(f"{name[:60]!r} is no name of a partition")
        if names.count(name) > 1:
            raise ImageError(f"partition {name} is listed {names.count(name)} times")
    if not names:
        raise ImageError("no partition is listed")
    return tuple(names)


def dynamic_partitions(info: Mapping[str, str]) -> DynamicPartitionMetadata | None:
    """Return the layout of the super partition as a payload's manifest tells it; None without one.

    Raises:
        ImageError: A size is missing or no number.
    """
    if "super_partition_groups" not in info:
        if _true(info, "use_dynamic_partitions"):
            raise ImageError("super_partition_groups is missing")
        return None
    groups = []
    for name in info["super_partition_groups"].split():
        size = info.get(f"super_{name}_group_size", info.get(f"{name}_size"))
        if size is None:
            raise ImageError(f"super_{name}_group_size is missing")
        listed = info.get(f"super_{name}_partition_list", info.get(f"{name}_partition_list", ""))
        groups.append(
            DynamicPartitionGroup(
                name, _number(f"super_{name}_group_size", size), tuple(listed.split())
            )
        )
    if not _true(info, "virtual_ab_compression"):
        return DynamicPartitionMetadata(tuple(groups), snapshot_enabled=_true(info, "virtual_ab"))
    return DynamicPartitionMetadata(
        tuple(groups),
        snapshot_enabled=_true(info, "virtual_ab"),
        vabc_enabled=True,
        vabc_compression_param=info.get("virtual_ab_compression_method", "gz"),
        cow_version=_optional(info, "virtual_ab_cow_version", COW_VERSION),
        compression_factor=_optional(info, "virtual_ab_compression_factor", COMPRESSION_FACTOR),
    )


def with_postinstall(update: PartitionUpdate, config: Mapping[str, str]) -> PartitionUpdate:
    """Return what happens to a partition with the program that runs after it was written."""
    name = update.partition_name
    if not _true(config, f"RUN_POSTINSTALL_{name}"):
        return update
    return replace(
        update,
        run_postinstall=True,
        postinstall_path=config.get(f"POSTINSTALL_PATH_{name}"),
        filesystem_type=config.get(f"FILESYSTEM_TYPE_{name}"),
        postinstall_optional=_true(config, f"POSTINSTALL_OPTIONAL_{name}") or None,
    )


def _lines(data: bytes) -> list[str]:
    if len(data) > MAX_INFO_SIZE:
        raise ImageError(f"{len(data)} bytes, at most {MAX_INFO_SIZE} are read")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ImageError("is not UTF-8", offset=error.start) from None
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _true(info: Mapping[str, str], key: str) -> bool:
    return info.get(key) == "true"


def _optional(info: Mapping[str, str], key: str, default: int) -> int:
    return _number(key, info[key]) if info.get(key) else default


def _number(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) < _MAX_SIZE):
        raise ImageError(f"{key}: {value[:60]!r} is no number")
    return int(value)
