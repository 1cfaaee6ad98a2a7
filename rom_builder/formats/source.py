"""Random access to bytes that need not be in memory: files, slices of files, pieced-together extents."""

from __future__ import annotations

import io
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from rom_builder.errors import ImageError


class Source(Protocol):
    """Bytes that can be read at any offset."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``.

        Raises:
            ImageError: The range does not lie inside the source.
        """
        ...


def check_range(source: Source, offset: int, size: int) -> None:
    """Refuse a range that does not lie inside ``source``.

    Raises:
        ImageError: Negative, or past the end.
    """
    if offset < 0 or size < 0 or offset + size > source.size:
        raise ImageError(
            f"{size} bytes are wanted, the data ends at byte {source.size:#x}", offset=offset
        )


class BytesSource:
    """A source over bytes in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        return bytes(self._data[offset : offset + size])


class FileSource:
    """A source over a regular file; safe to use from several threads.

    Args:
        path: The file, or the descriptor of an open one, which may be closed afterwards.

    Raises:
        OSError: The file cannot be opened.
    """

    _fd = -1

    def __init__(self, path: Path | int) -> None:
        if isinstance(path, int):
            self._fd = os.dup(path)
        else:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.size = os.fstat(self._fd).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        pieces = []
        while size:
            try:
                piece = os.pread(self._fd, min(size, 1 << 30), offset)
            except OSError as error:
                raise ImageError(error.strerror or "read error", offset=offset) from error
            if not piece:
                raise ImageError("the file became shorter while it was read", offset=offset)
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give the file descriptor back; later reads fail."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def spooled(pieces: Iterable[bytes]) -> FileSource:
    """Write pieces to a temporary file and return a source over it.

    The file has no name, so that nothing stays behind however the program ends.

    Raises:
        OSError: The disk is full.
    """
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        return FileSource(file.fileno())


class Slice:
    """``size`` bytes of another source from ``offset`` on.

    Raises:
        ImageError: The slice does not lie inside the other source.
    """

    def __init__(self, source: Source, offset: int, size: int) -> None:
        check_range(source, offset, size)
        self._source = source
        self._offset = offset
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        return self._source.read_at(self._offset + offset, size)


class Pieces:
    """Sources laid end to end; None with a size stands for zeros.

    Args:
        pieces: ``(source or None, size)`` in order; a source must be exactly ``size`` long.
    """

    def __init__(self, pieces: Sequence[tuple[Source | None, int]]) -> None:
        self._pieces = [piece for piece in pieces if piece[1]]
        self._starts: list[int] = []
        position = 0
        for source, size in self._pieces:
            if size < 0 or (source is not None and source.size != size):
                raise ValueError("a piece's size differs from its source's")
            self._starts.append(position)
            position += size
        self.size = position

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        if not size:
            return b""
        parts = []
        index = bisect_right(self._starts, offset) - 1
        while size:
            source, piece_size = self._pieces[index]
            start = offset - self._starts[index]
            count = min(size, piece_size - start)
            parts.append(bytes(count) if source is None else source.read_at(start, count))
            offset += count
            size -= count
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


class SourceReader(io.RawIOBase):
    """A seekable, read-only binary file over a source, for libraries that want one."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}
        self._position = max(0, starts[whence] + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = max(0, min(len(buffer), self._source.size - self._position))
        buffer[:size] = self._source.read_at(self._position, size)
        self._position += size
        return size
