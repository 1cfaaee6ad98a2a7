"""Reading zip archives that Python's zipfile wrote, whole, damaged and hostile."""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats import zip as zip_format
from rom_builder.formats.source import BytesSource, Pieces
from rom_builder.formats.zip import DEFLATED, ZipArchive

TEXT = b"ro.build.tags=release-keys\n" * 400


def archive_of(
    files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def opened(data: bytes, *, lenient: bool = False) -> ZipArchive:
    return ZipArchive(BytesSource(data), lenient=lenient)


def patched(data: bytes, where: bytes, offset: int, layout: str, value: int) -> bytes:
    """Overwrite a number at ``offset`` after the first ``where``."""
    at = data.index(where) + offset
    value_bytes = struct.pack(layout, value)
    return data[:at] + value_bytes + data[at + len(value_bytes) :]


CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


def in_both_headers(data: bytes, local: int, central: int, layout: str, value: int) -> bytes:
    return patched(patched(data, LOCAL, local, layout, value), CENTRAL, central, layout, value)


def test_entries_come_in_order_with_their_content() -> None:
    archive = opened(archive_of({"b": TEXT, "a": b"", "d/é": b"x"}, comment=b"hello"))

    assert list(archive.entries) == ["b", "a", "d/é"]
    assert archive.read(archive.entries["b"]) == TEXT
    assert archive.read(archive.entries["a"]) == b""
    assert archive.comment == b"hello"
    assert archive.oddities == []


def test_end_offsets_are_those_a_whole_file_signature_needs() -> None:
    data = archive_of({"a": TEXT}, comment=b"signature")
    archive = opened(data)

    assert data[archive.eocd_offset :][:4] == END
    assert archive.end_offset == len(data)
    assert data[archive.directory_offset :][:4] == CENTRAL
    assert archive.directory_offset + archive.directory_size == archive.eocd_offset


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_a_stream_gives_the_content_in_bounded_pieces(method: int, chunk: int) -> None:
    archive = opened(archive_of({"a": TEXT}, method=method))

    pieces = list(archive.stream(archive.entries["a"], chunk))

    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= chunk


def test_a_stored_entry_opens_as_a_slice_at_its_offset() -> None:
    data = archive_of({"a": TEXT}, method=zipfile.ZIP_STORED)
    archive = opened(data)
    entry = archive.entries["a"]
    start = archive.data_offset(entry)

    assert data[start : start + entry.size] == TEXT
    assert archive.open(entry).read_at(100, 50) == TEXT[100:150]


def test_raw_gives_the_compressed_bytes() -> None:
    archive = opened(archive_of({"a": TEXT}))
    raw = archive.raw(archive.entries["a"])

    assert zlib.decompress(raw.read_at(0, raw.size), -15) == TEXT


@pytest.mark.parametrize("spool_above", [0, 1 << 20])
def test_a_deflated_entry_opens_for_random_access(
    spool_above: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_format, "SPOOL_ABOVE", spool_above)
    archive = opened(archive_of({"a": TEXT}))
    content = archive.open(archive.entries["a"])

    assert content.size == len(TEXT)
    assert content.read_at(5000, 100) == TEXT[5000:5100]
    assert content.read_at(0, content.size) == TEXT
    with pytest.raises(ImageError):
        content.read_at(content.size - 1, 2)


def test_data_descriptors_are_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", TEXT)
        archive.writestr("b", TEXT)
    read = opened(file.getvalue())

    assert read.entries["b"].flags & 8
    assert read.read(read.entries["b"]) == TEXT


def test_symlinks_folders_and_modes_are_told_apart() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, mode in [("link", 0o120777), ("run", 0o100755), ("d/", 0o040755)]:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, b"")
        archive.writestr(zipfile.ZipInfo("plain"), b"")
    entries = opened(file.getvalue()).entries

    assert [name for name, entry in entries.items() if entry.is_symlink] == ["link"]
    assert [name for name, entry in entries.items() if entry.is_folder] == ["d/"]
    assert entries["run"].mode == 0o755
    assert (entries["run"].date_time >> 25) + 1980 == 1980


