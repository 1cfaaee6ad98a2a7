r"""Properties that Android's init sets by its scripts (``*.rc``; AOSP ``system/core/init/README.md``).

A script is made of sections; what stands in one that begins with ``on`` is done when its trigger fires::

    on boot
        setprop ro.example 1
        setprop persist.example "two words"
    on property:sys.usb.config=none && property:sys.boot=1
        setprop sys.usb.state ${sys.usb.config}

Words are parted by spaces; ``"..."`` holds them together, ``\`` takes the next character as it is, and at
the end of a line joins the next one; ``#`` at the start of a word begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rom_builder.errors import ImageError

MAX_SIZE = 1 << 20
STAGES = (
    "early-init",
    "init",
    "late-init",
    "early-fs",
    "fs",
    "post-fs",
    "late-fs",
    "post-fs-data",
    "zygote-start",
    "early-boot",
    "boot",
)
"""Triggers that fire once in every start, in their order (``rootdir/init.rc``)."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class SetProperty:
    """One ``setprop``.

    Attributes:
        trigger: The words behind ``on``, ``boot`` or ``property:a=b && boot``.
        value: None if it holds other properties (``${a}``) that are only known on the device.
    """

    trigger: str
    name: str
    value: str | None
    line: int

    @property
    def stage(self) -> int | None:
        """Place among :data:`STAGES`; None if it is not done in every start."""
        return STAGES.index(self.trigger) if self.trigger in STAGES else None


def parse_init_rc(data: bytes) -> tuple[SetProperty, ...]:
    r"""Return what a script sets, in its order.

    >>> parse_init_rc(b"on boot\n  setprop a.b 1\n")
    (SetProperty(trigger='boot', name='a.b', value='1', line=2),)

    Raises:
        ImageError: It is larger than 1 MiB.
    """
    if len(data) > MAX_SIZE:
        raise ImageError(f"the script has {len(data)} bytes, at most {MAX_SIZE} are read")
    return tuple(_set_properties(data.decode("utf-8", "replace")))


def _set_properties(text: str) -> Iterator[SetProperty]:
    trigger: str | None = None
    for line, words in _lines(text):
        if words[0] == "on":
            trigger = " ".join(words[1:])
        elif words[0] in ("service", "import", "subsystem"):
            trigger = None
        elif words[0] == "setprop" and trigger is not None and len(words) == 3:
            value = None if "${" in words[2] else words[2]
            yield SetProperty(trigger, words[1], value, line)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each line that has some, with the number of its first line."""
    words: list[str] = []
    word: list[str] | None = None
    line = start = 1
    position, quoted = 0, False
    while position <= len(text):
        character = text[position] if position < len(text) else "\n"
        position += 1
        if character == "\\" and position < len(text):
            following = text[position]
            position += 1
            if following == "\r" and text[position : position + 1] == "\n":
                following = "\n"
                position += 1
            if following == "\n":
                line += 1
                continue
            word = (word or []) + [_ESCAPES.get(following, following)]
        elif character == '"':
            quoted, word = not quoted, word or []
        elif character == "\n":
            if word is not None:
                words.append("".join(word))
            if words:
                yield start, words
            line += 1
            words, word, quoted, start = [], None, False, line
        elif quoted or character not in " \t\r#" or (character == "#" and word is not None):
            word = word if word is not None else []
            word.append(character)
        elif character == "#":
            end = text.find("\n", position)
            position = end if end >= 0 else len(text)
        elif word is not None:
            words.append("".join(word))
            word = None
