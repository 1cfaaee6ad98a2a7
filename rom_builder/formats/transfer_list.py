"""Block-based OTA packages before A/B: ``X.transfer.list`` with ``X.new.dat`` or ``X.new.dat.br``.

Source: AOSP ``bootable/recovery/updater/blockimg.cpp``. The list is text: version (1 to 4), blocks
written, from version 2 on the stash entries and blocks needed, then one command a line. A range
set is ``count,start,end,...`` with half-open pairs of 4096-byte blocks.

=============================== ===========================================================
command                         what it does
=============================== ===========================================================
``new R``                       writes R with the next bytes of new.dat
``zero R``                      writes zeros
``erase R``                     discards: blocks no later command writes read as zeros here
``move bsdiff imgdiff stash``   need the partition of the build before: incremental, refused
``free compute_hash_tree abort``
=============================== ===========================================================
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.brotli_stream import BrotliStream
from rom_builder.formats.source import Pieces, Slice, Source

BLOCK_SIZE = 4096

MAX_LIST_SIZE = 1 << 24
"""Most bytes of a transfer list, 16 MiB; those of full packages have a few KiB."""

MAX_RANGES = 1 << 18
"""Most ranges of a list; a fragmented 4 GiB partition has about 10,000."""

MAX_BLOCKS = 1 << 26
"""Most blocks of a partition, 256 GiB."""

_NUMBERS = re.compile(r"\d{1,10}(,\d{1,10})*")
_FULL = ("new", "zero", "erase")
_INCREMENTAL = ("move", "bsdiff", "imgdiff", "stash", "free", "compute_hash_tree")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a full package: ``new``, ``zero`` or ``erase``, and its block ranges."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    line: int

    @property
    def blocks(self) -> int:
        """Blocks it writes."""
        return sum(end - start for start, end in self.ranges)


@dataclass(frozen=True, slots=True)
class TransferList:
    """A parsed list.

    Attributes:
        version: 1 to 4.
        total_blocks: Blocks the header says are written.
        commands: Every command in order.
    """

    version: int
    total_blocks: int
    commands: tuple[Command, ...]

    @property
    def partition_blocks(self) -> int:
        """Blocks up to the last one that any command names; the partition may be larger."""
        ends = (end for command in self.commands for _, end in command.ranges)
        return max(ends, default=0)

    @property
    def new_size(self) -> int:
        """Bytes new.dat must have."""
        return sum(item.blocks for item in self.commands if item.name == "new") * BLOCK_SIZE


def parse_transfer_list(data: bytes) -> TransferList:
    """Read a transfer list.

    Raises:
        ImageError: Damaged, of a later version, or incremental.
    """
    if len(data) > MAX_LIST_SIZE:
        raise ImageError(f"transfer list of {len(data)} bytes, at most {MAX_LIST_SIZE}")
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ImageError("the transfer list is not ASCII", offset=error.start) from None
    version = _number(lines, 0)
    if not 1 <= version <= 4:
        raise ImageError(f"transfer list of version {version}")
    total = _number(lines, 1)
    commands = []
    left = MAX_RANGES
    for number, line in enumerate(lines[2 if version == 1 else 4 :], 3 if version == 1 else 5):
        if not line.strip():
            continue
        command = _command(line, number)
        left -= len(command.ranges)
        if left < 0:
            raise ImageError(f"transfer list of more than {MAX_RANGES} ranges")
        commands.append(command)
    return TransferList(version, total, tuple(commands))


def _number(lines: Sequence[str], index: int) -> int:
    text = lines[index].strip() if index < len(lines) else ""
    if not re.fullmatch(r"\d{1,10}", text):
        raise ImageError(f"line {index + 1} of the transfer list is no number")
    return int(text)


def _command(line: str, number: int) -> Command:
    name, _, rest = line.strip().partition(" ")
    if name in _INCREMENTAL:
        raise ImageError(
            f"the package is incremental: line {number} of the transfer list is {name}, "
            "which needs the partition of the build before",
            hint="give the full package of the same build",
        )
    if name not in _FULL:
        raise ImageError(f"line {number} of the transfer list: unknown command {name[:40]!r}")
    return Command(name, parse_ranges(rest, f"line {number} of the transfer list"), number)


def parse_ranges(text: str, place: str) -> tuple[tuple[int, int], ...]:
    """Read a range set: first block and the one behind the last, of each range in its order.

    Args:
        text: ``count,start,end,...``.
        place: Where it stands, for the message.

    Raises:
        ImageError: It is none.
    """
    if not _NUMBERS.fullmatch(text):
        raise ImageError(f"{place}: no range set")
    count, *blocks = map(int, text.split(","))
    if count != len(blocks) or count % 2 or not count:
        raise ImageError(f"{place}: range set of {count} numbers")
    ranges = tuple(zip(blocks[::2], blocks[1::2], strict=True))
    for start, end in ranges:
        if not start < end <= MAX_BLOCKS:
            raise ImageError(f"{place}: blocks {start} to {end}")
    return ranges


def open_transfer(transfer_list: bytes, new_data: Source, *, brotli: bool = False) -> Source:
    """Return the partition a full package writes, as a source.

    Plain new.dat is read in place. Brotli cannot be entered in the middle: it is decoded from its
    start as far as it is read, into a temporary file.

    Args:
        transfer_list: Content of ``X.transfer.list``.
        new_data: Content of ``X.new.dat`` or ``X.new.dat.br``.
        brotli: ``new_data`` is compressed.

    Raises:
        ImageError: The list is damaged or incremental, or new.dat has another size.
    """
    parsed = parse_transfer_list(transfer_list)
    if brotli:
        new_data = BrotliStream(new_data, parsed.new_size)
    if new_data.size != parsed.new_size:
        raise ImageError(
            f"new.dat has {new_data.size} bytes, the transfer list uses {parsed.new_size}"
        )
    pieces: list[tuple[Source | None, int]] = []
    for run in last_writes(parsed.commands):
        size = len(run.blocks) * BLOCK_SIZE
        pieces.append((None if run.offset is None else Slice(new_data, run.offset, size), size))
    return Pieces(pieces)


class Run(NamedTuple):
    """Blocks in a row that one command writes last.

    Attributes:
        blocks: Their numbers.
        command: Index of the command; None if none names them.
        offset: Of the first block in new.dat; None if they are not from there.
    """

    blocks: range
    command: int | None
    offset: int | None


def last_writes(commands: Sequence[Command]) -> list[Run]:
    """Cut the partition into runs, from its first block to the last one that a command names.

    Where commands overlap, the last one counts. A sweep over all ends of ranges keeps those that
    hold the current block in a heap, the last command on top.
    """
    writes: list[tuple[int, int, int, int | None]] = []  # start, end, order, offset of start
    position = 0
    for order, command in enumerate(commands):
        for start, end in command.ranges:
            writes.append((start, end, order, position if command.name == "new" else None))
            if command.name == "new":
                position += (end - start) * BLOCK_SIZE
    writes.sort()
    edges = sorted({0, *(write[0] for write in writes), *(write[1] for write in writes)})
    runs: list[Run] = []
    active: list[tuple[int, int, int, int | None]] = []  # -order, end, start, offset of start
    following = 0
    for here, after in pairwise(edges):
        while following < len(writes) and writes[following][0] <= here:
            start, end, order, offset = writes[following]
            heapq.heappush(active, (-order, end, start, offset))
            following += 1
        while active and active[0][1] <= here:
            heapq.heappop(active)
        writer = source = None
        if active:
            writer = -active[0][0]
            if active[0][3] is not None:
                source = active[0][3] + (here - active[0][2]) * BLOCK_SIZE
        runs.append(Run(range(here, after), writer, source))
    return runs
