"""Strict YAML: every value keeps its line and column, and nothing is guessed.

YAML 1.1, which PyYAML speaks, reads ``no`` as false, ``010`` as 8 and ``12:30:00`` as 45000, and
takes the last of two equal keys without a word. A privacy policy cannot afford any of these, so
only this is typed, everything else is text:

========  ===============================  =================================================
type      written as                       note
========  ===============================  =================================================
bool      ``true`` ``false``               also ``True``, ``TRUE``, ``False``, ``FALSE``
int       ``0``, ``7``, ``-12``            at most 18 digits, no leading zero
float     ``1.5``, ``-0.5``                no exponent
text      all else, and all in quotes      dates too; a model that wants a date reads the text
========  ===============================  =================================================

Lists become tuples. Empty values (``key:``, ``~``, ``null``) are refused: whether a requirement is
absent must be visible in the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rom_builder.errors import PolicyError, Problem
from rom_builder.policy.messages import describe

MAX_SIZE = 1 << 20
"""Bytes a file may have."""
MAX_DEPTH = 50
"""Mappings and lists that may stand inside one another."""
MAX_ALIASES = 50
"""Aliases (``*name``) in one file."""
MAX_VALUES = 20_000
"""Keys and values in one file, counted again for every alias."""
MAX_PROBLEMS = 100
"""Problems reported of one file."""

# Without libyaml the pure Python loader gives the same answers, about six times slower.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TYPED = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_EMPTY = {"", "~", "null", "Null", "NULL"}
_INT = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+", re.ASCII)
_INT_DIGITS = 18

# Control characters, line breaks that editors do not count (NEL, LS, PS), and characters that
# nobody sees or that turn the reading direction, so that a reviewer reads another text than we do.
_INVISIBLE = (
    "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\ufeff\\ufffe\\uffff\\ud800-\\udfff"
)
_REFUSED_CHARACTER = re.compile(f"[{_INVISIBLE}]")

M = TypeVar("M", bound=BaseModel)
Part = str | int
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: its data, and where each value of it stands.

    Attributes:
        file: The path as the user gave it.
        sha256: Hexadecimal digest of the file's bytes.
        root: The top mapping with its marks.
        problems: What is wrong but did not keep the rest from being read.
    """

    file: str
    sha256: str
    root: yaml.MappingNode
    problems: tuple[Problem, ...] = ()
    _data: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """The file's values.

        Raises:
            PolicyError: The file has problems; its data must not be used.
        """
        if self.problems:
            raise PolicyError(self.problems[:MAX_PROBLEMS])
        return self._data

    def locate(self, loc: Sequence[Part]) -> tuple[yaml.Node, yaml.Node, tuple[Part, ...]]:
        """Walk down ``loc``; return the last key node, the node it holds and the parts walked.

        Parts that the file does not have are skipped, as pydantic puts the names of models and
        union members in between.
        """
        key: yaml.Node = self.root
        node: yaml.Node = self.root
        walked: list[Part] = []
        for part in loc:
            found = _child(node, part)
            if found is not None:
                key, node = found
                walked.append(part)
        return key, node, tuple(walked)

    def position(self, loc: Sequence[Part], *, key: bool = False) -> Place:
        """Return line and column, both from 1, of a value or of the key that holds it.

        Where ``loc`` leads further than the file, it is the deepest value that exists.

        Args:
            loc: Keys and list indices from the top.
            key: Point at the key instead of the value.
        """
        key_node, node, _ = self.locate(loc)
        return _place((key_node if key else node).start_mark)

    def problem(self, loc: Sequence[Part], message: str, *, key: bool = False) -> Problem:
        """Return a problem that stands at :meth:`position`."""
        return Problem(self.file, *self.position(loc, key=key), message)


