"""A tar archive as a tree, gzip-compressed ones too (fastboot packages, ``.tgz``)."""

from __future__ import annotations

import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.source import FileSource, Slice, Source, SourceReader
from rom_builder.formats.tree import Node, NodeKind, UnreadParts

MAX_SPOOLED = 64 << 30
"""Bytes that a compressed archive may hold; no package for a phone comes near."""
MAX_MEMBERS = 200_000
_PIECE = 1 << 20


def detect_tar(head: bytes) -> bool:
    """Tell whether a file that starts with ``head`` is a tar archive (POSIX ustar or GNU)."""
    return head[257:262] == b"ustar"


def detect_gzip(head: bytes) -> bool:
    """Tell whether a file that starts with ``head`` is gzip-compressed."""
    return head[:3] == b"\x1f\x8b\x08"


def inflate_gzip(source: Source) -> Source:
    """Return the content of a gzip file, spooled to a temporary file that has no name.

    Compressed bytes cannot be entered in the middle, and images inside are read at random.

    Raises:
        ImageError: Damaged, cut short, or more than 64 GiB of content.
    """
    with tempfile.TemporaryFile() as file:
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        size = 0
        for offset in range(0, source.size, _PIECE):
            data = source.read_at(offset, min(_PIECE, source.size - offset))
            while data:
                try:
                    content = stream.decompress(data, _PIECE)
                except zlib.error as error:
                    raise ImageError(f"damaged gzip data: {error}", offset=offset) from error
                size += len(content)
                if size > MAX_SPOOLED:
                    raise ImageError(f"more than {MAX_SPOOLED} bytes of content", offset=offset)
                file.write(content)
                data = stream.unconsumed_tail
                if stream.eof:  # another member may follow
                    data = stream.unused_data
                    if data:
                        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        if not stream.eof:
            raise ImageError("the gzip data ends too early", offset=source.size)
        file.flush()
        return FileSource(file.fileno())


class TarTree:
    """The members of a tar archive; nothing is unpacked.

    Raises:
        ImageError: No tar archive, damaged, or more than 200,000 members.
    """

    def __init__(self, source: Source) -> None:
        self.unread = UnreadParts()
        self._source = source
        self._offsets: dict[str, int] = {}
        self._nodes: dict[str, Node] = {}
        try:
            with tarfile.open(fileobj=SourceReader(source), mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count >= MAX_MEMBERS:
                        raise ImageError(f"more than {MAX_MEMBERS} members")
                    self._add(member)
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise ImageError(f"damaged tar archive: {error}") from error

    def _add(self, member: tarfile.TarInfo) -> None:
        path = posixpath.normpath(member.name)
        if path.startswith(("/", "../")) or path in ("..", "."):
            if path != ".":
                self.unread.note(member.name, "the name leaves the archive")
            return
        if path in self._nodes:
            self.unread.note(path, "the archive holds this name twice")
            return
        for depth in range(1, path.count("/") + 1):
            folder = "/".join(path.split("/")[:depth])
            self._nodes.setdefault(folder, Node(folder, NodeKind.FOLDER))
        mode = member.mode & 0o7777
        if member.isreg() and member.sparse is None:
            self._offsets[path] = member.offset_data
            self._nodes[path] = Node(path, NodeKind.FILE, member.size, mode)
        elif member.isdir():
            self._nodes[path] = Node(path, NodeKind.FOLDER, mode=mode)
        elif member.issym():
            target = member.linkname
            self._nodes[path] = Node(path, NodeKind.SYMLINK, len(target), mode, target=target)
        else:
            self.unread.note(path, "a tar member of a kind that is not read")

    def walk(self) -> Iterator[Node]:
        for path in sorted(self._nodes):
            yield self._nodes[path]

    def open(self, node: Node) -> Source:
        """Return the content of a member.

        Raises:
            ImageError: It lies outside the archive.
        """
        return Slice(self._source, self._offsets[node.path], node.size)
