from __future__ import annotations

import random
import re
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path
from struct import pack, pack_into, unpack_from

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex, parse_dex
from tests.fixtures.make_apks import APKS

URL = re.compile(rb"https?://")
MESSAGING = zipfile.ZipFile(APKS / "messaging.apk").read("classes.dex")


def make_dex(items: list[bytes], offsets: list[int] | None = None) -> bytes:
    """A DEX file of nothing but string items, each a length, bytes and a zero."""
    count = len(items if offsets is None else offsets)
    start = 0x70 + 4 * count
    if offsets is None:
        offsets = [sum(map(len, items[:i])) for i in range(count)]
    body = b"".join(pack("<I", start + offset) for offset in offsets) + b"".join(items)
    header = bytearray(0x70)
    header[:8] = b"dex\n035\0"
    pack_into("<3I", header, 0x20, 0x70 + len(body), 0x70, 0x12345678)
    pack_into("<2I", header, 0x38, count, 0x70)
    return bytes(header) + body


def found(dex: Dex, pattern: re.Pattern[bytes] = URL) -> list[str]:
    return [text for _, text in dex.find_strings(pattern)]


def test_reads_every_string_of_a_compiled_class() -> None:
    strings = parse_dex(MESSAGING).strings
    assert set(strings) >= {
        "",
        "http://api.example.com/pass/v3",
        "免费网络短信",
        "smile 😀 http://emoji.example",
        "lone \ud83d half",
        "before\0after",
        "Lcom/example/messaging/Servers;",
    }
    assert strings[0] == ""
    assert strings[-1] == strings[len(strings) - 1]
    assert strings[:2] == [strings[0], strings[1]]
    with pytest.raises(IndexError):
        strings[len(strings)]


def test_finds_urls_wherever_they_stand_in_a_string() -> None:
    dex = parse_dex(MESSAGING)
    assert sorted(found(dex)) == [
        "http://api.example.com/pass/v3",
        "https://api.example.com/pass/v3",
        "smile 😀 http://emoji.example",
        "url=http://inner.example.com",
    ]
    assert dex.contains(re.compile("免费".encode()))
    assert not dex.contains(re.compile(rb"gopher://"))


def test_offset_is_that_of_the_string_item() -> None:
    for offset, text in parse_dex(MESSAGING).find_strings(re.compile(rb"v3")):
        assert MESSAGING[offset] == len(text)
        assert MESSAGING[offset + 1 :].startswith(text.encode() + b"\0")


def test_match_that_runs_over_the_end_does_not_count() -> None:
    dex = parse_dex(make_dex([b"\x05http:\0", b"\x07//a.com\0", b"\x08http://b\0"]))
    assert found(dex, re.compile(rb"http:.*//", re.DOTALL)) == ["http://b"]


def test_length_byte_is_no_text() -> None:
    text = b"ttp://" + b"x" * (ord("h") - 6)
    assert found(parse_dex(make_dex([b"h" + text + b"\0", b"\x08http://b\0"]))) == ["http://b"]


def test_string_with_two_matches_comes_once() -> None:
    assert found(parse_dex(make_dex([b"\x11http://a,http://b\0"]))) == ["http://a,http://b"]


def test_table_that_is_not_ascending() -> None:
    data = make_dex([b"\x08http://a\0", b"\x01b\0", b"\x09https://c\0"], [13, 0, 10])
    dex = parse_dex(data)
    assert list(dex.strings) == ["https://c", "http://a", "b"]
    assert found(dex) == ["http://a", "https://c"]


def test_text_between_strings_is_no_string() -> None:
    data = make_dex([b"\x01a\0", b"http://gap", b"\x08http://b\0"], [0, 13])
    assert found(parse_dex(data)) == ["http://b"]


def test_no_strings() -> None:
    dex = parse_dex(make_dex([]))
    assert list(dex.strings) == []
    assert found(dex) == []


