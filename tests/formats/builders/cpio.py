"""A writer of newc archives, for entries no cpio program writes."""

from __future__ import annotations


def entry(
    name: bytes,
    content: bytes = b"",
    *,
    mode: int = 0o100644,
    inode: int = 0,
    links: int = 1,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"070701",
    checksum: int = 0,
) -> bytes:
    numbers = (inode, mode, 0, 2000, links, 1_400_000_000, len(content), 0, 0, *device)
    head = magic + b"".join(b"%08X" % number for number in (*numbers, len(name) + 1, checksum))
    head += name + b"\0"
    head += bytes(-len(head) % 4)
    return head + content + bytes(-len(content) % 4)


def archive(*entries: bytes) -> bytes:
    return b"".join(entries) + entry(b"TRAILER!!!", mode=0)
