"""Damaged copies of a good file: every reader must either read them or raise ImageError."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from rom_builder.errors import ImageError


def noise(size: int, seed: int = 7) -> bytes:
    """Bytes that do not compress, always the same for one seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311


def damaged(
    good: bytes, *, seed: int = 1, count: int = 200, within: int | None = None
) -> Iterator[bytes]:
    """Yield truncations and copies with one to eight bytes changed, always the same for one seed.

    ``within`` limits the changes to the first bytes, where the structures of a large file are.
    """
    rng = random.Random(seed)  # noqa: S311
    end = min(len(good), within or len(good))
    for _ in range(count // 4):
        yield good[: rng.randrange(end)]
    for _ in range(count):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            bad[rng.randrange(end)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        yield bytes(bad)


def survives(read: Callable[[bytes], object], good: bytes, **options: int) -> int:
    """Read damaged copies, letting nothing but ImageError pass; return how many were refused."""
    refused = 0
    for bad in damaged(good, **options):
        try:
            read(bad)
        except ImageError:
            refused += 1
    return refused
