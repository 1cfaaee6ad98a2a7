"""Boot images: boot, recovery, init_boot (header versions 0 to 4) and vendor_boot (3 and 4).

All integers are little-endian; sections follow the header in the order given, each from a new page
on. Source: AOSP ``system/tools/mkbootimg/include/bootimg/bootimg.h``.

======== ==== ===================================================================================
offset   size boot header, versions 0, 1 and 2
======== ==== ===================================================================================
0        8    magic ``ANDROID!``
8, 16    4, 4 kernel size, ramdisk size; each is followed by a load address (4)
24       4    second stage size; its load address follows
32, 36   4, 4 load address of tags, page size
40       4    header version; before Android 9 Qualcomm's size of a device tree instead
44       4    OS version, bits 31-11 A.B.C in 7 bits each, then year - 2000 in 7 and month in 4
48       16   name
64       512  command line
576      32   digest of the sections
608      1024 more command line
1632     16   (1, 2) recovery DTBO size (4) and offset (8), header size (4)
1648     12   (2) DTB size (4), load address (8)
======== ==== ===================================================================================

Sections: kernel, ramdisk, second stage, recovery DTBO, DTB.

======== ==== ===================================================================================
offset   size boot header, versions 3 and 4; pages of 4096
======== ==== ===================================================================================
8, 12    4, 4 kernel size, ramdisk size
16, 20   4, 4 OS version, header size
40       4    header version
44       1536 command line
1580     4    (4) signature size
======== ==== ===================================================================================

Sections: kernel, ramdisk, signature.

======== ==== ===================================================================================
offset   size vendor_boot header
======== ==== ===================================================================================
0        8    magic ``VNDRBOOT``
8, 12    4, 4 header version, page size; load addresses of kernel and ramdisk follow (4, 4)
24       4    size of all ramdisks together
28       2048 command line; load address of tags follows (4)
2080     16   name
2096     4    header size
2100     12   DTB size (4), load address (8)
2112     16   (4) ramdisk table size, its entries, bytes of an entry, bootconfig size
======== ==== ===================================================================================

Sections: ramdisks, DTB, ramdisk table, bootconfig. Table entry (108): size, offset in the ramdisk
section, type, name (32), board id (16 times 4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from rom_builder.errors import ImageError
from rom_builder.formats.mtk_header import MtkHeader, strip_mtk_header
from rom_builder.formats.source import Slice, Source
from rom_builder.formats.vbmeta import Footer, read_footer

BOOT_MAGIC = b"ANDROID!"
VENDOR_BOOT_MAGIC = b"VNDRBOOT"

MAX_RAMDISKS = 64
"""Most entries of a vendor ramdisk table; phones have two or three."""

_V0 = struct.Struct("<8s10I16s512s32s1024s")
_V1 = struct.Struct("<IQI")
_V2 = struct.Struct("<IQ")
_V3 = struct.Struct("<8s4I16xI1536s")
_VENDOR_V3 = struct.Struct("<8s5I2048sI16sIIQ")
_VENDOR_V4 = struct.Struct("<4I")
_TABLE_ENTRY = struct.Struct("<3I32s64x")
_V3_PAGE_SIZE = 4096
_NEWEST = 4


class RamdiskKind(IntEnum):
    """What a ramdisk of a vendor_boot image is for; NONE for the one of any other image."""

    NONE = 0
    PLATFORM = 1
    RECOVERY = 2
    DLKM = 3


@dataclass(frozen=True, slots=True)
class BootRamdisk:
    """One ramdisk, still compressed.

    Attributes:
        content: Its bytes, without a MediaTek header.
        name: Its name in a vendor_boot image, else empty.
        kind: A :class:`RamdiskKind`; unknown numbers are kept.
        mtk_header: The MediaTek header in front of it.
    """

    content: Source
    name: str = ""
    kind: int = RamdiskKind.NONE
    mtk_header: MtkHeader | None = None


@dataclass(frozen=True, slots=True)
class BootImage:
    """An opened boot image; sections that are not there are None.

    Attributes:
        is_vendor: A vendor_boot image.
        header_version: 0 to 4.
        page_size: Bytes of a page; every section starts on one.
        kernel: The kernel, without a MediaTek header.
        ramdisks: One, or none, or in a vendor_boot image several.
        second: Second-stage loader.
        recovery_dtbo: Device tree overlays for recovery.
        dtb: Device tree blob; Qualcomm's device tree table in images before Android 9.
        bootconfig: Text for ``/proc/bootconfig``.
        signature: Boot signature of version 4, a vbmeta image.
        cmdline: Kernel command line.
        name: Board name.
        os_version: Such as ``14.0.0``, empty if not given.
        os_patch_level: Such as ``2024-06``, empty if not given.
        digest: Digest of the sections in versions 0 to 2, of no fixed kind.
        footer: AVB footer at the end of the partition.
        kernel_mtk_header: The MediaTek header in front of the kernel.
    """

    is_vendor: bool
    header_version: int
    page_size: int
    kernel: Source | None = None
    ramdisks: tuple[BootRamdisk, ...] = ()
    second: Source | None = None
    recovery_dtbo: Source | None = None
    dtb: Source | None = None
    bootconfig: Source | None = None
    signature: Source | None = None
    cmdline: str = ""
    name: str = ""
    os_version: str = ""
    os_patch_level: str = ""
    digest: bytes = field(default=b"", repr=False)
    footer: Footer | None = None
    kernel_mtk_header: MtkHeader | None = None


def detect_boot_image(head: bytes) -> bool:
    """Tell whether an image that starts with ``head`` is a boot or vendor_boot image."""
    return head[:8] in (BOOT_MAGIC, VENDOR_BOOT_MAGIC)


def open_boot_image(source: Source) -> BootImage:
    """Open a boot, recovery, init_boot or vendor_boot image.

    Raises:
        ImageError: Another kind of image, a later header version, or a section ends after the file.
    """
    head = source.read_at(0, min(44, source.size))
    if head[:8] == VENDOR_BOOT_MAGIC and len(head) == 44:
        return _open_vendor(source)
    if head[:8] != BOOT_MAGIC or len(head) < 44:
        raise ImageError("not a boot image", offset=0)
    version = int.from_bytes(head[40:44], "little")
    if version in (3, 4):
        return _open_v3(source, version)
    return _open_v0(source, version)


class _Sections:
    """Hands out the sections of an image one after the other."""

    def __init__(self, source: Source, page_size: int, header_size: int) -> None:
        if page_size.bit_count() != 1 or not 512 <= page_size <= 1 << 20:
            raise ImageError(f"boot image with pages of {page_size} bytes")
        self._source = source
        self._page_size = page_size
        self._position = 0
        self._advance(header_size)

    def _advance(self, size: int) -> None:
        self._position += -(-size // self._page_size) * self._page_size

    def take(self, size: int, name: str) -> Source | None:
        if not size:
            return None
        if self._position + size > self._source.size:
            raise ImageError(
                f"{name} of {size} bytes ends after the boot image", offset=self._position
            )
        section = Slice(self._source, self._position, size)
        self._advance(size)
        return section


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _os_version(value: int) -> tuple[str, str]:
    """Return version and patch level.

    >>> _os_version(14 << 25 | 24 << 4 | 6)
    ('14.0.0', '2024-06')
    """
    version, level = value >> 11, value & 0x7FF
    return (
        f"{version >> 14}.{version >> 7 & 0x7F}.{version & 0x7F}" if version else "",
        f"{2000 + (level >> 4)}-{level & 0xF:02}" if level else "",
    )


def _kernel(section: Source | None) -> tuple[MtkHeader | None, Source | None]:
    return strip_mtk_header(section) if section else (None, None)


def _ramdisk(section: Source | None) -> tuple[BootRamdisk, ...]:
    if section is None:
        return ()
    header, content = strip_mtk_header(section)
    return (BootRamdisk(content, mtk_header=header),)


def _open_v0(source: Source, version: int) -> BootImage:
    """Open versions 0 to 2, and images before there were versions."""
    (
        _, kernel_size, _, ramdisk_size, _, second_size, _, _, page_size, _, os_version,
        name, cmdline, digest, more_cmdline,
    ) = _V0.unpack(source.read_at(0, _V0.size))  # fmt: skip
    header_size = _V0.size
    dtbo_size, dtb_size = 0, 0
    if version > _NEWEST:
        version, dtb_size = 0, version
    if version >= 1:
        dtbo_size, _, _ = _V1.unpack(source.read_at(header_size, _V1.size))
        header_size += _V1.size
    if version >= 2:
        dtb_size, _ = _V2.unpack(source.read_at(header_size, _V2.size))
        header_size += _V2.size
    sections = _Sections(source, page_size, header_size)
    mtk_header, kernel = _kernel(sections.take(kernel_size, "kernel"))
    number, level = _os_version(os_version)
    return BootImage(
        is_vendor=False,
        header_version=version,
        page_size=page_size,
        kernel=kernel,
        ramdisks=_ramdisk(sections.take(ramdisk_size, "ramdisk")),
        second=sections.take(second_size, "second stage"),
        recovery_dtbo=sections.take(dtbo_size, "recovery DTBO"),
        dtb=sections.take(dtb_size, "DTB"),
        cmdline=_text(cmdline) + _text(more_cmdline),
        name=_text(name),
        os_version=number,
        os_patch_level=level,
        digest=digest,
        footer=read_footer(source),
        kernel_mtk_header=mtk_header,
    )


def _open_v3(source: Source, version: int) -> BootImage:
    """Open versions 3 and 4: boot and init_boot."""
    data = source.read_at(0, _V3.size)
    _, kernel_size, ramdisk_size, os_version, _, _, cmdline = _V3.unpack(data)
    header_size, signature_size = _V3.size, 0
    if version >= _NEWEST:
        signature_size = int.from_bytes(source.read_at(header_size, 4), "little")
        header_size += 4
    sections = _Sections(source, _V3_PAGE_SIZE, header_size)
    mtk_header, kernel = _kernel(sections.take(kernel_size, "kernel"))
    number, level = _os_version(os_version)
    return BootImage(
        is_vendor=False,
        header_version=version,
        page_size=_V3_PAGE_SIZE,
        kernel=kernel,
        ramdisks=_ramdisk(sections.take(ramdisk_size, "ramdisk")),
        signature=sections.take(signature_size, "boot signature"),
        cmdline=_text(cmdline),
        os_version=number,
        os_patch_level=level,
        footer=read_footer(source),
        kernel_mtk_header=mtk_header,
    )


def _open_vendor(source: Source) -> BootImage:
    """Open a vendor_boot image."""
    _, version, page_size, _, _, ramdisk_size, cmdline, _, name, _, dtb_size, _ = _VENDOR_V3.unpack(
        source.read_at(0, _VENDOR_V3.size)
    )
    if version not in (3, 4):
        raise ImageError(f"vendor_boot image of version {version}", offset=8)
    header_size = _VENDOR_V3.size
    table_size, entries, entry_size, bootconfig_size = 0, 0, 0, 0
    if version >= _NEWEST:
        table_size, entries, entry_size, bootconfig_size = _VENDOR_V4.unpack(
            source.read_at(header_size, _VENDOR_V4.size)
        )
        header_size += _VENDOR_V4.size
        if (
            entries > MAX_RAMDISKS
            or entry_size < _TABLE_ENTRY.size
            or entries * entry_size > table_size
        ):
            raise ImageError(
                f"vendor ramdisk table of {entries} entries of {entry_size} bytes in {table_size}",
                offset=_VENDOR_V3.size,
            )
    sections = _Sections(source, page_size, header_size)
    ramdisk = sections.take(ramdisk_size, "vendor ramdisk")
    dtb = sections.take(dtb_size, "DTB")
    table = sections.take(table_size, "vendor ramdisk table")
    return BootImage(
        is_vendor=True,
        header_version=version,
        page_size=page_size,
        ramdisks=_table(ramdisk, table, entries, entry_size) if entries else _ramdisk(ramdisk),
        dtb=dtb,
        bootconfig=sections.take(bootconfig_size, "bootconfig"),
        cmdline=_text(cmdline),
        name=_text(name),
        footer=read_footer(source),
    )


def _table(
    section: Source | None, table: Source | None, entries: int, entry_size: int
) -> tuple[BootRamdisk, ...]:
    """Cut the ramdisk section into the ramdisks its table names."""
    if section is None or table is None:
        raise ImageError("a vendor ramdisk table without ramdisks", offset=_VENDOR_V3.size)
    found = []
    for index in range(entries):
        size, offset, kind, name = _TABLE_ENTRY.unpack(
            table.read_at(index * entry_size, _TABLE_ENTRY.size)
        )
        found.append(BootRamdisk(Slice(section, offset, size), _text(name), kind))
    return tuple(found)
