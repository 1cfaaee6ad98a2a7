"""Write a full block-based package: new lists and data for images that changed, the rest as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.ab_metadata import (
    MAX_METADATA_SIZE,
    METADATA_PROTO_NAME,
    DeviceState,
    OtaMetadata,
)
from rom_builder.formats.ext4 import Ext4
from rom_builder.formats.ota_metadata import METADATA_NAME, parse_ota_metadata
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.source import Source
from rom_builder.formats.transfer_list import MAX_LIST_SIZE, parse_transfer_list
from rom_builder.formats.transfer_list_writer import compress_brotli, write_transfer
from rom_builder.formats.vbmeta import TOP, read_footer
from rom_builder.formats.zip_directory import STORED
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.packing.block_script import BlockUpdate, block_updates, with_digests
from rom_builder.packing.file_pack import JAR_SIGNATURE, copy, edited_metadata, entry_names
from rom_builder.packing.partitions import (
    EditedPartitions,
    changes_by_partition,
    edit_partitions,
    refuse_unread,
)
from rom_builder.plan import Plan
from rom_builder.rom import SCRIPT, Rom
from rom_builder.rom.containers import Partition
from rom_builder.signers.keyring import Keyring

LIST = ".transfer.list"
VERITY_MAGICS = {b"\x01\xb0\x01\xb0": "in force", b"VOFF": "switched off"}
"""First bytes of a dm-verity 1.0 metadata block (AOSP ``system/extras/verity/verity_metadata.py``)."""
_BLOCK = 4096

Data = bytes | Source | Iterable[bytes]


def is_block_based(rom: Rom) -> bool:
    """Say whether a ROM is a package with transfer lists, packed or unpacked."""
    own = rom.mounts[0].tree
    return any(name.endswith(LIST) and file.tree is own for name, file in rom.by_name.items())


def refuse_unsuitable(rom: Rom) -> None:
    """Refuse a base that cannot be installed or could not be read.

    Raises:
        BuildRefused: It has no updater-script, is incremental, or parts of it are damaged.
    """
    if rom.script is None:
        raise BuildRefused(f"{rom.path}: no {SCRIPT}: this base cannot be installed by recovery")
    refuse_unread(rom)


def write_block_package(rom: Rom, plan: Plan, keys: Keyring, file: BinaryIO) -> None:
    """Write an unsigned full block-based package.

    Entries that no edit touches keep their bytes, compressed as they are, and their order. The same
    base, plan and RSA keys give the same bytes.

    Args:
        rom: The base; a full block-based package, packed or unpacked.
        plan: What changes.
        keys: What signs the payload and vbmeta images; the certificate of ``ota`` goes in.
        file: Open for writing, seekable, empty.

    Raises:
        BuildRefused: The base is no such package, or an edit cannot be made in it.
        ImageError: The base is damaged where it has to be read.
        SigningError: A key is missing or fails.
    """
    refuse_unsuitable(rom)
    base = partitions_of(rom)
    for name in changes_by_partition(rom, plan.edits, base):
        refuse_partition(base[name], sealed=TOP in base)
    edited = edit_partitions(rom, plan.edits, base, keys.avb, wipe=plan.wipe, resign=plan.resign)
    for name, image in edited.images.items():
        if image.size > base[name].source.size:
            raise BuildRefused(
                f"{base[name].path}: no room: the edited image takes {image.size} bytes, "
                f"the base's has {base[name].source.size}",
                hint="remove files of the partition with the same edit",
            )
    new: dict[str, Data | None] = dict(new_entries(rom, base, edited))
    new[OTACERT] = keys.ota.certificate.public_bytes(Encoding.PEM)
    new |= metadata_entries(rom, plan)
    writer = ZipWriter(file)
    for name in entry_names(rom):
        if JAR_SIGNATURE.fullmatch(name):
            continue
        data = new.pop(name, None)
        if data is None:
            copy(rom, name, writer)
        else:
            writer.add(name, data, compress=not is_stored(rom, name))
    for name, data in sorted(new.items()):
        if data is not None:
            writer.add(name, data, compress=True)
    writer.close()


def partitions_of(rom: Rom) -> dict[str, Partition]:
    """Return the partitions of a package by name; one with a transfer list before others."""
    found: dict[str, Partition] = {}
    partitions = [part for path, part in rom.contents.partitions.items() if "!/" not in path]
    for part in sorted(partitions, key=lambda p: (not p.path.endswith(LIST), p.path)):
        found.setdefault(part.name, part)
    return found


def refuse_partition(partition: Partition, *, sealed: bool) -> None:
    """Refuse an image that something vouches for that cannot be made anew.

    Args:
        partition: An image that is to be edited.
        sealed: The package has the vbmeta image that verified boot starts from.

    Raises:
        BuildRefused: It has dm-verity 1.0, or AVB and the package not all of it.
    """
    image = partition.source
    if read_footer(image):
        if not sealed:
            raise BuildRefused(
                f"{partition.path}: has an AVB footer, and the package no {TOP} image that could be "
                "made to agree with it"
            )
        return
    start = partition.tree.superblock.size if isinstance(partition.tree, Ext4) else image.size
    for offset in range(-(-start // _BLOCK) * _BLOCK, image.size - 3, _BLOCK):
        state = VERITY_MAGICS.get(image.read_at(offset, 4))
        if state:
            raise BuildRefused(
                f"{partition.path}: has dm-verity 1.0 metadata at byte {offset:#x} ({state}), "
                "which cannot be made anew: a phone would not boot the edited image",
                hint="take a base without it",
            )


def new_entries(
    rom: Rom, base: Mapping[str, Partition], edited: EditedPartitions
) -> dict[str, Data]:
    """Return the entries of images that changed, and the script that fits them.

    Raises:
        BuildRefused: The script does not install one of them, or verifies it in an unknown way.
        ImageError: The base is damaged.
    """
    assert rom.script is not None  # noqa: S101 - refused before
    updates = list(block_updates(rom.script))
    extracted = {step.args[0] for step in rom.script.steps if step.name == "package_extract_file"}
    new: dict[str, Data] = {}
    changed: dict[str, tuple[Source, Source]] = {}
    for name, image in edited.images.items():
        path = base[name].path
        if not path.endswith(LIST):
            if path not in extracted:
                raise BuildRefused(f"{path} has to change, and {SCRIPT} does not install it")
            new[path] = image
            continue
        update = update_of(rom, updates, path)
        new |= transfer_entries(rom, path, image, edited.changed.get(name, ()))
        changed[update.device] = (edited.decoded.get(name, base[name].source), image)
    others = {update.device for update in updates} - changed.keys()
    script = with_digests(rom.script, changed, others)
    if script != rom.script.data:
        new[SCRIPT] = script
    return new


def update_of(rom: Rom, updates: Iterable[BlockUpdate], path: str) -> BlockUpdate:
    """Return the one call that installs an image.

    Raises:
        BuildRefused: There is none or more than one, or it takes other data than was read.
    """
    found = [update for update in updates if update.transfer_list == path]
    if len(found) != 1 or found[0].data != data_name(rom, path):
        raise BuildRefused(f"{path}: {SCRIPT} does not install it by one block_image_update")
    return found[0]


def data_name(rom: Rom, path: str) -> str:
    """Return the entry of new.dat that belongs to a transfer list: compressed before plain."""
    plain = f"{path.removesuffix(LIST)}.new.dat"
    return f"{plain}.br" if f"{plain}.br" in rom.by_name else plain


def transfer_entries(
    rom: Rom, path: str, image: Source, changed: Iterable[range]
) -> dict[str, Data]:
    """Return the new transfer list of an image and its data.

    Raises:
        ImageError: The base's list is damaged, or the image does not fit it.
    """
    try:
        base = parse_transfer_list(rom.read(rom.by_name[path], MAX_LIST_SIZE))
        made = write_transfer(base, image, changed)
    except ImageError as error:
        raise error.within(path) from error
    name = data_name(rom, path)
    return {
        path: made.text,
        name: compress_brotli(made.data) if name.endswith(".br") else made.data,
    }


def metadata_entries(rom: Rom, plan: Plan) -> dict[str, Data]:
    """Return the metadata in the forms that the base has, without places of entries.

    Raises:
        ImageError: The base's is damaged.
    """
    text = edited_metadata(rom, plan)
    there = rom.by_name.get(METADATA_PROTO_NAME)
    if there is None:
        return {METADATA_NAME: text}
    values = parse_ota_metadata(text)
    proto = OtaMetadata.parse(rom.read(there, MAX_METADATA_SIZE))
    after = proto.postcondition or DeviceState()
    after = replace(
        after,
        build=(values["post-build"],) if "post-build" in values else after.build,
        build_incremental=values.get("post-build-incremental", after.build_incremental),
        timestamp=int(values.get("post-timestamp", after.timestamp or 0)),
        sdk_level=values.get("post-sdk-level", after.sdk_level),
        security_patch_level=values.get("post-security-patch-level", after.security_patch_level),
    )
    proto = replace(proto, property_files=(), postcondition=after)
    return {METADATA_NAME: text, METADATA_PROTO_NAME: proto.encode()}


def is_stored(rom: Rom, name: str) -> bool:
    """Say whether an entry is stored in the base; in an unpacked one what is compressed already."""
    tree = rom.mounts[0].tree
    if isinstance(tree, ZipTree):
        return tree.archive.entries[name].method == STORED
    return name.endswith(".br")
