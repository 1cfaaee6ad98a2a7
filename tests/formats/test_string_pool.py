from __future__ import annotations

import random
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.mutf8 import decode_mutf8, utf16_length
from rom_builder.formats.resource_chunk import encode_chunk
from rom_builder.formats.string_pool import StringPool, encode_string_pool

STRINGS = ["", "http://example.com/a", "免费网络短信", "😀 smile", "zero\0inside", "x" * 0x9000]


def read(data: bytes) -> StringPool:
    return StringPool(data, 0, len(data))


def utf8_pool(
    items: list[bytes], count: int | None = None, offsets: list[int] | None = None
) -> bytes:
    """A UTF-8 pool of encoded items, each with its lengths and its zero."""
    positions = [sum(map(len, items[:i])) for i in range(len(items))]
    table = b"".join(pack("<I", offset) for offset in offsets or positions)
    body = b"".join(items)
    count = len(table) // 4 if count is None else count
    header = pack("<5I", count, 0, 0x100, 28 + len(table), 0)
    return encode_chunk(1, header, table + body + bytes(-len(body) % 4))


def item(text: str) -> bytes:
    raw = text.encode()
    return bytes([utf16_length(text), len(raw)]) + raw + b"\0"


@given(st.lists(st.text(max_size=20), max_size=8))
def test_what_is_written_is_read(strings: list[str]) -> None:
    assert list(read(encode_string_pool(strings))) == strings


def test_long_strings_have_long_lengths() -> None:
    assert list(read(encode_string_pool(STRINGS))) == STRINGS


def test_lone_surrogates_survive() -> None:
    assert read(encode_string_pool(["a\ud83d"]))[0] == "a\ud83d"


def test_reads_utf8_and_its_modified_form() -> None:
    pair = b"\x02\x06" + bytes.fromhex("eda0bdedb880") + b"\0"
    pool = read(utf8_pool([item("bücher"), pair, item("")]))
    assert pool.is_utf8
    assert list(pool) == ["bücher", "😀", ""]


def test_invalid_utf8_is_replaced() -> None:
    assert read(utf8_pool([b"\x02\x02\xffa\0"]))[0] == "\ufffda"


def test_utf8_length_of_which_only_15_bits_were_kept() -> None:
    text = b"y" * 0x8005
    assert read(utf8_pool([b"\x80\x05\x80\x05" + text + b"\0"]))[0] == text.decode()


@pytest.mark.parametrize("make", [encode_string_pool, lambda s: utf8_pool([item(t) for t in s])])
def test_find_gives_every_string_that_holds_a_literal_once(make) -> None:
    strings = ["see http://a http://b", "https://c", "ftp://d", "ähttp://e", "http:/", "htt"]
    pool = read(make(strings))
    assert list(pool.find("http://", "https://")) == [
        (index, strings[index]) for index in (0, 1, 3)
    ]
    assert list(pool.find("nowhere")) == []
    assert pool.indices("https://c") == [1]
    assert pool.indices("https://") == []


def test_find_does_not_see_characters_that_straddle_two_units() -> None:
    straddling = "\u6800\u7400\u7400"  # "ht" one byte off
    assert list(read(encode_string_pool([straddling, "htt"])).find("ht")) == [(1, "htt")]


def test_find_gives_all_indices_of_a_shared_string() -> None:
    pool = read(utf8_pool([item("one"), item("two")], offsets=[0, 6, 0]))
    assert pool.indices("one") == [0, 2]


def test_count_without_room_is_cut_to_the_pool() -> None:
    pool = read(utf8_pool([item("one"), item("two")], count=0x1000_0000))
    assert pool[1] == "two"
    assert len(pool) < 10
    assert pool.get(0xFFFFFFFF) is None


def test_no_strings() -> None:
    pool = read(encode_string_pool([]))
    assert list(pool) == []
    assert list(pool.find("a")) == []


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (utf8_pool([b"\x01\x01ab"]), "not terminated"),
        (utf8_pool([b"\x7f\x7fab\0"]), "not terminated"),
        (utf8_pool([item("a")], offsets=[0xFFFFFF0]), "past the end"),
    ],
)
def test_damaged_string_is_refused(pool: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(pool)[0]


def test_overlapping_strings_are_refused() -> None:
    nested = b"\x01\x01a\0"
    for _ in range(10):
        nested = bytes([len(nested), len(nested)]) + nested + b"\0"
    pool = utf8_pool([nested], offsets=list(range(0, 22, 2)))
    with pytest.raises(ImageError, match="overlap"):
        list(read(pool).find("a"))
    with pytest.raises(ImageError, match="overlap"):
        list(read(pool))


@pytest.mark.parametrize(
    "bad", [b"", b"\x01\0\x1c\0", pack("<HHI", 3, 8, 8), pack("<HHI", 1, 8, 8)]
)
def test_not_a_pool(bad: bytes) -> None:
    with pytest.raises(ImageError):
        read(bad)


def test_only_image_errors_escape_damage() -> None:
    rng = random.Random(7)
    for good in (encode_string_pool(STRINGS[:5]), utf8_pool([item(t) for t in STRINGS[:4]])):
        for _ in range(400):
            data = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                pool = read(
                    bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.3 else data)
                )
                list(pool.find("http", "a"))
                list(pool)
            except ImageError:
                pass


def test_modified_utf8() -> None:
    assert decode_mutf8(b"a\xc0\x80b") == "a\0b"
    assert decode_mutf8(bytes.fromhex("eda0bd")) == "\ud83d"
    assert decode_mutf8("é😀".encode()) == "é😀"
    with pytest.raises(UnicodeDecodeError):
        decode_mutf8(b"\xff")
