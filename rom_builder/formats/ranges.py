"""Sets of bytes or blocks as ranges of numbers."""

from __future__ import annotations

from collections.abc import Iterable


def difference(ranges: Iterable[range], taken: Iterable[range]) -> list[range]:
    """Return the numbers of ``ranges`` that are in none of ``taken``, rising, without overlaps.

    >>> difference([range(0, 10), range(5, 12)], [range(3, 4), range(11, 99)])
    [range(0, 3), range(4, 11)]
    """
    holes = _merged(taken)
    found: list[range] = []
    position = 0
    for part in _merged(ranges):
        start = part.start
        while position < len(holes) and holes[position].stop <= start:
            position += 1
        hole = position
        while hole < len(holes) and holes[hole].start < part.stop:
            if start < holes[hole].start:
                found.append(range(start, holes[hole].start))
            start = holes[hole].stop
            hole += 1
        if start < part.stop:
            found.append(range(start, part.stop))
    return found


def overlaps(ranges: Iterable[range]) -> list[range]:
    """Return the numbers that are in more than one of ``ranges``.

    >>> overlaps([range(0, 9), range(2, 4), range(8, 12)])
    [range(2, 4), range(8, 9)]
    """
    found: list[range] = []
    end = 0
    for part in sorted((r for r in ranges if r), key=lambda r: r.start):
        if part.start < end:
            found.append(range(part.start, min(part.stop, end)))
        end = max(end, part.stop)
    return _merged(found)


def _merged(ranges: Iterable[range]) -> list[range]:
    """Return the same numbers, rising, without overlaps."""
    found: list[range] = []
    for part in sorted((r for r in ranges if r), key=lambda r: r.start):
        if found and part.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, part.stop))
        else:
            found.append(part)
    return found
