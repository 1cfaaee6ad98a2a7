from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import PolicyError
from rom_builder.policy import yaml as strict
from rom_builder.policy.models import Policy
from rom_builder.policy.values import Day, Model
from rom_builder.policy.yaml import load_yaml, parse_yaml, validate


def problems_of(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyError) as refused:
        _ = parse_yaml(content, "p.yaml").data
    return [str(problem) for problem in refused.value.problems]


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(strict, "_LOADER", pyyaml.SafeLoader)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("+5", "+5"),
        ("12:30:00", "12:30:00"),
        ("12:30.5", "12:30.5"),
        ("1e5", "1e5"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("'true'", "true"),
        ('"7"', "7"),
        ('""', ""),
        ('"null"', "null"),
        ("=", "="),
        ("٧", "٧"),
        ("[a, 1]", ("a", 1)),
        ("{b: []}", {"b": ()}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_only_plain_json_like_scalars_are_typed(written: str, value: object) -> None:
    data = parse_yaml(f"a: {written}\n".encode(), "p.yaml").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["p.yaml:1:1: is empty; keys and values are expected"]),
        ("# only\n", ["p.yaml:1:1: is empty; keys and values are expected"]),
        ("\n- a\n", ["p.yaml:2:1: must hold keys and values at its top"]),
        ("word", ["p.yaml:1:1: must hold keys and values at its top"]),
        ("a: 1\nb: 2\na: 3\n", ["p.yaml:3:1: duplicate key 'a', first written in line 1"]),
        (
            "a:\n  b: 1\n  'b': 2\nc: {d: 1, d: 2}\n",
            [
                "p.yaml:3:3: duplicate key 'b', first written in line 2",
                "p.yaml:4:11: duplicate key 'd', first written in line 4",
            ],
        ),
        ("a:\n", ["p.yaml:1:1: 'a' has no value; give it one or remove the key"]),
        ("x: {a: ~, b: null}", [
            "p.yaml:1:5: 'a' has no value; give it one or remove the key",
            "p.yaml:1:11: 'b' has no value; give it one or remove the key",
        ]),
        ("a: [~]", ["p.yaml:1:5: a list item has no value; give it one or remove it"]),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", [
            "p.yaml:3:3: merge key '<<' is not allowed; write the keys out"
        ]),
        ("? [1, 2]\n: 3\n", ["p.yaml:1:3: a key must be text, not a list or mapping"]),
        ("1: a\ntrue: b\n~: c\n", [
            "p.yaml:1:1: a key must be text, not 1",
            "p.yaml:2:1: a key must be text, not true",
            "p.yaml:3:1: a key must be text, not ~",
        ]),
        ("a: !!python/object/apply:os.system [ls]\n", [
            "p.yaml:1:4: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed;"
            " remove it"
        ]),
        ("a: !!int '7'\nb: !mine {}\n", [
            "p.yaml:1:4: tag 'tag:yaml.org,2002:int' is not allowed; remove it",
            "p.yaml:2:4: tag '!mine' is not allowed; remove it",
        ]),
        ("a: 1\n---\nb: 2\n", ["p.yaml:2:1: a second document starts; write one per file"]),
        ("a: 1234567890123456789\n", [
            "p.yaml:1:4: a number of more than 18 digits; text needs quotes"
        ]),
        ('a: "\\e[31m"\n', ["p.yaml:1:4: control or invisible character U+001B; remove it"]),
        ("ok: 1\na: \x1b[0m\nb: x\u202ey\n", [
            "p.yaml:2:4: control or invisible character U+001B; remove it",
            "p.yaml:3:5: control or invisible character U+202E; remove it",
        ]),
        (b"a: 1\nb: caf\xe9\n", ["p.yaml:2:7: not UTF-8 (byte 0xe9)"]),
        ("a: &x [*x]\n", ["p.yaml:1:4: an alias stands inside what it repeats"]),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_refused_with_its_place(text: str, expected: list[str]) -> None:
    assert problems_of(text) == expected


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1\nb: 2\n", "p.yaml:2:2: not valid YAML: "),
        ("a: b\n\tc: d\n", "p.yaml:2:1: not valid YAML: "),
        ("a: *missing\n", "p.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: 'open\n", "p.yaml:2:1: not valid YAML: "),
    ],
)
def test_broken_syntax_has_a_place(text: str, start: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(start)


def test_size_depth_aliases_and_values_are_bounded() -> None:
    assert problems_of("a: " + "x" * (1 << 20)) == ["p.yaml:1:1: is larger than 1048576 bytes"]
    assert problems_of("a: " + "[" * 60 + "]" * 60) == ["p.yaml:1:53: nested deeper than 50 levels"]
    assert problems_of("a: &x 1\nb: [" + "*x, " * 51 + "]") == [
        "p.yaml:2:205: more than 50 aliases"
    ]
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x, x, x]\n"
    for above, name in pairwise("abcde"):
        bomb += f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]\n"
    (problem,) = problems_of(bomb)
    assert "more than 20000 keys and values" in problem
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [[*a{n - 1}]]\n" for n in range(1, 40))
    (problem,) = problems_of(chain)
    assert "nested deeper than 50 levels" in problem


def test_thousands_of_problems_are_cut_to_a_hundred() -> None:
    assert len(problems_of("".join(f"k{n}:\n" for n in range(5000)))) == 100
    with pytest.raises(PolicyError) as refused:
        validate(Policy, parse_yaml("".join(f"k{n}: 1\n" for n in range(500)).encode(), "p"))
    assert len(refused.value.problems) == 100


