import bz2
import gzip
import lzma
import struct
import subprocess
import zlib

import lz4.block
import lz4.frame
import pytest
import zstandard

from rom_builder.errors import ImageError
from rom_builder.formats.compression import (
    LZ4_LEGACY_BLOCK,
    STEPWISE,
    Codec,
    Stepwise,
    decompress,
    decompress_exactly,
    detect_codec,
)
from tests.formats.damage import noise, survives

CONTENT = noise(5000) + bytes(50_000) + b"the same words again " * 500


def lz4_legacy(content: bytes) -> bytes:
    out = Codec.LZ4_LEGACY.value
    for start in range(0, len(content), LZ4_LEGACY_BLOCK):
        block = lz4.block.compress(content[start : start + LZ4_LEGACY_BLOCK], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out


COMPRESSED = {
    Codec.GZIP: gzip.compress(CONTENT),
    Codec.BZIP2: bz2.compress(CONTENT),
    Codec.XZ: lzma.compress(CONTENT, check=lzma.CHECK_NONE),
    Codec.LZMA: lzma.compress(CONTENT, lzma.FORMAT_ALONE),
    Codec.LZ4: lz4.frame.compress(CONTENT, content_checksum=True),
    Codec.LZ4_LEGACY: lz4_legacy(CONTENT),
    Codec.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress(CONTENT),
}
every_codec = pytest.mark.parametrize("codec", list(Codec))


@every_codec
def test_a_stream_decodes_and_is_recognised(codec: Codec) -> None:
    data = COMPRESSED[codec]
    assert detect_codec(data[:8]) is codec
    assert decompress(codec, data, len(CONTENT)) == (CONTENT, len(data))
    assert decompress_exactly(codec, data, len(CONTENT)) == CONTENT


@every_codec
def test_the_end_of_a_stream_is_found(codec: Codec) -> None:
    data = COMPRESSED[codec]
    assert decompress(codec, data + bytes(4) + data, len(CONTENT)) == (CONTENT, len(data))
    with pytest.raises(ImageError, match="8 bytes follow"):
        decompress_exactly(codec, data + bytes(8), len(CONTENT))


@every_codec
def test_a_stream_that_holds_more_or_less_is_refused(codec: Codec) -> None:
    with pytest.raises(ImageError, match="more than"):
        decompress(codec, COMPRESSED[codec], len(CONTENT) - 1)
    with pytest.raises(ImageError, match="not 65501"):
        decompress_exactly(codec, COMPRESSED[codec], 65_501)


@every_codec
def test_a_stream_cut_short_is_refused(codec: Codec) -> None:
    data = COMPRESSED[codec]
    with pytest.raises(ImageError, match="damaged"):
        decompress_exactly(codec, data[: len(data) - 9], len(CONTENT))


@pytest.mark.parametrize("codec", list(STEPWISE))
@pytest.mark.parametrize("step", [1, 999, 20_000, len(CONTENT)])
def test_a_stream_may_be_decoded_step_by_step(codec: Codec, step: int) -> None:
    stepwise = Stepwise(codec, COMPRESSED[codec], len(CONTENT))
    for end in (*range(step, min(len(CONTENT), 50 * step), step), len(CONTENT)):
        stepwise.decode(end)
        assert stepwise.decoded == end
        assert stepwise.read(end // 2, end - end // 2) == CONTENT[end // 2 : end]


@pytest.mark.parametrize("codec", list(STEPWISE))
@pytest.mark.parametrize(
    ("cut", "more", "size", "message"),
    [
        (9, b"", 0, "damaged .* it ends early"),
        (0, b"12345678", 0, "8 bytes follow"),
        (0, bytes(1 << 17), 0, "131072 bytes follow"),
        (0, b"", -1, "decodes to more than"),
        (0, b"", 1, "decodes to .* bytes, not"),
    ],
)
def test_a_stream_decoded_step_by_step_is_held_to_its_end(
    codec: Codec, cut: int, more: bytes, size: int, message: str
) -> None:
    data = COMPRESSED[codec]
    data = data[: len(data) - cut] + more
    size += len(CONTENT)
    stepwise = Stepwise(codec, data, size)
    stepwise.decode(1000)
    with pytest.raises(ImageError, match=message):
        stepwise.decode(size)


@every_codec
def test_damage_raises_only_image_error(codec: Codec) -> None:
    assert survives(lambda data: decompress(codec, data, 100_000), COMPRESSED[codec]) > 50


@every_codec
def test_a_bomb_decodes_no_further_than_its_limit(codec: Codec) -> None:
    bomb = {
        Codec.GZIP: gzip.compress(bytes(1 << 23)),
        Codec.BZIP2: bz2.compress(bytes(1 << 23)),
        Codec.XZ: lzma.compress(bytes(1 << 23), preset=0),
        Codec.LZMA: lzma.compress(bytes(1 << 23), lzma.FORMAT_ALONE, preset=0),
        Codec.LZ4: lz4.frame.compress(bytes(1 << 23)),
        Codec.LZ4_LEGACY: lz4_legacy(bytes(1 << 23)),
        Codec.ZSTD: zstandard.compress(bytes(1 << 23)),
    }[codec]
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        decompress(codec, bomb, 1000)


def test_a_window_of_a_gigabyte_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(CONTENT, filters=filters, check=lzma.CHECK_NONE))
    data[16] = 37  # dictionary size of 1.5 GiB, in a block header that carries its own CRC-32
    data[20:24] = zlib.crc32(bytes(data[12:20])).to_bytes(4, "little")
    with pytest.raises(ImageError, match="damaged xz stream: Memory usage limit"):
        decompress(Codec.XZ, bytes(data), len(CONTENT))


def test_unknown_streams_have_no_codec() -> None:
    assert detect_codec(b"070701") is None
    assert detect_codec(b"") is None


@pytest.mark.judge("lz4")
def test_reads_what_the_lz4_tool_writes() -> None:
    content = CONTENT + bytes(LZ4_LEGACY_BLOCK)
    for options, codec in (["-l"], Codec.LZ4_LEGACY), (["-9", "--content-size"], Codec.LZ4):
        data = subprocess.run(
            ["lz4", "-c", *options], input=content, capture_output=True, check=True
        ).stdout
        assert decompress_exactly(codec, data, len(content)) == content
