"""One small tree of files, and the images of it that the readers are tried on.

``python -m tests.formats.images`` writes the images in ``data/`` anew; it needs mkfs.ext4, e2fsck,
mksquashfs and the right to set owners and security attributes.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rom_builder.errors import ImageError
from rom_builder.formats.tree import Node, NodeKind

DATA = Path(__file__).parent / "data"
MADE_AT = 1402848000
SPOTS = range(0, 240_000, 2048)  # with 1 KiB blocks: 118 extents, more than one extent block holds


@dataclass(frozen=True)
class Item:
    kind: NodeKind = NodeKind.FILE
    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    target: str | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


def _spotted() -> bytes:
    content = bytearray(SPOTS.stop)
    for spot in SPOTS:
        content[spot] = 1 + spot % 251
    return bytes(content)


def _label(kind: NodeKind) -> dict[str, bytes]:
    return {"security.selinux": f"u:object_r:{kind.name.lower()}:s0\0".encode()}


def _tree() -> dict[str, Item]:
    folder = Item(NodeKind.FOLDER, mode=0o755)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tree = {
        "bin": folder,
        "bin/run-as": Item(
            content=b"\x7fELF" * 40,
            mode=0o4750,
            owner=(0, 2000),
            xattrs={"security.capability": capability, "user.note": b"n" * 150},
        ),
        "build.prop": Item(content=b"ro.debuggable=0\n", owner=(70000, 100000)),
        "empty": Item(),
        "empty folder": folder,
        "deep": folder,
        "deep/er": folder,
        "deep/er/file": Item(content=bytes(range(256)) * 30),
        "hole": Item(content=bytes(9000)),
        "inline": Item(content=b"more than sixty bytes " * 4),
        "names": folder,
        "not utf-8 \udcff": Item(content=b"?"),
        "spotted": Item(content=_spotted()),
        "link": Item(NodeKind.SYMLINK, mode=0o777, target="build.prop"),
        "link59": Item(NodeKind.SYMLINK, mode=0o777, target="a" * 59),
        "link60": Item(NodeKind.SYMLINK, mode=0o777, target="b" * 60),
        "link300": Item(NodeKind.SYMLINK, mode=0o777, target="c" * 300),
        "pipe": Item(NodeKind.FIFO, mode=0o600),
        "socket": Item(NodeKind.SOCKET, mode=0o600),
        "null": Item(NodeKind.CHARACTER_DEVICE, mode=0o666),
        "disk": Item(NodeKind.BLOCK_DEVICE, mode=0o600),
        "bare link": Item(NodeKind.SYMLINK, mode=0o777, target="/"),
        "bare pipe": Item(NodeKind.FIFO, mode=0o600),
        "bare socket": Item(NodeKind.SOCKET, mode=0o600),
        "bare null": Item(NodeKind.CHARACTER_DEVICE, mode=0o666),
        "bare disk": Item(NodeKind.BLOCK_DEVICE, mode=0o600),
    }
    for index in range(60):
        tree[f"names/{index:02}-{'n' * index}"] = Item(content=b"%d" % index)
    return {
        path: Item(
            item.kind,
            item.content,
            item.mode,
            item.owner,
            item.target,
            item.xattrs if path.startswith(("deep", "bare")) else item.xattrs | _label(item.kind),
        )
        for path, item in tree.items()
    }


TREE = _tree()
HARD_LINK = ("deep/other-name", "bin/run-as")


def write_tree(root: Path) -> None:
    """Write TREE below ``root``, as far as the user has the right to."""
    for path, item in TREE.items():
        place = root / os.fsdecode(os.fsencode(path))
        with contextlib.suppress(PermissionError):
            _write(place, item)
    os.link(root / HARD_LINK[1], root / HARD_LINK[0])
    for folder, folders, files in os.walk(root, topdown=False):
        for name in [*folders, *files]:
            os.utime(Path(folder, name), (MADE_AT, MADE_AT), follow_symlinks=False)
    os.utime(root, (MADE_AT, MADE_AT))


def _write(place: Path, item: Item) -> None:
    if item.kind is NodeKind.FOLDER:
        place.mkdir()
    elif item.kind is NodeKind.SYMLINK:
        place.symlink_to(item.target or "")
    elif item.kind is NodeKind.FILE:
        with place.open("wb") as file:  # a block of zeros becomes a hole
            for start in range(0, len(item.content), 1024):
                piece = item.content[start : start + 1024]
                if any(piece):
                    file.seek(start)
                    file.write(piece)
            file.truncate(len(item.content))
    else:
        kinds = {
            NodeKind.FIFO: stat.S_IFIFO,
            NodeKind.SOCKET: stat.S_IFSOCK,
            NodeKind.CHARACTER_DEVICE: stat.S_IFCHR,
            NodeKind.BLOCK_DEVICE: stat.S_IFBLK,
        }
        os.mknod(place, kinds[item.kind] | 0o600, os.makedev(1, 3))
    with contextlib.suppress(PermissionError):
        os.chown(place, *item.owner, follow_symlinks=False)
    if item.kind is not NodeKind.SYMLINK:
        place.chmod(item.mode)
    for name, value in item.xattrs.items():
        with contextlib.suppress(PermissionError):
            os.setxattr(place, name, value, follow_symlinks=False)


def nodes_of(reader: Any) -> dict[str, Node]:
    """Walk a reader's tree; lost+found is the file system's own."""
    nodes = list(reader.walk())
    assert len({node.path for node in nodes}) == len(nodes)
    return {node.path: node for node in nodes if node.path != "lost+found"}


def content_of(reader: Any, node: Node) -> bytes:
    source = reader.open(node)
    assert source.size == node.size
    return bytes(source.read_at(0, source.size))


def assert_is_tree(reader: Any) -> None:
    """Compare all that a reader tells with TREE."""
    nodes = nodes_of(reader)
    assert reader.unread == []
    assert reader.check_complete() == []
    assert nodes[HARD_LINK[0]].inode == nodes[HARD_LINK[1]].inode
    assert set(nodes) == {*TREE, HARD_LINK[0]}
    for path, node in nodes.items():
        item = TREE[HARD_LINK[1] if path == HARD_LINK[0] else path]
        assert (node.kind, node.mode, node.target) == (item.kind, item.mode, item.target), path
        assert (node.uid, node.gid) == item.owner, path
        assert node.mtime == MADE_AT, path
        assert node.xattrs == item.xattrs, path
        label = item.xattrs.get("security.selinux")
        assert node.label == (label and label.decode()[:-1]), path
        assert node.capabilities == item.xattrs.get("security.capability")
        if item.kind is NodeKind.FILE:
            assert content_of(reader, node) == item.content, path


def assert_is_folder(reader: Any, root: Path, *, has_attributes: bool = True) -> None:
    """Compare all that a reader tells with a folder: the one it was made of, or a mount of it."""
    nodes = nodes_of(reader)
    assert reader.unread == []
    assert reader.check_complete() == []
    there = {
        str(Path(folder, name).relative_to(root))
        for folder, folders, files in os.walk(root)
        for name in [*folders, *files]
    }
    assert set(nodes) == there - {"lost+found"}
    for path, node in nodes.items():
        place = root / path
        status = place.lstat()
        assert node.mode == stat.S_IMODE(status.st_mode), path
        assert (node.uid, node.gid) == (status.st_uid, status.st_gid), path
        assert node.mtime == status.st_mtime // 1, path
        names = os.listxattr(place, follow_symlinks=False) if has_attributes else []
        assert node.xattrs == {
            name: os.getxattr(place, name, follow_symlinks=False) for name in names
        }, path
        if node.kind is NodeKind.SYMLINK:
            assert node.target == str(place.readlink()), path
        if node.kind is NodeKind.FILE:
            assert content_of(reader, node) == place.read_bytes(), path


def read_everything(reader: Any) -> list[tuple[Node, bytes | None]]:
    """Read all that a damaged image gives; only ImageError may stop a file."""
    everything = []
    for node in reader.walk():
        content = None
        if node.kind is NodeKind.FILE:
            with contextlib.suppress(ImageError):
                source = reader.open(node)
                content = source.read_at(0, min(source.size, 1 << 20))
        everything.append((node, content))
    reader.check_complete()
    return everything


def fixture(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


EXT4_OPTIONS = {
    "ext2.img": ["-t", "ext2", "-b", "1024"],
    "ext4-android.img": ["-b", "4096", "-O", "^has_journal,^metadata_csum,^64bit,^resize_inode"],
    "ext4-checksums.img": ["-b", "1024", "-O", "^has_journal,metadata_csum,64bit,ea_inode"],
    "ext4-inline.img": ["-b", "4096", "-O", "^has_journal,inline_data"],
}
SQUASHFS_OPTIONS = {
    "squashfs-gzip.img": ["-comp", "gzip"],
    "squashfs-lz4.img": ["-comp", "lz4"],
    "squashfs-plain.img": ["-noI", "-noId", "-noX"],
    "squashfs-xz.img": ["-comp", "xz"],
    "squashfs-zstd.img": ["-comp", "zstd"],
}
_UUID = "11111111-2222-4333-8444-555555555555"


def make_ext4(source: Path, image: Path, options: list[str], size: str = "1M") -> None:
    subprocess.run(
        [
            *("mkfs.ext4", "-q", "-F", "-m", "0", "-N", "160", "-U", _UUID, "-L", "system"),
            *("-E", f"hash_seed={_UUID},root_owner=0:0", *options, "-d", source, image, size),
        ],
        check=True,
        capture_output=True,
    )


def hash_folders(image: Path) -> None:
    """Give large folders the index that the kernel would have written; exit 1 is "changed"."""
    done = subprocess.run(["e2fsck", "-fyD", image], capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stdout


def make_squashfs(source: Path, image: Path, options: list[str]) -> None:
    subprocess.run(
        [
            *("mksquashfs", source, image, "-noappend", "-quiet", "-no-progress"),
            *("-mkfs-time", str(MADE_AT), "-processors", "1", *options),
        ],
        check=True,
        capture_output=True,
    )


def _write_fixtures() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, image = Path(scratch, "source"), Path(scratch, "image")
        source.mkdir()
        write_tree(source)
        for name, options in EXT4_OPTIONS.items():
            image.unlink(missing_ok=True)
            make_ext4(source, image, options)
            hash_folders(image)
            (DATA / f"{name}.gz").write_bytes(gzip.compress(image.read_bytes(), 9, mtime=0))
        for name, options in SQUASHFS_OPTIONS.items():
            make_squashfs(source, image, ["-b", "4096", *options])
            (DATA / f"{name}.gz").write_bytes(gzip.compress(image.read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    _write_fixtures()
