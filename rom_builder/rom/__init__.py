"""A ROM: one tree of files, named as the device mounts them.

Two names tell every file: ``path`` is where the device has it (``/system/app/X.apk``); ``name`` is where
it lies in the input (``system/app/X.apk``) and can be given back to any command. What a package holds
besides (its ``META-INF``) has a name only.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rom_builder.edits import Edit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.facts import Package
from rom_builder.formats.apex import Apex
from rom_builder.formats.device_path import ancestors, resolve
from rom_builder.formats.edited_tree import EditedTree
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.tree import Node, NodeKind, Tree, Unread
from rom_builder.formats.updater_script import UpdaterScript
from rom_builder.rom.archives import Archives
from rom_builder.rom.containers import Contents, Partition
from rom_builder.rom.placement import Place, nowhere

SCRIPT = "META-INF/com/google/android/updater-script"
READ_LIMIT = 256 << 20
"""Bytes of one file that are read into memory; no resource table or DEX file comes near."""


Step = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much (0 if that is not known)."""
STEP_NODES = 1000
"""Files that are met between two steps told of."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody of a step."""


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

    @property
    def is_installed(self) -> bool:
        """Whether the device has its files anywhere."""
        return self.place is not nowhere


class Rom:
    """One ROM image, open for reading.

    Args:
        path: The input as the user named it.
        kind: Its kind in words.
        mounts: Everything it holds; the input's own files first.
        script: The updater-script of a recovery package, None for anything else.
        contents: The images that it holds.
        step: Told how reading goes on.

    Attributes:
        modules: The APEX modules by the name of their file, a compressed one as what is inside it.
        archives: What is known of the archives it holds; ROMs that differ by edits share it.
        packages: What the manifests of apps say, as far as they were read, by the identity of their
            node, which is given too; ROMs that differ by edits share it.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        mounts: Sequence[Mount],
        script: UpdaterScript | None = None,
        contents: Contents | None = None,
        step: Step = silent,
    ) -> None:
        self.path = path
        self.kind = kind
        self.step = step
        self.modules: dict[str, Apex] = {}
        self.archives = Archives()
        self.packages: dict[int, tuple[Node, Package]] = {}
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
            if len(self.by_name) % STEP_NODES == 0:
                self.step("listing files", len(self.by_name), 0)

    def add(self, mount: Mount) -> None:
        """Add another container of files, such as an APEX module's."""
        self.mounts.append(mount)
        self._index(mount)
        for derived in ("files", "_links"):
            self.__dict__.pop(derived, None)

    @property
    def unmounted(self) -> list[Partition]:
        """The partitions with files that stand for nothing on the device, such as the other slot."""
        mounted = {
            mount.partition.path for mount in self.mounts if mount.partition and mount.is_installed
        }
        return [
            partition
            for partition in self.contents.partitions.values()
            if partition.tree and partition.boot is None and partition.path not in mounted
        ]

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
        edited = Rom(self.path, self.kind, mounts, self.script, self.contents, self.step)
        edited.modules = dict(self.modules)
        edited.archives = self.archives
        edited.packages = self.packages
        return edited

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
        found = [
            file
            for path, file in sorted(self.files.items())
            if path.endswith(suffixes) and file.node.kind is NodeKind.FILE
        ]
        for number, file in enumerate(found):
            self.step(f"reading {' '.join(suffixes)}", number, len(found))
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
            return digest_of(FileSource(self.path), self.step)
        # The largest first: to hash them leaves the interpreter to other threads, and the many small
        # ones are done when those may have nothing left to do.
        digests = {}
        for file in sorted(self.by_name.values(), key=lambda file: file.node.size, reverse=True):
            if file.node.kind is NodeKind.FILE:
                try:
                    digests[file.name] = digest_of(self.open(file))
                except ImageError as error:
                    self.note_unread(error, file.name)
                    digests[file.name] = "unread"
        total = hashlib.sha256()
        for name, file in sorted(self.by_name.items()):
            content = digests.get(name) or file.node.target or ""
            total.update(f"{name}\0{file.node.kind.value}\0{content}\0".encode())
        return total.hexdigest()


def digest_of(source: Source, step: Step = silent) -> str:
    """Return the SHA-256 of a source, as hex digits, 4 MiB in memory at a time."""
    digest = hashlib.sha256()
    for offset in range(0, source.size, 4 << 20):
        step("computing SHA-256", offset, source.size)
        digest.update(source.read_at(offset, min(4 << 20, source.size - offset)))
    return digest.hexdigest()
