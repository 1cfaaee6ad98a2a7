"""Write a file-based OTA package: the base's entries as they are, and the edits."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from rom_builder.edits import Edit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.device_path import ancestors
from rom_builder.formats.ota_metadata import (
    METADATA_NAME,
    encode_ota_metadata,
    metadata_for,
    parse_ota_metadata,
)
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.updater_script_files import NewFile, with_files
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.packing.ramdisks import edited_boot_image, edits_by_image
from rom_builder.plan import Plan
from rom_builder.rom import SCRIPT, Rom

JAR_SIGNATURE = re.compile(r"META-INF/(MANIFEST\.MF|[^/]+\.(SF|RSA|DSA|EC))", re.IGNORECASE)
"""Files of the JAR signature that covered the base: they vouch for other bytes now."""
CLEARING = ("delete", "delete_recursive")
EXTRACTING = ("package_extract_file", "package_extract_dir")


def write_package(rom: Rom, plan: Plan, otacert: bytes, file: BinaryIO) -> None:
    """Write an unsigned package.

    Entries that no edit touches keep their bytes, compressed as they are, and their order; what is new
    comes behind them. The same base and plan give the same bytes.

    Args:
        rom: The base; a file-based package, packed or unpacked.
        plan: What changes.
        otacert: The signing certificate as PEM.
        file: Open for writing, seekable, empty.

    Raises:
        BuildRefused: The base has no updater-script, or parts of it cannot be read.
        ImageError: The base is damaged where it has to be read.
    """
    if rom.script is None:
        raise BuildRefused(
            f"{rom.path}: no {SCRIPT}: this base cannot be installed by recovery",
            hint="give a file-based OTA package, packed or unpacked",
        )
    if rom.unread:
        part = rom.unread[0]
        raise BuildRefused(f"{part.path}: {part.reason}: the base cannot be copied whole")
    new = new_entries(rom, plan, otacert)
    writer = ZipWriter(file)
    for name in entry_names(rom):
        if JAR_SIGNATURE.fullmatch(name):
            continue
        if name in new:
            data = new.pop(name)
            if data is not None:
                writer.add(name, data, compress=True)
        else:
            copy(rom, name, writer)
    for name, data in sorted(new.items()):
        if data is not None:
            writer.add(name, data, compress=True)
    writer.close()


def entry_names(rom: Rom) -> Iterator[str]:
    """Yield the names of the base's entries: a package's own order, else sorted."""
    if isinstance(rom.mounts[0].tree, ZipTree):
        yield from rom.mounts[0].tree.archive.entries
        return
    for name, file in sorted(rom.by_name.items()):
        if file.node.kind is NodeKind.FILE:
            yield name
        elif file.node.kind is NodeKind.SYMLINK:
            raise BuildRefused(
                f"{name} is a link; a file-based package makes links in its updater-script",
                hint="remove the link from the folder, and add symlink() to the script if needed",
            )


def copy(rom: Rom, name: str, writer: ZipWriter) -> None:
    """Copy one entry: compressed bytes of a package as they are, a folder's files compressed."""
    if isinstance(rom.mounts[0].tree, ZipTree):
        archive: ZipArchive = rom.mounts[0].tree.archive
        writer.copy(archive, archive.entries[name])
        return
    try:
        writer.add(name, rom.open(rom.by_name[name]), compress=True)
    except ImageError as error:
        raise error.within(name) from error


def new_entries(rom: Rom, plan: Plan, otacert: bytes) -> dict[str, bytes | None]:
    """Return every entry that differs from the base's by name; None removes one."""
    for edit in plan.edits:
        if edit.new is None:
            refuse_lasting(rom, edit.path)
    new: dict[str, bytes | None] = {
        entry_for(rom, edit.path): None if edit.new is None else edit.new.data
        for edit in plan.edits
    }
    for image, edits in edits_by_image(plan.ramdisk_edits).items():
        try:
            content = edited_boot_image(rom.contents.partitions[image].source, edits)
        except ImageError as error:
            raise error.within(image) from error
        new[image] = content.read_at(0, content.size)
    new[SCRIPT] = edited_script(rom, plan.edits)
    new[OTACERT] = otacert
    new[METADATA_NAME] = edited_metadata(rom, plan)
    return new


def entry_for(rom: Rom, path: str) -> str:
    """Return the name of the entry that holds, or will hold, a device path.

    Raises:
        BuildRefused: The file lies in a partition image.
    """
    mount, name = rom.home_of(path)
    if mount.partition is not None:
        raise BuildRefused(
            f"{path} lies in the image {mount.partition.path}; only files of the package itself "
            "can be edited"
        )
    return name


def refuse_lasting(rom: Rom, path: str) -> None:
    """Refuse to leave a file out of a package whose script asks for it, or does not clear its place.

    Raises:
        BuildRefused: The script names the file, or phones that have it would keep it.
    """
    script = rom.script
    assert script is not None  # noqa: S101 - write_package refused otherwise
    zip_path = entry_for(rom, path)
    for step in script.steps:
        if step.name not in CLEARING and (path in step.paths or zip_path in step.args):
            raise BuildRefused(
                f"{path} cannot be removed: the updater-script names it in {step.name}()",
                hint="take the call out of the script first",
            )
    above = ancestors(path)
    devices = {device for point, device in script.mounts.items() if point in above}
    if devices.intersection(script.formats) or set(above).intersection(script.deletes):
        return
    raise BuildRefused(
        f"{path} cannot be removed: the updater-script neither formats its partition nor deletes its "
        "folder, so phones that have the file would keep it",
        hint=f'add delete("{path}"); to the script first',
    )


def edited_script(rom: Rom, edits: tuple[Edit, ...]) -> bytes:
    """Return the updater-script with owner and mode of each file that is new."""
    assert rom.script is not None  # noqa: S101 - write_package refused otherwise
    added = [
        NewFile(
            zip_path=entry_for(rom, edit.path),
            device_path=edit.path,
            uid=edit.new.uid,
            gid=edit.new.gid,
            mode=edit.new.mode,
            label=edit.new.label,
        )
        for edit in edits
        if edit.new is not None and edit.path not in rom.files
    ]
    try:
        return with_files(rom.script, added)
    except ImageError as error:
        raise error.within(SCRIPT) from error


def edited_metadata(rom: Rom, plan: Plan) -> bytes:
    """Return the package's metadata, true to the properties that it installs."""
    properties = read_platform(rom.with_edits(plan.edits)).properties
    there = rom.by_name.get(METADATA_NAME)
    base: Mapping[str, str] | None = None
    try:
        if there is not None:
            base = parse_ota_metadata(rom.read(there, 1 << 20))
        values = metadata_for({key: value for key, (value, _) in properties.items()}, base)
        return encode_ota_metadata(values)
    except ImageError as error:
        raise error.within(METADATA_NAME) from error


def missing_sources(rom: Rom) -> list[str]:
    """Return the files and folders that the base's script installs and the base does not have."""
    if rom.script is None:
        return []
    sources = {
        step.args[0]: None
        for step in rom.script.steps
        if step.name in EXTRACTING and step.args and step.args[0] and not step.conditional
    }
    return [source for source in sources if posixpath.normpath(source) not in rom.by_name]
