"""The files that configure a ROM's platform.

``etc/sysconfig``, ``etc/permissions`` and ``etc/default-permissions`` of every partition.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rom_builder.errors import ImageError
from rom_builder.formats.default_permissions import DefaultPermission, parse_default_permissions
from rom_builder.formats.system_config import REFUSED, ConfigEntry, parse_system_config
from rom_builder.rom import Rom, RomFile

PARTITIONS = {
    "system": ("/system",),
    "vendor": ("/vendor", "/system/vendor"),
    "odm": ("/odm", "/vendor/odm", "/system/vendor/odm"),
    "oem": ("/oem",),
    "product": ("/product", "/system/product"),
    "system_ext": ("/system_ext", "/system/system_ext"),
}
"""Where the files of a partition lie; on a device without it they are those of another."""
MAX_FILE_SIZE = 1 << 20
SYSTEM_CONFIG = ("sysconfig", "permissions")
DEFAULT_PERMISSIONS = ("default-permissions",)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file with its entries.

    Attributes:
        partition: ``system``, ``vendor`` ..., or ``apex``.
    """

    file: RomFile
    partition: str
    entries: tuple[ConfigEntry, ...]

    def obeyed(self, entry: ConfigEntry) -> bool:
        """Whether the platform takes such an entry from this partition."""
        return entry.tag not in REFUSED.get(self.partition, ())


def read_system_config(rom: Rom) -> Iterator[ConfigFile]:
    """Yield the files of ``etc/sysconfig`` and ``etc/permissions``, those for one SKU included.

    A file that cannot be read is noted as unread.
    """
    for partition, file in _files(rom, SYSTEM_CONFIG):
        entries = _parsed(rom, file, parse_system_config)
        if entries is not None:
            yield ConfigFile(file, partition, entries)


def read_default_permissions(rom: Rom) -> Iterator[tuple[RomFile, tuple[DefaultPermission, ...]]]:
    """Yield the files of ``etc/default-permissions``; one that cannot be read is noted as unread."""
    for _, file in _files(rom, DEFAULT_PERMISSIONS):
        permissions = _parsed(rom, file, parse_default_permissions)
        if permissions is not None:
            yield file, permissions


def config_folder(rom: Rom, partition: str, kind: str) -> str:
    """Return the device path at which a partition's files of a kind lie, or would lie."""
    roots = PARTITIONS[partition]
    here = next((root for root in roots if rom.find(root) is not None), roots[0])
    return f"{here}/etc/{kind}"


def _parsed(rom: Rom, file: RomFile, parse: Callable[[bytes], T]) -> T | None:
    try:
        return parse(rom.read(file, MAX_FILE_SIZE))
    except ImageError as error:
        rom.note_unread(error, file.name)
        return None


def _files(rom: Rom, kinds: tuple[str, ...]) -> Iterator[tuple[str, RomFile]]:
    folders = dict(_folders(rom, kinds))
    seen: set[str] = set()
    for path in sorted(rom.files):
        if not path.endswith(".xml"):
            continue
        parent = posixpath.dirname(path)
        partition = folders.get(parent) or _of_module(parent, kinds)
        if partition is None and posixpath.basename(parent).startswith("sku_"):
            partition = folders.get(posixpath.dirname(parent))
        file = rom.find(path) if partition else None
        if partition and file is None:
            rom.note_unread(ImageError("is a link that leads nowhere in the image"), path)
        elif partition and file is not None and file.name not in seen:
            seen.add(file.name)
            yield partition, file


def _folders(rom: Rom, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for partition, roots in PARTITIONS.items():
        for root in roots:
            for kind in kinds:
                try:
                    yield rom.resolve(f"{root}/etc/{kind}"), partition
                except ImageError:
                    continue


def _of_module(folder: str, kinds: tuple[str, ...]) -> str | None:
    parts = folder.split("/")
    in_module = len(parts) == 5 and parts[1] == "apex" and parts[3:] == ["etc", "permissions"]
    return "apex" if in_module and "permissions" in kinds else None