@pytest.mark.parametrize(
    ("items", "offsets", "message"),
    [
        ([b"\x0ehttp://a"], None, "runs into the next or past the end"),
        ([b"\x0ahttp://abc\0"], [0, 4], "runs into the next"),
        ([b"\x09http://a\0"], None, "says it has 9 code units, it has 8"),
        ([b"\x09http://\xff\xff\0"], None, "not modified UTF-8"),
        ([b"\x08http://a\0"], [0x7FFFFFFF], "outside the file"),
        ([b"\x08http://a\0"], [-0x70], "outside the file"),
    ],
)
def test_damaged_string_is_refused(
    items: list[bytes], offsets: list[int] | None, message: str
) -> None:
    dex = parse_dex(make_dex(items, offsets))
    with pytest.raises(ImageError, match=message):
        found(dex)
    with pytest.raises(ImageError, match=message):
        list(dex.strings)


def damaged(offset: int, value: bytes) -> bytes:
    return MESSAGING[:offset] + value + MESSAGING[offset + len(value) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a DEX file"),
        (b"PK\x03\x04", "not a DEX file"),
        (damaged(4, b"034"), "not a DEX file"),
        (b"dey\n036\0" + bytes(100), "odex"),
        (b"cdex001\0" + bytes(100), "compact DEX"),
        (MESSAGING[:0x40], "cut off"),
        (MESSAGING[:-1], "do not fit"),
        (damaged(0x20, b"\xff\xff\xff\xff"), "do not fit"),
        (damaged(0x24, b"\x10\0\0\0"), "do not fit"),
        (damaged(0x28, b"\x12\x34\x56\x78"), "endian tag 0x78563412"),
        (damaged(0x38, b"\xff\xff\xff\x3f"), "does not fit"),
        (damaged(0x3C, b"\xf0\xff\xff\xff"), "does not fit"),
    ],
)
def test_damaged_header_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_dex(data)


def test_container_of_several_files_is_refused() -> None:
    header = bytearray(0x78)
    header[:8] = b"dex\n041\0"
    pack_into("<3I", header, 0x20, 0x78, 0x78, 0x12345678)
    pack_into("<2I", header, 0x70, 0x78, 0)
    assert parse_dex(bytes(header)).version == 41
    pack_into("<2I", header, 0x70, 0x100, 0)
    with pytest.raises(ImageError, match="container"):
        parse_dex(bytes(header))


def test_bytes_after_the_file_are_not_searched() -> None:
    assert len(found(parse_dex(MESSAGING + b"\x08http://z\0"))) == 4


def test_only_image_errors_escape_damage() -> None:
    rng = random.Random(3)
    table = unpack_from("<I", MESSAGING, 0x3C)[0]
    for _ in range(500):
        data = bytearray(MESSAGING)
        for _ in range(rng.randint(1, 4)):
            limit = rng.choice([0x70, table + 100, len(data)])
            data[rng.randrange(8, limit)] = rng.randrange(256)
        with suppress(ImageError):
            dex = parse_dex(bytes(data))
            found(dex)
            list(dex.strings)


@pytest.mark.judge("dexdump")
def test_dexdump_counts_as_many_strings(tmp_path: Path) -> None:
    (tmp_path / "classes.dex").write_bytes(MESSAGING)
    command = ["dexdump", "-f", tmp_path / "classes.dex"]
    dump = subprocess.run(command, capture_output=True, check=True).stdout
    count = re.search(rb"string_ids_size\s*: (\d+)", dump)
    assert count is not None
    assert int(count[1]) == len(parse_dex(MESSAGING).strings)


def test_androguard_reads_the_same_strings() -> None:
    androguard = pytest.importorskip("androguard.core.dex")
    theirs = androguard.DEX(MESSAGING).get_strings()
    plain = {text for text in parse_dex(MESSAGING).strings if text.isascii() and text.isprintable()}
    assert plain <= set(theirs)
    assert len(theirs) == len(parse_dex(MESSAGING).strings)


def test_a_table_of_no_strings_may_lie_anywhere() -> None:
    data = bytearray(make_dex([]))
    pack_into("<2I", data, 0x38, 0, 0x3000000)
    dex = parse_dex(bytes(data))
    assert list(dex.strings) == found(dex) == []
