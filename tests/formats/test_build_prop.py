from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.build_prop import MAX_BYTES, parse_build_prop

SAMPLE = (
    b"# begin build properties\n"
    b"ro.build.version.sdk=17\n"
    b"ro.product.device=tulip\r\n"
    b"  net.hostname = phone  \n"
    b"\n"
    b"import /system/vendor/extra.prop ro.vendor.*\n"
    b"no equals sign\n"
    b"persist.name=\xff\xfe\n"
    b"ro.empty=   \n"
    b"last=1"
)


def test_reads_every_line_with_number_and_offset() -> None:
    prop = parse_build_prop(SAMPLE)
    assert prop.encode() == SAMPLE
    device = prop.line("ro.product.device")
    assert device is not None
    assert (device.number, device.value) == (3, "tulip")
    assert SAMPLE[device.offset :].startswith(b"ro.product.device")
    assert prop.get("net.hostname") == "phone"
    assert prop.get("ro.empty") == ""
    assert prop.get("last") == "1"
    assert prop.get("absent") is None
    assert prop.get("persist.name") == "\udcff\udcfe"
    assert [line.key for line in prop.imports] == ["/system/vendor/extra.prop ro.vendor.*"]
    assert [line.number for line in prop.lines if line.kind == "comment"] == [1]


@pytest.mark.parametrize(
    ("sdk", "ro", "other"),
    [(17, "first", "last"), (28, "first", "last"), (29, "last", "last"), (None, "last", "last")],
)
def test_the_release_decides_which_duplicate_wins(sdk: int | None, ro: str, other: str) -> None:
    data = b"ro.a=first\nb=first\nro.a=last\nb=last\n"
    prop = parse_build_prop(data, platform_sdk=sdk)
    assert (prop.get("ro.a"), prop.get("b")) == (ro, other)
    assert [line.number for line in prop.duplicates()["ro.a"]] == [1, 3]
    assert set(prop.duplicates()) == {"ro.a", "b"}


def test_the_file_names_its_own_api_level() -> None:
    assert parse_build_prop(SAMPLE).platform_sdk == 17
    assert parse_build_prop(b"ro.build.version.sdk=29\nro.a=1\nro.a=2\n").get("ro.a") == "2"
    assert (
        parse_build_prop(b"ro.build.version.sdk=29\nro.build.version.sdk=17\n").platform_sdk is None
    )


def test_a_line_the_phone_ignores_does_not_decide() -> None:
    data = b"ro.a=" + b"x" * 92 + b"\nro.a=short\n"
    assert parse_build_prop(data, platform_sdk=27).get("ro.a") == "short"
    assert parse_build_prop(data, platform_sdk=28).get("ro.a") == "x" * 92
    long_name = "ro." + "n" * 29
    line = f"{long_name}=1".encode()
    assert parse_build_prop(line, platform_sdk=25).get(long_name) is None
    assert parse_build_prop(line, platform_sdk=26).get(long_name) == "1"


def test_values_replace_only_the_value() -> None:
    prop = parse_build_prop(SAMPLE)
    edited = prop.with_values(
        {"net.hostname": "other", "ro.product.device": "iris", "ro.empty": "x"}
    )
    assert edited == (
        SAMPLE.replace(b"net.hostname = phone  \n", b"net.hostname = other  \n")
        .replace(b"tulip\r\n", b"iris\r\n")
        .replace(b"ro.empty=   \n", b"ro.empty=x   \n")
    )


def test_missing_keys_come_last_below_a_comment() -> None:
    edited = parse_build_prop(SAMPLE).with_values({"ro.new": "1", "ro.other": "a=b"})
    assert edited == SAMPLE + b"\n# Set by rom-builder\nro.new=1\nro.other=a=b\n"
    assert parse_build_prop(edited).with_values({"ro.new": "1", "ro.other": "a=b"}) == edited
    assert parse_build_prop(b"a=1\r\n").with_values({"b": "2"}).endswith(b"\r\nb=2\r\n")
    assert parse_build_prop(b"").with_values({"b": "2"}) == b"# Set by rom-builder\nb=2\n"


