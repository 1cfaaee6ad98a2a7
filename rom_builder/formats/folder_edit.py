"""What file changes mean for the folders of an image, and the attributes that new files get."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rom_builder.errors import ImageError
from rom_builder.formats.image_edit import FileChange, LabelOf
from rom_builder.formats.tree import Node, NodeKind, Tree

SELINUX = "security.selinux"
CAPABILITY = "security.capability"

_MAX_NAME_SIZE = 255  # NAME_MAX of Linux
_MAX_PATH_SIZE = 4095  # PATH_MAX of Linux without the NUL
_NEW_FILE_MODE = 0o644


class RootedTree(Tree, Protocol):
    """A tree whose root folder can be asked for."""

    def root(self) -> Node:
        """Return the root folder, which a walk leaves out."""
        ...


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a new inode says about itself besides its content."""

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: Mapping[str, bytes]


@dataclass(slots=True)
class FolderEdit:
    """What happens to the names of one folder that stays or is made.

    Attributes:
        path: Where it is, ``""`` for the root.
        old: The folder as it is; None if it is made.
        files: Files that are added or replaced, by name.
        folders: Folders that are made in it, by name.
        removed: Names that go without another taking their place.
    """

    path: str
    old: Node | None
    files: dict[str, FileChange] = field(default_factory=dict)
    folders: dict[str, FolderEdit] = field(default_factory=dict)
    removed: dict[str, Node] = field(default_factory=dict)


class TreeIndex:
    """Every node of an image by its path.

    Args:
        tree: The image, read to its end.

    Raises:
        ImageError: A part of it cannot be read, so that an edit could break what is not seen.
    """

    def __init__(self, tree: RootedTree) -> None:
        self.root = tree.root()
        self.nodes: dict[str, Node] = {}
        self._children: dict[str, dict[str, Node]] = {"": {}}
        self.links: dict[int, int] = {}
        for node in tree.walk():
            self.nodes[node.path] = node
            folder, _, name = node.path.rpartition("/")
            self._children[folder][name] = node
            if node.kind is NodeKind.FOLDER:
                self._children[node.path] = {}
            elif node.inode is not None:
                self.links[node.inode] = self.links.get(node.inode, 0) + 1
        if tree.unread:
            first = tree.unread[0]
            raise ImageError(
                f"the image is not read without faults: {first.reason}",
                path=first.path or None,
                hint="only an image that is sound can be edited safely",
            )

    def get(self, path: str) -> Node | None:
        """Return a node, the root for ``""``, None if there is none."""
        return self.nodes.get(path) if path else self.root

    def children(self, path: str) -> Mapping[str, Node]:
        """Return the nodes of a folder by name, in the order of the walk."""
        return self._children.get(path, {})


def arrange(index: TreeIndex, changes: Iterable[FileChange]) -> list[FolderEdit]:
    """Sort changes by folder, the folders from the root down.

    Raises:
        ImageError: A path is not one that can be changed so.
        ValueError: A path is named twice.
    """
    wanted: dict[str, FileChange] = {}
    for change in changes:
        if change.path in wanted:
            raise ValueError(f"{change.path} is changed twice")
        _check_path(change.path)
        wanted[change.path] = change
    gone = {path for path, change in wanted.items() if change.data is None}
    edits: dict[str, FolderEdit] = {}
    for path in sorted(wanted, key=lambda path: path.split("/")):
        change = wanted[path]
        folder, _, name = path.rpartition("/")
        node = index.get(path)
        if change.data is not None:
            _check_file(path, node)
            _folder_for(index, edits, gone, folder).files[name] = change
            continue
        if node is None:
            raise ImageError("it is not there, so it cannot be removed", path=path)
        for child in index.children(path).values():
            if child.path not in gone:
                raise ImageError(
                    f"the folder still holds {posixpath.basename(child.path)}",
                    path=path,
                    hint="remove everything in it, too",
                )
        if folder not in gone:
            _folder_for(index, edits, gone, folder).removed[name] = node
    return [edits[path] for path in sorted(edits, key=lambda path: path.split("/") if path else [])]


def removed_below(index: TreeIndex, edit: FolderEdit) -> Iterator[Node]:
    """Yield every node that goes with a folder's removed names, folders before their content."""
    waiting = list(reversed(edit.removed.values()))
    while waiting:
        node = waiting.pop()
        yield node
        waiting += index.children(node.path).values()


def replaced_files(index: TreeIndex, edits: Iterable[FolderEdit]) -> list[Node]:
    """Return the files that get other content, as they are."""
    paths = [change.path for edit in edits for change in edit.files.values()]
    return [index.nodes[path] for path in paths if path in index.nodes]


