from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats import fec
from rom_builder.formats.fec import FecStream, build_fec, compare_fec, fec_size
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.source import BytesSource
from tests.formats.damage import noise

BLOCK = 4096


def times(left: int, right: int) -> int:
    """Product in GF(2**8) with polynomial 0x11d, bit by bit."""
    result = 0
    while right:
        result ^= left if right & 1 else 0
        left = left << 1 ^ (0x11D if left & 0x80 else 0)
        right >>= 1
    return result


def value_at(point: int, codeword: bytes) -> int:
    result = 0
    for symbol in codeword:
        result = times(result, point) ^ symbol
    return result


def codewords(data: bytes, fec: bytes, roots: int) -> list[bytes]:
    rows = 255 - roots
    row_size = len(fec) // roots
    data = data.ljust(rows * row_size, b"\0")
    return [data[k::row_size] + fec[k * roots : (k + 1) * roots] for k in range(row_size)]


@pytest.mark.judge("veritysetup")
@pytest.mark.parametrize(
    ("blocks", "roots"), [(1, 2), (251, 2), (252, 2), (700, 2), (1100, 2), (300, 3), (300, 24)]
)
def test_veritysetup_writes_the_same_parity(tmp_path: Path, blocks: int, roots: int) -> None:
    image = noise(blocks * BLOCK)
    (tmp_path / "image").write_bytes(image)
    tool = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    subprocess.run(
        [tool or "veritysetup", "format", "--no-superblock", "--salt=00ff", f"--fec-roots={roots}",
         f"--fec-device={tmp_path / 'fec'}", tmp_path / "image", tmp_path / "tree"],
        check=True, capture_output=True,
    )  # fmt: skip
    covered = image + build_hashtree(BytesSource(image), b"\x00\xff").tree
    assert build_fec(BytesSource(covered), roots) == (tmp_path / "fec").read_bytes()


@pytest.mark.parametrize("roots", [2, 5])
def test_every_codeword_vanishes_at_the_roots(roots: int) -> None:
    data = noise(2 * BLOCK) + bytes(BLOCK) + b"\xff" * BLOCK + noise(BLOCK, 3)
    fec = build_fec(BytesSource(data), roots)
    assert len(fec) == fec_size(len(data), roots)
    points = [1]
    while len(points) < roots:
        points.append(times(points[-1], 2))
    for codeword in codewords(data, fec, roots)[::97]:
        assert [value_at(point, codeword) for point in points] == [0] * roots


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 300 * BLOCK - 1), st.integers(1, 255))
def test_parity_is_linear(offset: int, flip: int) -> None:
    data = noise(300 * BLOCK)
    changed = bytearray(data)
    changed[offset] ^= flip
    only = bytearray(len(data))
    only[offset] = flip
    parts = (build_fec(BytesSource(bytes(item))) for item in (data, changed, only))
    first, second, third = (int.from_bytes(part, "big") for part in parts)
    assert first ^ second == third != 0


def test_a_lost_byte_can_be_computed_from_the_parity() -> None:
    data = noise(20 * BLOCK)
    fec = build_fec(BytesSource(data))
    codeword = bytearray(codewords(data, fec, 2)[1234])
    lost, codeword[7] = codeword[7], 0
    assert value_at(1, codeword) == lost


def test_no_flipped_byte_verifies() -> None:
    data = noise(3 * BLOCK)
    fec = build_fec(BytesSource(data))
    compare_fec(fec, build_fec(BytesSource(data)))
    for position in 0, len(fec) // 2, len(fec) - 1:
        bad = bytearray(fec)
        bad[position] ^= 1
        with pytest.raises(ImageError, match="does not match the image") as caught:
            compare_fec(bytes(bad), fec)
        assert caught.value.offset == position
    with pytest.raises(ImageError, match="does not match the image"):
        compare_fec(fec, build_fec(BytesSource(b"\1" + data[1:])))
    with pytest.raises(ImageError, match="parity of 100 bytes, expected 8192"):
        compare_fec(fec[:100], fec)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("blocks", "roots"), [(1, 2), (252, 2), (254, 2), (1100, 2), (300, 24)])
def test_parity_of_a_stream_is_that_of_the_whole(
    blocks: int, roots: int, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(fec, "SUMS_SIZE", 0)
    data, at, rng = noise(blocks * BLOCK), 0, random.Random(blocks)
    stream = FecStream(len(data), roots)
    while at < len(data):
        size = rng.choice([1, 700, BLOCK, 5 * BLOCK + 1, 1 << 21])
        stream.update(data[at : at + size])
        at += size
    assert stream.finish() == build_fec(BytesSource(data), roots)


def test_a_stream_of_half_a_block_is_refused() -> None:
    with pytest.raises(ImageError, match="whole blocks"):
        FecStream(BLOCK + 1)


def test_what_the_kernel_does_not_take_is_refused() -> None:
    for roots in -1, 0, 1, 25, 255:
        with pytest.raises(ImageError, match="parity bytes a codeword"):
            build_fec(BytesSource(bytes(BLOCK)), roots)
    with pytest.raises(ImageError, match="whole blocks, not of 5 bytes"):
        build_fec(BytesSource(b"12345"))
    assert build_fec(BytesSource(b"")) == b""
