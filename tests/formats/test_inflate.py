"""What inflates zip entries takes and refuses the streams that zlib does, which is what Android has."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from types import ModuleType

import pytest

from rom_builder.formats import inflate

DICE = random.Random(3)
CONTENTS = (
    b"",
    b"a" * 5000,
    DICE.randbytes(700),
    bytes(DICE.choices(b"abcd", k=9000)),
    b"\0\1" * 99,
)


def streams() -> list[bytes]:
    """Deflate in many ways, then damage, cut, lengthen or make up."""
    made = []
    for number in range(6000):
        level, memory, strategy = DICE.choice([0, 1, 6, 9]), DICE.choice([1, 8, 9]), number % 5
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
        raw = bytearray(packer.compress(DICE.choice(CONTENTS)) + packer.flush())
        match number % 6:
            case 1 | 2:
                for _ in range(DICE.randrange(1, 4)):
                    raw[DICE.randrange(min(len(raw), DICE.choice([5, 60, 9999])))] ^= (
                        1 << DICE.randrange(8)
                    )
            case 3:
                del raw[DICE.randrange(len(raw)) :]
            case 4:
                raw += DICE.randbytes(9)
            case 5:
                raw = bytearray(DICE.randbytes(DICE.randrange(1, 60)))
        made.append(bytes(raw))
    return made


def outcome(of: ModuleType, raw: bytes, piece: int, limit: int) -> object:
    """Inflate piece by piece; return the content, whether it ended and what follows, or the refusal."""
    inflater = of.decompressobj(-15)
    content, at, pending = b"", 0, b""
    try:
        while not inflater.eof and (pending or at < len(raw)):
            if not pending:
                pending, at = raw[at : at + piece], at + piece
            content += inflater.decompress(pending, limit)
            pending = inflater.unconsumed_tail
    except (zlib.error, inflate.InflateError) as error:
        return str(error)
    return content, inflater.eof, inflater.unused_data, at


def test_the_same_streams_are_taken_and_refused() -> None:
    ends, refusals = 0, 0
    for number, raw in enumerate(streams()):
        piece, limit = ((1 << 20, 20_000), (100, 1000), (7, 65_536))[number % 3]
        ours = outcome(inflate.zlib, raw, piece, limit)
        assert ours == outcome(zlib, raw, piece, limit), raw.hex()
        ends += isinstance(ours, tuple) and ours[1]
        refusals += isinstance(ours, str)
    assert min(ends, refusals) > 1000


@pytest.mark.parametrize("is_there", [True, False])
def test_zlib_stands_in_where_zlib_ng_is_missing(is_there: bool) -> None:
    hide = "" if is_there else "import sys; sys.modules['zlib_ng'] = None; "
    code = f"{hide}from rom_builder.formats import inflate; print(inflate.zlib.__name__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ("zlib_ng.zlib_ng" if is_there else "zlib")
