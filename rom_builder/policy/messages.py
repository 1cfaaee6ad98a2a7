"""Pydantic's errors in the words of the person who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from rom_builder.policy.values import Model

if TYPE_CHECKING:
    from rom_builder.policy.yaml import Document

_BOOL_OF_YAML_1_1 = {"yes", "no", "on", "off", "y", "n"}
_NUMBER_OF_YAML_1_1 = re.compile(r"[-+]?[0-9][0-9a-fA-FxXoO_:]*", re.ASCII)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to ``word``, else nothing."""
    folded = {name.lower().replace("_", "-"): name for name in sorted(known)}
    # Bounded: the time difflib takes grows with the square of the length.
    wanted = word[:64].lower().replace("_", "-")
    close = get_close_matches(wanted, folded)
    if not close or not re.search("[a-z]", wanted):  # "1.3" is not what "1.1" meant to be
        return ""
    best = min(close, key=lambda name: sorted(name) != sorted(wanted))  # swapped letters first
    return f"; did you mean {folded[best]!r}?"


def describe(
    details: Mapping[str, Any],
    model: type[BaseModel],
    document: Document,
    context: Mapping[str, Any],
) -> tuple[tuple[int, int], str] | None:
    """Return place and message of one pydantic error.

    Args:
        details: An item of ``ValidationError.errors()``.
        model: What the whole document was validated against.
        document: The file.
        context: The validation context; ``secret`` in it names the place instead of what stands
            there, for files that somebody may put a secret into.

    Returns:
        None where the reader of the file has reported the same already: an empty value.
    """
    kind = details["type"]
    loc = details["loc"]
    _, node, walked = document.locate(loc)
    if kind == "missing":
        where = f" in {dotted(walked)}" if walked else ""
        return document.position(walked), f"missing key {loc[-1]!r}{where}"
    if details["input"] is None:
        return None
    if kind == "extra_forbidden":
        known = _keys_at(model, document, walked[:-1], context)
        hint = nearest(str(loc[-1]), known) or f"; known here: {', '.join(known)}"
        return document.position(walked, key=True), f"unknown key {loc[-1]!r}{hint}"
    if context.get("secret"):
        message = _message(kind, details, yaml.MappingNode("", []), "what stands there")
        return document.position(walked), f"{dotted(walked) or 'the file'}: {message}"
    written = node.value if isinstance(node, yaml.ScalarNode) else None
    shown = _shown(details["input"], written)
    return document.position(walked), _message(kind, details, node, shown)


def dotted(loc: Iterable[str | int]) -> str:
    """Return a place in a file as people write it: ``services[0].consent``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _message(kind: str, details: Mapping[str, Any], node: yaml.Node, shown: str) -> str:
    value = details["input"]
    written = node.value if isinstance(node, yaml.ScalarNode) else None
    if kind == "literal_error":
        return _not_one_of(details["ctx"]["expected"], value, shown, written)
    if kind == "bool_type":
        if isinstance(value, str) and value.lower() in _BOOL_OF_YAML_1_1:
            return f"{shown} is text here; write true or false, quoted text needs quotes"
        return f"must be true or false, not {shown}"
    if kind == "int_type":
        if isinstance(value, str) and _NUMBER_OF_YAML_1_1.fullmatch(value):
            return f"{shown} is text here; write a plain decimal number without leading zero"
        return f"must be a whole number, not {shown}"
    if kind == "string_type":
        if isinstance(value, bool | int | float):
            return f'must be text, not {shown}; write it in quotes: "{written or "..."}"'
        return f"must be text, not {shown}"
    if kind == "tuple_type":
        return f"must be a list, not {shown}"
    if kind in {"model_type", "model_attributes_type", "dict_type", "mapping_type"}:
        return f"must be keys with values, not {shown}"
    if kind in {"value_error", "assertion_error"}:
        return str(details["ctx"]["error"])
    message: str = details["msg"]
    return message


def _not_one_of(expected: str, value: object, shown: str, written: str | None) -> str:
    allowed = re.findall(r"'([^']*)'", expected)
    if len(allowed) == 1:
        message = f"must be {allowed[0]!r}, not {shown}"
    else:
        message = f"{shown} is not one of {', '.join(allowed)}"
    if isinstance(value, str):
        return message + nearest(value, allowed)
    if written in allowed:
        return f'{message}; it is a number here, write it in quotes: "{written}"'
    return message


def _shown(value: object, written: str | None) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:77] + "...")
    if isinstance(value, tuple | list):
        return "a list"
    if isinstance(value, Mapping):
        return "keys with values"
    return written or str(value)


def _keys_at(
    model: Any, document: Document, loc: Iterable[str | int], context: Mapping[str, Any]
) -> list[str]:
    """Return the keys that the model at ``loc`` knows, walking types and data side by side."""
    data: Any = document._data
    here = _unwrapped(model)
    for part in loc:
        if isinstance(part, int):
            inner = get_args(here)[0] if get_origin(here) is tuple else None
        elif isinstance(here, type) and issubclass(here, Model):
            known = here.keys(data, context).get(part)
            inner = known.annotation if known else None
        else:
            inner = get_args(here)[1] if get_origin(here) is dict else None
        data = data[part]
        here = _unwrapped(inner)
    if isinstance(here, type) and issubclass(here, Model):
        return list(here.keys(data, context))
    return []


def _unwrapped(annotation: Any) -> Any:
    """Return ``X`` for ``Annotated[X, ...]`` and ``X | None``."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation
