"""Patterns for places in an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


def matches(pattern: str, path: str) -> bool:
    """Return whether a place lies within a pattern.

    ``*`` and ``?`` stay within one part of a path, ``**`` crosses them, ``**/`` may also be nothing. A
    pattern that names a file also covers everything nested in it.

    >>> matches("system/app/*.apk", "system/app/X.apk!/res/xml/nsc.xml")
    True
    >>> matches("system/*.apk", "system/app/X.apk")
    False
    >>> matches("system/**", "system/app/X.apk")
    True
    """
    pieces = path.split("!/")
    nested = ("!/".join(pieces[:end]) for end in range(len(pieces), 0, -1))
    automaton = _compiled(pattern)
    return any(automaton.accepts(each) for each in nested)


@dataclass(frozen=True, slots=True)
class _Automaton:
    """All positions in a pattern that a text may have reached, as the bits of one number.

    Time grows with the length of the text, whatever the pattern; a regular expression with several
    stars would try every way to share the text among them.

    Attributes:
        consumed: Bits of the positions that a character moves on by one.
        any_character: Bits of ``?``.
        star: Bits of ``*`` and ``**``, which may match nothing.
        crossing: Bits of ``**``.
        folders: Bits of ``**/``, which may match nothing with its slash.
        end: Bit behind the last position.
    """

    consumed: dict[str, int]
    any_character: int
    star: int
    crossing: int
    folders: int
    end: int

    def accepts(self, text: str) -> bool:
        """Return whether the whole text matches."""
        positions = self._free(1)
        for character in text:
            moved = self.consumed.get(character, 0)
            stays = self.crossing
            if character != "/":
                moved |= self.any_character
                stays = self.star
            positions = self._free(((positions & moved) << 1) | (positions & stays))
            if not positions:
                return False
        return bool(positions & self.end)

    def _free(self, positions: int) -> int:
        """Add the positions that are reached without a character."""
        while True:
            more = positions | (positions & self.star) << 1 | (positions & self.folders) << 2
            if more == positions:
                return positions
            positions = more


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Automaton:
    consumed: dict[str, int] = {}
    any_character = star = crossing = folders = 0
    at, bit = 0, 1
    while at < len(pattern):
        if pattern.startswith("**", at):
            star |= bit
            crossing |= bit
            if pattern.startswith("**/", at):
                folders |= bit
            at += 2
        elif pattern[at] == "*":
            star |= bit
            at += 1
        else:
            if pattern[at] == "?":
                any_character |= bit
            else:
                consumed[pattern[at]] = consumed.get(pattern[at], 0) | bit
            at += 1
        bit <<= 1
    return _Automaton(consumed, any_character, star, crossing, folders, bit)
