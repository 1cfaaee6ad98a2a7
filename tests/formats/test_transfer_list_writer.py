import random

import brotli
import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.transfer_list import BLOCK_SIZE, open_transfer, parse_transfer_list
from rom_builder.formats.transfer_list_writer import Transfer, compress_brotli, write_transfer
from tests.formats.damage import noise

BASE = b"4\n10\n0\n0\nerase 2,8,10\nnew 4,0,2,5,8\nzero 2,3,5\nnew 2,10,11\n"
SIZE = 11 * BLOCK_SIZE
NEW = noise(6 * BLOCK_SIZE)


def whole(source: Source) -> bytes:
    return source.read_at(0, source.size)


def partition(text: bytes = BASE, data: bytes = NEW) -> bytearray:
    return bytearray(whole(open_transfer(text, BytesSource(data))))


def put(image: bytearray, block: int, data: bytes) -> None:
    image[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE] = data.ljust(BLOCK_SIZE, b"\0")


def written(image: bytes, *changed: range, base: bytes = BASE) -> Transfer:
    made = write_transfer(parse_transfer_list(base), BytesSource(image), changed)
    assert whole(open_transfer(made.text, made.data)) == image
    return made


def test_an_unchanged_image_gives_the_same_commands_and_data() -> None:
    made = written(partition())
    assert made.text == b"4\n8\n0\n0\nerase 2,8,10\nnew 4,0,2,5,8\nzero 2,3,5\nnew 2,10,11\n"
    assert whole(made.data) == NEW


def test_changed_blocks_are_written_where_they_were_and_new_ones_behind() -> None:
    image = partition()
    for block in 6, 4, 8, 2:
        put(image, block, b"changed")
    made = written(image)
    assert made.text.splitlines() == [
        b"4", b"10", b"0", b"0",
        b"erase 2,9,10", b"new 4,0,2,5,8", b"zero 2,3,4", b"new 2,10,11", b"new 6,2,3,4,5,8,9",
    ]  # fmt: skip
    assert whole(made.data)[3 * BLOCK_SIZE :].startswith(b"changed")


def test_zeros_that_must_be_there_are_written_where_the_base_wrote_nothing() -> None:
    made = written(partition(), range(2 * BLOCK_SIZE + 5, 3 * BLOCK_SIZE), range(SIZE - 9, SIZE))
    assert made.text.endswith(b"new 2,10,11\nzero 2,2,3\n")
    assert b"erase 2,8,10\n" in made.text
    made = written(partition(), range(9 * BLOCK_SIZE, 9 * BLOCK_SIZE + 1))
    assert b"erase 2,8,9\n" in made.text
    assert made.text.endswith(b"zero 2,9,10\n")


def test_a_block_that_becomes_zeros_stays_where_it_was() -> None:
    image = partition()
    put(image, 0, b"")
    made = written(image)
    assert b"new 4,0,2,5,8\n" in made.text
    assert whole(made.data)[:BLOCK_SIZE] == bytes(BLOCK_SIZE)


def test_an_image_may_become_longer_and_never_shorter() -> None:
    longer = partition() + b"x" * BLOCK_SIZE + bytes(BLOCK_SIZE)
    made = write_transfer(
        parse_transfer_list(BASE), BytesSource(longer), [range(SIZE, len(longer))]
    )
    assert made.text.endswith(b"zero 2,12,13\nnew 2,11,12\n")
    assert whole(open_transfer(made.text, made.data)) == longer
    for wrong in partition()[:-BLOCK_SIZE], partition() + b"x":
        with pytest.raises(ImageError, match="cannot take the place of 11 blocks"):
            written(wrong)


def test_version_1_has_no_stash_lines() -> None:
    made = written(bytes(NEW), base=b"1\n6\nnew 2,0,6\n")
    assert made.text == b"1\n6\nnew 2,0,6\n"


def test_commands_have_at_most_1024_blocks() -> None:
    count = 2500
    image = noise(BLOCK_SIZE) * count
    made = written(image, base=b"3\n2500\n0\n0\nnew 2,0,2500\nzero 2,2500,6000\n".replace(
        b"2500,6000", b"0,1"
    ))  # fmt: skip
    parsed = parse_transfer_list(made.text)
    assert [command.blocks for command in parsed.commands] == [1024, 1024, 451, 1]
    assert parsed.total_blocks == count


def test_overlapping_and_unsorted_ranges_become_canonical() -> None:
    base = b"4\n9\n0\n0\nnew 4,3,5,0,3\nnew 2,1,2\nerase 2,4,5\n"
    image = partition(base, NEW)
    made = written(image, base=base)
    assert made.text == b"4\n4\n0\n0\nerase 2,4,5\nnew 4,0,1,2,4\nnew 2,1,2\n"


def test_any_edit_of_any_list_reads_as_the_edited_image() -> None:
    chance = random.Random(7)
    for _ in range(60):
        lines, blocks = ["4", "0", "0", "0"], 0
        for _ in range(chance.randrange(1, 6)):
            name, start = chance.choice(["new", "zero", "erase"]), chance.randrange(20)
            end = start + chance.randrange(1, 8)
            lines.append(f"{name} 2,{start},{end}")
            blocks += (end - start) if name == "new" else 0
        base = "\n".join(lines).encode()
        image = partition(base, noise(blocks * BLOCK_SIZE, blocks))
        for _ in range(3):
            put(image, chance.randrange(len(image) // BLOCK_SIZE), chance.choice([b"", b"edit"]))
        parsed = parse_transfer_list(written(image, base=base).text)
        named = [range(*part) for command in parsed.commands for part in command.ranges]
        assert len({block for part in named for block in part}) == sum(map(len, named))
        assert parsed.total_blocks == sum(
            command.blocks for command in parsed.commands if command.name != "erase"
        )


def test_more_ranges_than_are_read_are_refused() -> None:
    count = 1 << 18
    base = b"".join(b"zero 2,%d,%d\n" % (block, block + 1) for block in range(0, 24, 2))
    assert written(partition(b"4\n0\n0\n0\n" + base, b""), base=b"4\n0\n0\n0\n" + base).text
    # Every second block of one zero command is filled: one range for each.
    stripes = (b"x" * BLOCK_SIZE + bytes(BLOCK_SIZE)) * 8

    class Striped:
        size = (count + 2) * BLOCK_SIZE

        def read_at(self, offset: int, size: int) -> bytes:
            start = offset % len(stripes)
            return (stripes * (size // len(stripes) + 2))[start : start + size]

    parsed = parse_transfer_list(b"4\n0\n0\n0\nzero 2,0,%d\n" % (count + 2))
    with pytest.raises(ImageError, match="ranges"):
        write_transfer(parsed, Striped())


def test_brotli_is_the_same_every_time_and_reads_back() -> None:
    data = BytesSource(noise(3 << 19) + bytes(1 << 20))
    packed = b"".join(compress_brotli(data))
    assert packed == b"".join(compress_brotli(data))
    assert brotli.decompress(packed) == whole(data)
    assert brotli.decompress(b"".join(compress_brotli(BytesSource(b"")))) == b""
