"""Any input opened as a ROM: a folder, a package, a disk, super or partition image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rom_builder.errors import ImageError
from rom_builder.formats.apex import Apex, is_apex
from rom_builder.formats.folder import Folder
from rom_builder.formats.payload import OperationStore
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.tar_tree import TarTree, detect_gzip, detect_tar, inflate_gzip
from rom_builder.formats.tree import NodeKind, Tree, walk_ahead
from rom_builder.formats.updater_script import UpdaterScript, parse_updater_script
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.rom import SCRIPT, Mount, Rom, Step, silent
from rom_builder.rom.containers import (
    HEAD_SIZE,
    MOUNTED,
    Contents,
    Partition,
    inner,
    open_images,
)
from rom_builder.rom.placement import (
    Place,
    below,
    is_target_files,
    nowhere,
    of_package,
    of_partition,
    of_vendor,
)

MAX_SCRIPT_SIZE = 4 << 20
FIRST_STAGE_SINCE = 3
"""Header version of boot images, of Android 11, from which a ramdisk is never the root file system."""
WHAT_OPENS = "give an OTA or factory package, a disk, super or partition image, or a folder"


def open_rom(
    path: Path,
    *,
    modules: bool = True,
    operations: OperationStore | None = None,
    step: Step = silent,
) -> Rom:
    """Open a folder, a package or an image as a ROM.

    Args:
        path: The input.
        modules: Whether APEX modules are opened and their files mounted below ``/apex``.
        operations: Operations of payloads that were decoded already, of this input or another.
        step: Told how reading goes on.

    Raises:
        ImageError: It is missing, of an unknown kind, damaged as a whole, or holds nothing of a ROM.
    """
    try:
        rom = _open(path, step, Contents(operations=operations or OperationStore()))
    except ImageError as error:
        place = inner(str(path), error.path) if error.path else str(path)
        raise ImageError(error.message, path=place, offset=error.offset, hint=error.hint) from error
    installed = any(file.path for file in rom.by_name.values())
    held = rom.contents
    known = (held.partitions, held.payloads, held.supers, held.zips, rom.unread)
    if not installed and not any(known):
        raise ImageError("holds nothing of a ROM", path=str(path), hint=WHAT_OPENS)
    if modules:
        add_modules(rom)
    return rom


def _open(path: Path, step: Step, contents: Contents) -> Rom:
    if path.is_dir():
        return open_package(path, Folder(path), "folder", step, contents)
    try:
        source = FileSource(path)
    except OSError as error:
        raise ImageError(error.strerror or "cannot be opened") from error
    if not path.is_file():
        raise ImageError("is neither a file nor a folder")
    if not source.size:
        raise ImageError("is of an unknown kind: it is empty", hint=WHAT_OPENS)
    return open_file(path, source, step, contents)


def open_file(
    path: Path, source: Source, step: Step = silent, contents: Contents | None = None
) -> Rom:
    """Open a package or an image by its content.

    Raises:
        ImageError: Of an unknown kind, or damaged as a whole.
    """
    contents = contents or Contents()
    head = source.read_at(0, min(HEAD_SIZE, source.size))
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        archive = ZipArchive(source, lenient=True)
        if is_apex(archive):
            apex, mount = module_mount("", source)
            rom = Rom(path, "APEX module", [mount], step=step)
            rom.modules[""] = apex
            return rom
        return open_package(path, ZipTree(ZipArchive(source)), "zip", step, contents)
    if detect_gzip(head):
        source = inflate_gzip(source)
        head = source.read_at(0, min(HEAD_SIZE, source.size))
    if detect_tar(head):
        return open_package(path, TarTree(source), "tar", step, contents)
    contents.open("", path.name.split(".")[0], source)
    partitions = list(contents.partitions.values())
    known = contents.payloads or contents.supers
    if not known and (not partitions or (len(partitions) == 1 and partitions[0].kind == "data")):
        reason = f": {contents.unread[0].reason}" if contents.unread else ""
        raise ImageError(f"is of an unknown kind{reason}", hint=WHAT_OPENS)
    return Rom(path, image_kind(contents), mounts_of(contents, set()), None, contents, step)


def open_package(path: Path, tree: Tree, kind: str, step: Step, contents: Contents) -> Rom:
    """Open a folder, zip or tar, and the images among its files.

    Raises:
        ImageError: Its updater-script is damaged.
    """
    script = read_script(tree)
    names = {node.path for node in tree.walk()}
    place = of_package(names, script)
    installed = place
    open_images(contents, tree, "", lambda name: installed(name) is not None)
    if is_target_files(names):
        place = beside_images(place, contents)
    taken = {top for top in map(place, names) if top and top.count("/") == 1}
    mounts = [Mount("", tree, place), *mounts_of(contents, taken)]
    if contents.partitions and not any(map(place, names)):
        kind = f"{kind} of images"
    kind = package_kind(kind, names, script, contents)
    return Rom(path, kind, mounts, script, contents, step)


def mounts_of(contents: Contents, taken: set[str]) -> list[Mount]:
    """Return where the partition images of an input are mounted.

    Of two slots the first with files is mounted; a partition that the input also has unpacked is
    not mounted again. A partition of a vendor's own, which has apps, is mounted by its name. Before
    system-as-root the boot image's ramdisk is the root file system.
    """
    walk_ahead(partition.tree for partition in contents.partitions.values() if partition.tree)
    mounts: list[Mount] = []
    ramdisks: list[Mount] = []
    used = set(taken)
    system_as_root = "/init" in taken
    partitions = contents.partitions.values()
    for partition in sorted(partitions, key=lambda p: (p.slot, p.name not in MOUNTED, p.path)):
        if partition.tree is None:
            continue
        prefix = f"{partition.path}!/" if partition.path else ""
        if partition.boot is not None:
            mount = Mount(inner(partition.path, "ramdisk!/"), partition.tree, nowhere, partition)
            ramdisks.append(mount)
            continue
        names = {node.path for node in partition.tree.walk()}
        point = of_partition(partition, names)
        again = any(m.partition and m.partition.name == partition.name for m in mounts)
        # What is of no known name but looks like product may be the vendor's own beside the real one.
        if not again and (point is None or (point == "/product" and point in used)):
            point = of_vendor(partition, names) or point
        placed = nowhere if point is None or point in used else below(point)
        system_as_root |= point == ""
        if point is not None:
            used.add(point)
        mounts.append(Mount(prefix, partition.tree, placed, partition))
    for mount in ramdisks:
        is_root = not system_as_root and holds_root(mount.partition)
        mounts.append(replace(mount, place=below("")) if is_root else mount)
        system_as_root |= is_root
    return mounts


def beside_images(place: Place, contents: Contents) -> Place:
    """Return where a target-files package has its files, leaving out folders that it has as images.

    A package is made of the images: if a folder says something else, it is the image that counts.
    """
    points = {
        of_partition(partition, {node.path for node in partition.tree.walk()})
        for partition in contents.partitions.values()
        if partition.tree is not None
    }
    if "" in points:
        points.add("/system")

    def placed(name: str) -> str | None:
        path = place(name)
        if path is None:
            return None
        top = f"/{path.split('/')[1]}"
        in_root = name.startswith("ROOT/") and "" in points
        return None if in_root or top in points else path

    return placed


def holds_root(partition: Partition | None) -> bool:
    """Say whether a boot image's ramdisk may be the root file system, not the way to it only."""
    boot = partition.boot if partition and partition.name == "boot" else None
    return boot is not None and boot.header_version < FIRST_STAGE_SINCE


