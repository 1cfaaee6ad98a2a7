"""What a ROM should hold and does not: an absent part must never look like an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
)
from rom_builder.formats.payload import gaps
from rom_builder.formats.tree import NodeKind, Unread
from rom_builder.rom import SCRIPT, Rom
from rom_builder.rom.containers import BOOT, MOUNTED, Partition, split_slot
from rom_builder.rom.dumps import missing_files


@runtime_checkable
class Counted(Protocol):
    """A file system that counts its files, so that a walk can be compared with the count."""

    def check_complete(self) -> list[Unread]:
        """Return one item for each way in which walk and count differ."""
        ...


def missing_parts(rom: Rom) -> Iterator[Unread]:
    """Yield everything that the ROM's own tables speak of and the input does not hold.

    File systems count their inodes, payloads and super images list partitions, vbmeta names what it
    covers, a script says what it patches.
    """
    for mount in rom.mounts:
        if isinstance(mount.tree, Counted):
            place = mount.prefix.removesuffix("!/") or str(rom.path)
            yield from (Unread(place, part.reason) for part in mount.tree.check_complete())
    for path, payload in rom.contents.payloads.items():
        yield from (Unread(path or str(rom.path), gap) for gap in gaps(payload))
    held = tops(rom) | {p.name for p in rom.contents.partitions.values() if p.kind != "data"}
    yield from _empty_supers(rom, held)
    yield from _unheld_images(rom, held)
    noted = {part.path for part in rom.unread}
    for partition in rom.contents.partitions.values():
        place = partition.path or str(rom.path)
        if partition.name in set(MOUNTED) - held and place not in noted:
            yield Unread(place, "holds no file system")
    yield from missing_files(rom)
    patched = [s for s in rom.script.steps if s.name == "apply_patch"] if rom.script else []
    if patched:
        yield Unread(SCRIPT, f"the package is incremental: it patches {len(patched)} files")


def without_system(rom: Rom) -> Iterator[Unread]:
    """Yield one part if the input holds no system partition: too little for any verdict."""
    if "system" not in tops(rom):
        yield Unread("/system", "the input holds no system partition that could be read")


def tops(rom: Rom) -> set[str]:
    """Return the top folders of the device that have files in them; a mount point has none."""
    return {
        path.split("/", 2)[1]
        for path, file in rom.files.items()
        if file.node.kind is NodeKind.FILE and path.count("/") > 1
    }


def _empty_supers(rom: Rom, held: set[str]) -> Iterator[Unread]:
    """Yield what a super image without content reserves a name for, and no image beside it holds."""
    for path, image in rom.contents.supers.items():
        partitions = [p for slot in image.slots if slot for p in slot.partitions]
        if not any(partition.size for partition in partitions):
            names = {split_slot(partition.name)[0] for partition in partitions}
            for name in sorted(names & set(MOUNTED) - held):
                yield Unread(path or str(rom.path), f"{name} has no content here")


def _unheld_images(rom: Rom, held: set[str]) -> Iterator[Unread]:
    """Yield partitions with files, or vbmeta images, that a vbmeta image covers and nothing holds."""
    there = {p.name for p in rom.contents.partitions.values()}
    for partition in rom.contents.partitions.values():
        for name in sorted(covered_by(partition) - held):
            lacks = (
                "whose image is of an unknown kind"
                if name in there
                else ("of which the input has no image")
            )
            reason = f"covers partition {name}, {lacks}"
            yield Unread(partition.path or str(rom.path), reason)


def covered_by(partition: Partition) -> set[str]:
    """Return the partitions with files, and the vbmeta images, that a vbmeta image speaks of."""
    names = set()
    for item in partition.vbmeta.descriptors if partition.vbmeta else ():
        if isinstance(item, HashtreeDescriptor) or (
            isinstance(item, HashDescriptor | ChainPartitionDescriptor)
            and (item.partition_name in (*BOOT, *MOUNTED) or "vbmeta" in item.partition_name)
        ):
            names.add(item.partition_name)
    return names
