"""Writers of boot images that no packaged mkbootimg makes: old Qualcomm, MediaTek, version 4."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PAGE = 4096


def pages(data: bytes, page: int = PAGE) -> bytes:
    return data + bytes(-len(data) % page)


def mtk(name: bytes, data: bytes) -> bytes:
    return (struct.pack("<II", 0x58881688, len(data)) + name.ljust(32, b"\0")).ljust(
        512, b"\xff"
    ) + data


def boot_v0(
    kernel: bytes,
    ramdisk: bytes,
    *,
    page: int = 2048,
    device_tree: bytes = b"",
    cmdline: bytes = b"",
) -> bytes:
    head = b"ANDROID!"
    head += struct.pack("<II", len(kernel), 0) + struct.pack("<II", len(ramdisk), 0) + bytes(12)
    head += struct.pack("<3I", page, len(device_tree), 0) + b"board".ljust(16, b"\0")
    head += cmdline[:512].ljust(512, b"\0") + bytes(32) + cmdline[512:].ljust(1024, b"\0")
    return b"".join(pages(part, page) for part in (head, kernel, ramdisk, device_tree))


def boot_v1(kernel: bytes, ramdisk: bytes, second: bytes, dtbo: bytes, dtb: bytes = b"") -> bytes:
    """Write version 1, or 2 if there is a DTB."""
    head = b"ANDROID!" + struct.pack("<II", len(kernel), 0) + struct.pack("<II", len(ramdisk), 0)
    head += struct.pack("<III", len(second), 0, 0) + struct.pack("<III", 2048, 2 if dtb else 1, 0)
    head = head.ljust(1632, b"\0") + struct.pack("<IQI", len(dtbo), 0, 1660 if dtb else 1648)
    head += struct.pack("<IQ", len(dtb), 0) if dtb else b""
    return b"".join(pages(part, 2048) for part in (head, kernel, ramdisk, second, dtbo, dtb))


def boot_v4(kernel: bytes, ramdisk: bytes, signature: bytes = b"", os_version: int = 0) -> bytes:
    head = b"ANDROID!" + struct.pack("<4I", len(kernel), len(ramdisk), os_version, 1584)
    head += bytes(16) + struct.pack("<I", 4) + b"quiet".ljust(1536, b"\0")
    head += struct.pack("<I", len(signature))
    return b"".join(pages(part) for part in (head, kernel, ramdisk, signature))


def vendor_boot_v4(
    ramdisks: Sequence[tuple[bytes, int, bytes]], dtb: bytes = b"", bootconfig: bytes = b""
) -> bytes:
    """Write a vendor_boot image; ``ramdisks`` are (name, type, content)."""
    section, table = b"", b""
    for name, kind, content in ramdisks:
        row = struct.pack("<3I", len(content), len(section), kind)
        table += row + name.ljust(32, b"\0") + bytes(64)
        section += content
    head = b"VNDRBOOT" + struct.pack("<5I", 4, PAGE, 0, 0, len(section))
    head += b"vendor=1".ljust(2048, b"\0") + bytes(4) + b"board".ljust(16, b"\0")
    head += struct.pack("<IIQ", 2128, len(dtb), 0)
    head += struct.pack("<4I", len(table), len(ramdisks), 108, len(bootconfig))
    return b"".join(pages(part) for part in (head, section, dtb, table, bootconfig))
