"""The central directory of a zip archive: all that is known of it before data is read.

Layout (all little-endian; APPNOTE.TXT 6.3.9, sections 4.3.7 to 4.3.16)::

    local file header   30 + name + extra, then the data, then 0..24 bytes of data descriptor
    central directory   46 + name + extra + comment for each entry
    zip64 end           56, and its locator 20: only if a number does not fit into 16 or 32 bits
    end (EOCD)          22 + comment; offset 20 is the 16-bit length of the comment
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple, Protocol

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source

STORED = 0
DEFLATED = 8

LOCAL_HEADER = Struct("<IHHHIIIIHH")
CENTRAL_HEADER = Struct("<IHHHHIIIIHHHHHII")
END = Struct("<IHHHHIIH")
ZIP64_LOCATOR = Struct("<IIQI")
ZIP64_END = Struct("<IQHHIIQQQQ")

LOCAL_MAGIC = 0x04034B50
CENTRAL_MAGIC = 0x02014B50
END_MAGIC = 0x06054B50
ZIP64_LOCATOR_MAGIC = 0x07064B50
ZIP64_END_MAGIC = 0x06064B50
END_MARK = b"PK\5\6"

ZIP64_EXTRA = 0x0001
"""Id of the extra field that holds 64-bit sizes and offsets."""
U16_MAX = 0xFFFF
U32_MAX = 0xFFFFFFFF

FLAG_ENCRYPTED = 0x0001
FLAG_DESCRIPTOR = 0x0008
FLAG_STRONG_ENCRYPTION = 0x0040
FLAG_UTF8 = 0x0800
FLAG_MASKED_HEADER = 0x2000
_ENCRYPTED = FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADER

MAX_ENTRIES = 200_000
"""More entries are refused; the largest target-files archives have about a tenth."""
MAX_DIRECTORY_SIZE = 64 << 20
"""Bytes of central directory; 200,000 entries with names of 250 bytes fit."""


class ZipEntry(NamedTuple):
    """One file of an archive, as its central directory describes it.

    A tuple and not a dataclass because a ROM has 30,000 of them to make while it is opened.

    Attributes:
        name: Path inside the archive; UTF-8 whatever the flag says, as Android reads it.
        method: 0 stored, 8 deflated; lenient mode keeps the number of an unknown one.
        flags: General purpose bit flags.
        crc32: Checksum of the content.
        compressed_size: Bytes in the archive.
        size: Bytes of content.
        header_offset: Where the local file header starts.
        date_time: MS-DOS date in the upper 16 bits, time in the lower.
        external_attributes: For ``create_system`` 3 the Unix mode in the upper 16 bits.
        create_system: 0 MS-DOS, 3 Unix.
    """

    name: str
    method: int
    flags: int
    crc32: int
    compressed_size: int
    size: int
    header_offset: int
    date_time: int
    external_attributes: int
    create_system: int

    @property
    def is_folder(self) -> bool:
        """Whether the name ends with a slash."""
        return self.name.endswith("/")

    @property
    def is_symlink(self) -> bool:
        """Whether the content is the target of a symbolic link."""
        return self.create_system == 3 and self.external_attributes >> 28 == 0o12

    @property
    def mode(self) -> int | None:
        """Unix permission bits, None if the archive does not say."""
        mode = self.external_attributes >> 16
        return mode & 0o7777 if self.create_system == 3 and mode else None


def name_fault(name: str) -> str | None:
    """Return why an entry's name is unsafe, None if it is fine.

    >>> name_fault("META-INF/../../etc/passwd")
    "has a '..' part"
    >>> name_fault("system/app/Mms.apk")
    """
    if not name:
        return "is empty"
    if name[0] == "/":
        return "is absolute"
    if "\\" in name:
        return "has a backslash"
    if "\0" in name:
        return "has a NUL"
    if ".." in name and ".." in name.split("/"):
        return "has a '..' part"
    return None


class Note(Protocol):
    """What happens to an oddity: strict reading raises, lenient reading remembers."""

    def __call__(self, entry_name: str, oddity: str, offset: int) -> None:
        """Take one; ``entry_name`` is empty for the whole archive, ``offset`` where it was seen."""
        ...


class EndRecord(NamedTuple):
    """Where an archive ends and where its central directory lies.

    Attributes:
        entry_count: Number of entries.
        directory_offset: Where the central directory starts.
        directory_size: Its size in bytes.
        eocd_offset: Where the end record starts.
        end_offset: Where the comment ends.
        comment: The archive's comment.
    """

    entry_count: int
    directory_offset: int
    directory_size: int
    eocd_offset: int
    end_offset: int
    comment: bytes


class Directory(NamedTuple):
    """All that is known of an archive before its data is read.

    Attributes:
        end: Where things lie.
        entries: Entries by name, in the order of the central directory; of duplicates the first.
        repeated: Names that occur more than once.
        oddities: What was found that a package must not have.
    """

    end: EndRecord
    entries: Mapping[str, ZipEntry]
    repeated: frozenset[str]
    oddities: tuple[str, ...] = ()


def read_end(source: Source, note: Note) -> EndRecord:
    """Find the last end record of an archive, as Android does, with its zip64 companion.

    Raises:
        ImageError: None, cut off, or pointing outside the archive.
    """
    tail_start = max(0, source.size - END.size - U16_MAX)
    tail = source.read_at(tail_start, source.size - tail_start)
    found = tail.rfind(END_MARK, 0, max(0, len(tail) - END.size + len(END_MARK)))
    if found < 0:
        raise ImageError("not a zip archive: no end-of-central-directory record")
    eocd = tail_start + found
    _, disk, directory_disk, here, count, size, offset, comment_size = END.unpack_from(tail, found)
    comment = tail[found + END.size : found + END.size + comment_size]
    end_offset = eocd + END.size + len(comment)
    if len(comment) != comment_size:
        raise ImageError(f"the comment of {comment_size} bytes is cut off", offset=eocd)
    if end_offset != source.size:
        note("", f"{source.size - end_offset} bytes follow the archive", end_offset)
    if _earlier_end(tail, found):
        note("", "a second end-of-central-directory record hides in the comment", eocd)

    directory_end = eocd
    if U16_MAX in (here, count) or U32_MAX in (size, offset):
        wide = _read_zip64_end(source, eocd)
        if wide is not None:
            directory_end, (disk, directory_disk, here, count, size, offset) = wide
    if disk or directory_disk or here != count:
        note("", "the archive has several disks", eocd)
    if offset + size > directory_end:
        message = f"the central directory, {size} bytes at {offset:#x}, reaches past its end record"
        raise ImageError(message, offset=eocd)
    if offset + size != directory_end:
        note("", "a gap follows the central directory", offset + size)
    if count > MAX_ENTRIES or size > MAX_DIRECTORY_SIZE:
        raise ImageError(
            f"{count} entries in {size} bytes of central directory; "
            f"at most {MAX_ENTRIES} in {MAX_DIRECTORY_SIZE} are read",
            offset=eocd,
        )
    return EndRecord(count, offset, size, eocd, end_offset, comment)


def _read_zip64_end(source: Source, eocd: int) -> tuple[int, tuple[int, ...]] | None:
    """Return where the wide end record starts and its six numbers; None if there is none."""
    locator = eocd - ZIP64_LOCATOR.size
    if locator < 0:
        return None
    magic, _, offset, _ = ZIP64_LOCATOR.unpack(source.read_at(locator, ZIP64_LOCATOR.size))
    if magic != ZIP64_LOCATOR_MAGIC:
        return None
    if offset + ZIP64_END.size > locator:
        raise ImageError("the zip64 end record lies outside the archive", offset=locator)
    fields = ZIP64_END.unpack(source.read_at(offset, ZIP64_END.size))
    if fields[0] != ZIP64_END_MAGIC:
        raise ImageError("the zip64 end record is missing", offset=offset)
    return offset, fields[4:]


def read_directory(
    source: Source, end: EndRecord, note: Note
) -> tuple[dict[str, ZipEntry], frozenset[str]]:
    """Return the entries of a central directory by name, in its order; of duplicates the first.

    And the names that occur more than once.

    Raises:
        ImageError: Damaged: it ends too early, or an entry has no magic or no zip64 field.
    """
    directory = source.read_at(end.directory_offset, end.directory_size)
    entries: dict[str, ZipEntry] = {}
    repeated: set[str] = set()
    unpack, header_size = CENTRAL_HEADER.unpack_from, CENTRAL_HEADER.size
    directory_size, new = len(directory), tuple.__new__
    position = 0
    for index in range(end.entry_count):
        here = end.directory_offset + position
        start = position + header_size
        if start > directory_size:
            message = f"the central directory ends after {index} of {end.entry_count} entries"
            raise ImageError(message, offset=here)
        (
            magic, made_by, _, flags, method, date_time, crc, packed, size,
            name_size, extra_size, comment_size, _, _, attributes, offset,
        ) = unpack(directory, position)  # fmt: skip
        name_end = start + name_size
        position = name_end + extra_size + comment_size
        if magic != CENTRAL_MAGIC or position > directory_size:
            raise ImageError(f"entry {index} of the central directory is damaged", offset=here)
        try:
            name = directory[start:name_end].decode()
        except UnicodeDecodeError:
            name = directory[start:name_end].decode(errors="backslashreplace")
            note(name, "the name is not UTF-8", here)
        if size == U32_MAX or packed == U32_MAX or offset == U32_MAX:
            extra = directory[name_end : name_end + extra_size]
            size, packed, offset = _widen(name, size, packed, offset, extra, here)
        # Past the constructor of the named tuple, which takes twice as long.
        entry = new(
            ZipEntry,
            (name, method, flags, crc, packed, size, offset, date_time, attributes, made_by >> 8),
        )
        if flags & _ENCRYPTED or (method != DEFLATED and (method or packed != size)):
            _note_unusual(entry, note, here)
        fault = name_fault(name)
        if fault:
            note(name, f"the name {fault}", here)
        if name in entries:
            note(name, "the name occurs more than once", here)
            repeated.add(name)
        else:
            entries[name] = entry
    if position != directory_size:
        note("", "bytes follow the last entry of the central directory", end.directory_offset)
    return entries, frozenset(repeated)


def _note_unusual(entry: ZipEntry, note: Note, here: int) -> None:
    if entry.flags & _ENCRYPTED:
        note(entry.name, "it is marked as encrypted", here)
    if entry.method not in (STORED, DEFLATED):
        note(entry.name, f"unknown compression method {entry.method}", here)
    if entry.method != DEFLATED and entry.compressed_size != entry.size:
        sizes = f"{entry.compressed_size} and {entry.size}"
        note(entry.name, f"it is stored, but its two sizes are {sizes}", here)


def _earlier_end(tail: bytes, found: int) -> bool:
    """Whether another end record, with the one found inside its comment, also ends the file."""
    at = tail.find(END_MARK, 0, found)
    while at >= 0:
        if at + END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return True
        at = tail.find(END_MARK, at + 1, found)
    return False


def _widen(
    name: str, size: int, packed: int, offset: int, extra: bytes, at: int
) -> tuple[int, int, int]:
    """Return size, compressed size and offset with saturated ones taken from the zip64 field.

    The field holds 8 bytes for each number that is 0xffffffff, in the order size, compressed size,
    local header offset.
    """
    position = 0
    while position + 4 <= len(extra):
        kind = int.from_bytes(extra[position : position + 2], "little")
        length = int.from_bytes(extra[position + 2 : position + 4], "little")
        if kind == ZIP64_EXTRA:
            break
        position += 4 + length
    else:
        raise ImageError(f"entry {name!r}: it has no zip64 extra field", offset=at)
    field = extra[position + 4 : position + 4 + length]
    numbers = []
    for number in (size, packed, offset):
        if number == U32_MAX:
            if len(field) < 8:
                raise ImageError(f"entry {name!r}: its zip64 extra field is too short", offset=at)
            number, field = int.from_bytes(field[:8], "little"), field[8:]
        numbers.append(number)
    return numbers[0], numbers[1], numbers[2]
