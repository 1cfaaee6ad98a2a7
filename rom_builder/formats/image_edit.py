"""Changes to the files of a file-system image, and the plan of bytes that makes them.

Each file system has a ``plan_edits(image, changes, ...)``; it reads, never writes, and either
returns a complete :class:`ImagePlan` or raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, Pieces, Slice, Source
from rom_builder.formats.tree import NodeKind

LabelOf = Callable[[str, NodeKind], str | None]
"""Gives the SELinux label of a new file or folder by its path in the image, or None."""

_PIECE_SIZE = 1 << 20
_FOOTER_SIZE = 64
_FOOTER_MAGIC = b"AVBf"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file as it shall be.

    Attributes that are None keep those of the file that is replaced. A new file takes owner, time
    and label from the nearest file beside it (the same ending first, then the order of names), in a
    folder without files from the folder; its mode is 0644. Missing folders above it are made like
    the folder that they are put into.

    Attributes:
        path: Where, in the words of :class:`~rom_builder.formats.tree.Node`.
        data: Its whole content; None removes the file, link or empty folder. A source is read when
            the plan is made and again when it is applied.
        mode: Permission bits, ``0o7777`` at most.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        label: SELinux label without its trailing NUL, which is stored if files beside it have it.
        capabilities: Value of ``security.capability``; empty for none.
        xattrs: Further attributes by full name, added to those the file has.
    """

    path: str
    data: bytes | Source | None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    label: str | None = None
    capabilities: bytes | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, limit in (
            ("mode", self.mode, 0o7777),
            ("uid", self.uid, 0xFFFFFFFE),
            ("gid", self.gid, 0xFFFFFFFE),
        ):
            if value is not None and not 0 <= value <= limit:
                raise ValueError(f"{self.path}: {name} {value} is not between 0 and {limit}")

    @property
    def content(self) -> Source:
        """The content; empty for a removal."""
        if self.data is None or isinstance(self.data, bytes):
            return BytesSource(self.data or b"")
        return self.data


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that take the place of those at ``offset`` or lie behind the image's old end."""

    offset: int
    data: Source

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + self.data.size


@dataclass(frozen=True, slots=True)
class Remains:
    """Old content of a removed or replaced file that stays in the image where no name leads to it.

    Attributes:
        path: The file.
        size: Bytes of content.
        reason: Why it was not zeroed.
    """

    path: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """Everything that changes in one image.

    Attributes:
        old_size: Bytes of the image that it was made for.
        size: Bytes of the image afterwards, never fewer.
        writes: In rising order, none touching the next one's bytes.
        old_digest: SHA-256 of the bytes that the writes replace.
        remains: Old content that was to be zeroed and could not be.
    """

    old_size: int
    size: int
    writes: tuple[Write, ...]
    old_digest: bytes
    remains: tuple[Remains, ...] = ()

    @property
    def changed(self) -> tuple[range, ...]:
        """Byte ranges that differ from the old image or are new, in rising order."""
        ranges: list[range] = []
        for write in self.writes:
            if ranges and ranges[-1].stop == write.offset:
                ranges[-1] = range(ranges[-1].start, write.end)
            else:
                ranges.append(range(write.offset, write.end))
        return tuple(ranges)

    def changed_blocks(self, block_size: int = 4096) -> list[int]:
        """Return the numbers of the blocks that hold a changed byte: leaves of a hashtree."""
        found: dict[int, None] = {}
        for part in self.changed:
            blocks = range(part.start // block_size, (part.stop - 1) // block_size + 1)
            found.update(dict.fromkeys(blocks))
        return list(found)

    def apply(self, image: Source) -> Source:
        """Return the image as it will be; nothing is copied but the writes.

        Raises:
            ImageError: This is not the image that the plan was made for.
        """
        self._check(image)
        pieces: list[tuple[Source | None, int]] = []
        position = 0
        for write in self.writes:
            pieces += _old_bytes(image, position, write.offset)
            pieces.append((write.data, write.data.size))
            position = write.end
        pieces += _old_bytes(image, position, self.size)
        return Pieces(pieces)

    def write(self, file: BinaryIO) -> None:
        """Make the changes in a file that holds the image.

        Every byte is known before the first is written, but a full disk can still end it half-way:
        write to a copy.

        Args:
            file: Opened for reading and writing.

        Raises:
            ImageError: The file does not hold the image that the plan was made for.
            OSError: It cannot be written.
        """
        self._check(_FileContent(file))
        for write in self.writes:
            file.seek(write.offset)
            for piece in pieces_of(write.data):
                file.write(piece)
        file.truncate(self.size)

    def _check(self, image: Source) -> None:
        if image.size != self.old_size or digest_of_old(image, self.writes) != self.old_digest:
            raise ImageError(
                "the image is not the one that the edit was planned for",
                hint="plan again from the image as it is",
            )


class _FileContent:
    """What an open file holds, as a source."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


def _old_bytes(image: Source, start: int, end: int) -> list[tuple[Source | None, int]]:
    """Return the pieces of the old image from ``start`` to ``end``; behind its end are zeros."""
    kept = max(0, min(end, image.size) - start)
    return [(Slice(image, start, kept) if kept else None, kept), (None, end - start - kept)]


def digest_of_old(image: Source, writes: tuple[Write, ...]) -> bytes:
    """Return the SHA-256 of the bytes of ``image`` that writes replace."""
    digest = hashlib.sha256()
    for write in writes:
        end = min(write.end, image.size)
        for position in range(write.offset, end, _PIECE_SIZE):
            digest.update(image.read_at(position, min(_PIECE_SIZE, end - position)))
    return digest.digest()


def pieces_of(source: Source) -> Iterator[bytes]:
    """Yield the whole content of a source, 1 MiB at a time."""
    for position in range(0, source.size, _PIECE_SIZE):
        yield source.read_at(position, min(_PIECE_SIZE, source.size - position))


def refuse_footer(image: Source) -> None:
    """Refuse an image that still has its verified-boot footer: a file system ends before that.

    Raises:
        ImageError: The last 64 bytes are an AVB footer.
    """
    start = image.size - _FOOTER_SIZE
    if start >= 0 and image.read_at(start, len(_FOOTER_MAGIC)) == _FOOTER_MAGIC:
        raise ImageError(
            "the image ends in an AVB footer",
            offset=start,
            hint="edit the part before the hashtree, then seal it again",
        )


def check_limit(size: int, limit: int | None) -> None:
    """Refuse an image that would be larger than it may be.

    Raises:
        ImageError: It would.
    """
    if limit is not None and size > limit:
        raise ImageError(
            f"the edited image would take {size} bytes, {limit} are allowed",
            hint="remove files, or give the partition more room",
        )
