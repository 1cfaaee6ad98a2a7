"""Manifests and signature files of JAR signatures: sections of text, most of them one digest each.

Both files consist of sections that an empty line ends; a line that starts with a space goes on with
the one before. The first section speaks of the whole, each further one of the entry it names::

    Name: res/layout/main.xml
    SHA1-Digest: base64

A section of exactly these two lines is read with a regular expression for all of them at once: an app
has thousands. A file with any other section is read line by line.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from rom_builder.errors import ImageError

if TYPE_CHECKING:
    from hashlib import _Hash

_SECTION = re.compile(rb"(?:[^\r\n]+(?:\r\n|\n|\r|\Z))+(?:\r\n|\n|\r)*")
_USUAL = re.compile(r"Name: ([^\n]*)\n([^\n:]*)-Digest: ([^\n]*)\n\n")
"""A section with a name and one digest, as every tool writes it."""
_USUAL_LENGTH = len("Name: \n-Digest: \n\n")

HASHES: Mapping[str, Callable[..., _Hash]] = {
    "SHA-512": partial(hashlib.sha512, usedforsecurity=False),
    "SHA-384": partial(hashlib.sha384, usedforsecurity=False),
    "SHA-256": partial(hashlib.sha256, usedforsecurity=False),
    "SHA-224": partial(hashlib.sha224, usedforsecurity=False),
    "SHA-1": partial(hashlib.sha1, usedforsecurity=False),
    "MD5": partial(hashlib.md5, usedforsecurity=False),
}
"""Digests of signatures, strongest first."""
_DIGESTS = tuple(name for name in HASHES if name != "SHA-224")
"""Digests of text files: of several, Android takes the strongest it knows."""
_SPELLINGS = {"SHA1": "SHA-1", "SHA": "SHA-1", "SHA256": "SHA-256", "SHA512": "SHA-512"}


class TextDigest(NamedTuple):
    """A digest as a text file tells it.

    Attributes:
        algorithm: A key of :data:`HASHES`.
        text: Base64.
    """

    algorithm: str
    text: str

    def matches(self, digest: bytes) -> bool:
        """Whether the text stands for these bytes; damaged base64 stands for none."""
        try:
            return binascii.a2b_base64(self.text, strict_mode=True) == digest
        except ValueError:
            return False

    def is_of(self, data: bytes) -> bool:
        """Whether it is the digest of some bytes."""
        return self.matches(HASHES[self.algorithm](data).digest())


class JarManifest:
    """A manifest or signature file, its sections read when they are asked for.

    Args:
        data: The file.
        path: Its name, for errors.

    Attributes:
        data: The file.
        main_bytes: Its main section with the empty lines that end it.
        main: Attributes of the main section by their names in lower case.

    Raises:
        ImageError: The main section is damaged; on access, another one is.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self.data = data
        self._path = path
        first = _SECTION.match(data)
        self.main_bytes = first[0] if first else b""
        self._rest = first.end() if first else 0
        self.main: Mapping[str, str] = _section(_unfolded(self.main_bytes, path), path)

    @cached_property
    def names(self) -> AbstractSet[str]:
        """The names of the sections but the main one."""
        return {section[0] for section in self._usual} if self._usual else self.digests.keys()

    @cached_property
    def digests(self) -> Mapping[str, TextDigest | None]:
        """The strongest digest of each section but the main one, by its name; None if it has none."""
        found = self._usual
        if not found:
            return self._line_by_line()
        kinds = {kind: _algorithm(kind) for kind in {section[1] for section in found}}
        if not all(kind in _DIGESTS for kind in kinds.values()):
            return self._line_by_line()
        new = tuple.__new__  # past the constructor of the named tuple, which takes twice as long
        return {name: new(TextDigest, (kinds[kind], text)) for name, kind, text in found}

    @cached_property
    def section_bytes(self) -> Mapping[str, bytes]:
        """The bytes of each section but the main one, by its name."""
        found = _SECTION.finditer(self.data, self._rest)
        return dict(zip(self.digests, (match[0] for match in found), strict=True))

    @cached_property
    def _text(self) -> str:
        return _unfolded(self.data[self._rest :], self._path)

    @cached_property
    def _usual(self) -> list[tuple[str, str, str]]:
        """Name, algorithm and base64 of each section if all are of the usual kind, else nothing."""
        text = self._text
        # Each "Name: " inside a line would have the expression read on to the line's end.
        if text.count("Name: ") != text.startswith("Name: ") + text.count("\nName: "):
            return []
        found: list[tuple[str, str, str]] = _USUAL.findall(text)
        length = len("".join(map("".join, found))) + _USUAL_LENGTH * len(found)
        is_all = length == len(text) and len({name for name, _, _ in found}) == len(found)
        return found if is_all else []

    def _line_by_line(self) -> Mapping[str, TextDigest | None]:
        digests: dict[str, TextDigest | None] = {}
        for part in self._text.split("\n\n"):
            if not part or part == "\n":
                continue
            attributes = _section(part, self._path)
            name = attributes.get("name")
            if name is None or name in digests:
                what = "has no name" if name is None else f"{name!r} occurs twice"
                raise ImageError(f"a section {what}", path=self._path)
            digests[name] = strongest(attributes, "-digest")
        return digests


def strongest(attributes: Mapping[str, str], suffix: str) -> TextDigest | None:
    """Return the strongest digest among ``<algorithm>-<suffix>`` attributes, None if there is none."""
    found = {
        _algorithm(name[: -len(suffix)]): value
        for name, value in attributes.items()
        if name.endswith(suffix)
    }
    for algorithm in _DIGESTS:
        if algorithm in found:
            return TextDigest(algorithm, found[algorithm])
    return None


def _algorithm(spelling: str) -> str:
    name = spelling.upper()
    return _SPELLINGS.get(name, name)


def _unfolded(data: bytes, path: str) -> str:
    """Return the text with one kind of line end, and each line that goes on joined to the one before.

    Raises:
        ImageError: A line that goes on follows an empty one.
    """
    # Before decoding, as lines are folded in the middle of characters, too.
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\n\n " in data or data.startswith(b" "):
        raise ImageError("a line that goes on follows an empty one", path=path)
    return data.replace(b"\n ", b"").decode(errors="replace")


def _section(text: str, path: str) -> dict[str, str]:
    """Return the attributes of one section by their names in lower case."""
    attributes: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        if colon:
            attributes[name.lower()] = value
        elif line:
            raise ImageError(f"a line without a colon: {line[:60]!r}", path=path)
    return attributes
