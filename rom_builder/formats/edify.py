r"""Edify: the language of the updater-script in file-based and block-based OTA packages.

Grammar and lexer of AOSP ``bootable/recovery/edify`` (``lexer.ll``, ``parser.yy``). Every value is
a string; false is the empty one. From loosest to tightest binding::

    a ; b          both in order
    a || b         b only if a is false
    a && b         b only if a is true
    a == b, !=     compare
    a + b          join
    ! a            not
    f(a, b), (a), if a then b else c endif, "text", word

A word is made of ``[A-Za-z0-9_:/.]``. In quotes ``\n \t \" \\ \xHH`` are escapes, any other
backslash stands for itself. ``#`` begins a comment outside quotes. More is accepted than by the
phone's own parser: carriage returns, empty statements and a comment that ends the file without a
line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, NoReturn

from rom_builder.errors import ImageError

MAX_BYTES = 1 << 20
"""Real scripts stay below 200 KiB."""

MAX_DEPTH = 50
"""Expressions inside each other; real scripts stay below 10."""


@dataclass(frozen=True, slots=True)
class Text:
    """A word or quoted text; bytes that are not UTF-8 are surrogate escapes."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; ``if a then b else c endif`` is the call ``ifelse(a, b, c)``."""

    name: str
    args: tuple[Expression, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its two or more operands (one for ``!``), left to right."""

    operator: Literal[";", "||", "&&", "==", "!=", "+", "!"]
    operands: tuple[Expression, ...]
    start: int
    end: int


Expression = Text | Call | Operation


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the file.

    Attributes:
        expression: What it does.
        start: Byte offset of its first byte.
        end: Behind its last byte, the semicolon included if it has one.
        closed: It has a semicolon.
    """

    expression: Expression
    start: int
    end: int
    closed: bool


def parse_edify(data: bytes) -> tuple[Statement, ...]:
    """Return the statements of a script in order.

    Raises:
        ImageError: A syntax error, a NUL byte, or beyond :data:`MAX_BYTES` or :data:`MAX_DEPTH`.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(f"the script has {len(data)} bytes, at most {MAX_BYTES} are read")
    return tuple(_Parser(data).statements())


def constant(expression: Expression) -> str | None:
    """Return the value of an expression that has the same value on every phone, or None."""
    if isinstance(expression, Text):
        return expression.value
    joins = (
        expression.name == "concat" if isinstance(expression, Call) else expression.operator == "+"
    )
    if not joins:
        return None
    parts = expression.args if isinstance(expression, Call) else expression.operands
    values = [constant(part) for part in parts]
    return None if None in values else "".join(value or "" for value in values)


def calls(expression: Expression, conditional: bool = False) -> Iterator[tuple[Call, bool]]:
    """Yield every call in the order in which it is made, and whether a condition decides on it."""
    if isinstance(expression, Text):
        return
    if isinstance(expression, Call):
        for index, arg in enumerate(expression.args):
            yield from calls(arg, conditional or (expression.name == "ifelse" and index > 0))
        yield expression, conditional
        return
    for index, operand in enumerate(expression.operands):
        skipped = index > 0 and expression.operator in ("||", "&&")
        yield from calls(operand, conditional or skipped)


def quote(text: str) -> str:
    """Return ``text`` as it is written in quotes.

    Raises:
        ImageError: A control character or something that is not Unicode text.
    """
    if any(letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise ImageError(f"{text[:200]!r} cannot be written in an updater-script")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Token(NamedTuple):
    kind: str
    """``text``, a keyword, an operator, or ``""`` at the end."""
    value: str
    start: int
    end: int


_TOKEN = re.compile(
    rb"""(?P<space>[ \t\r\n]+|\#[^\n]*)
       | "(?P<quoted>(?:\\.|[^"\\])*)"
       | (?P<word>[A-Za-z0-9_:/.]+)
       | (?P<operator>&&|\|\||==|!=|[+(),!;])""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(rb'\\(n|t|"|\\|x[0-9A-Fa-f]{2})')
_PLAIN = {b"n": b"\n", b"t": b"\t", b'"': b'"', b"\\": b"\\"}
_KEYWORDS = frozenset({"if", "then", "else", "endif"})
_LEVELS: tuple[tuple[Literal["||", "&&", "==", "!=", "+"], ...], ...] = (
    ("||",),
    ("&&",),
    ("==", "!="),
    ("+",),
)