def test_aliases_and_a_byte_order_mark_are_read() -> None:
    document = parse_yaml(b"\xef\xbb\xbfa: &x [1]\nb: *x\n", "p.yaml")
    assert document.data == {"a": (1,), "b": (1,)}
    assert document.position(("a",)) == (1, 4)


def test_positions_of_values_keys_items_and_what_is_missing() -> None:
    document = parse_yaml(b"top:\n  list:\n    - one\n    - {k: 2}\n", "p.yaml")
    assert document.position(("top",)) == (2, 3)
    assert document.position(("top",), key=True) == (1, 1)
    assert document.position(("top", "list", 1, "k")) == (4, 11)
    assert document.position(("top", "list", 1, "k"), key=True) == (4, 8)
    assert document.position(("top", "list", 7)) == (3, 5)
    assert document.position(("top", "tag-of-a-union", "list", 0)) == (3, 7)


def test_files_that_cannot_be_read_are_a_policy_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path, "nul\0name"):
        with pytest.raises(PolicyError, match=":1:1: cannot be read"):
            load_yaml(path)


class Thing(Model):
    flag: bool = False
    count: int = 0
    day: Day = date(2000, 1, 1)
    words: tuple[str, ...] = ()
    inner: Thing | None = None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag: yes", "'yes' is text here; write true or false, quoted text needs quotes"),
        ("flag: Off", "'Off' is text here; write true or false, quoted text needs quotes"),
        ("flag: 1", "must be true or false, not 1"),
        ("flag: [a]", "must be true or false, not a list"),
        ("count: 010", "'010' is text here; write a plain decimal number without leading zero"),
        ("count: 0x1F", "'0x1F' is text here; write a plain decimal number without leading zero"),
        ("count: 1_000", "'1_000' is text here; write a plain decimal number without leading zero"),
        ("count: 1:30", "'1:30' is text here; write a plain decimal number without leading zero"),
        ("count: true", "must be a whole number, not true"),
        ("count: few", "must be a whole number, not 'few'"),
        ("words: one", "must be a list, not 'one'"),
        ("words: {a: 1}", "must be a list, not keys with values"),
        ("words: [2.50]", 'must be text, not 2.50; write it in quotes: "2.50"'),
        ("words: [true]", 'must be text, not true; write it in quotes: "true"'),
        ("inner: word", "must be keys with values, not 'word'"),
        ("inner: {inner: {cuont: 1}}", "unknown key 'cuont'; did you mean 'count'?"),
        ("zzz: 1", "unknown key 'zzz'; known here: flag, count, day, words, inner"),
        ("day: 2024-13-01", "must be a date such as 2027-12-31"),
        ("day: 20240101", "must be a date such as 2027-12-31"),
        ("day: 2024-01-01T00:00:00", "must be a date such as 2027-12-31"),
    ],
)
def test_messages_say_what_to_write(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as refused:
        validate(Thing, parse_yaml(text.encode(), "p.yaml"))
    assert [problem.message for problem in refused.value.problems] == [message]


def test_a_date_is_read_where_the_model_wants_one() -> None:
    thing = validate(Thing, parse_yaml(b"day: 2027-12-31\nwords: [2027-12-31]", "p.yaml"))
    assert thing.day == date(2027, 12, 31)
    assert thing.words == ("2027-12-31",)


def test_problems_of_reading_and_of_the_model_come_together() -> None:
    text = b"flag: yes\nflag: no\ncount:\nwords: !!set {}\n"
    with pytest.raises(PolicyError) as refused:
        validate(Thing, parse_yaml(text, "p.yaml"))
    assert [(p.line, p.column, p.message.split(";")[0]) for p in refused.value.problems] == [
        (1, 7, "'yes' is text here"),
        (2, 1, "duplicate key 'flag', first written in line 1"),
        (3, 1, "'count' has no value"),
        (4, 8, "must be a list, not keys with values"),
        (4, 8, "tag 'tag:yaml.org,2002:set' is not allowed"),
    ]


def _only_policy_errors(content: bytes) -> None:
    try:
        document = parse_yaml(content, "p.yaml")
        validate(Policy, document)
    except PolicyError as error:
        lines = content.count(b"\n") + content.count(b"\r") + 1
        for problem in error.problems:
            assert 1 <= problem.line <= lines + 1
            assert problem.column >= 1
            str(problem).encode()


_SNIPPETS = [
    "a", "b: ", "\n", "  ", "- ", "? ", ": ", "{", "}", "[", "]", ",", "&x ", "*x", "!!int ",
    "!t ", "<<: *x", "'", '"', "\\", "\\ud800", "\\U00110000", "|\n", ">-\n", "---\n", "...\n",
    "%YAML 9\n", "%TAG ! x\n", "#", "\t", "\x00", "\u2028", "yes", "1e999", "9" * 5000, "\r",
    "schema: ", "services:\n", "consent: {mode: ", "title: x\n", "extends: ", "weakens: ",
    "rom: {debuggable: forbidden}\n",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_SNIPPETS) | st.text(max_size=4), max_size=20))
def test_no_yaml_text_escapes_as_another_exception(parts: list[str]) -> None:
    _only_policy_errors("".join(parts).encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_escape_as_another_exception(content: bytes) -> None:
    _only_policy_errors(content)


_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["schema", "id", "title", "services", "profile", "consent", "mode", "data",
                         "allowed", "forbidden", "transport", "hosts", "pins", "rom", "attested"])
        | st.text(max_size=3),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Policy.keys({}, {}))), _VALUES, max_size=6))
def test_no_structure_escapes_as_another_exception(data: dict[str, object]) -> None:
    _only_policy_errors(pyyaml.safe_dump(data, allow_unicode=True).encode())
