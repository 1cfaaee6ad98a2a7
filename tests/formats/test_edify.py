from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.edify import (
    MAX_BYTES,
    MAX_DEPTH,
    Call,
    Operation,
    calls,
    constant,
    parse_edify,
    quote,
)


def called(script: str) -> list[tuple[str, bool]]:
    return [
        (call.name, conditional)
        for statement in parse_edify(script.encode())
        for call, conditional in calls(statement.expression)
    ]


def test_statements_know_their_bytes() -> None:
    data = b'# head\nf(a,\n  "b;c") ; (g(1) + h()); # tail\nlast("#")'
    statements = parse_edify(data)
    assert [data[item.start : item.end] for item in statements] == [
        b'f(a,\n  "b;c") ;',
        b"(g(1) + h());",
        b'last("#")',
    ]
    assert [item.closed for item in statements] == [True, True, False]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"a b"', "a b"),
        (r'"\"\\\n\t\x41"', '"\\\n\tA'),
        (r'"\q\x4"', r"\q\x4"),
        ('"two\nlines"', "two\nlines"),
        ("/system/app:1.0_a", "/system/app:1.0_a"),
        ('"a" + b + "c"', "abc"),
        ('concat("a", "b" + c)', "abc"),
        ('("a")', "a"),
        ('"' + "ä" + '"', "ä"),
        (r'"cut\x00off"', "cut"),
        ("iffy", "iffy"),
        ('getprop("a")', None),
        ('"a" == "a"', None),
        ('"a" + getprop("b")', None),
    ],
)
def test_values(written: str, value: str | None) -> None:
    (statement,) = parse_edify(written.encode())
    assert constant(statement.expression) == value


def test_operators_bind_as_on_the_phone() -> None:
    (statement,) = parse_edify(b"a || b && c == d + !e")
    either = statement.expression
    assert isinstance(either, Operation)
    assert either.operator == "||"
    both = either.operands[1]
    assert isinstance(both, Operation)
    assert both.operator == "&&"
    same = both.operands[1]
    assert isinstance(same, Operation)
    assert same.operator == "=="
    assert isinstance(same.operands[1], Operation)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("assert(f(), g());", [("f", False), ("g", False), ("assert", False)]),
        ("f() || abort(a());", [("f", False), ("a", True), ("abort", True)]),
        ("a() && b() && c();", [("a", False), ("b", True), ("c", True)]),
        ("!f();", [("f", False)]),
        ("if c() then a(); b(); else d() endif;", [("c", False), ("a", True), ("b", True)]),
        ("ifelse(c(), a(), d());", [("c", False), ("a", True)]),
        ("(f(); g());", [("f", False), ("g", False)]),
        ("f(g(); h(), i);", [("g", False), ("h", False), ("f", False)]),
        ("f();; g() # end", [("f", False), ("g", False)]),
        ("f();\r\ng();\r\n", [("f", False), ("g", False)]),
    ],
)
def test_calls_come_in_order_with_what_decides_on_them(
    script: str, expected: list[tuple[str, bool]]
) -> None:
    assert called(script)[: len(expected)] == expected


def test_if_is_a_call_to_ifelse() -> None:
    (statement,) = parse_edify(b"if a then b else c endif")
    assert isinstance(statement.expression, Call)
    assert statement.expression.name == "ifelse"
    assert [constant(arg) for arg in statement.expression.args] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("script", "offset"),
    [
        (b'f("open', 2),
        (b"f(a", 3),
        (b"f(a b)", 4),
        (b"f(a,)", 4),
        (b"a b", 2),
        (b"f())", 3),
        (b"if a then b", 11),
        (b"a &", 2),
        (b"a ||", 4),
        (b"f(\x00)", 2),
        (b'f("\x00")', 2),
        (b"a - b", 2),
    ],
)
def test_errors_say_where(script: bytes, offset: int) -> None:
    with pytest.raises(ImageError) as caught:
        parse_edify(script)
    assert caught.value.offset == offset


@pytest.mark.parametrize("opening", [b"(", b"!", b"f(", b"if a then "])
def test_depth_is_bounded(opening: bytes) -> None:
    with pytest.raises(ImageError, match="deeper"):
        parse_edify(opening * 5000)


def test_the_deepest_script_can_be_walked() -> None:
    deepest = "f(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1)
    assert len(called(deepest)) == MAX_DEPTH - 1
    long = " + ".join(["a"] * 5000)
    assert constant(parse_edify(long.encode())[0].expression) == "a" * 5000


def test_size_is_bounded() -> None:
    with pytest.raises(ImageError):
        parse_edify(b"\n" * (MAX_BYTES + 1))


@given(st.text(max_size=30))
def test_quoted_text_is_read_back(text: str) -> None:
    try:
        written = quote(text)
    except ImageError:
        return
    assert constant(parse_edify(written.encode())[0].expression) == text


PIECES = st.sampled_from(
    [
        *(b"f", b"(", b")", b",", b";", b'"a"', b"if ", b" then ", b" else ", b" endif", b"+"),
        *(b"||", b"!", b"&&", b"==", b"#", b"\n", b"\\", b'"', b"\xff", b" "),
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_only_image_errors_escape(script: bytes) -> None:
    try:
        statements = parse_edify(script)
    except ImageError:
        return
    ends = [0]
    for statement in statements:
        assert ends[-1] <= statement.start < statement.end <= len(script)
        ends.append(statement.end)
