"""Names inside a ROM: from a path on the device or a name in the input to what lies there.

``/product/app/X.apk`` is a path on the device, links followed; ``super.img!/product_a!/app/X.apk`` is a
name in the input. Behind either, ``!/`` enters an archive: ``/product/app/X.apk!/res/xml/nsc.xml``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source
from rom_builder.formats.tree import Node, NodeKind, Tree
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.rom import Rom
from rom_builder.rom.containers import HEAD_SIZE, Contents, inner

MARK = "!/"
MAX_ARCHIVES = 8
"""Archives in archives that one name may enter."""
MAX_COMPARED = 5000
"""Names that a misspelt one is compared with, for the hint."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing.

    Attributes:
        name: Path on the device or name in the input, to be given back to any command.
        node: What lies there.
    """

    name: str
    node: Node


def list_names(rom: Rom, path: str, *, recursive: bool = False) -> list[Entry]:
    """Return what lies in a folder, a container or an archive, or the one file of that name.

    Args:
        rom: The ROM.
        path: ``/`` is the root of the device, ``.`` the top of the input; ``!/`` at the end enters an
            archive, and containers are entered without it.
        recursive: Everything below, too.

    Raises:
        ImageError: Nothing lies there, or it cannot be read.
    """
    enters = path.endswith(("!", MARK))
    path = path.rstrip("/").removesuffix("!")
    known = None if enters else _known(rom, path, recursive=recursive)
    if known is not None:
        return known
    name = _name_of(rom, path)
    outer, below = (name, "") if enters else name.rpartition(MARK)[::2]
    if not outer:
        raise _absent(path, _names_of(rom))
    shown = path if enters else path.rpartition(MARK)[0]
    nodes = _inside(rom, outer)
    if below in nodes and nodes[below].kind is not NodeKind.FOLDER:
        return [Entry(path, nodes[below])]
    found = _below(nodes, f"{below}/" if below else "", recursive=recursive)
    if below and not found and below not in nodes:
        raise _absent(path, [inner(shown, known) for known in nodes])
    return [Entry(inner(shown, entry.name), entry.node) for entry in found]


def open_name(rom: Rom, path: str) -> Source:
    """Return the content of a file, a partition image or an entry of an archive, read lazily.

    Raises:
        ImageError: Nothing lies there, it has no content, or it cannot be read.
    """
    return _open(rom, _name_of(rom, path.rstrip("/")))


def _known(rom: Rom, path: str, *, recursive: bool) -> list[Entry] | None:
    """Return what the ROM itself has below a name, without entering an archive; None if nothing."""
    if MARK not in path and (path.startswith("/") or not path):
        table = {name: file.node for name, file in rom.files.items()}
        place = rom.resolve(path or "/").rstrip("/")
        prefixes: tuple[str, ...] = (f"{place}/",)
    else:
        table = _names_of(rom)
        place = "" if path == "." else _own(rom, path)
        prefixes = (f"{place}{MARK}", f"{place}/") if place else ("",)
    for prefix in prefixes:
        found = _below(table, prefix, recursive=recursive)
        if found:
            return found
    if place in table:
        node = table[place]
        return [] if node.kind is NodeKind.FOLDER else [Entry(place, node)]
    return None if place else []


def _inside(rom: Rom, outer: str) -> dict[str, Node]:
    """Return what a container or an archive holds, by the name inside it."""
    prefix = outer + MARK
    known = {
        name.removeprefix(prefix): node
        for name, node in _names_of(rom).items()
        if name.startswith(prefix)
    }
    try:
        tree = _enter(_open(rom, outer), outer)
    except ImageError:
        if not known:
            raise
        return known
    return known | {node.path: node for node in tree.walk()}


def _below(table: Mapping[str, Node], prefix: str, *, recursive: bool) -> list[Entry]:
    """Return the names that begin with ``prefix``, cut after their next part unless recursive."""
    found: dict[str, Node] = {}
    for name, node in table.items():
        if not name.startswith(prefix) or len(name) == len(prefix):
            continue
        if recursive:
            found[name] = node
            continue
        child = prefix + name[len(prefix) :].partition("/")[0].removesuffix("!")
        found[child] = table.get(child) or Node(child, NodeKind.FOLDER)
    return [Entry(name, found[name]) for name in sorted(found)]


def _names_of(rom: Rom) -> dict[str, Node]:
    """Return everything that has a name in the input: files, and images that are no files."""
    table = {name: file.node for name, file in rom.by_name.items()}
    for partition in rom.contents.partitions.values():
        if partition.path:
            image = Node(partition.path, NodeKind.FILE, partition.source.size)
            table.setdefault(partition.path, image)
    return table


def _own(rom: Rom, path: str) -> str:
    """Drop the name of the input itself from the front of a name, if it stands there."""
    own, mark, rest = path.partition(MARK)
    return rest if mark and own == rom.path.name and own not in rom.by_name else path


def _name_of(rom: Rom, path: str) -> str:
    """Return the name in the input of what a path on the device leads to; of a name, itself.

    Raises:
        ImageError: Nothing lies there.
    """
    if not path.startswith("/"):
        return _own(rom, path)
    device, mark, rest = path.partition(MARK)
    file = rom.find(device)
    if file is None:
        raise _absent(device, rom.files)
    return f"{file.name}{mark}{rest}"


def _open(rom: Rom, name: str, depth: int = 0) -> Source:
    """Return the content behind a name in the input.

    Raises:
        ImageError: Nothing lies there, or it cannot be read.
    """
    file = rom.by_name.get(name)
    if file is not None:
        return rom.open(file)
    partition = rom.contents.partitions.get(name)
    if partition is not None:
        return partition.source
    outer, mark, entry = name.rpartition(MARK)
    if not mark:
        raise _absent(name, _names_of(rom))
    if depth >= MAX_ARCHIVES:
        raise ImageError(f"more than {MAX_ARCHIVES} archives in one another", path=name)
    tree = _enter(_open(rom, outer, depth + 1), outer)
    nodes = {node.path: node for node in tree.walk()}
    node = nodes.get(entry)
    if node is None:
        raise _absent(name, [inner(outer, known) for known in nodes])
    if node.kind is not NodeKind.FILE:
        raise ImageError(f"is a {node.kind.value}, not a file", path=name)
    try:
        return tree.open(node)
    except ImageError as error:
        raise error.within(name) from error


def _enter(source: Source, name: str) -> Tree:
    """Open an archive or an image that a file of the ROM holds.

    Raises:
        ImageError: It is neither, or damaged.
    """
    head = source.read_at(0, min(HEAD_SIZE, source.size))
    try:
        if head[:4] in (b"PK\3\4", b"PK\5\6"):
            return ZipTree(ZipArchive(source, lenient=True))
    except ImageError as error:
        raise error.within(name) from error
    contents = Contents()
    contents.open("", name.rpartition("/")[2].split(".")[0], source)
    partition = contents.partitions.get("")
    if partition is None or partition.tree is None:
        reason = f": {contents.unread[0].reason}" if contents.unread else ""
        raise ImageError(f"is no archive that can be entered{reason}", path=name)
    return partition.tree


def _absent(name: str, known: Iterable[str]) -> ImageError:
    names = list(islice(known, MAX_COMPARED + 1))
    near = difflib.get_close_matches(name, names, 1) if len(names) <= MAX_COMPARED else []
    hint = f"did you mean {near[0]}?" if near else "rom-builder ls IMAGE / lists what there is"
    return ImageError("nothing of that name is in the input", path=name, hint=hint)
