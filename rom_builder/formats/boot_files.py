"""Give a file in a boot image's ramdisk new content; layout as in :mod:`boot_image`.

What stands behind the ramdisk moves by whole pages; kernel, device trees and the rest keep their
bytes. A boot signature (version 4) covered the old ramdisk and is left out, as images without one
have it; the digest in versions 0 to 2 is computed anew if it was the SHA-1 that mkbootimg writes.
"""

from __future__ import annotations

import hashlib
import struct

from rom_builder.errors import ImageError
from rom_builder.formats.boot_image import BootImage, open_boot_image
from rom_builder.formats.ramdisk import MAX_RAMDISK_SIZE, open_ramdisk
from rom_builder.formats.ramdisk_files import with_ramdisk_file
from rom_builder.formats.source import BytesSource, Source

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_DIGEST, _DTBO_SIZE, _DTBO_OFFSET = 576, 1632, 1636
_V3_PAGE = 4096
_VENDOR_DTB_SIZE, _VENDOR_TABLE = 2100, 2112
_MTK_HEADER_SIZE = 512


def with_file(image: Source, path: str, data: bytes) -> bytes:
    """Return a boot image with other content of one file in its ramdisk.

    Args:
        image: Any boot image without AVB footer.
        path: The file's path in the ramdisk, without a leading slash.
        data: Its content afterwards.

    Raises:
        ImageError: The image is damaged or too large, has no such file, or is followed by
            something that may be a signature of it.
    """
    if image.size > MAX_RAMDISK_SIZE:
        raise ImageError(f"boot image of {image.size} bytes; at most {MAX_RAMDISK_SIZE} are edited")
    content = image.read_at(0, image.size)
    boot = open_boot_image(image)
    if boot.footer is not None:
        raise ImageError("has an AVB footer; its content is edited without")
    new = _vendor(content, boot, path, data) if boot.is_vendor else _boot(content, boot, path, data)
    edited = open_ramdisk(
        [ramdisk.content for ramdisk in open_boot_image(BytesSource(new)).ramdisks]
    )
    node = next((node for node in edited.walk() if node.path == path), None)
    if node is None or (written := edited.open(node)).read_at(0, written.size) != data:
        raise ImageError(f"{path} would not read back from the ramdisk")
    return new


def _read(data: bytes | bytearray, offset: int) -> int:
    number: int = _U32.unpack_from(data, offset)[0]
    return number


def _paged(size: int, page: int) -> int:
    return -(-size // page) * page


def _replaced(section: bytes, mtk: bool, path: str, data: bytes) -> bytes | None:
    head = section[:_MTK_HEADER_SIZE] if mtk else b""
    new = with_ramdisk_file(section[len(head) :], path, data)
    if new is None:
        return None
    return head[:4] + _U32.pack(len(new)) + head[8:] + new if mtk else new


def _boot(content: bytes, boot: BootImage, path: str, data: bytes) -> bytes:
    modern = boot.header_version >= 3
    page = _V3_PAGE if modern else boot.page_size
    size_at = 12 if modern else 16
    size = _read(content, size_at)
    header = (1632, 1648, 1660, 1580, 1584)[boot.header_version]
    start = _paged(header, page) + _paged(_read(content, 8), page)
    end = start + _paged(size, page)
    mtk = bool(boot.ramdisks and boot.ramdisks[0].mtk_header)
    new = _replaced(content[start : start + size], mtk, path, data) if size else None
    if new is None:
        raise ImageError(f"no ramdisk holds {path}")
    head = bytearray(content[:start])
    head[size_at : size_at + 4] = _U32.pack(len(new))
    behind = [boot.second, boot.recovery_dtbo, boot.dtb, boot.signature]
    length = sum(_paged(part.size, page) for part in behind if part)
    if content[end + length :].strip(b"\0"):
        raise ImageError("something follows the boot image, maybe a signature", offset=end + length)
    tail = content[end : end + length]
    if boot.signature is not None:
        head[1580:1584] = bytes(4)
        tail = b""
    if boot.header_version in (1, 2) and _read(content, _DTBO_SIZE):
        moved = _U64.unpack_from(content, _DTBO_OFFSET)[0] + _paged(len(new), page) - (end - start)
        head[_DTBO_OFFSET : _DTBO_OFFSET + 8] = _U64.pack(moved)
    made = bytes(head) + new.ljust(_paged(len(new), page), b"\0") + tail
    if not modern and boot.digest[:20] == _digest(boot):
        digest = _digest(open_boot_image(BytesSource(made)))
        made = made[:_DIGEST] + digest + made[_DIGEST + 20 :]
    return made


def _digest(boot: BootImage) -> bytes:
    """SHA-1 of each section and its size (mkbootimg, ``write_header``)."""
    digest = hashlib.sha1(usedforsecurity=False)
    ramdisk = boot.ramdisks[0].content if boot.ramdisks else None
    sections = [boot.kernel, ramdisk, boot.second]
    sections += [boot.recovery_dtbo] if boot.header_version >= 1 else []
    sections += [boot.dtb] if boot.header_version >= 2 or boot.dtb else []
    for section in sections:
        digest.update(section.read_at(0, section.size) if section else b"")
        digest.update(_U32.pack(section.size if section else 0))
    return digest.digest()


def _vendor(content: bytes, boot: BootImage, path: str, data: bytes) -> bytes:
    page, version = boot.page_size, boot.header_version
    size, dtb_size = _read(content, 24), _read(content, _VENDOR_DTB_SIZE)
    start = _paged(2128 if version >= 4 else 2112, page)
    end = start + _paged(size, page)
    section = content[start : start + size]
    tail = bytearray(content[end:])
    table, entries, row = _paged(dtb_size, page), 0, 0
    if version >= 4:
        _, entries, row, _ = struct.unpack_from("<4I", content, _VENDOR_TABLE)
    places = [
        (_read(tail, at), _read(tail, at + 4), at)
        for at in range(table, table + entries * row, row or 1)
    ] or [(size, 0, -1)]
    for length, offset, at in reversed(places):
        mtk = at < 0 and bool(boot.ramdisks and boot.ramdisks[0].mtk_header)
        new = _replaced(section[offset : offset + length], mtk, path, data)
        if new is None:
            continue
        change = len(new) - length
        if at >= 0:
            tail[at : at + 4] = _U32.pack(len(new))
        for other, behind, where in places:
            if where == at or not other:
                continue
            if behind < offset + length and offset < behind + other:
                raise ImageError("ramdisks of the vendor ramdisk table overlap")
            if behind > offset:
                tail[where + 4 : where + 8] = _U32.pack(behind + change)
        section = section[:offset] + new + section[offset + length :]
        head = content[:24] + _U32.pack(len(section)) + content[28:start]
        return head + section.ljust(_paged(len(section), page), b"\0") + bytes(tail)
    raise ImageError(f"no ramdisk holds {path}")
