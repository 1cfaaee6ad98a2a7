"""Digests of many entries of a zip archive: each byte is read once, and no check is left out.

To hash an app entry by entry costs two reads and a dozen calls for each of a thousand small files.
Here small entries are taken from stretches of up to a megabyte, in the order in which they lie in the
archive, if nothing at all is odd about them; whatever is odd, the archive's own ``read`` judges.

Threads that hash small entries take turns: each short call into zlib gives up the interpreter, and
threads that hand it to one another for every entry are slower than one alone. Nine tenths of the work
is in the few large entries, which need no turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from rom_builder.errors import ImageError
from rom_builder.formats.inflate import RAW, InflateError, crc32, decompressobj
from rom_builder.formats.source import Source
from rom_builder.formats.zip_directory import (
    DEFLATED,
    FLAG_DESCRIPTOR,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    STORED,
    ZipEntry,
)

if TYPE_CHECKING:
    from hashlib import _Hash

SMALL = 64 << 10
"""Bytes of content, and of data in the archive, of an entry that is taken together with others."""
WHOLE = 4 << 20
"""Bytes of a larger entry that is read at once."""
_STRETCH = 1 << 20
_GAP = 4 << 10
"""Bytes between two entries that are read with them rather than in two reads."""
_EXTRA = 64
"""Bytes of extra field of a local header that are read in advance."""

NewHash = Callable[..., "_Hash"]
"""Makes a hash object; may be given the first bytes."""

_turn = Lock()


def _place(pair: tuple[ZipEntry, NewHash]) -> int:
    return pair[0].header_offset


class Reader(Protocol):
    """Reads single entries of an archive, with every check."""

    def read(self, entry: ZipEntry) -> bytes:
        """Return the content."""
        ...

    def stream(self, entry: ZipEntry) -> Iterator[bytes]:
        """Yield the content piece by piece."""
        ...


def digests(
    source: Source, wanted: Iterable[tuple[ZipEntry, NewHash]], reader: Reader
) -> dict[str, bytes]:
    """Return digests by the names of entries; see :meth:`ZipArchive.digests`.

    Args:
        source: The archive's bytes.
        wanted: Entries and what each is hashed with.
        reader: Asked for entries that are large or odd.
    """
    small: list[tuple[ZipEntry, NewHash]] = []
    large: list[tuple[ZipEntry, NewHash]] = []
    for pair in sorted(wanted, key=_place):
        entry = pair[0]
        is_small = entry.size <= SMALL and entry.compressed_size <= SMALL
        (small if is_small else large).append(pair)
    found: dict[str, bytes] = {}
    has_turn = _turn.acquire(blocking=False)
    if not has_turn:
        _hash_large(large, reader, found)
        _turn.acquire()
    try:
        _hash_small(small, source, reader, found)
    finally:
        _turn.release()
    if has_turn:
        _hash_large(large, reader, found)
    return found


def _hash_large(
    wanted: list[tuple[ZipEntry, NewHash]], reader: Reader, found: dict[str, bytes]
) -> None:
    for entry, new_hash in wanted:
        hasher = new_hash()
        is_whole = entry.size <= WHOLE and entry.compressed_size <= WHOLE
        for piece in (reader.read(entry),) if is_whole else reader.stream(entry):
            hasher.update(piece)
        found[entry.name] = hasher.digest()


def _hash_small(
    wanted: list[tuple[ZipEntry, NewHash]],
    source: Source,
    reader: Reader,
    found: dict[str, bytes],
) -> None:
    for start, size, stretch in _stretches(wanted, source.size):
        try:
            data = source.read_at(start, size)
        except ImageError:
            data = b""  # the reader says which entry it is
        for entry, new_hash in stretch:
            content = _plain_content(entry, data, start)
            if content is None:
                content = reader.read(entry)
            found[entry.name] = new_hash(content).digest()


def _stretches(
    wanted: list[tuple[ZipEntry, NewHash]], source_size: int
) -> Iterator[tuple[int, int, list[tuple[ZipEntry, NewHash]]]]:
    """Yield offset and size of ranges to read, each with the entries that lie in it."""
    stretch: list[tuple[ZipEntry, NewHash]] = []
    start = end = 0
    for pair in wanted:
        name, _, _, _, packed, _, at, _, _, _ = pair[0]
        entry_end = at + LOCAL_HEADER.size + len(name) + _EXTRA + packed
        if at > end + _GAP or entry_end > start + _STRETCH:
            if stretch:
                yield start, min(end, source_size) - start, stretch
            stretch, start, end = [], min(at, source_size), 0
        stretch.append(pair)
        end = max(end, entry_end)
    if stretch:
        yield start, min(end, source_size) - start, stretch


def _plain_content(entry: ZipEntry, data: bytes, start: int) -> bytes | None:
    """Return the content of an entry if nothing at all is odd about it, else None.

    Args:
        entry: The entry.
        data: Some of the archive.
        start: Where in the archive that begins.
    """
    name, method, _, crc, packed, size, offset, _, _, _ = entry
    at = offset - start
    name_start = at + LOCAL_HEADER.size
    if name_start > len(data):
        return None
    magic, _, flags, local_method, _, local_crc, local_packed, local_size, name_size, extra_size = (
        LOCAL_HEADER.unpack_from(data, at)
    )
    name_end = name_start + name_size
    content = data[name_end + extra_size : name_end + extra_size + packed]
    if (
        magic != LOCAL_MAGIC
        or local_method != method
        or (
            (local_crc != crc or local_packed != packed or local_size != size)
            and not flags & FLAG_DESCRIPTOR
        )
        or data[name_start:name_end].decode(errors="backslashreplace") != name
        or len(content) != packed
    ):
        return None
    if method == DEFLATED:
        inflater = decompressobj(RAW)
        try:
            content = inflater.decompress(content, size + 1)
        except InflateError:
            return None
        if not inflater.eof or inflater.unused_data:
            return None
    elif method != STORED:
        return None
    return content if len(content) == size and crc32(content) == crc else None
