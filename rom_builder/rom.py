"""Any input as one ROM: one tree of files, named as the device mounts them.

Two names tell every file: ``path`` is where the device has it (``/system/app/X.apk``); ``name`` is where
it lies in the input (``system/app/X.apk``) and can be given back to any command. What a package holds
besides (its ``META-INF``) has a name only.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rom_builder.edits import Edit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.device_path import ancestors, resolve
from rom_builder.formats.edited_tree import EditedTree
from rom_builder.formats.folder import Folder
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.tree import Node, NodeKind, Tree, Unread
from rom_builder.formats.updater_script import UpdaterScript, parse_updater_script
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree

SCRIPT = "META-INF/com/google/android/updater-script"
MAX_SCRIPT_SIZE = 4 << 20
READ_LIMIT = 256 << 20
"""Bytes of one file that are read into memory; no resource table or DEX file comes near."""

PARTITIONS = (
    "system", "system_ext", "product", "vendor", "odm", "oem", "system_dlkm", "vendor_dlkm",
    "odm_dlkm", "data", "cust", "preload", "hidden", "mi_ext", "my_product", "my_region",
    "my_stock", "my_heytap", "my_carrier", "my_company", "my_engineering", "my_manifest",
    "my_preload", "my_bigball", "prism", "optics", "omr", "version", "preas", "preavs", "hw_product",
)  # fmt: skip
"""Top folders of unpacked ROMs that are partitions of their own."""


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


class Rom:
    """One ROM image, open for reading.

    Args:
        path: The input as the user named it.
        kind: Its kind in words.
        tree: Everything the input holds.
        script: The updater-script of a file-based package, None for anything else.
    """

    def __init__(self, path: Path, kind: str, tree: Tree, script: UpdaterScript | None) -> None:
        self.path = path
        self.kind = kind
        self.tree = tree
        self.script = script
        self.by_name: dict[str, RomFile] = {}
        nodes = {node.path: node for node in tree.walk()}
        placed = placement(nodes, script)
        for name, node in nodes.items():
            self.by_name[name] = RomFile(name, placed(name), node, tree)

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
        return self.tree.unread

    def note_unread(self, error: ImageError, name: str) -> None:
        """Record that a part could not be read, and go on."""
        unread = Unread(
            error.path or name, ImageError(error.message, offset=error.offset).__str__()
        )
        if unread not in self.tree.unread:
            self.tree.unread.append(unread)

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
        changes = {
            self.name_for(edit.path): None if edit.new is None else (edit.new.data, edit.new.mode)
            for edit in edits
        }
        return Rom(self.path, self.kind, EditedTree(self.tree, changes), self.script)

    def name_for(self, path: str) -> str:
        """Return the name under which the input holds, or would hold, a device path.

        Raises:
            BuildRefused: Nothing that the input names is installed there.
        """
        known = self.files.get(path)
        if known is not None and known.tree is not None:
            return known.name
        if self.script is not None:
            name = self.script.zip_path_for(path)
            if name is not None:
                return name
        else:
            for ancestor in ancestors(path)[1:]:
                folder = self.files.get(ancestor)
                if folder is not None and folder.tree is not None:
                    return posixpath.join(folder.name, posixpath.relpath(path, ancestor))
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
    """Open a folder or a package as a ROM.

    Raises:
        ImageError: It is missing, of an unknown kind, or damaged as a whole.
    """
    if path.is_dir():
        folder = Folder(path)
        script = read_script(folder)
        return Rom(path, "unpacked file-based OTA" if script else "folder", folder, script)
    try:
        source = FileSource(path)
    except OSError as error:
        raise ImageError(error.strerror or "cannot be opened", path=str(path)) from error
    if not path.is_file():
        raise ImageError("is neither a file nor a folder", path=str(path))
    try:
        if source.read_at(0, min(4, source.size)) not in (b"PK\3\4", b"PK\5\6"):
            raise ImageError(
                "is of an unknown kind",
                hint="give an OTA zip or a folder with an unpacked ROM",
            )
        archive = ZipTree(ZipArchive(source))
        script = read_script(archive)
    except ImageError as error:
        raise error.within(str(path)) from error
    return Rom(path, "file-based OTA" if script else "zip", archive, script)


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


def placement(
    nodes: Mapping[str, Node], script: UpdaterScript | None
) -> Callable[[str], str | None]:
    """Return the function that says where the device has what the input names.

    A package's script says it. An unpacked ROM is told by its folders: ``system/system`` means that
    ``system/`` is the root file system (system-as-root); a ``build.prop`` beside ``app`` means that the
    folder is the system partition itself; a ``build.prop`` below ``system`` means a root folder.
    """
    if script is not None:
        return lambda name: (script.extracted(name) or (None,))[-1]
    tops = {name.split("/", 1)[0] for name in nodes}
    if "system" not in tops and "build.prop" in tops and tops & {"app", "priv-app", "framework"}:
        return lambda name: f"/system/{name}"
    root = "system/system" in nodes and nodes["system/system"].kind is NodeKind.FOLDER

    def by_folder(name: str) -> str | None:
        top, _, rest = name.partition("/")
        if top == "system" and root:
            return f"/{rest}" if rest else None
        return f"/{name}" if top in PARTITIONS else None

    return by_folder
