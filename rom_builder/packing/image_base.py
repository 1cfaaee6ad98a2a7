"""What a package is made of where the base holds partition images and no payload.

Two such bases: a target-files package of AOSP's build, whose ``META/`` says everything; and images alone,
in a folder, a zip or a super image, beside which files of the same form may lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.ab_metadata import CARE_MAP_NAME
from rom_builder.formats.payload.manifest import DynamicPartitionGroup, DynamicPartitionMetadata
from rom_builder.formats.super_image import HeaderFlags, SuperImage
from rom_builder.formats.target_files import (
    COMPRESSION_FACTOR,
    COW_VERSION,
    MAX_INFO_SIZE,
    dynamic_partitions,
    parse_ab_partitions,
    parse_info,
)
from rom_builder.formats.tree import NodeKind
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.rom import Rom, RomFile
from rom_builder.rom.containers import BOOT, MOUNTED, Partition
from rom_builder.rom.placement import is_target_files as has_target_files

Given = TypeVar("Given")
Result = TypeVar("Result")

MISC_INFO = "misc_info.txt"
AB_PARTITIONS = "ab_partitions.txt"
DYNAMIC_INFO = "dynamic_partitions_info.txt"
POSTINSTALL = "postinstall_config.txt"
ENGINE_CONFIG = "update_engine_config.txt"
APEX_INFO_NAME = "apex_info.pb"

IMAGE_FOLDERS = ("IMAGES/", "RADIO/", "PREBUILT_IMAGES/")
"""Where a target-files package has images, the first that has one winning."""
OTHERS = (
    "dtb", "dtbo", "pvmfw", "vbmeta", "vbmeta_system", "vbmeta_vendor", "vbmeta_product",
)  # fmt: skip
NEVER_UPDATED = ("cache", "frp", "metadata", "misc", "persist", "system_other", "userdata")
"""Partitions that hold what the phone or its maker wrote; no update contains them."""


@dataclass(frozen=True, slots=True)
class ImageBase:
    """A base of partition images.

    Attributes:
        partitions: What an update writes, in order.
        layout: How the super partition is laid out; None for a device without one.
        postinstall: ``postinstall_config.txt``.
        entries: ``apex_info.pb`` and ``care_map.pb`` as they go into a package, where the base has them.
        device: The device that the package is for, None for that of build.prop.
        notes: What the user should know of the choice.
    """

    partitions: Mapping[str, Partition]
    layout: DynamicPartitionMetadata | None
    postinstall: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, bytes] = field(default_factory=dict)
    device: str | None = None
    notes: tuple[str, ...] = ()


def is_image_base(rom: Rom) -> bool:
    """Say whether a ROM is a target-files package, or holds partition images and no payload."""
    return is_target_files(rom) or (
        rom.script is None and not rom.contents.payloads and bool(rom.contents.partitions)
    )


def is_target_files(rom: Rom) -> bool:
    """Say whether a ROM is a target-files package, packed or unpacked."""
    own = rom.mounts[0].tree if rom.mounts else None
    return has_target_files([file.name for file in rom.by_name.values() if file.tree is own])


def read_image_base(rom: Rom) -> ImageBase:
    """Return what an A/B package of a base is made of.

    Raises:
        BuildRefused: Something that a package must tell is missing; the message says what.
        ImageError: A file beside the images is damaged.
    """
    if is_target_files(rom):
        refuse_other_updates(rom)
    misc = info(rom, MISC_INFO) or {}
    listed = sidecar(rom, AB_PARTITIONS)
    images = images_by_name(rom)
    notes: list[str] = []
    if listed is not None:
        data = rom.read(listed, MAX_INFO_SIZE)
        with_place = (
            (name, images.get(name)) for name in parsed(listed, parse_ab_partitions, data)
        )
        partitions = {name: found or missing(rom, name) for name, found in with_place}
    else:
        partitions = chosen(images, notes)
    layout = layout_of(rom, partitions)
    for group in layout.groups if layout else ():
        for name in group.partition_names:
            if name not in partitions:
                raise BuildRefused(
                    f"the group {group.name} holds the partition {name}, and the base has no image "
                    "of it: an update without it would remove it from the phone",
                    hint=f"add {name}.img" + (f", and {name} to {AB_PARTITIONS}" if listed else ""),
                )
    return ImageBase(
        partitions,
        layout,
        info(rom, POSTINSTALL) or {},
        {
            name: rom.read(file, MAX_INFO_SIZE)
            for name in (APEX_INFO_NAME, CARE_MAP_NAME)
            if (file := sidecar(rom, name)) is not None
        },
        misc.get("ota_override_device") or None,
        tuple(notes),
    )


def refuse_other_updates(rom: Rom) -> None:
    """Refuse a target-files package from which no A/B package is made.

    Raises:
        BuildRefused: The device has no slots, or its updates need what is not made here.
    """
    if sidecar(rom, AB_PARTITIONS) is None:
        raise BuildRefused(
            f"{rom.path}: META/{AB_PARTITIONS} is missing: this device has no slots",
            hint="make its block-based package with ota_from_target_files, and give that",
        )
    major = (info(rom, ENGINE_CONFIG) or {}).get("PAYLOAD_MAJOR_VERSION", "2")
    if major != "2":
        raise BuildRefused(
            f"META/{ENGINE_CONFIG}: the device takes payloads of major version {major}; "
            "only version 2 is written"
        )
    misc = (info(rom, MISC_INFO) or {}) | (info(rom, DYNAMIC_INFO) or {})
    if misc.get("dynamic_partition_retrofit") == "true":
        raise BuildRefused(
            f"META/{MISC_INFO}: dynamic_partition_retrofit: the package of such a device holds a "
            "second payload, which is not made",
            hint="make the package with ota_from_target_files, and give that",
        )


def missing(rom: Rom, name: str) -> Partition:
    """Say what to do about a listed partition without image.

    Raises:
        BuildRefused: Always.
    """
    if not is_target_files(rom):
        raise BuildRefused(f"{AB_PARTITIONS} lists {name}, and the base has no {name}.img")
    unpacked = any(file.startswith(f"{name.upper()}/") for file in rom.by_name)
    raise BuildRefused(
        f"META/{AB_PARTITIONS} lists {name}, and there is no IMAGES/{name}.img or RADIO/{name}.img"
        + (f", only the folder {name.upper()}/" if unpacked else ""),
        hint="make the images first: add_img_to_target_files -a TARGET_FILES",
    )


def images_by_name(rom: Rom) -> dict[str, Partition]:
    """Return the partition images of a base; of two slots the first that is not empty.

    Raises:
        BuildRefused: A partition is there twice.
    """
    found: dict[str, Partition] = {}
    held = list(rom.contents.partitions.values())
    if is_target_files(rom):
        for folder in reversed(IMAGE_FOLDERS):
            here = [item for item in held if item.path.rpartition("/")[0] + "/" == folder]
            found |= {item.path.rpartition("/")[2].removesuffix(".img"): item for item in here}
        return found
    for item in sorted(held, key=lambda partition: (partition.slot, partition.path)):
        there = found.setdefault(item.name, item)
        if there is not item and there.slot == item.slot:
            raise BuildRefused(
                f"the base has two images of {item.name}: {there.path} and {item.path}",
                hint="take one of them out",
            )
    return found


def chosen(images: Mapping[str, Partition], notes: list[str]) -> dict[str, Partition]:
    """Return the images that an update writes where no list says so.

    Raises:
        BuildRefused: Whether an update writes one of them cannot be told.
    """
    known = {*MOUNTED, *BOOT, *OTHERS}
    left_out = sorted(images.keys() & set(NEVER_UPDATED))
    unknown = sorted(images.keys() - known - set(NEVER_UPDATED))
    if unknown:
        raise BuildRefused(
            f"whether an update writes {', '.join(unknown[:5])}{' ...' if unknown[5:] else ''} "
            f"cannot be told: there is no {AB_PARTITIONS}",
            hint=f"put {AB_PARTITIONS} beside the images: the partitions of an update, one a line",
        )
    if left_out:
        notes.append(f"no update holds {', '.join(left_out)}: left out of the package")
    return {name: images[name] for name in sorted(images.keys() & known)}


def layout_of(rom: Rom, partitions: Iterable[str]) -> DynamicPartitionMetadata | None:
    """Return how the super partition is laid out, from what tells it.

    Raises:
        BuildRefused: Nothing tells it.
        ImageError: A file beside the images is damaged.
    """
    for name in (DYNAMIC_INFO, MISC_INFO):
        values = info(rom, name)
        if values is not None and (values.get("super_partition_groups") or name == MISC_INFO):
            file = sidecar(rom, name)
            return parsed(file, dynamic_partitions, values) if file else None
    if not rom.contents.supers:
        raise BuildRefused(
            "nothing tells which partitions lie in super, and how large its groups are",
            hint=f"put super_empty.img, or META/{DYNAMIC_INFO} of the build, beside the images; for "
            f"a device without super an empty {MISC_INFO}",
        )
    properties = {key: value for key, (value, _) in read_platform(rom).properties.items()}
    return layout_of_super(next(iter(rom.contents.supers.values())), set(partitions), properties)


def layout_of_super(
    image: SuperImage, partitions: set[str], properties: Mapping[str, str]
) -> DynamicPartitionMetadata:
    """Return the layout as super metadata tells it, and properties what it does not.

    Partitions of a full super image that have neither bytes nor an image are left out; an empty one
    cannot tell which those are.
    """
    metadata = next(slot for slot in image.slots if slot is not None)
    is_empty = not any(item.size for item in metadata.partitions)
    groups = []
    for group in metadata.groups:
        held = [item for item in metadata.partitions if item.group == group.name]
        names = [item.name.removesuffix("_a") for item in held if not item.name.endswith("_b")]
        sizes = {item.name.removesuffix("_a"): item.size for item in held}
        kept = tuple(name for name in names if is_empty or name in partitions or sizes[name])
        if kept:
            groups.append(
                DynamicPartitionGroup(group.name.removesuffix("_a"), group.maximum_size, kept)
            )
    virtual = bool(metadata.flags & HeaderFlags.VIRTUAL_AB_DEVICE)
    virtual |= properties.get("ro.virtual_ab.enabled") == "true"
    if properties.get("ro.virtual_ab.compression.enabled") != "true":
        return DynamicPartitionMetadata(tuple(groups), snapshot_enabled=virtual)
    return DynamicPartitionMetadata(
        tuple(groups),
        snapshot_enabled=True,
        vabc_enabled=True,
        vabc_compression_param="gz",
        cow_version=COW_VERSION,
        compression_factor=COMPRESSION_FACTOR,
    )


def info(rom: Rom, name: str) -> dict[str, str] | None:
    """Return the keys and values of a file beside the images, None if it is not there.

    Raises:
        ImageError: It is damaged.
    """
    file = sidecar(rom, name)
    return None if file is None else parsed(file, parse_info, rom.read(file, MAX_INFO_SIZE))


def sidecar(rom: Rom, name: str) -> RomFile | None:
    """Return a file of the build beside the images: in ``META/``, or at the top of the base."""
    for path in (f"META/{name}", name):
        file = rom.by_name.get(path)
        if file is not None and file.node.kind is NodeKind.FILE:
            return file
    return None


def parsed(file: RomFile, parse: Callable[[Given], Result], data: Given) -> Result:
    """Parse the content of a file, which errors then name.

    Raises:
        ImageError: As ``parse`` raises.
    """
    try:
        return parse(data)
    except ImageError as error:
        raise error.within(file.name) from error
