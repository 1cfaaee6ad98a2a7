"""Write a ROM tree of any size: the example ROM and as many apps as are wanted."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from random import Random
from struct import pack

from rom_builder.formats.source import FileSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter
from tests.file_based import DEMO, write_tree

HEADER_SIZE = 0x70
HEADER_ITEM, STRING_ID_ITEM, MAP_LIST, STRING_DATA_ITEM = 0x0000, 0x0001, 0x1000, 0x2002


def write_rom(folder: Path, *, apps: int, strings: int, seed: int = 1) -> None:
    """Write the example ROM with ``apps`` more apps of ``strings`` strings of code each."""
    write_tree(folder)
    for number in range(apps):
        path = folder / "system" / "app" / f"App{number}" / f"App{number}.apk"
        path.parent.mkdir()
        write_app(path, seed=seed + number, strings=strings)


def write_app(path: Path, *, seed: int, strings: int, filling: bytes = b"") -> None:
    """Write an app with code of ``strings`` strings, and ``filling`` in an entry that is stored."""
    template = ZipArchive(FileSource(DEMO / "system" / "system" / "app" / "Notes" / "Notes.apk"))
    code = dex(words(Random(seed), strings))  # noqa: S311 - made-up words
    with path.open("wb") as file:
        apk = ZipWriter(file)
        for name, entry in template.entries.items():
            if name != "classes.dex":
                apk.copy(template, entry)
        apk.add("classes.dex", code, compress=True)
        if filling:
            apk.add("assets/filling", filling, compress=False)
        apk.close()


def words(random: Random, count: int) -> list[str]:
    """Return distinct strings as code has them: names, signatures and now and then an address."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    found: set[str] = set()
    while len(found) < count:
        name = "".join(random.choices(letters, k=random.randint(3, 24)))
        kind = random.random()
        if kind < 0.01:
            name = f"https://{name.lower()}.example.org/v1"
        elif kind < 0.3:
            name = f"Lcom/example/{name};"
        found.add(name)
    return sorted(found)


def dex(strings: list[str]) -> bytes:
    """Return a DEX file with nothing but strings: ASCII, sorted, shorter than 128 characters."""
    ids_size = 4 * len(strings)
    items = [bytes((len(text),)) + text.encode() + b"\0" for text in strings]
    position = data_offset = HEADER_SIZE + ids_size
    ids = bytearray()
    for item in items:
        ids += pack("<I", position)
        position += len(item)
    padding = bytes(-position % 4)
    map_offset = position + len(padding)
    sections = (
        (HEADER_ITEM, 1, 0),
        (STRING_ID_ITEM, len(strings), HEADER_SIZE),
        (STRING_DATA_ITEM, len(strings), data_offset),
        (MAP_LIST, 1, map_offset),
    )
    map_list = pack("<I", len(sections))
    for kind, count, offset in sections:
        map_list += pack("<HHII", kind, 0, count, offset)
    body = bytes(ids) + b"".join(items) + padding + map_list
    size = HEADER_SIZE + len(body)
    tail = pack(
        "<20I",
        *(size, HEADER_SIZE, 0x12345678, 0, 0, map_offset, len(strings), HEADER_SIZE),
        *(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, size - data_offset, data_offset),
    )
    signed = tail + body
    signature = hashlib.sha1(signed, usedforsecurity=False).digest()
    return b"dex\n035\0" + pack("<I", zlib.adler32(signature + signed)) + signature + signed
