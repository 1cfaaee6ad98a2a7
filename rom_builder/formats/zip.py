"""Zip archives: OTA packages read strictly, APKs read the way Android reads them.

Packages need raw copies, exact offsets and rules against hostile input, so the reader is our own.
What strict mode refuses, lenient mode reads as Android does and lists in ``ZipArchive.oddities``:

- A method that is neither 0 nor 8 counts as stored, with the uncompressed size of the central
  directory (androidfw asks only "is it deflated?" and maps ``uncompressed_length`` bytes).
- The encryption flag is ignored: Android never looks at it when it loads code or resources.
- A wrong CRC-32 is no error (libziparchive is built with its CRC check off).
- Duplicate names: Android 4.3 and later refuse the whole archive. Before, the signature check saw
  the last entry while the native loader ran the first (CVE-2013-4787): the first one is shown,
  since that is the code that runs.
- A local header with another name is believed as to where the data starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from rom_builder.errors import ImageError
from rom_builder.formats.inflate import RAW, InflateError, crc32, decompressobj
from rom_builder.formats.source import BytesSource, Slice, Source, spooled
from rom_builder.formats.zip_digests import NewHash, digests
from rom_builder.formats.zip_directory import (
    DEFLATED,
    FLAG_DESCRIPTOR,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    STORED,
    U32_MAX,
    Directory,
    ZipEntry,
    read_directory,
    read_end,
)

__all__ = ["DEFLATED", "STORED", "ZipArchive", "ZipEntry"]

MAX_IN_MEMORY = 256 << 20
"""Largest entry that :meth:`ZipArchive.read` returns unless told otherwise."""
MAX_SPOOLED = 16 << 30
"""Largest deflated entry that is inflated to disk: no partition image is larger."""
SPOOL_ABOVE = 16 << 20
"""Deflated entries up to this size are inflated in memory."""
DEFLATE_RATIO = 1032
"""Deflate gives at most 258 bytes for 2 bits."""
_PIECE = 256 << 10


class ZipArchive:
    """A zip archive over any source; safe to read from several threads.

    Args:
        source: The whole archive.
        lenient: Read what Android reads (an APK inside a ROM) instead of refusing what a package
            must not have; see the module's text.
        directory: The attribute of that name of the same archive, if it was open before.

    Attributes:
        directory: What is known of the archive before data is read.
        entries: Entries by name, in the order of the central directory.
        repeated: Names that occur more than once; ``entries`` has the first.
        comment: The archive's comment.
        directory_offset: Where the central directory starts.
        directory_size: Its size in bytes.
        eocd_offset: Where the end-of-central-directory record starts.
        end_offset: Where the comment ends; the size of the source unless lenient.

    Raises:
        ImageError: Not a zip archive, damaged or, unless lenient, of a kind that no package has.
    """

    def __init__(
        self, source: Source, *, lenient: bool = False, directory: Directory | None = None
    ) -> None:
        self._source = source
        self._lenient = lenient
        self._oddities = dict.fromkeys(directory.oddities if directory else ())
        self._data_offsets: dict[int, int] = {}
        known = directory or self._read_directory()
        end = known.end
        self.comment = end.comment
        self.directory_offset = end.directory_offset
        self.directory_size = end.directory_size
        self.eocd_offset = end.eocd_offset
        self.end_offset = end.end_offset
        self.entries, self.repeated = known.entries, known.repeated
        if directory is None:
            if not lenient:
                for entry in known.entries.values():
                    self.data_offset(entry)
            self._check_overlaps()
            known = known._replace(oddities=tuple(self._oddities))
        self.directory = known

    def _read_directory(self) -> Directory:
        end = read_end(self._source, self._note)
        entries, repeated = read_directory(self._source, end, self._note)
        return Directory(end, MappingProxyType(entries), repeated)

    @property
    def oddities(self) -> list[str]:
        """What was found that a package must not have; grows while entries are read."""
        return list(self._oddities)

    def data_offset(self, entry: ZipEntry) -> int:
        """Return where the data of an entry starts, after its local header.

        Raises:
            ImageError: The local header is missing, lies about the entry, or the data lies outside.
        """
        start = self._data_offsets.get(entry.header_offset)
        if start is None:
            start = self._check_local_header(entry)
            self._data_offsets[entry.header_offset] = start
        return start

    def raw(self, entry: ZipEntry) -> Source:
        """Return the bytes of an entry as they lie in the archive, compressed or not.

        Raises:
            ImageError: As :meth:`data_offset`.
        """
        return Slice(self._source, self.data_offset(entry), entry.compressed_size)

    def read(self, entry: ZipEntry, limit: int = MAX_IN_MEMORY) -> bytes:
        """Return the content of an entry, its size and CRC-32 checked.

        Inflating stops at the declared size, whatever a zip bomb would still give.

        Raises:
            ImageError: Damaged, or the content is larger than ``limit``.
        """
        if entry.size > limit or entry.compressed_size > limit + _PIECE:
            sizes = f"{entry.size} bytes of content from {entry.compressed_size}"
            raise self._fault(entry, f"{sizes}, at most {limit} are read at once")
        if entry.method != DEFLATED:
            data = self._stored(entry).read_at(0, entry.size)
        else:
            self._check_ratio(entry)
            data = self._inflate(entry, self.raw(entry).read_at(0, entry.compressed_size))
        self._check_crc(entry, crc32(data))
        return data

    def stream(self, entry: ZipEntry, chunk: int = 1 << 20) -> Iterator[bytes]:
        """Yield the content of an entry in pieces of at most ``chunk`` bytes.

        The size is enforced while inflating; the CRC-32 is checked after the last piece, so that
        only a loop that ends has seen undamaged content.

        Raises:
            ImageError: Damaged.
        """
        crc = 0
        pieces = (
            self._inflated_pieces(entry, chunk)
            if entry.method == DEFLATED
            else _pieces(self._stored(entry), chunk)
        )
        for piece in pieces:
            crc = crc32(piece, crc)
            yield piece
        self._check_crc(entry, crc)

    def digests(self, wanted: Iterable[tuple[ZipEntry, NewHash]]) -> dict[str, bytes]:
        """Return digests of the content of entries, by their names.

        For thousands of small files, several times faster than to read each.

        Args:
            wanted: Entries and what each is hashed with, such as ``hashlib.sha256``.

        Raises:
            ImageError: An entry is damaged, as for :meth:`read` and :meth:`stream`.
        """
        return digests(self._source, wanted, self)

    def open(self, entry: ZipEntry) -> Source:
        """Return the content of an entry for random access.

        A stored entry of more than 16 MiB is a slice of the archive, its CRC-32 unchecked; a smaller
        one is checked when it is first read, unless lenient. So is a deflated one, which is then
        inflated: up to 16 MiB into memory, larger ones into a temporary file without a name. A
        file costs disk, but every later read costs one ``pread``; checkpoints inside the deflate
        stream would cost 32 KiB each and inflate again and again.

        Raises:
            ImageError: Damaged; what is checked, at the first read.
        """
        if entry.method != DEFLATED:
            stored = self._stored(entry)
            return stored if self._lenient or entry.size > SPOOL_ABOVE else _Content(self, entry)
        self._check_ratio(entry)
        return _Content(self, entry)

    def _note(self, entry_name: str, oddity: str, offset: int) -> None:
        """Remember an oddity in lenient mode, refuse it in strict mode."""
        message = f"entry {entry_name!r}: {oddity}" if entry_name else oddity
        if not self._lenient:
            raise ImageError(message, offset=offset)
        self._oddities[message] = None

    def _fault(self, entry: ZipEntry, message: str) -> ImageError:
        return ImageError(f"entry {entry.name!r}: {message}", offset=entry.header_offset)

    def _check_local_header(self, entry: ZipEntry) -> int:
        at = entry.header_offset
        if at + LOCAL_HEADER.size > self.directory_offset:
            raise self._fault(entry, "the local header lies outside the archive")
        wanted = LOCAL_HEADER.size + 4 * len(entry.name)
        head = self._source.read_at(at, min(wanted, self._source.size - at))
        (magic, _, flags, method, _, crc, packed, size, name_size, extra_size) = (
            LOCAL_HEADER.unpack_from(head)
        )
        if magic != LOCAL_MAGIC:
            raise self._fault(entry, "no local header at its place")
        name = head[LOCAL_HEADER.size : LOCAL_HEADER.size + name_size]
        if name.decode(errors="backslashreplace") != entry.name:
            self._note(entry.name, "the local header has another name", at)
        if method != entry.method:
            self._note(entry.name, f"the local header has method {method}", at)
        if not flags & FLAG_DESCRIPTOR and (
            crc != entry.crc32
            or packed not in (entry.compressed_size, U32_MAX)
            or size not in (entry.size, U32_MAX)
        ):
            self._note(entry.name, "the local header has another size or CRC-32", at)
        start = int(at + LOCAL_HEADER.size + name_size + extra_size)
        end = self._source.size if self._lenient else self.directory_offset
        if start + entry.compressed_size > end:
            raise self._fault(entry, f"{entry.compressed_size} bytes of data reach past {end:#x}")
        return start

    def _check_overlaps(self) -> None:
        """Refuse entries that share bytes: each may be small and all together a bomb."""
        ordered = sorted([(entry.header_offset, entry) for entry in self.entries.values()])
        previous, previous_end = "", 0
        for at, entry in ordered:
            if at < previous_end:
                self._note(entry.name, f"it overlaps with entry {previous!r}", at)
            start = self._data_offsets.get(at, at + LOCAL_HEADER.size + len(entry.name))
            previous, previous_end = entry.name, start + entry.compressed_size
        if previous_end > self.directory_offset:
            where = self.directory_offset
            self._note(previous, "its data reaches into the central directory", where)

    def _stored(self, entry: ZipEntry) -> Source:
        return Slice(self._source, self.data_offset(entry), entry.size)

    def _check_ratio(self, entry: ZipEntry) -> None:
        if entry.size > (entry.compressed_size + 1) * DEFLATE_RATIO:
            raise self._fault(
                entry, f"{entry.size} bytes cannot come from {entry.compressed_size} deflated ones"
            )

    def _inflate(self, entry: ZipEntry, raw: bytes) -> bytes:
        inflater = decompressobj(RAW)
        try:
            data = inflater.decompress(raw, entry.size + 1)
        except InflateError as error:
            raise self._fault(entry, f"damaged deflate stream ({error})") from error
        self._check_inflated(entry, len(data), at_end=inflater.eof)
        if inflater.unused_data:
            self._note(entry.name, "bytes follow the deflate stream", entry.header_offset)
        return data

    def _inflated_pieces(self, entry: ZipEntry, chunk: int) -> Iterator[bytes]:
        self._check_ratio(entry)
        inflater = decompressobj(RAW)
        raw = _pieces(self.raw(entry), _PIECE)
        pending, size = b"", 0
        while not inflater.eof and size <= entry.size:
            more = pending or next(raw, b"")
            try:
                data = inflater.decompress(more, chunk)
            except InflateError as error:
                raise self._fault(entry, f"damaged deflate stream ({error})") from error
            pending = inflater.unconsumed_tail
            size += len(data)
            if data and size <= entry.size:
                yield data
            elif not more:
                break
        self._check_inflated(entry, size, at_end=inflater.eof)
        if inflater.unused_data or next(raw, b""):
            self._note(entry.name, "bytes follow the deflate stream", entry.header_offset)

    def _check_inflated(self, entry: ZipEntry, size: int, *, at_end: bool) -> None:
        if size > entry.size:
            raise self._fault(entry, f"more content than the declared {entry.size} bytes")
        if not at_end:
            raise self._fault(entry, f"the deflate stream is cut off after {size} bytes of content")
        if size != entry.size:
            raise self._fault(entry, f"{size} bytes of content, {entry.size} are declared")

    def _check_crc(self, entry: ZipEntry, crc: int) -> None:
        if crc != entry.crc32:
            self._note(
                entry.name,
                f"CRC-32 of the content is {crc:08x}, {entry.crc32:08x} is declared",
                entry.header_offset,
            )


class _Content:
    """The content of an entry, read whole and checked at the first read."""

    def __init__(self, archive: ZipArchive, entry: ZipEntry) -> None:
        self._archive = archive
        self._entry = entry
        self._content: Source | None = None
        self.size = entry.size

    def read_at(self, offset: int, size: int) -> bytes:
        if self._content is None:
            self._content = self._inflate()
        return self._content.read_at(offset, size)

    def _inflate(self) -> Source:
        if self.size <= SPOOL_ABOVE:
            return BytesSource(self._archive.read(self._entry))
        if self.size > MAX_SPOOLED:
            raise ImageError(
                f"entry {self._entry.name!r}: {self.size} bytes of deflated content",
                offset=self._entry.header_offset,
            )
        return spooled(self._archive.stream(self._entry))


def _pieces(source: Source, size: int) -> Iterator[bytes]:
    for offset in range(0, source.size, size):
        yield source.read_at(offset, min(size, source.size - offset))
