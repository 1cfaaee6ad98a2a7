"""An image's files as plain values: changed by a model here, by a plan there, and compared."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import strategies as st

from rom_builder.formats.folder_edit import RootedTree
from rom_builder.formats.image_edit import FileChange, ImagePlan, pieces_of
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.tree import NodeKind

TYPES = {
    stat.S_IFREG: NodeKind.FILE,
    stat.S_IFDIR: NodeKind.FOLDER,
    stat.S_IFLNK: NodeKind.SYMLINK,
    stat.S_IFCHR: NodeKind.CHARACTER_DEVICE,
    stat.S_IFBLK: NodeKind.BLOCK_DEVICE,
    stat.S_IFIFO: NodeKind.FIFO,
    stat.S_IFSOCK: NodeKind.SOCKET,
}


@dataclass(frozen=True)
class Item:
    kind: NodeKind
    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes
    xattrs: dict[str, bytes]

    @property
    def about(self) -> tuple[int, int, int, int]:
        return self.mode, self.uid, self.gid, self.mtime


Items = dict[str, Item]


def read_items(tree: RootedTree) -> Items:
    """Read everything an image holds, its root as ``""``."""
    items = {}
    for node in (tree.root(), *tree.walk()):
        content = (node.target or "").encode("utf-8", "surrogateescape")
        if node.kind is NodeKind.FILE:
            content = b"".join(pieces_of(tree.open(node)))
        assert None not in (node.mode, node.uid, node.gid, node.mtime)
        items[node.path] = Item(
            node.kind, node.mode, node.uid, node.gid, node.mtime, content, dict(node.xattrs)
        )
    assert tree.unread == []
    return items


def changed_items(items: Items, changes: Iterable[FileChange], made: Items) -> Items:
    """Return what changes should lead to; ``made`` tells the attributes of folders they make."""
    result = dict(items)
    for change in changes:
        if change.data is None:
            del result[change.path]
            continue
        parent = change.path.rpartition("/")[0]
        while parent not in result:
            assert made[parent].kind is NodeKind.FOLDER
            result[parent] = made[parent]
            parent = parent.rpartition("/")[0]
        old = result.get(change.path)
        template = old or made[change.path]
        xattrs = dict(template.xattrs) | dict(change.xattrs)
        if change.label is not None:
            xattrs["security.selinux"] = change.label.encode() + b"\0"
        if change.capabilities is not None:
            xattrs.pop("security.capability", None)
            if change.capabilities:
                xattrs["security.capability"] = change.capabilities
        result[change.path] = Item(
            NodeKind.FILE,
            template.mode if change.mode is None else change.mode,
            template.uid if change.uid is None else change.uid,
            template.gid if change.gid is None else change.gid,
            template.mtime if change.mtime is None else change.mtime,
            change.content.read_at(0, change.content.size),
            xattrs,
        )
    return result


def applied(plan: ImagePlan, image: Source) -> bytes:
    return b"".join(pieces_of(plan.apply(image)))


def change_lists(items: Items, *, sizes: tuple[int, ...]) -> st.SearchStrategy[list[FileChange]]:
    """Draw up to six changes that fit the items."""
    folders = sorted(path for path, item in items.items() if item.kind is NodeKind.FOLDER)
    files = sorted(path for path, item in items.items() if item.kind is NodeKind.FILE)
    leaves = sorted(
        path
        for path, item in items.items()
        if path
        and (item.kind is not NodeKind.FOLDER or not any(p.startswith(f"{path}/") for p in items))
    )
    names = st.sampled_from(["!", "new.xml", "a b", "é", "n" * 255, "d/e/e.p", "d/f", "lib/x/y.so"])
    data = st.builds(
        lambda size, seed: bytes([seed % 256, 7]) * (size // 2) + b"x" * (size % 2),
        st.sampled_from(sizes),
        st.integers(0, 255),
    )
    attributes = {
        "mode": st.sampled_from([None, 0o600, 0o4755]),
        "uid": st.sampled_from([None, 0, 2000, 100_000]),
        "mtime": st.sampled_from([None, 1, 1_700_000_000]),
        "label": st.sampled_from([None, "u:object_r:new:s0"]),
        "capabilities": st.sampled_from([None, b"", b"\1\0\0\2" + bytes(16)]),
        "xattrs": st.sampled_from([{}, {"user.long": b"v" * 130}]),
    }
    added = st.builds(
        lambda folder, name, data, more: FileChange(f"{folder}/{name}".lstrip("/"), data, **more),
        st.sampled_from(folders),
        names,
        data,
        st.fixed_dictionaries(attributes),
    ).filter(lambda change: change.path not in items)
    kinds = [added]
    if files:
        kinds.append(
            st.builds(
                lambda path, data, more: FileChange(path, data, **more),
                st.sampled_from(files),
                data,
                st.fixed_dictionaries(attributes),
            )
        )
    if leaves:
        kinds.append(st.builds(FileChange, st.sampled_from(leaves), st.none()))
    return st.lists(
        st.one_of(kinds), min_size=1, max_size=6, unique_by=lambda change: change.path
    ).map(_consistent)


def _consistent(changes: list[FileChange]) -> list[FileChange]:
    """Leave out changes inside what another one removes."""
    gone = [f"{change.path}/" for change in changes if change.data is None]
    return [c for c in changes if not any(c.path.startswith(folder) for folder in gone)]


def check_mounted(image: Path, items: Items, folder: Path) -> None:
    """Let the kernel read the image: everything equal, and every count of links right."""
    folder.mkdir(exist_ok=True)
    options = "loop,ro"
    mounted = subprocess.run(
        ["mount", "-o", options, image, folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        if os.geteuid() or "permission" in mounted.stderr.lower():
            pytest.skip("this user cannot mount")
        pytest.fail(mounted.stderr)
    try:
        _compare_mounted(folder, items)
    finally:
        subprocess.run(["umount", folder], check=True)


def _compare_mounted(folder: Path, items: Items) -> None:
    found = {}
    links: dict[int, list[str]] = {}
    counts = {}
    for path in (folder, *folder.rglob("*")):
        name = "" if path == folder else str(path.relative_to(folder))
        if name.startswith("lost+found"):
            continue
        status = path.lstat()
        kind = TYPES[stat.S_IFMT(status.st_mode)]
        content = b""
        if kind is NodeKind.FILE:
            content = path.read_bytes()
        elif kind is NodeKind.SYMLINK:
            content = os.fsencode(path.readlink())
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = Item(
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            int(status.st_mtime),
            content,
            xattrs,
        )
        counts[name] = status.st_nlink
        links.setdefault(status.st_ino, []).append(name)
    wanted = {p: item for p, item in items.items() if not p.startswith("lost+found")}
    assert found == {p: replace(item) for p, item in wanted.items()}
    for names in links.values():
        for name in names:
            expected = len(names)
            if found[name].kind is NodeKind.FOLDER:
                expected = 2 + sum(
                    item.kind is NodeKind.FOLDER and bool(p) and p.rpartition("/")[0] == name
                    for p, item in items.items()
                )
            assert counts[name] == expected, name


def run(*command: str | Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def source_of(image: bytes) -> BytesSource:
    return BytesSource(image)
