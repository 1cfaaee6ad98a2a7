"""cpio archives in the ``newc`` format, as ramdisks hold them.

Source: Linux ``Documentation/driver-api/early-userspace/buffer-format.rst``. An entry is a header
of 110 ASCII bytes, the name with a NUL, padding to 4, the content, padding to 4; the entry named
``TRAILER!!!`` ends the archive. Header: magic ``070701`` (``070702`` with checksums), then 13
numbers of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime, size, device major and minor,
special file major and minor, name size with NUL, sum of all content bytes modulo 2**32.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.tree import FILE_TYPES, Node, NodeKind, UnreadParts, decoded

MAGIC = b"070701"
MAGIC_WITH_CHECKSUM = b"070702"
HEADER_SIZE = 110
TRAILER = b"TRAILER!!!"

MAX_ENTRIES = 1 << 17
"""Most entries of one archive; ramdisks have a few hundred."""

MAX_NAME_SIZE = 4096
"""Most bytes of a name or of a symlink's target, Linux's PATH_MAX."""

_HEADER = re.compile(rb"07070[12][0-9A-Fa-f]{104}")


@dataclass(frozen=True, slots=True)
class CpioEntry:
    """One entry as it is written.

    Attributes:
        name: Its path, as written.
        mode: Kind and permission bits.
        device: Major and minor number of a special file.
        checksum: Sum of a file's bytes; None in archives without checksums.
        offset: Where its header lies.
    """

    name: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    device: tuple[int, int]
    checksum: int | None
    offset: int
    content: memoryview = field(repr=False)


def detect_cpio(head: bytes) -> bool:
    """Tell whether an archive that starts with ``head`` is a newc cpio archive."""
    return head[:6] in (MAGIC, MAGIC_WITH_CHECKSUM)


def read_cpio(data: memoryview, start: int = 0) -> Iterator[CpioEntry]:
    """Yield the entries of the archive at ``start``; the trailer comes last.

    Raises:
        ImageError: The archive is damaged, ends early or has too many entries.
    """
    position = start
    for _ in range(MAX_ENTRIES):
        head = bytes(data[position : position + HEADER_SIZE])
        if not _HEADER.fullmatch(head):
            raise ImageError("no cpio header", offset=position)
        inode, mode, uid, gid, links, mtime, size, _, _, major, minor, name_size, checksum = (
            int(head[at : at + 8], 16) for at in range(6, HEADER_SIZE, 8)
        )
        if not 0 < name_size <= MAX_NAME_SIZE:
            raise ImageError(f"cpio name of {name_size} bytes", offset=position + 94)
        name_end = position + HEADER_SIZE + name_size
        name = bytes(data[position + HEADER_SIZE : name_end])
        first = name_end + -name_end % 4
        if first + size > len(data) or name[-1:] != b"\0":
            raise ImageError("a cpio entry ends after its archive", offset=position)
        summed = head[:6] == MAGIC_WITH_CHECKSUM
        yield CpioEntry(
            name[:-1], inode, mode, uid, gid, links, mtime, (major, minor),
            checksum if summed else None, position, data[first : first + size],
        )  # fmt: skip
        if name[:-1] == TRAILER:
            return
        position = first + size + -(first + size) % 4
    raise ImageError(f"a cpio archive of more than {MAX_ENTRIES} entries", offset=start)


class CpioTree:
    """The files of one or more archives, a later entry replacing an earlier one of the same path.

    A hard link shares content and ``inode`` with the entries of its archive that have its inode.

    Args:
        archives: Uncompressed archives; each may hold several, end to end.

    Raises:
        ImageError: Nothing could be read. Damage further on is listed in ``unread``.
    """

    def __init__(self, archives: Sequence[bytes]) -> None:
        self.unread = UnreadParts()
        self._nodes: dict[str, Node] = {}
        self._contents: dict[str, memoryview] = {}
        self._links: dict[tuple[int, int], list[str]] = {}
        for number, archive in enumerate(archives):
            data = memoryview(archive)
            try:
                for entry in every_entry(data):
                    self._add(number, entry)
            except ImageError as error:
                if not self._nodes:
                    raise
                self.unread.note("", f"archive {number}: {error}")
        self._complete()

    def _add(self, archive: int, entry: CpioEntry) -> None:
        path = path_of(entry.name)
        kind = FILE_TYPES.get(stat.S_IFMT(entry.mode))
        if path is None or kind is None:
            shown = entry.name.decode("utf-8", "backslashreplace")
            reason = f"mode {entry.mode:#o}" if kind is None else "its path leaves the archive"
            self.unread.note(shown, reason)
            return
        if not path:
            return
        summed = entry.checksum is not None and kind is NodeKind.FILE and len(entry.content)
        if summed and sum(entry.content) & 0xFFFF_FFFF != entry.checksum:
            self.unread.note(path, "its content does not match its checksum")
            return
        target = None
        if kind is NodeKind.SYMLINK:
            target = decoded(bytes(entry.content[:MAX_NAME_SIZE]))
        has_content = kind in (NodeKind.FILE, NodeKind.SYMLINK)
        linked = kind is NodeKind.FILE and entry.links > 1
        node = Node(
            path=path,
            kind=kind,
            size=len(entry.content) if has_content else 0,
            mode=stat.S_IMODE(entry.mode),
            uid=entry.uid,
            gid=entry.gid,
            mtime=entry.mtime,
            target=target,
            inode=archive << 32 | entry.inode if linked else None,
        )
        self._nodes.pop(path, None)
        self._nodes[path] = node
        self._contents[path] = entry.content
        if linked:
            self._link(archive, entry, path)

    def _link(self, archive: int, entry: CpioEntry, path: str) -> None:
        """Give all names of one file the content; writers put it with the first or the last."""
        names = self._links.setdefault((archive, entry.inode), [])
        names.append(path)
        content = entry.content or next(
            (self._contents[name] for name in names if self._contents[name]), entry.content
        )
        for name in names:
            node = self._nodes[name]
            if node.inode == archive << 32 | entry.inode:
                self._contents[name] = content
                self._nodes[name] = replace(node, size=len(content))

    def _complete(self) -> None:
        """Add folders that are only implied; set aside what lies inside something else."""
        for path in list(self._nodes):
            parts = path.split("/")[:-1]
            for count in range(1, len(parts) + 1):
                parent = "/".join(parts[:count])
                found = self._nodes.setdefault(parent, Node(parent, NodeKind.FOLDER))
                if found.kind is not NodeKind.FOLDER:
                    del self._nodes[path]
                    self.unread.note(path, f"{parent} is a {found.kind.value}")
                    break

    def walk(self) -> Iterator[Node]:
        yield from sorted(self._nodes.values(), key=lambda node: node.path.split("/"))

    def open(self, node: Node) -> Source:
        found = self._nodes.get(node.path)
        if found is None or found.kind is not NodeKind.FILE:
            raise ImageError("the archive has no such file", path=node.path)
        return BytesSource(self._contents[node.path])


def every_entry(data: memoryview) -> Iterator[CpioEntry]:
    """Yield the entries of archives laid end to end, with zeros between them, without trailers.

    Raises:
        ImageError: An entry is damaged.
    """
    position = 0
    while position < len(data):
        entry = None
        for entry in read_cpio(data, position):
            if entry.name != TRAILER:
                yield entry
        if entry is None:
            return
        position = entry.offset + HEADER_SIZE + len(TRAILER) + 1 + len(entry.content)
        position += _zeros(data, position)


def _zeros(data: memoryview, start: int) -> int:
    """Count the zero bytes from ``start`` on."""
    count = 0
    while start + count < len(data):
        piece = bytes(data[start + count : start + count + 4096])
        left = len(piece.lstrip(b"\0"))
        count += len(piece) - left
        if left:
            break
    return count


def path_of(name: bytes) -> str | None:
    """Return a path without leading ``/`` or ``./``, None if it cannot be one inside a tree."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in name:
        return None
    return decoded(b"/".join(parts))