def bomb() -> bytes:
    """An entry that declares 100 bytes and inflates to a gigabyte's worth of zeros."""
    data = archive_of({"bomb": bytes(32 << 20)})
    return in_both_headers(data, 22, 24, "<I", 100)


def test_a_bomb_stops_at_its_declared_size() -> None:
    archive = opened(bomb())
    entry = archive.entries["bomb"]

    with pytest.raises(ImageError, match=r"'bomb'.*more content than the declared 100 bytes"):
        archive.read(entry)
    with pytest.raises(ImageError, match="more content than the declared 100 bytes"):
        list(archive.stream(entry, 10))


def test_an_impossible_ratio_is_refused_before_memory_is_spent() -> None:
    data = in_both_headers(archive_of({"a": b"x" * 100}), 22, 24, "<I", 200_000_000)
    archive = opened(data)

    for use in (archive.read, archive.open, lambda entry: list(archive.stream(entry))):
        with pytest.raises(ImageError, match=r"'a'.*200000000 bytes cannot come from"):
            use(archive.entries["a"])


def test_read_refuses_more_than_its_limit() -> None:
    archive = opened(archive_of({"a": TEXT}))

    with pytest.raises(ImageError, match="at most 100 are read"):
        archive.read(archive.entries["a"], limit=100)


def twice() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("classes.dex", b"runs")
            archive.writestr("classes.dex", b"is verified")
    return file.getvalue()


def overlapping() -> bytes:
    """Two entries whose local headers are the same bytes, as in a quoted-overlap bomb."""
    data = archive_of({"a": b"12345", "b": b"12345"}, method=zipfile.ZIP_STORED)
    second = data.index(CENTRAL, data.index(CENTRAL) + 1)
    data = data[: second + 42] + bytes(4) + data[second + 46 :]
    return data[: second + 46] + b"a" + data[second + 47 :]


def stored(name: str = "a", data: bytes = b"12345") -> bytes:
    return archive_of({name: data}, method=zipfile.ZIP_STORED)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: stored("a/../../x"), r"'a/\.\./\.\./x': the name has a '\.\.' part"),
    "absolute": (lambda: stored("/etc/passwd"), "the name is absolute"),
    "backslash": (lambda: stored("a-b").replace(b"a-b", b"a\\b"), "has a backslash"),
    "nul": (lambda: stored("a-b").replace(b"a-b", b"a\0b"), "has a NUL"),
    "no utf-8": (lambda: stored("a-b").replace(b"a-b", b"a\xffb"), "the name is not UTF-8"),
    "duplicate": (twice, "'classes.dex': the name occurs more than once"),
    "encrypted": (lambda: in_both_headers(stored(), 6, 8, "<H", 1), "marked as encrypted"),
    "method": (lambda: in_both_headers(stored(), 8, 10, "<H", 12), "unknown compression method 12"),
    "two sizes": (lambda: in_both_headers(stored(), 22, 24, "<I", 4), "two sizes are 5 and 4"),
    "local name": (lambda: patched(stored(), LOCAL, 30, "<B", 66), "header has another name"),
    "local size": (lambda: patched(stored(), LOCAL, 18, "<I", 4), "another size or CRC-32"),
    "local crc": (lambda: patched(stored(), LOCAL, 14, "<I", 4), "another size or CRC-32"),
    "local method": (lambda: patched(stored(), LOCAL, 8, "<H", 8), "local header has method 8"),
    "overlap": (overlapping, "duplicate|more than once|overlaps"),
    "trailing bytes": (lambda: stored() + b"more", "4 bytes follow the archive"),
    "disks": (lambda: patched(stored(), END, 4, "<H", 1), "several disks"),
    "gap": (lambda: patched(stored(), END, 12, "<I", 46), "a gap follows"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_strict_reading_refuses(fault: str) -> None:
    make, message = HOSTILE[fault]

    with pytest.raises(ImageError, match=message):
        opened(make())


@pytest.mark.parametrize("fault", sorted(HOSTILE.keys() - {"gap"}))
def test_lenient_reading_lists_what_strict_reading_refuses(fault: str) -> None:
    make, message = HOSTILE[fault]
    archive = opened(make(), lenient=True)
    for entry in archive.entries.values():
        archive.read(entry)

    assert re.search(message, "\n".join(archive.oddities))


FATAL: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a zip archive"),
    "no zip": (lambda: bytes(5000), "not a zip archive"),
    "cut": (lambda: archive_of({"a": TEXT})[:-10], "not a zip archive"),
    "comment cut": (lambda: archive_of({"a": TEXT}, comment=b"0123456789")[:-1], "is cut off"),
    "directory outside": (lambda: patched(stored(), END, 16, "<I", 1 << 30), "reaches past"),
    "too many entries": (lambda: patched(stored(), END, 10, "<H", 2), "disks|ends after 1 of 2"),
    "no local header": (lambda: patched(stored(), CENTRAL, 42, "<I", 1), "no local header"),
    "header outside": (lambda: patched(stored(), CENTRAL, 42, "<I", 999), "outside the archive"),
    "data outside": (lambda: in_both_headers(stored(), 18, 20, "<I", 999), "reach past|two sizes"),
}