def _unescape(quoted: bytes) -> str:
    def plain(found: re.Match[bytes]) -> bytes:
        mark = found[1]
        return _PLAIN[mark] if mark in _PLAIN else bytes([int(mark[1:], 16)])

    # The phone holds it as a C string, which ends at the first NUL.
    return _ESCAPE.sub(plain, quoted).partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _tokens(data: bytes) -> Iterator[_Token]:
    position = 0
    while position < len(data):
        found = _TOKEN.match(data, position)
        if found is None or b"\0" in found[0]:
            raise ImageError("the script cannot be read here", offset=position)
        start, position = position, found.end()
        kind = found.lastgroup
        if kind == "quoted":
            yield _Token("text", _unescape(found["quoted"]), start, position)
        elif kind == "word":
            word = found["word"].decode()
            yield _Token(word if word in _KEYWORDS else "text", word, start, position)
        elif kind == "operator":
            operator = found["operator"].decode()
            yield _Token(operator, operator, start, position)
    yield _Token("", "", len(data), len(data))


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._tokens = _tokens(data)
        self._next = next(self._tokens)
        self._depth = 0

    def statements(self) -> Iterator[Statement]:
        while self._next.kind:
            if self._next.kind == ";":
                self._take()
                continue
            expression = self._level(0)
            end = expression.end
            closed = self._next.kind == ";"
            if closed:
                end = self._take().end
            elif self._next.kind:
                self._fail("';'")
            yield Statement(expression, expression.start, end, closed)

    def _take(self) -> _Token:
        token = self._next
        if token.kind:
            self._next = next(self._tokens)
        return token

    def _expect(self, kind: str) -> _Token:
        if self._next.kind != kind:
            self._fail(f"{kind!r}")
        return self._take()

    def _fail(self, expected: str) -> NoReturn:
        found = repr(self._next.value[:40]) if self._next.kind else "the end of the script"
        raise ImageError(f"{found} where {expected} is expected", offset=self._next.start)

    def _sequence(self) -> Expression:
        parts = [self._level(0)]
        while self._next.kind == ";":
            self._take()
            if self._next.kind in (")", ",", "then", "else", "endif", ";", ""):
                continue
            parts.append(self._level(0))
        if len(parts) == 1:
            return parts[0]
        return Operation(";", tuple(parts), parts[0].start, parts[-1].end)

    def _level(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        expression = self._level(level + 1)
        while (operator := self._operator(level)) is not None:
            parts = [expression]
            while self._next.kind == operator:
                self._take()
                parts.append(self._level(level + 1))
            expression = Operation(operator, tuple(parts), parts[0].start, parts[-1].end)
        return expression

    def _operator(self, level: int) -> Literal["||", "&&", "==", "!=", "+"] | None:
        return next((mark for mark in _LEVELS[level] if mark == self._next.kind), None)

    def _unary(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ImageError(f"nested deeper than {MAX_DEPTH}", offset=self._next.start)
        token = self._next
        made: Expression
        if token.kind == "!":
            self._take()
            operand = self._unary()
            made = Operation("!", (operand,), token.start, operand.end)
        elif token.kind == "(":
            self._take()
            inside = self._sequence()
            made = replace(inside, start=token.start, end=self._expect(")").end)
        elif token.kind == "if":
            made = self._if()
        elif token.kind == "text":
            made = self._text_or_call()
        else:
            self._fail("a call or text")
        self._depth -= 1
        return made

    def _if(self) -> Expression:
        start = self._take().start
        args = [self._sequence()]
        self._expect("then")
        args.append(self._sequence())
        if self._next.kind == "else":
            self._take()
            args.append(self._sequence())
        return Call("ifelse", tuple(args), start, self._expect("endif").end)

    def _text_or_call(self) -> Expression:
        token = self._take()
        if self._next.kind != "(":
            return Text(token.value, token.start, token.end)
        self._take()
        args: list[Expression] = []
        while self._next.kind != ")":
            args.append(self._sequence())
            if self._next.kind != ")":
                self._expect(",")
                if self._next.kind == ")":
                    self._fail("an argument")
        return Call(token.value, tuple(args), token.start, self._take().end)