def add_modules(rom: Rom) -> None:
    """Open the APEX modules of a ROM and mount their files at ``/apex/<name>``."""
    modules = [
        file
        for path, file in sorted(rom.files.items())
        if "/apex/" in path and path.endswith((".apex", ".capex"))
    ]
    for number, file in enumerate(modules):
        rom.step("opening APEX modules", number, len(modules))
        try:
            apex, mount = module_mount(file.name, rom.open(file))
        except ImageError as error:
            rom.note_unread(error, file.name)
        else:
            rom.modules[file.name] = apex
            rom.add(mount)


def module_mount(name: str, source: Source) -> tuple[Apex, Mount]:
    """Open an APEX module; of a compressed one, the module inside it.

    Raises:
        ImageError: No APEX, damaged, or of an unknown file system.
    """
    apex = Apex(source)
    if apex.is_compressed:
        name, apex = inner(name, "original_apex"), apex.original()
    contents = Contents()
    path = inner(name, "apex_payload.img")
    contents.open(path, "apex_payload", apex.payload())
    if contents.unread:
        raise ImageError(contents.unread[0].reason, path=path)
    partition = contents.partitions[path]
    if partition.tree is None:
        raise ImageError("the payload is of an unknown kind", path=path)
    mount = Mount(f"{path}!/", partition.tree, below(f"/apex/{apex.manifest.name}"), partition)
    return apex, mount


def image_kind(contents: Contents) -> str:
    """Say what an image is."""
    if contents.payloads:
        return "A/B OTA payload"
    if contents.supers:
        return "super image"
    partition = next(iter(contents.partitions.values()))
    return f"{' '.join((*partition.containers, partition.kind))} image"


def package_kind(
    kind: str, names: Collection[str], script: UpdaterScript | None, contents: Contents
) -> str:
    """Say what a folder, zip or tar is."""
    unpacked = "unpacked " if kind.startswith("folder") else ""
    if is_target_files(names):
        return f"{unpacked}target-files"
    if contents.payloads:
        return f"{unpacked}A/B OTA"
    if any(name.endswith(".transfer.list") for name in names):
        return f"{unpacked}block-based OTA"
    if script is not None:
        return f"{unpacked}file-based OTA"
    if contents.zips:
        return f"{unpacked}factory package"
    return kind


def read_script(tree: Tree) -> UpdaterScript | None:
    """Return the updater-script of a package, None if it has none.

    Raises:
        ImageError: It is larger than 4 MiB or not edify.
    """
    for node in tree.walk():
        if node.path == SCRIPT and node.kind is NodeKind.FILE:
            if node.size > MAX_SCRIPT_SIZE:
                raise ImageError(f"{node.size} bytes is too large for a script", path=SCRIPT)
            source = tree.open(node)
            try:
                return parse_updater_script(source.read_at(0, source.size))
            except ImageError as error:
                raise error.within(SCRIPT) from error
    return None
