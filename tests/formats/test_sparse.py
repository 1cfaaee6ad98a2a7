import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, FileSource, Source
from rom_builder.formats.sparse import SparseImage, detect_sparse, join_sparse
from tests.formats.builders.sparse import BLOCK, crc, fill, gap, raw, sparse_image
from tests.formats.damage import noise, survives

NOISE = noise(3 * BLOCK)
RAW = NOISE + b"abcd" * (2 * BLOCK // 4) + bytes(4 * BLOCK) + NOISE[:BLOCK]
CHUNKS = (raw(NOISE), fill(b"abcd", 2), gap(4), raw(NOISE[:BLOCK]), crc(RAW))


def opened(data: bytes) -> SparseImage:
    return SparseImage(BytesSource(data))


def whole(source: Source) -> bytes:
    return source.read_at(0, source.size)


def test_every_chunk_kind_reads_as_the_raw_image() -> None:
    data = sparse_image(*CHUNKS)
    assert detect_sparse(data[:4])
    assert whole(opened(data)) == RAW


@pytest.mark.parametrize(
    "offset", [0, 1, 3 * BLOCK - 2, 3 * BLOCK + 1, 5 * BLOCK - 3, 8 * BLOCK + 5]
)
def test_any_range_can_be_read(offset: int) -> None:
    image = opened(sparse_image(*CHUNKS))
    assert image.read_at(offset, BLOCK + 7) == RAW[offset : offset + BLOCK + 7]


def test_larger_headers_are_stepped_over() -> None:
    assert whole(opened(sparse_image(*CHUNKS, header_size=64, chunk_header_size=20))) == RAW


def test_checksums_are_verified() -> None:
    assert opened(sparse_image(*CHUNKS)).verify_checksums()
    assert opened(sparse_image(*CHUNKS[:4], checksum=zlib.crc32(RAW))).verify_checksums()
    assert not opened(sparse_image(*CHUNKS[:4])).verify_checksums()
    with pytest.raises(ImageError, match="CRC-32"):
        opened(sparse_image(*CHUNKS[:4], crc(b"else"))).verify_checksums()
    with pytest.raises(ImageError, match="header says"):
        opened(sparse_image(*CHUNKS[:4], checksum=1)).verify_checksums()


def test_split_files_join_in_any_order() -> None:
    parts = [
        sparse_image(raw(NOISE), gap(7)),
        sparse_image(gap(3), fill(b"abcd", 2), gap(5)),
        sparse_image(gap(9), raw(NOISE[:BLOCK])),
    ]
    assert whole(join_sparse([opened(part) for part in parts])) == RAW
    assert whole(join_sparse([opened(part) for part in reversed(parts)])) == RAW


def test_split_files_that_overlap_are_refused() -> None:
    part = opened(sparse_image(raw(NOISE), gap(7)))
    with pytest.raises(ImageError, match="two parts"):
        join_sparse([part, part])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"\0", "not an Android sparse"),
        (4, struct.pack("<H", 2), "version 2"),
        (8, struct.pack("<H", 27), "header sizes"),
        (10, struct.pack("<H", 11), "header sizes"),
        (12, struct.pack("<I", 6), "block size 6"),
        (12, struct.pack("<I", 0), "block size 0"),
        (16, b"\xff\xff\xff\xff", "exceeds"),
        (16, struct.pack("<I", 11), "10 of 11 blocks"),
        (16, struct.pack("<I", 9), "exceed the image"),
        (20, b"\xff\xff\xff\xff", "4294967295 chunks"),
        (20, struct.pack("<I", 6), "the data ends"),
        (28, b"\xc9\xca", "type 0xcac9"),
        (36, struct.pack("<I", 12), "12300 expected"),
    ],
)
def test_damage_is_named(position: int, value: bytes, message: str) -> None:
    data = bytearray(sparse_image(*CHUNKS))
    data[position : position + len(value)] = value
    with pytest.raises(ImageError, match=message) as caught:
        opened(bytes(data))
    assert caught.value.offset is not None


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        image = opened(data)
        if image.size < 1 << 24:
            image.verify_checksums()

    assert survives(read, sparse_image(*CHUNKS), within=120) > 100


@pytest.mark.judge("img2simg")
def test_reads_what_img2simg_writes(tmp_path: Path) -> None:
    raw_file, sparse_file = tmp_path / "raw", tmp_path / "sparse"
    raw_file.write_bytes(RAW)
    subprocess.run(["img2simg", raw_file, sparse_file], check=True)
    assert whole(SparseImage(FileSource(sparse_file))) == RAW


@pytest.mark.judge("simg2img")
def test_simg2img_agrees_on_every_chunk_kind_and_on_split_files(tmp_path: Path) -> None:
    parts = [sparse_image(*CHUNKS), sparse_image(gap(5), fill(b"wxyz", 4), gap(1))]
    files = []
    for number, part in enumerate(parts):
        files.append(tmp_path / f"{number}")
        files[-1].write_bytes(part)
    subprocess.run(["simg2img", *files, tmp_path / "raw"], check=True)
    first = opened(sparse_image(raw(NOISE), fill(b"abcd", 2), gap(4), raw(NOISE[:BLOCK])))
    assert whole(join_sparse([first, opened(parts[1])])) == (tmp_path / "raw").read_bytes()