@pytest.mark.parametrize("sdk", [17, 28, 29, None])
def test_a_new_value_holds_whichever_duplicate_wins(sdk: int | None) -> None:
    prop = parse_build_prop(b"ro.a=1\n#\nro.a=2\n", platform_sdk=sdk)
    edited = prop.with_values({"ro.a": "3"})
    assert edited == b"ro.a=3\n#\nro.a=3\n"
    assert parse_build_prop(edited, platform_sdk=sdk).get("ro.a") == "3"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", "1\nro.secure=0"),
        ("a", "1\r"),
        ("a", "1\0"),
        ("a", " 1"),
        ("a", "1\v"),
        ("a", "\udcff"),
        ("a", "x" * 92),
        ("ä", "1"),
        ("a=b", "1"),
        ("#a", "1"),
        ("import a", "1"),
        ("", "1"),
        (".a", "1"),
        ("a..b", "1"),
        ("a\n", "1"),
        ("ctl.start", "adbd"),
    ],
)
def test_what_init_would_not_take_is_refused(key: str, value: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_build_prop(SAMPLE).with_values({key: value})
    assert caught.value.hint


def test_limits_follow_the_release() -> None:
    long_value = {"ro.a": "x" * 92}
    long_name = {"persist." + "n" * 24: "1"}
    assert parse_build_prop(b"", platform_sdk=28).with_values(long_value)
    assert parse_build_prop(b"", platform_sdk=26).with_values(long_name)
    assert parse_build_prop(b"", platform_sdk=26).with_values({"ro.a": "é" * 45})
    for sdk, values in ((27, long_value), (25, long_name), (26, {"ro.a": "é" * 46})):
        with pytest.raises(ImageError):
            parse_build_prop(b"", platform_sdk=sdk).with_values(values)


def test_damage_is_named() -> None:
    with pytest.raises(ImageError) as caught:
        parse_build_prop(b"a=1\n\0b=2\n")
    assert caught.value.offset == 4
    with pytest.raises(ImageError):
        parse_build_prop(b"#" * (MAX_BYTES + 1))


KEYS = st.from_regex(r"\A(ro\.|persist\.)?[a-z_]{1,8}(\.[a-z0-9]{1,6})?\Z")
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20).map(
    lambda text: text.strip(" \t\n\v\f\r")
)


@given(st.binary(max_size=300), st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_bytes_can_be_edited(data: bytes, values: dict[str, str]) -> None:
    data = data.replace(b"\0", b"=")
    prop = parse_build_prop(data)
    assert prop.encode() == data
    edited = prop.with_values(values)
    again = parse_build_prop(edited, platform_sdk=prop.platform_sdk)
    assert all(again.get(key) == value for key, value in values.items())
    untouched = [line.raw.rstrip(b"\n") for line in prop.lines if line.key not in values]
    kept = [line.raw.rstrip(b"\n") for line in again.lines if line.key not in values]
    assert kept[: len(untouched)] == untouched
    assert len(kept) <= len(untouched) + 1
    assert again.with_values(values) == edited


@given(
    st.lists(st.tuples(KEYS, VALUES, st.sampled_from(["", " ", "\t"])), max_size=8), KEYS, VALUES
)
def test_only_lines_of_the_key_change(
    lines: list[tuple[str, str, str]], key: str, value: str
) -> None:
    data = "".join(f"{name}{space}={space}{text}\r\n" for name, text, space in lines).encode()
    edited = parse_build_prop(data, platform_sdk=21).with_values({key: value})
    before, after = data.split(b"\r\n"), edited.split(b"\r\n")
    for old, new in zip(before[:-1], after, strict=False):
        if old.partition(b"=")[0].strip() == key.encode():
            assert new.partition(b"=")[2].strip(b" \t") == value.encode()
        else:
            assert new == old


@given(st.binary(max_size=200))
def test_only_image_errors_escape(data: bytes) -> None:
    try:
        prop = parse_build_prop(data)
    except ImageError:
        assert b"\0" in data
    else:
        prop.values()
        prop.duplicates()
