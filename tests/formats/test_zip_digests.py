"""Digests of many entries at once are those of each entry by itself, whatever is odd about it."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from threading import Thread

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_digests import SMALL, WHOLE
from tests.formats.test_zip import bomb, overlapping, patched, stored, twice

LOCAL = b"PK\3\4"


def archive_of(files: dict[str, bytes]) -> bytes:
    """Pack files stored and deflated in turn; every third as a program does that cannot seek back."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, (name, data) in enumerate(files.items()):
            info = zipfile.ZipInfo(name)
            info.extra = b"\xfe\xca\1\0x" * (number % 20)  # the longest is more than is read ahead
            info.compress_type = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            if number % 3:
                archive.writestr(info, data)
                continue
            with archive.open(info, "w", force_zip64=number % 4 == 0) as entry:
                entry.write(data)
    return file.getvalue()


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size // 2) + bytes(size - size // 2)


Outcome = tuple[dict[str, bytes], set[str]] | None
"""Digests and what was odd; None if an entry is damaged."""


def at_once(data: bytes) -> Outcome:
    archive = ZipArchive(BytesSource(data), lenient=True)
    try:
        found = archive.digests((entry, hashlib.sha256) for entry in archive.entries.values())
    except ImageError:
        return None
    return found, set(archive.oddities)


def one_by_one(data: bytes) -> Outcome:
    archive = ZipArchive(BytesSource(data), lenient=True)
    try:
        found = {
            name: hashlib.sha256(archive.read(entry)).digest()
            for name, entry in archive.entries.items()
        }
    except ImageError:
        return None
    return found, set(archive.oddities)


def test_small_and_large_entries_get_their_digests() -> None:
    sizes = (0, 1, 100, 3000, SMALL - 1, SMALL, SMALL + 1, WHOLE, WHOLE + 1, 5, 500_000, 7)
    files = {f"é/{number}": content(number, size) for number, size in enumerate(sizes)}
    files |= {f"res/{number}": content(number, number * 37) for number in range(300)}
    digests = {name: hashlib.sha256(data).digest() for name, data in files.items()}

    assert at_once(archive_of(files)) == (digests, set())


def test_only_what_is_wanted_is_hashed_and_with_its_own_algorithm() -> None:
    archive = ZipArchive(BytesSource(archive_of({"a": b"1", "b": b"2", "c": b"3"})))
    entries = archive.entries
    found = archive.digests([(entries["c"], hashlib.sha1), (entries["a"], hashlib.sha256)])

    assert found == {"a": hashlib.sha256(b"1").digest(), "c": hashlib.sha1(b"3").digest()}


ODD = {
    "a bomb": bomb,
    "two of one name": twice,
    "entries that overlap": overlapping,
    "a local header with another name": lambda: patched(stored(), LOCAL, 30, "<B", ord("b")),
    "a local header with another method": lambda: patched(stored(), LOCAL, 8, "<H", 8),
    "a local header with another size": lambda: patched(stored(), LOCAL, 18, "<I", 4),
    "a local header with another CRC-32": lambda: patched(stored(), LOCAL, 14, "<I", 1),
    "no local header": lambda: patched(stored(), LOCAL, 0, "<I", 1),
    "other content": lambda: stored().replace(b"12345", b"12346"),
}


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_entry_is_judged_as_if_read_by_itself(oddity: str) -> None:
    data = ODD[oddity]()
    assert at_once(data) == one_by_one(data)
    assert at_once(data) != at_once(stored())


def test_a_changed_byte_anywhere_is_judged_as_if_read_by_itself() -> None:
    dice = random.Random(1)
    whole = archive_of({f"a{number}": content(number, number * 9) for number in range(12)})
    outcomes = []
    for _ in range(1500):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        try:
            outcome = at_once(bytes(data))
        except ImageError:  # no archive any more
            continue
        assert outcome == one_by_one(bytes(data))
        outcomes.append(outcome is None)
    assert set(outcomes) == {True, False}


def test_threads_may_hash_the_same_archive() -> None:
    files = {f"{number}": content(number, number * 1500) for number in range(100)}
    data = archive_of(files)
    archive = ZipArchive(BytesSource(data), lenient=True)
    found: list[dict[str, bytes]] = []

    def run() -> None:
        wanted = ((entry, hashlib.sha256) for entry in archive.entries.values())
        found.append(archive.digests(wanted))

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{name: hashlib.sha256(data).digest() for name, data in files.items()}] * 4