@pytest.mark.parametrize("fault", FATAL)
def test_damage_is_an_image_error(fault: str) -> None:
    make, message = FATAL[fault]

    with pytest.raises(ImageError, match=message):
        opened(make())


def test_an_end_record_inside_the_comment_is_refused() -> None:
    inner = archive_of({"evil": b"x"})
    outer = archive_of({"good": b"x"}, comment=inner)

    with pytest.raises(ImageError, match=r"hides in the comment|reaches past|gap|no local header"):
        opened(outer)


def test_lenient_takes_the_first_of_two_entries_as_old_loaders_did() -> None:
    archive = opened(twice(), lenient=True)

    assert archive.read(archive.entries["classes.dex"]) == b"runs"


def test_lenient_reads_an_unknown_method_as_stored() -> None:
    data = patched(stored(data=b"manifest"), CENTRAL, 10, "<H", 0x1C01)
    data = patched(data, CENTRAL, 20, "<I", 3)
    archive = opened(data, lenient=True)

    assert archive.read(archive.entries["a"]) == b"manifest"
    assert any("unknown compression method 7169" in oddity for oddity in archive.oddities)


def test_a_wrong_crc_is_an_error_or_an_oddity() -> None:
    data = in_both_headers(stored(), 14, 16, "<I", 1)
    strict, lenient = opened(data), opened(data, lenient=True)

    with pytest.raises(ImageError, match="CRC-32 of the content is"):
        strict.read(strict.entries["a"])
    with pytest.raises(ImageError, match="CRC-32 of the content is"):
        list(strict.stream(strict.entries["a"]))
    assert lenient.read(lenient.entries["a"]) == b"12345"
    assert "CRC-32" in lenient.oddities[0]


def test_overlapping_entries_are_refused() -> None:
    data = archive_of({"a": TEXT, "b": b"1"}, method=zipfile.ZIP_STORED)
    second = data.index(LOCAL, 4)
    # The first entry's data now reaches over the second entry.
    longer = len(TEXT) + 20
    for at in (18, 22):
        data = data[:at] + struct.pack("<I", longer) + data[at + 4 :]
    central = data.index(CENTRAL)
    for at in (central + 20, central + 24):
        data = data[:at] + struct.pack("<I", longer) + data[at + 4 :]

    assert second < longer + 31
    with pytest.raises(ImageError, match="'b': it overlaps with entry 'a'"):
        opened(data)
    assert "overlaps" in opened(data, lenient=True).oddities[0]


