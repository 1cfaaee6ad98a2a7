import gzip
import lzma
import struct

import lz4.block
import pytest
import zstandard

from rom_builder.errors import ImageError
from rom_builder.formats.compression import Codec
from rom_builder.formats.ramdisk import open_ramdisk, read_ramdisk
from rom_builder.formats.source import BytesSource
from tests.formats.builders.cpio import archive, entry
from tests.formats.damage import noise, survives

FIRST = archive(entry(b"init", b"first"), entry(b"kept", noise(3000)))
SECOND = archive(entry(b"init", b"second"))


def lz4_legacy(data: bytes) -> bytes:
    block = lz4.block.compress(data, store_size=False)
    return Codec.LZ4_LEGACY.value + struct.pack("<I", len(block)) + block


def files(*ramdisks: bytes) -> dict[str, bytes]:
    tree = open_ramdisk([BytesSource(data) for data in ramdisks])
    assert tree.unread == []
    sources = {node.path: tree.open(node) for node in tree.walk()}
    return {path: source.read_at(0, source.size) for path, source in sources.items()}


BOTH = {"init": b"second", "kept": noise(3000)}


@pytest.mark.parametrize(
    "data",
    [
        FIRST + SECOND,
        FIRST + bytes(300) + gzip.compress(SECOND),
        gzip.compress(FIRST) + bytes(37) + lz4_legacy(SECOND),
        lz4_legacy(FIRST) + lz4_legacy(SECOND) + bytes(4),
        zstandard.compress(FIRST) + lzma.compress(SECOND),
        gzip.compress(FIRST + bytes(512) + SECOND),
        bytes(512) + FIRST + SECOND + bytes(512),
    ],
)
def test_archives_end_to_end_are_laid_over_each_other(data: bytes) -> None:
    assert files(data) == BOTH


def test_several_ramdisks_are_laid_over_each_other() -> None:
    assert files(gzip.compress(FIRST), lz4_legacy(SECOND)) == BOTH


def test_segments_say_how_and_where() -> None:
    data = gzip.compress(FIRST) + bytes(5) + SECOND
    segments = read_ramdisk(BytesSource(data))
    assert [segment.codec for segment in segments] == [Codec.GZIP, None]
    assert segments[1].offset == len(gzip.compress(FIRST)) + 5
    assert segments[0].content == FIRST


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (bytes(4096), "empty"),
        (b"what is this?", "unknown compression"),
        (gzip.compress(FIRST) + b"trailing", "unknown compression"),
        (gzip.compress(FIRST)[:-20], "damaged gzip"),
        (gzip.compress(bytes(200_000)), "more than 100000 bytes"),
        (bytes(200_000), "200000 bytes, at most 100000"),
        (gzip.compress(b"\0" + SECOND) * 65, "more than 64 streams"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_ramdisk(BytesSource(data), limit=100_000)


def test_the_limit_covers_all_streams_together() -> None:
    data = lz4_legacy(bytes(60_000))
    with pytest.raises(ImageError, match="more than 40000 bytes"):
        read_ramdisk(BytesSource(data + data), limit=100_000)


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        list(open_ramdisk([BytesSource(data)], limit=1 << 20).walk())

    assert survives(read, gzip.compress(FIRST) + bytes(4) + SECOND, count=200) > 50
    survives(read, lz4_legacy(FIRST) + SECOND, count=200)