def file_attributes(
    index: TreeIndex, change: FileChange, folder: Attributes, label_of: LabelOf | None
) -> Attributes:
    """Return the attributes of a file that is added or replaced.

    Args:
        index: The image as it is.
        change: What is asked for.
        folder: Attributes of the folder it lies in.
        label_of: Knows the labels of new files.
    """
    old = index.get(change.path)
    xattrs: dict[str, bytes] = {}
    if old is not None:
        like = attributes_of(old)
        xattrs.update(old.xattrs)
        mode = like.mode
    else:
        beside = _nearest_file(index, change.path)
        like = folder if beside is None else attributes_of(beside)
        mode = _NEW_FILE_MODE
        _set_label(xattrs, like, label_of and label_of(change.path, NodeKind.FILE))
    if change.label is not None:
        _set_label(xattrs, like, change.label)
    xattrs.update(change.xattrs)
    if change.capabilities is not None:
        xattrs[CAPABILITY] = change.capabilities
        if not change.capabilities:
            del xattrs[CAPABILITY]
    return Attributes(
        mode=mode if change.mode is None else change.mode,
        uid=like.uid if change.uid is None else change.uid,
        gid=like.gid if change.gid is None else change.gid,
        mtime=like.mtime if change.mtime is None else change.mtime,
        xattrs=xattrs,
    )


def folder_attributes(path: str, parent: Attributes, label_of: LabelOf | None) -> Attributes:
    """Return the attributes of a folder that is made: those of the folder above it."""
    xattrs: dict[str, bytes] = {}
    _set_label(xattrs, parent, label_of and label_of(path, NodeKind.FOLDER))
    return Attributes(parent.mode, parent.uid, parent.gid, parent.mtime, xattrs)


def attributes_of(node: Node) -> Attributes:
    """Return what a node says about itself; file-system images leave nothing out."""
    return Attributes(
        node.mode or 0, node.uid or 0, node.gid or 0, node.mtime or 0, dict(node.xattrs)
    )


def _set_label(xattrs: dict[str, bytes], like: Attributes, label: str | None) -> None:
    """Add a label, or that of the model if None, with a trailing NUL where the model has one."""
    habit = like.xattrs.get(SELINUX)
    if label is not None:
        end = b"" if habit and not habit.endswith(b"\0") else b"\0"
        xattrs[SELINUX] = encoded(label) + end
    elif habit is not None:
        xattrs[SELINUX] = habit


def _nearest_file(index: TreeIndex, path: str) -> Node | None:
    """Return the file beside ``path``: of the same ending if any, then next by name."""
    folder, _, name = path.rpartition("/")
    beside = {
        other: node
        for other, node in index.children(folder).items()
        if node.kind is NodeKind.FILE and other != name
    }
    ending = posixpath.splitext(name)[1]
    alike = {o: node for o, node in beside.items() if posixpath.splitext(o)[1] == ending}
    beside = alike or beside
    names = sorted(beside)
    if not names:
        return None
    return beside[names[min(bisect_left(names, name), len(names) - 1)]]


def encoded(text: str) -> bytes:
    """Return the bytes of a name or label; those that were not UTF-8 stand as surrogates in it.

    Raises:
        ImageError: It holds surrogates that stand for no byte.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ImageError(f"{text[:80]!r} cannot be stored: it is no Unicode text") from None


def _check_path(path: str) -> None:
    if len(encoded(path)) > _MAX_PATH_SIZE or any(
        part in ("", ".", "..") or "\0" in part or len(encoded(part)) > _MAX_NAME_SIZE
        for part in path.split("/")
    ):
        raise ImageError(
            f"{path[:80]!r} is not a path in an image",
            hint="name it from the image's root, without a slash before it",
        )


def _check_file(path: str, node: Node | None) -> None:
    if node is not None and node.kind is not NodeKind.FILE:
        hint = "remove it first, in a plan of its own"
        if node.kind is NodeKind.SYMLINK:
            hint = f"it leads to {node.target!r}: change that file"
        raise ImageError(f"a {node.kind.value} cannot be replaced by a file", path=path, hint=hint)


def _folder_for(
    index: TreeIndex, edits: dict[str, FolderEdit], gone: set[str], path: str
) -> FolderEdit:
    """Return the edit of a folder, and note the folders that must be made for it."""
    missing: list[str] = []
    above = path
    while above not in edits:
        if above in gone:
            raise ImageError("it is removed, and something is put into it", path=above)
        node = index.get(above)
        if node is not None and node.kind is not NodeKind.FOLDER:
            hint = "name the path it leads to" if node.kind is NodeKind.SYMLINK else None
            raise ImageError(f"a {node.kind.value} is no folder to write in", path=above, hint=hint)
        if node is not None:
            edits[above] = FolderEdit(above, node)
            break
        missing.append(above)
        above = above.rpartition("/")[0]
    edit = edits[above]
    for made in reversed(missing):
        name = made.rpartition("/")[2]
        if name in edit.files:
            raise ImageError("it is to be a file and a folder", path=made)
        edit.folders[name] = edits[made] = FolderEdit(made, None)
        edit = edits[made]
    return edit
