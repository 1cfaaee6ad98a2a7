# ruff: noqa: RUF009 - proto() and repeated() are dataclasses.field()
from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.protobuf import Kind, Message, proto, repeated


@dataclass(frozen=True, slots=True)
class Inner(Message):
    number: int | None = proto(1, Kind.UINT)
    text: str | None = proto(2, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Outer(Message):
    number: int | None = proto(1, Kind.UINT)
    signed: int | None = proto(2, Kind.INT)
    flag: bool | None = proto(3, Kind.BOOL)
    fixed: int | None = proto(4, Kind.FIXED32)
    data: bytes | None = proto(5, Kind.BYTES)
    inner: Inner | None = proto(6, Inner)
    many: tuple[Inner, ...] = repeated(16, Inner)
    words: tuple[str, ...] = repeated(17, Kind.TEXT)


def test_the_examples_of_the_encoding_guide() -> None:
    assert Outer.parse(bytes.fromhex("089601")).number == 150
    assert Inner.parse(bytes.fromhex("120774657374696e67")).text == "testing"
    assert Outer.parse(bytes.fromhex("10feffffffffffffffff01")).signed == -2


def test_absent_and_default_values_are_told_apart() -> None:
    assert Outer.parse(b"") == Outer()
    assert Outer.parse(b"\x08\0").number == 0
    assert Outer(number=0).encode() == b"\x08\0"


def test_the_last_of_several_values_counts() -> None:
    assert Outer.parse(b"\x08\x01\x08\x02").number == 2


def test_unknown_fields_are_kept() -> None:
    unknown = b"\xf8\x07\x05" + b"\xfa\x07\x02ab" + b"\xfd\x07abcd" + b"\xf9\x07abcdefgh"
    message = Outer.parse(b"\x08\x01" + unknown)
    assert message.unknown == unknown
    assert message.encode() == b"\x08\x01" + unknown


@settings(max_examples=50)
@given(
    st.builds(
        Outer,
        number=st.none() | st.integers(0, 2**64 - 1),
        signed=st.none() | st.integers(-(2**63), 2**63 - 1),
        flag=st.none() | st.booleans(),
        fixed=st.none() | st.integers(0, 2**32 - 1),
        data=st.none() | st.binary(),
        inner=st.none() | st.builds(Inner, number=st.none() | st.integers(0, 300)),
        many=st.lists(st.builds(Inner, text=st.none() | st.text())).map(tuple),
        words=st.lists(st.text()).map(tuple),
    )
)
def test_what_is_encoded_parses_to_the_same(message: Outer) -> None:
    assert Outer.parse(message.encode()) == message


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_raise_image_error(data: bytes) -> None:
    with suppress(ImageError):
        assert isinstance(Outer.parse(data).encode(), bytes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "varint ends"),
        (b"\x08" + b"\xff" * 10, "more than 10 bytes"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (b"\x2a\x05abcd", "ends after its message"),
        (b"\x32\x03\x12\x02a", "ends after its message"),
        (b"\x0d0000", "wire type 5, 0 expected"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x00\x00", "field number 0"),
        (b"\x32\x04\x12\x02\xff\xfe", "not UTF-8"),
    ],
)
def test_damage_is_named_with_its_offset(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        Outer.parse(data, offset=1000)
    assert caught.value.offset is not None
    assert caught.value.offset >= 1000


def test_more_fields_than_any_manifest_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rom_builder.formats.protobuf.MAX_FIELDS", 10)
    assert len(Outer.parse(b"\x82\x01\x00" * 10).many) == 10
    with pytest.raises(ImageError, match="more than 10 fields"):
        Outer.parse(b"\x82\x01\x02\x08\x00" * 6)
