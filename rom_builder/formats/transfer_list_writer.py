"""Write the transfer list and new.dat of a full block-based package from those of another.

The list keeps the form of AOSP ``build/tools/releasetools/blockimgdiff.py`` for full packages: one
``erase`` of the blocks that nothing writes, then ``new`` and ``zero`` commands of at most 1024
blocks each, their ranges rising. Commands of the base stay in their order; blocks that the base did
not write and the image now needs follow behind them. A block that the base erased or did not name
stays so: the list cannot tell what a device will have there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.ranges import difference
from rom_builder.formats.source import Pieces, Slice, Source
from rom_builder.formats.transfer_list import (
    BLOCK_SIZE,
    MAX_BLOCKS,
    TransferList,
    last_writes,
    parse_transfer_list,
)

MAX_COMMAND_BLOCKS = 1024
"""Most blocks of a ``new`` or ``zero`` command (blockimgdiff.py, ``WriteSplitTransfers``)."""
BROTLI_QUALITY = 6
"""As releasetools compresses new.dat (common.py, ``BlockDifference``)."""
_PIECE_SIZE = 1 << 20
_ZERO = bytes(BLOCK_SIZE)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What writes a partition.

    Attributes:
        text: Content of ``X.transfer.list``.
        data: Content of ``X.new.dat``, read from the image.
    """

    text: bytes
    data: Source


def write_transfer(base: TransferList, image: Source, changed: Iterable[range] = ()) -> Transfer:
    """Return the list and data that write an edited image.

    Args:
        base: The list of the image before.
        image: The image afterwards, at least as long as before.
        changed: Bytes of the image that must be written even where they are zeros and the base
            wrote nothing; all others of the image must be as before.

    Raises:
        ImageError: The image is shorter than the base's, too long or no whole number of blocks, or
            the list would have more ranges than are read.
    """
    blocks = image.size // BLOCK_SIZE
    if image.size % BLOCK_SIZE or not base.partition_blocks <= blocks <= MAX_BLOCKS:
        raise ImageError(
            f"an image of {image.size} bytes cannot take the place of {base.partition_blocks} blocks"
        )
    kept: dict[int, list[range]] = {}
    unwritten = [range(base.partition_blocks, blocks)]
    for run in last_writes(base.commands):
        if run.command is None:
            unwritten.append(run.blocks)
        else:
            kept.setdefault(run.command, []).append(run.blocks)
    erased: list[range] = []
    commands: list[tuple[str, list[range]]] = []
    added: list[range] = []
    for index in sorted(kept):
        name = base.commands[index].name
        if name == "erase":
            erased += kept[index]
        elif name == "zero":
            filled = list(_filled(image, kept[index]))
            added += filled
            commands.append((name, difference(kept[index], filled)))
        else:
            commands.append((name, difference(kept[index], ())))
    idle = [*erased, *unwritten]
    filled = list(_filled(image, difference(idle, ())))
    touched = [range(r.start // BLOCK_SIZE, -(-r.stop // BLOCK_SIZE)) for r in changed if r]
    empty = difference(idle, filled)
    zeroed = difference(empty, difference(empty, touched))
    commands.append(("zero", zeroed))
    commands.append(("new", difference([*added, *filled], ())))
    erased = difference(erased, [*filled, *zeroed])
    split = [(name, part) for name, ranges in commands for part in _split(ranges)]
    text = _text(base.version, [("erase", erased), *split] if erased else split)
    pieces = [
        Slice(image, part.start * BLOCK_SIZE, len(part) * BLOCK_SIZE)
        for name, ranges in split
        if name == "new"
        for part in ranges
    ]
    parse_transfer_list(text)
    return Transfer(text, Pieces([(piece, piece.size) for piece in pieces]))


def compress_brotli(data: Source) -> Iterator[bytes]:
    """Yield the brotli stream of new.dat; the same data gives the same stream."""
    import brotli

    compressor = brotli.Compressor(quality=BROTLI_QUALITY)
    for offset in range(0, data.size, _PIECE_SIZE):
        yield compressor.process(data.read_at(offset, min(_PIECE_SIZE, data.size - offset)))
    yield compressor.finish()


def _filled(image: Source, ranges: Iterable[range]) -> Iterator[range]:
    """Yield the blocks that are not zeros, as rising ranges."""
    step = _PIECE_SIZE // BLOCK_SIZE
    for part in ranges:
        for first in range(part.start, part.stop, step):
            last = min(first + step, part.stop)
            data = image.read_at(first * BLOCK_SIZE, (last - first) * BLOCK_SIZE)
            if data.count(0) == len(data):
                continue
            for block in range(first, last):
                start = (block - first) * BLOCK_SIZE
                if data[start : start + BLOCK_SIZE] != _ZERO:
                    yield range(block, block + 1)


def _split(ranges: Sequence[range]) -> Iterator[list[range]]:
    """Cut ranges into parts of at most :data:`MAX_COMMAND_BLOCKS` blocks."""
    part: list[range] = []
    room = MAX_COMMAND_BLOCKS
    for whole in ranges:
        rest = whole
        while rest:
            part.append(rest[:room])
            rest, room = rest[room:], room - len(rest[:room])
            if not room:
                yield part
                part, room = [], MAX_COMMAND_BLOCKS
    if part:
        yield part


def _text(version: int, commands: Sequence[tuple[str, Sequence[range]]]) -> bytes:
    total = sum(len(part) for name, ranges in commands if name != "erase" for part in ranges)
    lines = [str(version), str(total)]
    if version > 1:
        lines += ["0", "0"]  # a full package stashes nothing
    for name, ranges in commands:
        numbers = [str(number) for part in ranges for number in (part.start, part.stop)]
        lines.append(f"{name} {len(numbers)},{','.join(numbers)}")
    return "".join(f"{line}\n" for line in lines).encode()
