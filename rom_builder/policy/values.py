"""The kinds of value that files of ours may hold, and what every model of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

T = TypeVar("T")

_ID = r"[a-z0-9]+(-[a-z0-9]+)*"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# RFC 1123 section 2.1; the last label is not a number, else it would be an address.
_HOST = rf"({_LABEL}\.)+(?![0-9]+$){_LABEL}"


class Model(BaseModel):
    """What every model of a file is: strict, closed to unknown keys, unchangeable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def keys(cls, data: object, context: Mapping[str, Any]) -> dict[str, FieldInfo]:
        """Return the keys that ``data`` may have, as the file spells them."""
        del data, context
        return {field.alias or name: field for name, field in cls.model_fields.items()}


def problem_at(loc: tuple[str | int, ...], value: object, message: str) -> ValidationError:
    """Return the error that puts ``message`` at ``loc`` below the value being validated."""
    # Pydantic fills {placeholders} of the template, so the message itself is one.
    error = PydanticCustomError("refused", "{message}", {"message": message})
    return ValidationError.from_exception_data(
        "policy", [InitErrorDetails(type=error, loc=loc, input=value)]
    )


def once(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return ``values``, refusing one that is listed twice."""
    seen: set[T] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise problem_at((index,), value, f"{value!r} is listed twice")
        seen.add(value)
    return values


def pattern(expression: str, what: str) -> Callable[[str], str]:
    """Return a validator: text that matches ``expression`` in full, else "is not ``what``"."""
    compiled = re.compile(expression, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise PydanticCustomError(
                "pattern", "{text} is not {what}", {"text": repr(text[:80]), "what": what}
            )
        return text

    return check


def _host(text: str) -> str:
    name = text.removeprefix("*.")
    if len(name) <= 253 and re.fullmatch(_HOST, name, re.ASCII):
        return text
    if "/" in text or ":" in text:
        problem = f"{text[:80]!r} is not a host name; leave out scheme, port and path"
    elif re.fullmatch(_HOST, name.lower(), re.ASCII):
        problem = f"{text[:80]!r} has capital letters; write {text.lower()!r}"
    else:
        problem = f"{text[:80]!r} is not a host name such as 'api.example.com' or '*.example.com'"
    raise PydanticCustomError("host", "{problem}", {"problem": problem})


def host_matches(pattern: str, host: str) -> bool:
    """Return whether ``host``, itself a name or a pattern, lies within ``pattern``.

    >>> host_matches("*.example.com", "a.b.example.com")
    True
    >>> host_matches("*.example.com", "example.com")
    False
    """
    return pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _date(value: object) -> object:
    if isinstance(value, str):
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
                return date.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, date):
        return value
    raise PydanticCustomError("date", "must be a date such as 2027-12-31")


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise PydanticCustomError("fingerprint", "must be a SHA-256 in hex: 64 digits")
    return digits


Id = Annotated[
    str,
    AfterValidator(pattern(rf"(?=.{{1,64}}$){_ID}", "an id such as 'messaging-opt-in'")),
    WithJsonSchema({"type": "string", "pattern": f"^{_ID}$", "maxLength": 64}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Host = Annotated[str, AfterValidator(_host), WithJsonSchema({"type": "string"})]
Language = Annotated[
    str,
    AfterValidator(pattern("[a-z]{2,3}", "a language such as 'en' or 'zh' (ISO 639)")),
    WithJsonSchema({"type": "string", "pattern": "^[a-z]{2,3}$"}),
]
Day = Annotated[date, BeforeValidator(_date)]
Hosts = Annotated[tuple[Host, ...], AfterValidator(once)]
Fingerprint = Annotated[
    str,
    AfterValidator(_fingerprint),
    WithJsonSchema({"type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){32}$"}),
]
