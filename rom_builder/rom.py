"""Any input as one ROM: one tree of files, named as the device mounts them.

Two names tell every file: ``path`` is where the device has it (``/system/app/X.apk``); ``name`` is where
it lies in the input (``system/app/X.apk``) and can be given back to any command. What a package holds
besides (its ``META-INF``) has a name only.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rom_builder.containers import HEAD_SIZE, Contents, Partition, inner, open_images
from rom_builder.edits import Edit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.apex import Apex
from rom_builder.formats.device_path import ancestors, resolve
from rom_builder.formats.edited_tree import EditedTree
from rom_builder.formats.folder import Folder
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.tar_tree import TarTree, detect_gzip, detect_tar, inflate_gzip
from rom_builder.formats.tree import Node, NodeKind, Tree, Unread
from rom_builder.formats.updater_script import UpdaterScript, parse_updater_script
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.placement import Place, of_package, of_partition

SCRIPT = "META-INF/com/google/android/updater-script"
MAX_SCRIPT_SIZE = 4 << 20
READ_LIMIT = 256 << 20
"""Bytes of one file that are read into memory; no resource table or DEX file comes near."""


@dataclass(frozen=True, slots=True)
class RomFile:
    """One object of a ROM.

    Attributes:
        name: Where it lies in the input.
        path: Where the device has it, with a leading slash; None if it is not installed.
        node: Kind, size and ownership.
        tree: What it is read from; None for a link that only an updater-script makes.
    """

    name: str
    path: str | None
    node: Node
    tree: Tree | None


@dataclass(frozen=True, slots=True)
class Mount:
    """One container of files, and where the device has them.

    Attributes:
        prefix: What its names begin with in the input, ``super.img!/system_a!/``; empty for the
            input's own files.
        tree: The files.
        place: From a name in the tree to the device path.
        partition: The image that holds the files, None for the input's own.
    """

    prefix: str
    tree: Tree
    place: Place
    partition: Partition | None = None


class Rom:
    """One ROM image, open for reading.

    Args:
        path: The input as the user named it.
        kind: Its kind in words.
        mounts: Everything it holds; the input's own files first.
        script: The updater-script of a recovery package, None for anything else.
        contents: The images that it holds.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        mounts: Sequence[Mount],
        script: UpdaterScript | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.path = path
        self.kind = kind
        self.mounts = list(mounts)
        self.script = script
        self.contents = contents or Contents()
        self.by_name: dict[str, RomFile] = {}
        self._noted: list[Unread] = []
        for mount in self.mounts:
            self._index(mount)

    def _index(self, mount: Mount) -> None:
        for node in mount.tree.walk():
            name = mount.prefix + node.path
            self.by_name[name] = RomFile(name, mount.place(node.path), node, mount.tree)

    def add_modules(self) -> None:
        """Open the APEX modules and mount their files at ``/apex/<name>``."""
        modules = [
            file
            for path, file in sorted(self.files.items())
            if "/apex/" in path and path.endswith((".apex", ".capex"))
        ]
        for file in modules:
            try:
                mount = module_mount(file.name, self.open(file))
            except ImageError as error:
                self.note_unread(error, file.name)
            else:
                self.mounts.append(mount)
                self._index(mount)
        if modules:
            del self.files

    @cached_property
    def files(self) -> Mapping[str, RomFile]:
        """Every installed object by its device path."""
        files = {file.path: file for file in self.by_name.values() if file.path}
        for link, target in (self.script.links if self.script else {}).items():
            node = Node(link.lstrip("/"), NodeKind.SYMLINK, len(target), target=target)
            files[link] = RomFile(SCRIPT, link, node, None)
        return files

    @property
    def unread(self) -> list[Unread]:
        """What could not be read so far; grows while the ROM is read."""
        found = [*self.contents.unread]
        for mount in self.mounts:
            place = mount.prefix.removesuffix("!/")
            for part in mount.tree.unread:
                name = mount.prefix + part.path if part.path else place or str(self.path)
                found.append(Unread(name, part.reason))
        return list(dict.fromkeys([*found, *self._noted]))

    def note_unread(self, error: ImageError, name: str) -> None:
        """Record that a part could not be read, and go on."""
        reason = str(ImageError(error.message, offset=error.offset))
        self._noted.append(Unread(error.path or name, reason))

    def find(self, path: str) -> RomFile | None:
        """Return what a device path leads to, following links inside the ROM; None if nothing.

        Links that leave the ROM, dangle or run in circles lead nowhere.
        """
        try:
            return self.files.get(self.resolve(path))
        except ImageError:
            return None

    def resolve(self, path: str) -> str:
        """Return a device path with every link on its way followed; its end need not exist.

        Raises:
            ImageError: The links run in circles, or the path is empty or too long.
        """
        resolved = resolve(path, self._links)
        if resolved is None:
            raise ImageError("leads nowhere: links in a circle, or no path", path=path)
        return resolved

    @cached_property
    def _links(self) -> dict[str, str]:
        return {path: file.node.target for path, file in self.files.items() if file.node.target}

    def with_edits(self, edits: Iterable[Edit]) -> Rom:
        """Return the ROM as it will be after edits; nothing is written.

        Raises:
            BuildRefused: The input has no place for a file of that path.
        """
        changes: dict[str, dict[str, tuple[bytes, int] | None]] = {}
        for edit in edits:
            mount, name = self.home_of(edit.path)
            new = None if edit.new is None else (edit.new.data, edit.new.mode)
            changes.setdefault(mount.prefix, {})[name] = new
        mounts = [
            replace(mount, tree=EditedTree(mount.tree, changes[mount.prefix]))
            if mount.prefix in changes
            else mount
            for mount in self.mounts
        ]
        return Rom(self.path, self.kind, mounts, self.script, self.contents)

    def home_of(self, path: str) -> tuple[Mount, str]:
        """Return the container that holds, or would hold, a device path, and the name in it.

        Raises:
            BuildRefused: Nothing of the input is installed there.
        """
        if self.script is not None:
            known = self.files.get(path)
            if known is not None and known.tree is self.mounts[0].tree:
                return self.mounts[0], known.name
            name = self.script.zip_path_for(path)
            if name is not None:
                return self.mounts[0], name
        for ancestor in ancestors(path):
            file = self.files.get(ancestor)
            for mount in self.mounts if file is not None and file.tree is not None else ():
                if file is not None and mount.tree is file.tree:
                    rest = posixpath.relpath(path, ancestor) if ancestor != path else ""
                    return mount, posixpath.join(file.node.path, rest).rstrip("/")
        raise BuildRefused(f"{path}: the base has no folder that is installed there")

    def with_suffix(self, *suffixes: str) -> Iterator[RomFile]:
        """Yield the installed files whose name ends in one of ``suffixes``, sorted by path."""
        for path in sorted(self.files):
            file = self.files[path]
            if path.endswith(suffixes) and file.node.kind is NodeKind.FILE:
                yield file

    def open(self, file: RomFile) -> Source:
        """Return the content of a file, read lazily.

        Raises:
            ImageError: It is no regular file, or damaged.
        """
        if file.tree is None or file.node.kind is not NodeKind.FILE:
            raise ImageError(f"is a {file.node.kind.value}, not a file", path=file.name)
        try:
            return file.tree.open(file.node)
        except ImageError as error:
            raise error.within(file.name) from error

    def read(self, file: RomFile, limit: int = READ_LIMIT) -> bytes:
        """Return the whole content of a file.

        Raises:
            ImageError: It is larger than ``limit`` bytes, no regular file, or damaged.
        """
        if file.node.size > limit:
            raise ImageError(f"{file.node.size} bytes; at most {limit} are read", path=file.name)
        source = self.open(file)
        try:
            return source.read_at(0, source.size)
        except ImageError as error:
            raise error.within(file.name) from error

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the input file; for a folder of its sorted list of names, kinds and digests."""
        if self.path.is_file():
            return digest_of(FileSource(self.path))
        total = hashlib.sha256()
        for name, file in sorted(self.by_name.items()):
            content = file.node.target or ""
            if file.node.kind is NodeKind.FILE:
                try:
                    content = digest_of(self.open(file))
                except ImageError as error:
                    self.note_unread(error, name)
                    content = "unread"
            total.update(f"{name}\0{file.node.kind.value}\0{content}\0".encode())
        return total.hexdigest()


def digest_of(source: Source) -> str:
    """Return the SHA-256 of a source, as hex digits, 4 MiB in memory at a time."""
    digest = hashlib.sha256()
    for offset in range(0, source.size, 4 << 20):
        digest.update(source.read_at(offset, min(4 << 20, source.size - offset)))
    return digest.hexdigest()


def open_rom(path: Path) -> Rom:
    """Open a folder, a package or an image as a ROM.

    Raises:
        ImageError: It is missing, of an unknown kind, or damaged as a whole.
    """
    if path.is_dir():
        return open_package(path, Folder(path), "folder")
    try:
        source = FileSource(path)
    except OSError as error:
        raise ImageError(error.strerror or "cannot be opened", path=str(path)) from error
    if not path.is_file():
        raise ImageError("is neither a file nor a folder", path=str(path))
    try:
        return open_file(path, source)
    except ImageError as error:
        raise error.within(str(path)) from error


def open_file(path: Path, source: Source) -> Rom:
    """Open a package or an image by its content.

    Raises:
        ImageError: Of an unknown kind, or damaged as a whole.
    """
    head = source.read_at(0, min(HEAD_SIZE, source.size))
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return open_package(path, ZipTree(ZipArchive(source)), "zip")
    if detect_gzip(head):
        source = inflate_gzip(source)
        head = source.read_at(0, min(HEAD_SIZE, source.size))
    if detect_tar(head):
        return open_package(path, TarTree(source), "tar")
    contents = Contents()
    contents.open("", path.name.split(".")[0], source)
    partitions = list(contents.partitions.values())
    if not partitions or (len(partitions) == 1 and partitions[0].kind == "data"):
        reason = f": {contents.unread[0].reason}" if contents.unread else ""
        raise ImageError(
            f"is of an unknown kind{reason}",
            hint="give an OTA or factory package, a disk, super or partition image, or a folder",
        )
    rom = Rom(path, image_kind(contents), mounts_of(contents, set()), None, contents)
    rom.add_modules()
    return rom


def open_package(path: Path, tree: Tree, kind: str) -> Rom:
    """Open a folder, zip or tar, and the images among its files.

    Raises:
        ImageError: Its updater-script is damaged.
    """
    script = read_script(tree)
    names = {node.path for node in tree.walk()}
    place = of_package(names, script)
    contents = Contents()
    open_images(contents, tree, "", lambda name: place(name) is not None)
    taken = {top for top in map(place, names) if top and top.count("/") == 1}
    mounts = [Mount("", tree, place), *mounts_of(contents, taken)]
    rom = Rom(path, package_kind(kind, names, script, contents), mounts, script, contents)
    rom.add_modules()
    return rom


def mounts_of(contents: Contents, taken: set[str]) -> list[Mount]:
    """Return where the partition images of an input are mounted.

    Of two slots the first with files is mounted; a partition that the input also has unpacked is
    not mounted again. Before system-as-root the boot image's ramdisk is the root file system.
    """
    mounts: list[Mount] = []
    ramdisks: list[Mount] = []
    used = set(taken)
    system_as_root = "/init" in taken
    for partition in sorted(contents.partitions.values(), key=lambda p: (p.slot, p.path)):
        if partition.tree is None:
            continue
        prefix = f"{partition.path}!/" if partition.path else ""
        if partition.boot is not None:
            mount = Mount(inner(partition.path, "ramdisk!/"), partition.tree, nowhere, partition)
            ramdisks.append(mount)
            continue
        point = of_partition(partition, {node.path for node in partition.tree.walk()})
        placed = nowhere if point is None or point in used else below(point)
        system_as_root |= point == ""
        if point is not None:
            used.add(point)
        mounts.append(Mount(prefix, partition.tree, placed, partition))
    for mount in ramdisks:
        is_root = mount.partition and mount.partition.name == "boot" and not system_as_root
        mounts.append(replace(mount, place=below("")) if is_root else mount)
        system_as_root |= bool(is_root)
    return mounts


def nowhere(_: str) -> None:
    """Place a file nowhere: it is not installed."""


def below(point: str) -> Place:
    """Place files below a mount point."""
    return lambda name: f"{point}/{name}"


def module_mount(name: str, source: Source) -> Mount:
    """Open an APEX module.

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
    return Mount(f"{path}!/", partition.tree, below(f"/apex/{apex.manifest.name}"), partition)


def image_kind(contents: Contents) -> str:
    """Say what an image is."""
    partition = next(iter(contents.partitions.values()))
    if partition.containers:
        return f"{' '.join(partition.containers)} image"
    return f"{partition.kind} image"


def package_kind(
    kind: str, names: Collection[str], script: UpdaterScript | None, contents: Contents
) -> str:
    """Say what a folder, zip or tar is."""
    unpacked = "unpacked " if kind == "folder" else ""
    if "META/misc_info.txt" in names:
        return f"{unpacked}target-files"
    if contents.payloads:
        return f"{unpacked}A/B OTA"
    if any(name.endswith(".transfer.list") for name in contents.partitions):
        return f"{unpacked}block-based OTA"
    if script is not None:
        return f"{unpacked}file-based OTA"
    if contents.zips:
        return f"{unpacked}factory package"
    return f"{kind} of images" if contents.partitions and kind != "folder" else kind


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
