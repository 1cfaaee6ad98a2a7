import brotli
import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.transfer_list import BLOCK_SIZE, open_transfer, parse_transfer_list
from tests.formats.damage import noise, survives

DATA = noise(6 * BLOCK_SIZE)
BLOCKS = [DATA[start : start + BLOCK_SIZE] for start in range(0, len(DATA), BLOCK_SIZE)]
ZERO = bytes(BLOCK_SIZE)
LIST = b"4\n10\n0\n0\nerase 2,0,12\nnew 4,0,2,5,8\nzero 2,3,5\nnew 2,10,11\n"
PARTITION = b"".join([*BLOCKS[:2], ZERO, ZERO, ZERO, *BLOCKS[2:5], ZERO, ZERO, BLOCKS[5], ZERO])


def whole(source: Source) -> bytes:
    return source.read_at(0, source.size)


def plain(text: bytes, data: bytes = DATA) -> Source:
    return open_transfer(text, BytesSource(data))


def compressed(text: bytes, data: bytes) -> Source:
    return open_transfer(text, BytesSource(data), brotli=True)


def test_a_full_package_reads_as_the_partition() -> None:
    assert whole(plain(LIST)) == PARTITION
    assert whole(compressed(LIST, brotli.compress(DATA, quality=6))) == PARTITION


def test_any_range_can_be_read_from_brotli_in_any_order() -> None:
    source = compressed(LIST, brotli.compress(DATA, quality=1))
    for offset in 10 * BLOCK_SIZE - 5, 3, 5 * BLOCK_SIZE - 1:
        assert source.read_at(offset, BLOCK_SIZE) == PARTITION[offset : offset + BLOCK_SIZE]


def test_version_1_has_no_stash_lines() -> None:
    assert whole(plain(b"1\n6\nnew 2,0,6\n")) == DATA


def test_later_commands_replace_earlier_ones() -> None:
    text = b"3\n9\n0\n0\nnew 2,0,4\nnew 2,1,3\nzero 2,2,3\nerase 2,6,7\n"
    expected = [BLOCKS[0], BLOCKS[4], ZERO, BLOCKS[3], ZERO, ZERO, ZERO]
    assert whole(plain(text)) == b"".join(expected)


def test_what_the_list_says_can_be_looked_at() -> None:
    parsed = parse_transfer_list(LIST)
    assert (parsed.version, parsed.total_blocks, parsed.partition_blocks) == (4, 10, 12)
    assert parsed.new_size == len(DATA)
    assert [command.name for command in parsed.commands] == ["erase", "new", "zero", "new"]
    assert parsed.commands[1].ranges == ((0, 2), (5, 8))


@pytest.mark.parametrize(
    "command",
    ["move abc 2,0,1 1 2,1,2", "bsdiff 0 9 a b 2,0,1 1 2,1,2", "stash abc 2,0,1", "imgdiff 0 1"],
)
def test_incremental_packages_are_refused_with_a_reason(command: str) -> None:
    text = b"4\n10\n0\n0\nnew 2,0,6\n" + command.encode()
    with pytest.raises(ImageError, match=f"incremental: line 6 .* {command.split()[0]}") as caught:
        plain(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1 .* no number"),
        (b"x\n", "line 1 .* no number"),
        (b"5\n1\n0\n0\n", "version 5"),
        (b"4\n-1\n0\n0\n", "line 2 .* no number"),
        (b"4\n1\n0\n0\nnew 2,0,1\nexplode 2,0,1\n", "line 6 .* unknown command 'explode'"),
        (b"4\n1\n0\n0\nnew\n", "no range set"),
        (b"4\n1\n0\n0\nnew 2,0,-1\n", "no range set"),
        (b"4\n1\n0\n0\nnew 2,0\n", "range set of 2 numbers"),
        (b"4\n1\n0\n0\nnew 3,0,1,2\n", "range set of 3 numbers"),
        (b"4\n1\n0\n0\nnew 0\n", "range set of 0 numbers"),
        (b"4\n1\n0\n0\nnew 2,1,1\n", "blocks 1 to 1"),
        (b"4\n1\n0\n0\nnew 2,0,99999999\n", "blocks 0 to 99999999"),
        (b"4\n1\n0\n0\nnew 2,0,7\n", "24576 bytes, the transfer list uses 28672"),
        (b"4\n1\n0\n0\nnew 2,0,\xff\n", "not ASCII"),
        (b"4\n1\n0\n0\n" + b"zero 2,0,1\n" * (1 << 18) + b"zero 2,0,1\n", "more than 262144"),
    ],
)
def test_damage_is_named(text: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plain(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (brotli.compress(DATA)[:-100], "ends early"),
        (brotli.compress(DATA[:-1]), "decodes to 24575 bytes, not 24576"),
        (brotli.compress(DATA + b"x"), "more than 24576"),
        (brotli.compress(bytes(1 << 26)), "more than 24576"),
        (brotli.compress(DATA) + b"x", "damaged brotli"),
        (brotli.compress(DATA).ljust(1 << 18, b"x") + b"x", "damaged brotli|bytes follow"),
        (b"\xff" * 500, "damaged brotli"),
    ],
)
def test_damaged_brotli_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        whole(compressed(LIST, data))


def test_random_damage_raises_only_image_error() -> None:
    def read_list(text: bytes) -> None:
        source = plain(text)
        source.read_at(0, min(source.size, 1 << 20))

    assert survives(read_list, LIST, count=400) > 200
    words = brotli.compress(b"words and words " * 1536)
    assert survives(lambda data: whole(compressed(LIST, data)), words) > 50
