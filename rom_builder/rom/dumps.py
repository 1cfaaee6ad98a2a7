"""Files that an unpacked ROM lacks: a dump that was published is seldom whole.

Code hosts take no large files, so that whoever publishes a dump leaves them out, splits or compresses
them. What the phone has and the folder lacks must not look like something that the phone lacks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.folder import Folder
from rom_builder.formats.tar_tree import TarTree
from rom_builder.formats.tree import NodeKind, Unread
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.rom import Rom, RomFile

LIST = "all_files.txt"
"""Paths below it, one a line, some behind a size and a tab: written by dumpyara and its relatives."""
MAX_LIST_SIZE = 64 << 20
UNREAD_KINDS = (
    ".so", ".ttf", ".otf", ".ttc", ".ogg", ".mp3", ".mp4", ".wav", ".png", ".jpg", ".dat", ".art",
)  # fmt: skip
"""Names of files that nothing here reads; that one is missing changes no verdict."""
PSEUDO = "/[SYS]/"
"""What 7-Zip shows of an ext4 image besides its files."""
PLATFORM_CODE = tuple(
    f"/system/framework/{name}.jar"
    for name in ("framework", "services", "ext", "bouncycastle", "okhttp", "telephony-common")
)
"""Of every Android since 5; some moved into modules later."""
PLATFORM_RESOURCES = "/system/framework/framework-res.apk"
COMPILED = re.compile(
    r"(?P<folder>.+/(?:app|priv-app)/[^/]+)/oat/[^/]+/(?P<app>[^/]+)\.(?:odex|vdex)"
)
PACKED = re.compile(r".+\.(?:apk|apex|capex|jar)\.(?:xz|zst|bz2|lzma|7z)")
SPLIT = re.compile(r".+\.(?:apk|apex|capex|jar|img)\.aa")


def missing_files(rom: Rom) -> Iterator[Unread]:
    """Yield what an unpacked ROM lacks: by the list it comes with, or by what refers to it."""
    for name, file in rom.by_name.items():
        if file.node.kind is NodeKind.FILE and SPLIT.fullmatch(name):
            yield Unread(name, "the first part of a file that was split; join them first")
        elif file.path and file.node.kind is NodeKind.FILE and PACKED.fullmatch(name):
            yield Unread(name, "a compressed file; unpack it first")
    listed = False
    for name in [name for name in rom.by_name if posixpath.basename(name) == LIST]:
        if name.count("/") < 2 and rom.by_name[name].path is None:
            listed = True
            yield from _not_here(rom, name)
    if not listed and "folder" in rom.kind:
        yield from _only_compiled(rom)
    code = lacking_resources(rom)
    if code and not listed and is_loose(rom, code):
        place = resources_beside(code)
        yield Unread(place, "is not here; without it no device starts, so files are missing")


def lacking_resources(rom: Rom) -> RomFile | None:
    """Return a file of the platform's code if a ROM does not have the platform's resources with it."""
    if PLATFORM_RESOURCES in rom.files:
        return None
    return next((rom.files[path] for path in PLATFORM_CODE if path in rom.files), None)


def resources_beside(code: RomFile) -> str:
    """Return where the platform's resources would be, by a file of its code."""
    return f"{code.name.rpartition('/')[0]}/{posixpath.basename(PLATFORM_RESOURCES)}"


def is_loose(rom: Rom, file: RomFile) -> bool:
    """Say whether a file is one of a dump, which may have been published without others.

    File systems of images are whole, and an update package says itself what it puts on the device.
    """
    return rom.script is None and isinstance(file.tree, Folder | ZipTree | TarTree)


def _not_here(rom: Rom, list_name: str) -> Iterator[Unread]:
    """Yield one part if files of the device that a list names are not there."""
    try:
        text = rom.read(rom.by_name[list_name], MAX_LIST_SIZE).decode(errors="replace")
    except ImageError as error:
        yield Unread(list_name, error.message)
        return
    folder = list_name.removesuffix(LIST)
    place = rom.mounts[0].place
    lost = []
    for line in text.splitlines():
        name = folder + re.sub(r"\A\d+\t", "", line).removeprefix("./")
        if name in rom.by_name or name.endswith(UNREAD_KINDS) or PSEUDO in name:
            continue
        if place(name) is not None:
            lost.append(name)
    if lost:
        count = f"{len(lost)} files" if len(lost) > 1 else "1 file"
        are = "are" if len(lost) > 1 else "is"
        yield Unread(
            list_name, f"lists {count} of the device that {are} not here (first: {min(lost)})"
        )


def _only_compiled(rom: Rom) -> Iterator[Unread]:
    """Yield each app of which a folder has nothing but the code that was compiled ahead."""
    found: dict[str, None] = {}
    for path, file in rom.files.items():
        match = COMPILED.fullmatch(path)
        if match and not any(
            f"{match['folder']}/{match['app']}{suffix}" in rom.files
            for suffix in (".apk", ".apk.gz", ".apk.xz", ".apk.aa")
        ):
            parts = file.name.split("/")
            found["/".join((*parts[:-3], f"{match['app']}.apk"))] = None
    for name in sorted(found):
        yield Unread(name, "is not here, but its compiled code is")
