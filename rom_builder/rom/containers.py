"""What an input holds: containers in containers, down to trees of files.

Every container is told by its content. Names inside one are joined with ``!/``:
``super.img!/product_a!/app/X.apk``. What cannot be opened is noted, and the rest goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rom_builder.errors import ImageError
from rom_builder.formats.boot_image import BootImage, detect_boot_image, open_boot_image
from rom_builder.formats.erofs import detect_erofs, open_erofs
from rom_builder.formats.ext4 import detect_ext4, open_ext4
from rom_builder.formats.f2fs import UNREAD_REASON, detect_f2fs
from rom_builder.formats.gpt import DiskImage, detect_gpt
from rom_builder.formats.payload import OperationStore, Payload, detect_payload
from rom_builder.formats.ramdisk import open_ramdisk
from rom_builder.formats.source import Source
from rom_builder.formats.sparse import SparseImage, detect_sparse, join_sparse
from rom_builder.formats.squashfs import detect_squashfs, open_squashfs
from rom_builder.formats.super_image import SuperImage, detect_super
from rom_builder.formats.transfer_list import MAX_LIST_SIZE, open_transfer
from rom_builder.formats.tree import Node, NodeKind, Tree, Unread
from rom_builder.formats.vbmeta import Vbmeta, detect_vbmeta, read_footer, read_vbmeta
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree

HEAD_SIZE = 8192
"""Bytes that tell every kind apart."""
MAX_DEPTH = 8
"""Containers in containers; a factory zip with a sparse super image in it needs five."""
FILE_SYSTEMS: dict[str, tuple[Callable[[bytes], bool], Callable[[Source], Tree]]] = {
    "ext4": (detect_ext4, open_ext4),
    "EROFS": (detect_erofs, open_erofs),
    "SquashFS": (detect_squashfs, open_squashfs),
}
IMAGE = re.compile(r"(?P<name>[^/]+?)(\.(img|raw|ext4|erofs|squashfs|bin))+(\.ext4)?")
CHUNK = re.compile(
    r"(?P<image>.+?)[._]sparsechunk\.?(?P<number>\d{1,4})|"
    r"(?P<split>super)\.(?P<part>\d{1,4})\.[0-9A-Fa-f]{8}\.img"
)
"""One of the files that an image is split into: ``super.img_sparsechunk.0``, ``super.0.1a2b3c4d.img``."""
PACKED = re.compile(r".+\.(img|ext4|new\.dat)(\.ext4)?\.(gz|lz4|xz|zst|bz2|lzma)")
"""An image in a stream compression that cannot be entered in the middle."""
INNER_ZIP = re.compile(r"image-[^/]+\.zip")
"""The zip of images inside a factory zip."""
BOOT = ("boot", "init_boot", "vendor_boot", "vendor_kernel_boot", "recovery")
"""Partitions with a kernel or a ramdisk."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition image that an input holds.

    Attributes:
        name: Without slot suffix: ``system``.
        slot: ``a``, ``b``, or empty.
        path: Nested name.
        kind: ``ext4``, ``boot``, ``vbmeta`` ..., or ``data`` for what is of no known kind.
        source: Its bytes, decoded where they are read.
        tree: Its files, None if it holds none.
        boot: Its sections if it is a boot image.
        vbmeta: Its vbmeta image, whether it is one or carries one behind its data.
        containers: Kinds it was wrapped in, outermost first.
    """

    name: str
    slot: str
    path: str
    kind: str
    source: Source = field(repr=False, compare=False)
    tree: Tree | None = field(default=None, repr=False, compare=False)
    boot: BootImage | None = field(default=None, repr=False, compare=False)
    vbmeta: Vbmeta | None = field(default=None, repr=False, compare=False)
    containers: tuple[str, ...] = ()


@dataclass(slots=True)
class Contents:
    """Everything found so far; grows while containers are opened.

    Attributes:
        partitions: By nested name.
        payloads: A/B payloads by nested name.
        supers: Super images by nested name.
        zips: Zips of images inside the input, by nested name.
        operations: What operations of its payloads give, as far as they were decoded.
    """

    partitions: dict[str, Partition] = field(default_factory=dict)
    payloads: dict[str, Payload] = field(default_factory=dict)
    supers: dict[str, SuperImage] = field(default_factory=dict)
    zips: dict[str, ZipTree] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    operations: OperationStore = field(default_factory=OperationStore, repr=False)

    def open(self, path: str, name: str, source: Source, outer: tuple[str, ...] = ()) -> None:
        """Open one image and everything in it; damage is noted in ``unread``.

        Args:
            path: Nested name of the image; empty for the input itself.
            name: Partition name that its file name or container gives.
            source: Its bytes.
            outer: Kinds it was wrapped in.
        """
        if len(outer) > MAX_DEPTH:
            self.unread.append(Unread(path, f"more than {MAX_DEPTH} containers in one another"))
            return
        try:
            self._open(path, name, source, outer)
        except ImageError as error:
            self.note(error, path or name)

    def note(self, error: ImageError, path: str) -> None:
        """Record that something could not be opened."""
        place = path if not error.path else inner(path, error.path)
        self.unread.append(Unread(place, str(ImageError(error.message, offset=error.offset))))

    def _open(self, path: str, name: str, source: Source, outer: tuple[str, ...]) -> None:
        head = source.read_at(0, min(HEAD_SIZE, source.size))
        if detect_sparse(head):
            self.open(path, name, SparseImage(source), (*outer, "sparse"))
        elif detect_payload(head):
            self._open_payload(path, Payload(source, self.operations), (*outer, "payload"))
        elif detect_super(head):
            self._open_super(path, SuperImage(source), (*outer, "super"))
        elif detect_gpt(head):
            self._open_disk(path, DiskImage(source), (*outer, "GPT"))
        elif head[:4] == b"PK\3\4" and INNER_ZIP.fullmatch(name):
            tree = ZipTree(ZipArchive(source))
            self.zips[path] = tree
            open_images(self, tree, path, lambda _: False, (*outer, "zip"))
        else:
            self._partition(path, name, source, head, outer)

    def _open_payload(self, path: str, payload: Payload, outer: tuple[str, ...]) -> None:
        self.payloads[path] = payload
        for name in payload.names:
            nested = inner(path, name)
            try:
                self.open(nested, name, payload.partition(name), outer)
            except ImageError as error:
                self.note(error, nested)

    def _open_super(self, path: str, image: SuperImage, outer: tuple[str, ...]) -> None:
        self.supers[path] = image
        self.unread += [Unread(path, problem) for problem in image.problems]
        for slot, metadata in enumerate(image.slots):
            for partition in metadata.partitions if metadata else ():
                nested = inner(path, partition.name)
                if partition.size and nested not in self.partitions:
                    try:
                        source = image.partition(partition.name, slot)
                    except ImageError as error:
                        self.note(error, nested)
                    else:
                        self.open(nested, partition.name, source, outer)

    def _open_disk(self, path: str, disk: DiskImage, outer: tuple[str, ...]) -> None:
        self.unread += [Unread(path, problem) for problem in disk.problems]
        for partition in disk.partitions:
            nested = inner(path, partition.name)
            try:
                source = disk.partition(partition.name)
            except ImageError as error:
                self.note(error, nested)
            else:
                self.open(nested, partition.name, source, outer)

    def _partition(
        self, path: str, name: str, source: Source, head: bytes, outer: tuple[str, ...]
    ) -> None:
        base, slot = split_slot(name)
        kind, tree, boot = "data", None, None
        vbmeta = self._vbmeta(path, source, head)
        for system, (detect, open_tree) in FILE_SYSTEMS.items():
            if detect(head):
                kind, tree = system, open_tree(source)
        if kind == "data" and detect_f2fs(head):
            kind = "F2FS"
            self.unread.append(Unread(path or name, UNREAD_REASON))
        elif kind == "data" and detect_boot_image(head):
            kind, boot = "boot", open_boot_image(source)
            tree = self._ramdisk(path, boot)
        elif kind == "data" and detect_vbmeta(head):
            kind = "vbmeta"
        elif kind == "data" and base in MOUNTED and head.strip(b"\0"):
            self.unread.append(Unread(path or name, "a file system of an unknown kind"))
        self.partitions[path] = Partition(base, slot, path, kind, source, tree, boot, vbmeta, outer)

    def _ramdisk(self, path: str, boot: BootImage) -> Tree | None:
        if not boot.ramdisks:
            return None
        try:
            return open_ramdisk([ramdisk.content for ramdisk in boot.ramdisks])
        except ImageError as error:
            self.note(error, inner(path, "ramdisk"))
            return None

    def _vbmeta(self, path: str, source: Source, head: bytes) -> Vbmeta | None:
        try:
            if detect_vbmeta(head) or read_footer(source):
                return read_vbmeta(source)
        except ImageError as error:
            self.note(error, path)
        return None


MOUNTED = (
    "system", "system_ext", "product", "vendor", "odm", "oem", "system_dlkm", "vendor_dlkm",
    "odm_dlkm", "cust", "preload", "hidden", "mi_ext", "my_product", "my_region", "my_stock",
    "my_heytap", "my_carrier", "my_company", "my_engineering", "my_manifest", "my_preload",
    "my_bigball", "prism", "optics", "omr", "version", "preas", "preavs", "hw_product",
)  # fmt: skip
"""Partitions that devices mount at a folder of their name (``system`` see ``rom.py``)."""


def open_images(
    contents: Contents,
    tree: Tree,
    path: str,
    installed: Callable[[str], bool],
    outer: tuple[str, ...] = (),
) -> None:
    """Open every image among the files of a container.

    Args:
        contents: Grows.
        tree: A folder, zip or tar.
        path: Nested name of the container; empty for the input itself.
        installed: Says of a name that it is a file of the device, not an image beside it.
        outer: Kinds the container was wrapped in.
    """
    files = {
        node.path: node
        for node in tree.walk()
        if node.kind is NodeKind.FILE and not installed(node.path)
    }
    for nested, name, source in _images(contents, tree, path, files):
        contents.open(nested, name, source, outer)


def _images(
    contents: Contents, tree: Tree, path: str, files: Mapping[str, Node]
) -> Iterator[tuple[str, str, Source]]:
    chunks: dict[str, list[tuple[int, str]]] = {}
    for name in sorted(files):
        folder, _, base = name.rpartition("/")
        nested = inner(path, name) if path else name
        try:
            if base.endswith(".transfer.list"):
                partition = base.removesuffix(".transfer.list")
                source = _transferred(tree, files, folder, partition)
                if source is not None:
                    yield nested, partition, source
            elif match := CHUNK.fullmatch(base):
                whole = match["image"] or f"{match['split']}.img"
                number = int(match["number"] or match["part"])
                image = f"{folder}/{whole}" if folder else whole
                chunks.setdefault(image, []).append((number, name))
            elif PACKED.fullmatch(base) and not base.endswith(".new.dat.br"):
                contents.unread.append(Unread(nested, "a compressed image; unpack it first"))
            elif base == "payload.bin" or INNER_ZIP.fullmatch(base):
                yield nested, base, tree.open(files[name])
            elif (match := IMAGE.fullmatch(base)) and not base.endswith(".bin"):
                yield nested, match["name"], tree.open(files[name])
        except ImageError as error:
            contents.note(error, nested)
    for image, numbered in sorted(chunks.items()):
        nested = inner(path, image) if path else image
        try:
            numbers = sorted(number for number, _ in numbered)
            if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
                raise ImageError(f"a part of it is missing or there twice: {numbers}"[:200])
            parts = [SparseImage(tree.open(files[name])) for _, name in sorted(numbered)]
            match = IMAGE.fullmatch(image.rpartition("/")[2])
            yield nested, match["name"] if match else image, join_sparse(parts)
        except ImageError as error:
            contents.note(error, nested)


def _transferred(
    tree: Tree, files: Mapping[str, Node], folder: str, partition: str
) -> Source | None:
    prefix = f"{folder}/{partition}" if folder else partition
    listed = tree.open(files[f"{prefix}.transfer.list"])
    if listed.size > MAX_LIST_SIZE:
        raise ImageError(f"{listed.size} bytes is too large for a transfer list")
    text = listed.read_at(0, listed.size)
    for suffix, brotli in ((".new.dat.br", True), (".new.dat", False)):
        data = files.get(prefix + suffix)
        if data is not None:
            return open_transfer(text, tree.open(data), brotli=brotli)
    raise ImageError(f"{partition}.new.dat is missing")


def inner(path: str, name: str) -> str:
    """Join the nested name of a container and a name inside it.

    >>> inner("super.img", "system_a"), inner("", "system_a")
    ('super.img!/system_a', 'system_a')
    """
    return f"{path}!/{name}" if path else name


def split_slot(name: str) -> tuple[str, str]:
    """Split the slot suffix off a partition name.

    >>> split_slot("system_a"), split_slot("vendor_boot")
    (('system', 'a'), ('vendor_boot', ''))
    """
    if name.endswith(("_a", "_b")):
        return name[:-2], name[-1]
    return name, ""
