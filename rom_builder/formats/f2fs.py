"""F2FS, recognised so that it is reported as unread; it is not read."""

from __future__ import annotations

_OFFSET = 1024
_MAGIC = 0xF2F52010  # F2FS_SUPER_MAGIC, u32 little-endian at byte 1024 (Linux uapi/linux/magic.h)

UNREAD_REASON = "the file system F2FS is not read"


def detect_f2fs(head: bytes) -> bool:
    """Tell from the first 8 KiB of an image whether it is F2FS."""
    return head[_OFFSET : _OFFSET + 4] == _MAGIC.to_bytes(4, "little")
