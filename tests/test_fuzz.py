"""Every reader of hostile input: the corpus is read, and a bounded number of its mutations.

``make fuzz`` does the same without end, guided by atheris; what it found lies in the corpus.
"""

from __future__ import annotations

import random

import pytest

from fuzz.fuzz import CORPUS, seeds
from fuzz.targets import TARGETS, Target
from rom_builder.errors import ImageError

MUTATIONS = 250
WHOLE = {name: list(seeds(name)) for name in TARGETS if name != "any"}
REFUSED = {"brotli"}
"""Targets whose seeds are refused at their end, as the reader is told a size of its own."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Cut, change, repeat or insert a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.randint(1, 8))
        match rng.randrange(5):
            case 0:
                del changed[at : at + rng.randint(1, 1 + len(changed) // 4)]
            case 1:
                changed[at:end] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * (end - at)
            case 2:
                changed[at:at] = changed[at:end]
            case _:
                changed[at:end] = rng.randbytes(end - at)
    return bytes(changed)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_damaged_file_is_read_or_refused(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)
    assert WHOLE[name], "a target without a seed"
    accepted = [target(data) for data in WHOLE[name]]
    assert any(accepted) or name in REFUSED
    for number in range(MUTATIONS):
        data = WHOLE[name][number % len(WHOLE[name])]
        if target.images is None:
            data = mutated(data, rng)
        else:
            data = data[:1] + rng.randbytes(5 * rng.randint(1, 12))
        target(data)


@pytest.mark.parametrize("name", ["boot", "payload", "sparse", "vbmeta", "tar"])
def test_an_image_of_an_unknown_kind_is_noted_not_raised(name: str) -> None:
    rng = random.Random(1)
    for data in WHOLE[name]:
        TARGETS["any"](data)
        for _ in range(5):
            TARGETS["any"](mutated(data, rng))


def test_a_mistake_in_a_reader_would_be_seen() -> None:
    def careless(data: bytes) -> int:
        if not data:
            raise ImageError("empty")
        return data[1]

    target = Target("careless", careless)
    assert not target(b"")
    with pytest.raises(IndexError):
        target(b"a")


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*.gz")) < 200_000