def load_yaml(path: str | Path) -> Document:
    """Return the document of one file.

    Raises:
        PolicyError: The file cannot be read, is larger than 1 MiB, not UTF-8, holds control
            characters, is not YAML, is more than one document, has no mapping at its top, or nests
            or repeats itself without measure. Lesser problems wait in :attr:`Document.problems`.
    """
    file = str(path)
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise _refused(file, f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL byte in the name
        raise _refused(file, f"cannot be read: {error}") from error
    return parse_yaml(content, file)


def parse_yaml(content: bytes, file: str) -> Document:
    """Return the document that ``content`` holds; ``file`` is its name in messages.

    Raises:
        PolicyError: As for :func:`load_yaml`.
    """
    text = _decode(content, file)
    try:
        problems = _check_events(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise _refused(file, f"not valid YAML: {what}", _place(mark) if mark else None) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(file, f"not valid YAML: {' '.join(str(error).split())}") from error
    if root is None:
        raise _refused(file, "is empty; keys and values are expected")
    if not isinstance(root, yaml.MappingNode):
        raise _refused(file, "must hold keys and values at its top", _place(root.start_mark))
    reader = _Reader(file, problems)
    data = reader.read(root)
    digest = hashlib.sha256(content).hexdigest()
    return Document(file, digest, root, tuple(reader.problems), data)


def validate(model: type[M], document: Document, context: Mapping[str, Any] | None = None) -> M:
    """Return ``document`` as a ``model``.

    Raises:
        PolicyError: Everything that is wrong with the document, in words for its author.
    """
    problems = list(document.problems)
    result: M | None = None
    try:
        result = model.model_validate(document._data, context=dict(context or {}))
    except ValidationError as error:
        for details in error.errors(include_url=False)[:MAX_PROBLEMS]:
            found = describe(details, model, document, context or {})
            if found is not None:
                problems.append(Problem(document.file, *found[0], found[1]))
    if problems or result is None:
        rest = len(problems) - MAX_PROBLEMS
        hint = f"{rest} more problems are not shown" if rest > 0 else None
        raise PolicyError(sorted(set(problems))[:MAX_PROBLEMS], hint=hint)
    return result


def _refused(file: str, message: str, place: Place | None = None) -> PolicyError:
    return PolicyError([Problem(file, *(place or (1, 1)), message)])


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _place_in(text: str) -> Place:
    """Return the place that follows ``text``."""
    lines = re.split(r"\r\n|\r|\n", text)
    return len(lines), len(lines[-1]) + 1


def _child(node: yaml.Node, part: Part) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _decode(content: bytes, file: str) -> str:
    if len(content) > MAX_SIZE:
        raise _refused(file, f"is larger than {MAX_SIZE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        byte = content[error.start]
        raise _refused(file, f"not UTF-8 (byte {byte:#04x})", _place_in(before)) from error
    found = list(_REFUSED_CHARACTER.finditer(text))[:MAX_PROBLEMS]
    if found:
        raise PolicyError(
            [
                Problem(file, *_place_in(text[: match.start()]), _names_character(match[0]))
                for match in found
            ]
        )
    return text


def _names_character(character: str) -> str:
    return f"control or invisible character U+{ord(character):04X}; remove it"


def _check_events(text: str, file: str) -> list[Problem]:
    """Refuse what must not reach the composer, and list explicit tags, which nodes do not keep."""
    problems: list[Problem] = []
    depth = aliases = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        place = _place(event.start_mark)
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise _refused(file, "a second document starts; write one per file", place)
            case yaml.AliasEvent():
                aliases += 1
                if aliases > MAX_ALIASES:
                    raise _refused(file, f"more than {MAX_ALIASES} aliases", place)
            case yaml.CollectionStartEvent():
                depth += 1
                if depth > MAX_DEPTH:
                    raise _refused(file, f"nested deeper than {MAX_DEPTH} levels", place)
            case yaml.CollectionEndEvent():
                depth -= 1
        tag = getattr(event, "tag", None)
        if tag is not None and not isinstance(event, yaml.AliasEvent):
            problems.append(Problem(file, *place, f"tag {tag!r} is not allowed; remove it"))
    return problems


class _Reader:
    """Turns nodes into data and notes what is wrong with them."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.problems = problems
        self._file = file
        self._values = 0
        self._open: set[int] = set()

    def _note(self, node: yaml.Node, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self._file, *_place(node.start_mark), message))

    def read(self, node: yaml.Node) -> Any:
        self._values += 1
        place = _place(node.start_mark)
        if self._values > MAX_VALUES:
            raise _refused(self._file, f"more than {MAX_VALUES} keys and values", place)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise _refused(self._file, "an alias stands inside what it repeats", place)
        if len(self._open) >= MAX_DEPTH:
            raise _refused(self._file, f"nested deeper than {MAX_DEPTH} levels", place)
        self._open.add(id(node))
        try:
            return self._mapping(node) if isinstance(node, yaml.MappingNode) else self._list(node)
        finally:
            self._open.remove(id(node))

    def _list(self, node: yaml.Node) -> tuple[Any, ...]:
        items = []
        for child in node.value:
            item = self.read(child)
            if item is None:
                self._note(child, "a list item has no value; give it one or remove it")
            items.append(item)
        return tuple(items)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            value = self.read(value_node)
            if key is None:
                continue
            if key in data:
                line = first[key]
                self._note(key_node, f"duplicate key {key!r}, first written in line {line}")
                continue
            if value is None:
                self._note(key_node, f"{key!r} has no value; give it one or remove the key")
            data[key] = value
            first[key] = key_node.start_mark.line + 1
        return data

    def _key(self, node: yaml.Node) -> str | None:
        if isinstance(node, yaml.ScalarNode) and not node.style and node.value == "<<":
            self._note(node, "merge key '<<' is not allowed; write the keys out")
            return None
        key = self.read(node)
        if isinstance(key, str):
            return key
        shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        self._note(node, f"a key must be text, not {shown or 'nothing'}")
        return None

    def _scalar(self, node: yaml.ScalarNode) -> str | bool | int | float | None:
        text: str = node.value
        if bad := _REFUSED_CHARACTER.search(text):  # written as an escape: "\x1b"
            self._note(node, _names_character(bad[0]))
        if node.style:
            return text
        if text in _EMPTY:
            return None
        if text in _TYPED:
            return _TYPED[text]
        if _INT.fullmatch(text):
            return self._number(node, int)
        return self._number(node, float) if _FLOAT.fullmatch(text) else text

    def _number(self, node: yaml.ScalarNode, kind: type[int | float]) -> int | float | str:
        if len(node.value) > _INT_DIGITS:
            self._note(node, f"a number of more than {_INT_DIGITS} digits; text needs quotes")
            return str(node.value)
        return kind(node.value)
