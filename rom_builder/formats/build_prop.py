"""build.prop: the properties a partition sets at boot, one ``key=value`` a line.

How init reads it (AOSP ``init/property_service.cpp``, ``LoadProperties``): white space before and
after key and value is dropped, a line whose first other character is ``#`` is a comment,
``import FILE [FILTER]`` reads another file in place, a line without ``=`` is nothing, and reading
stops at the first NUL byte. What differs between releases::

    API level   the same key twice        longest key   longest value
    ..25        ro.*: first, else last    31 bytes      91 bytes
    26, 27      ro.*: first, else last    any           91 bytes
    28          ro.*: first, else last    any           91 bytes, ro.*: any
    29..        last                      any           91 bytes, ro.*: any

Up to 28 each line is set as soon as it is read, and a ``ro.*`` property cannot be set twice; since
29 all files are merged first and the last line wins. A line over the limit is ignored on the phone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rom_builder.errors import ImageError

MAX_BYTES = 1 << 22
"""More than any real file by a factor of 50; init itself sets no limit."""

PROP_NAME_MAX = 32
"""Bytes of a key with its NUL, up to API 25 (bionic ``sys/system_properties.h``)."""

PROP_VALUE_MAX = 92
"""Bytes of a value with its NUL (same header)."""

MERGED_SINCE = 29
LONG_RO_SINCE = 28
LONG_NAMES_SINCE = 26

_SPACE = b" \t\n\v\f\r"
_LEGAL_KEY = re.compile(r"[A-Za-z0-9_@:-]+(\.[A-Za-z0-9_@:-]+)*")
_ADDED = b"# Set by rom-builder"


@dataclass(frozen=True, slots=True)
class PropLine:
    """One line of the file.

    Attributes:
        number: Counts from 1.
        offset: Of its first byte in the file.
        raw: Its bytes, line end included.
        kind: What init makes of it.
        key: Of a ``property``; the file name and filter of an ``import``.
        value: Of a ``property``; bytes that are not UTF-8 as surrogate escapes.
        value_span: Where the value stands in ``raw``; empty for other kinds.
    """

    number: int
    offset: int
    raw: bytes
    kind: Literal["property", "comment", "import", "other"]
    key: str = ""
    value: str = ""
    value_span: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class BuildProp:
    """A parsed build.prop; :meth:`encode` gives back the bytes it was read from.

    Attributes:
        lines: Every line in file order.
        platform_sdk: API level whose rules decide; None takes the newest.
    """

    lines: tuple[PropLine, ...]
    platform_sdk: int | None

    @cached_property
    def _by_key(self) -> dict[str, list[PropLine]]:
        by_key: dict[str, list[PropLine]] = {}
        for line in self.lines:
            if line.kind == "property":
                by_key.setdefault(line.key, []).append(line)
        return by_key

    @property
    def imports(self) -> tuple[PropLine, ...]:
        """The ``import`` lines; the files they name may set any key of this one too."""
        return tuple(line for line in self.lines if line.kind == "import")

    def encode(self) -> bytes:
        """Return the file."""
        return b"".join(line.raw for line in self.lines)

    def line(self, key: str) -> PropLine | None:
        """Return the line that decides ``key`` on the phone, or None if none does."""
        lines = [
            line
            for line in self._by_key.get(key, ())
            if not _over_limit(key, line.value, self.platform_sdk)
        ]
        if not lines:
            return None
        first_wins = key.startswith("ro.") and not self._merged
        return lines[0 if first_wins else -1]

    def get(self, key: str) -> str | None:
        """Return the value the phone takes from this file, or None."""
        line = self.line(key)
        return None if line is None else line.value

    def values(self) -> dict[str, str]:
        """Return every key with the value the phone takes from this file, in file order."""
        decided = {key: self.get(key) for key in self._by_key if key}
        return {key: value for key, value in decided.items() if value is not None}

    def duplicates(self) -> dict[str, tuple[PropLine, ...]]:
        """Return the keys that are set more than once, each with its lines in file order."""
        return {key: tuple(lines) for key, lines in self._by_key.items() if len(lines) > 1}

    def with_values(self, values: Mapping[str, str]) -> bytes:
        """Return the file with ``values`` in force; doing it twice changes nothing more.

        Every line of a key gets the new value, so that it holds whichever line a release lets win.
        A key that is missing comes at the end, below a comment. All other bytes stay.

        Raises:
            ImageError: A key or value that init would refuse, cut short or read differently.
        """
        for key, value in values.items():
            _check(key, value, self.platform_sdk)
        parts = [
            _with_value(line, values[line.key])
            if line.kind == "property" and line.key in values
            else line.raw
            for line in self.lines
        ]
        missing = [key for key in values if key not in self._by_key]
        if missing:
            end = b"\r\n" if self.lines and self.lines[0].raw.endswith(b"\r\n") else b"\n"
            if parts and not parts[-1].endswith(b"\n"):
                parts.append(end)
            parts.append(_ADDED + end)
            parts += [f"{key}={values[key]}".encode() + end for key in missing]
        return b"".join(parts)

    @property
    def _merged(self) -> bool:
        return self.platform_sdk is None or self.platform_sdk >= MERGED_SINCE


def parse_build_prop(data: bytes, *, platform_sdk: int | None = None) -> BuildProp:
    """Return the lines of a build.prop; any bytes but NUL are accepted.

    Args:
        data: The file.
        platform_sdk: API level of the ROM; None takes the file's own ``ro.build.version.sdk``.

    Raises:
        ImageError: A NUL byte, behind which init reads nothing, or more than :data:`MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(f"build.prop has {len(data)} bytes, at most {MAX_BYTES} are read")
    nul = data.find(b"\0")
    if nul >= 0:
        raise ImageError("build.prop holds a NUL byte; init reads nothing behind it", offset=nul)
    lines = []
    offset = 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        ended = raw + b"\n" if offset + len(raw) < len(data) else raw
        if ended:
            lines.append(_line(number, offset, ended))
        offset += len(ended)
    if platform_sdk is None:
        levels = {line.value for line in lines if line.key == "ro.build.version.sdk"}
        level = levels.pop() if len(levels) == 1 else ""
        if re.fullmatch(r"[1-9][0-9]{0,2}", level, re.ASCII):
            platform_sdk = int(level)
    return BuildProp(tuple(lines), platform_sdk)


def _line(number: int, offset: int, raw: bytes) -> PropLine:
    text = raw.strip(_SPACE)
    if text.startswith(b"#"):
        return PropLine(number, offset, raw, "comment")
    if text.startswith(b"import "):
        return PropLine(number, offset, raw, "import", _text(text[7:].strip(_SPACE)))
    equals = raw.find(b"=")
    if equals < 0:
        return PropLine(number, offset, raw, "other")
    value = raw[equals + 1 :].strip(_SPACE)
    start = raw.index(value, equals + 1) if value else equals + 1
    return PropLine(
        number=number,
        offset=offset,
        raw=raw,
        kind="property",
        key=_text(raw[:equals].strip(_SPACE)),
        value=_text(value),
        value_span=(start, start + len(value)),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _with_value(line: PropLine, value: str) -> bytes:
    start, end = line.value_span
    return line.raw[:start] + value.encode() + line.raw[end:]


def _over_limit(key: str, value: str, platform_sdk: int | None) -> str | None:
    """Return why a phone of this API level ignores the line, or None."""
    name_size = len(key.encode("utf-8", "surrogateescape"))
    value_size = len(value.encode("utf-8", "surrogateescape"))
    level = LONG_RO_SINCE if platform_sdk is None else platform_sdk
    if level < LONG_NAMES_SINCE and name_size >= PROP_NAME_MAX:
        return f"the key has {name_size} bytes, API level {level} takes {PROP_NAME_MAX - 1}"
    long_value = key.startswith("ro.") and level >= LONG_RO_SINCE
    if value_size >= PROP_VALUE_MAX and not long_value:
        return f"the value has {value_size} bytes, at most {PROP_VALUE_MAX - 1} are taken"
    return None


def _check(key: str, value: str, platform_sdk: int | None) -> None:
    reason = None
    if not _LEGAL_KEY.fullmatch(key):
        reason = "the key may hold letters, digits and _ - @ : with single dots between"
    elif key.startswith("ctl.") or key == "sys.powerctl":
        reason = "init takes it as a command and refuses it in a file"
    elif any(mark in value for mark in "\n\r\0"):
        reason = "the value holds a line end or NUL"
    elif value != value.strip(_SPACE.decode()):
        reason = "init drops the white space around the value"
    elif any("\ud800" <= letter <= "\udfff" for letter in value):
        reason = "the value is not Unicode text"
    else:
        reason = _over_limit(key, value, platform_sdk)
    if reason:
        raise ImageError(
            f"property {key!r} cannot be set to {value[:100]!r}: {reason}",
            hint="choose another key or a shorter value in the policy or profile",
        )