def test_too_many_entries_are_refused_before_they_are_read() -> None:
    count = 200_001
    directory = b"".join(
        struct.pack("<IHHHHIIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        + b"a"
        for _ in range(10)
    )
    wide = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(directory), 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)

    with pytest.raises(ImageError, match="200001 entries"):
        opened(directory + wide + locator + end)


def test_an_entry_beyond_four_gigabytes_is_read() -> None:
    huge = 5 << 30
    first = struct.pack("<IHHHIIIIHH", 0x04034B50, 45, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 3, 20)
    first += b"big" + struct.pack("<HHQQ", 1, 16, huge, huge)
    second_offset = len(first) + huge
    crc = zlib.crc32(b"tail")
    second = struct.pack("<IHHHIIIIHH", 0x04034B50, 20, 0, 0, 0, crc, 4, 4, 1, 0) + b"z" + b"tail"
    all_ones = 0xFFFFFFFF
    directory = struct.pack(
        "<IHHHHIIIIHHHHHII",
        0x02014B50, 45, 45, 0, 0, 0, 0, all_ones, all_ones, 3, 20, 0, 0, 0, 0, 0,
    )  # fmt: skip
    directory += b"big" + struct.pack("<HHQQ", 1, 16, huge, huge)
    directory += struct.pack(
        "<IHHHHIIIIHHHHHII", 0x02014B50, 45, 45, 0, 0, 0, crc, 4, 4, 1, 12, 0, 0, 0, 0, all_ones
    )
    directory += b"z" + struct.pack("<HHQ", 1, 8, second_offset)
    start = second_offset + len(second)
    eocd = start + len(directory)
    end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 2, 2, len(directory), start)
    end += struct.pack("<IIQI", 0x07064B50, 0, eocd, 1)
    end += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 2, 2, len(directory), all_ones, 0)
    tail = second + directory + end
    pieces = Pieces(
        [(BytesSource(first), len(first)), (None, huge), (BytesSource(tail), len(tail))]
    )
    archive = ZipArchive(pieces)

    assert archive.entries["big"].size == huge
    assert archive.open(archive.entries["big"]).read_at(huge - 4, 4) == bytes(4)
    assert archive.read(archive.entries["z"]) == b"tail"
    assert archive.data_offset(archive.entries["z"]) == second_offset + 31


def test_no_truncation_and_no_flipped_byte_escapes() -> None:
    files = {"a.txt": TEXT, "b": bytes(range(256)), "d/": b""}
    whole = archive_of(files, comment=b"c")
    generator = random.Random(7)

    def read_all(data: bytes, *, lenient: bool) -> None:
        archive = opened(data, lenient=lenient)
        for entry in archive.entries.values():
            content = archive.read(entry)
            assert b"".join(archive.stream(entry, 1000)) == content
            assert archive.open(entry).read_at(0, entry.size) == content

    for lenient in (False, True):
        read_all(whole, lenient=lenient)
        for size in range(0, len(whole), 3):
            with pytest.raises(ImageError):
                read_all(whole[:size], lenient=lenient)
        for _ in range(1500):
            data = bytearray(whole)
            for _ in range(generator.choice([1, 1, 3])):
                data[generator.randrange(len(data))] = generator.randrange(256)
            with suppress(ImageError):
                read_all(bytes(data), lenient=lenient)


def test_one_flipped_byte_of_content_never_gives_other_content() -> None:
    whole = archive_of({"a": TEXT})
    archive = opened(whole)
    entry = archive.entries["a"]
    start = archive.data_offset(entry)
    assert entry.method == DEFLATED
    refused = 0
    for at in range(start, start + entry.compressed_size):
        data = bytearray(whole)
        data[at] ^= 0x10
        damaged = opened(bytes(data))
        try:
            assert damaged.read(damaged.entries["a"]) == TEXT  # unused bits, another match
        except ImageError:
            refused += 1

    assert refused > entry.compressed_size / 2
