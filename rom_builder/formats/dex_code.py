"""The code of a method: registers, instructions and exception handlers.

``code_item``, little-endian (https://source.android.com/docs/core/runtime/dex-format):

======  ====  =============================================================
offset  size  field
======  ====  =============================================================
0       2     registers
2       2     registers that hold the parameters, the last ones
4       2     registers for outgoing calls
6       2     number of try items
8       4     offset of debug information
12      4     code units
16            code, two bytes a unit; two bytes of padding if odd and tries
              follow
        8     try item each: u32 first unit, u16 units, u16 offset of the
              handlers
              handler lists: their number (ULEB128), then each: how many
              (SLEB128; zero or less if a catch-all follows), per handler
              type and unit, unit of the catch-all
======  ====  =============================================================

What comes before the code is shorter in a compact file (:mod:`rom_builder.formats.cdex`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from struct import unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.cdex import code_head
from rom_builder.formats.dex_class import Method
from rom_builder.formats.dex_ids import parameters, words
from rom_builder.formats.dex_instructions import (
    OPERATIONS,
    Instruction,
    Operations,
    addresses,
    decode,
    switch_cases,
)

MAX_UNITS = 1 << 21
"""Units of one method that are read; the largest known method generators stay far below."""


class Guarded(NamedTuple):
    """A range of code and where exceptions in it go.

    Attributes:
        start: First unit.
        end: Unit after the last.
        handlers: Unit of each handler, with the type it catches; -1 catches everything.
    """

    start: int
    end: int
    handlers: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Code:
    """The code of one method.

    Attributes:
        offset: Where its item lies in the file (of a compact one: in the data section), in bytes.
        start: Where its first unit lies there, in bytes.
        registers: How many it uses.
        parameters: How many of them, the last ones, hold its parameters (``this`` included).
        units: The code itself.
        operations: What the operation codes mean here.
    """

    offset: int
    start: int
    registers: int
    parameters: int
    units: tuple[int, ...]
    guarded: tuple[Guarded, ...]
    operations: Operations

    @cached_property
    def instructions(self) -> list[Instruction]:
        """The decoded instructions in order.

        Raises:
            ImageError: An operation is unknown or cut off.
        """
        with _placed(self.start):
            return decode(self.units, self.operations)

    def references(self, codes: frozenset[int]) -> Iterator[tuple[int, int, int]]:
        """Yield address, operation code and 16-bit operand of the instructions with these codes.

        Raises:
            ImageError: An operation is unknown or cut off.
        """
        units = self.units
        with _placed(self.start):
            for address, code in addresses(units, self.operations):
                if code in codes:
                    yield address, code, units[address + 1]

    def cases(self, instruction: Instruction) -> list[tuple[int, int]]:
        """Return value and address of each case of a switch instruction.

        Raises:
            ImageError: Its table is missing or damaged.
        """
        with _placed(self.start):
            return switch_cases(self.units, instruction.target, instruction.address)

    def targets(self, instruction: Instruction) -> list[int]:
        """Return the addresses that a switch instruction may go to, besides the next one.

        Raises:
            ImageError: Its table is missing or damaged.
        """
        return [address for _, address in self.cases(instruction)]

    def byte_offset(self, address: int) -> int:
        """Return the byte offset of a code unit, counted as :attr:`start` is."""
        return self.start + 2 * address


class _placed:  # noqa: N801 - reads as a phrase: with _placed(offset)
    """Count offsets of errors from where those of the code do."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImageError) and error.offset is not None and not error.path:
            error.offset += self._start


def code_span(data: bytes, offset: int, *, compact: bool = False) -> tuple[int, int]:
    """Return where the instructions of a code item begin, in bytes, and their units.

    Raises:
        ImageError: The code does not fit the file.
    """
    if compact:
        size, start = code_head(data, offset)[3], offset + 4
    elif offset < 0x70 or offset > len(data) - 16:
        raise ImageError("code lies outside the file", offset=offset)
    else:
        (size,), start = unpack_from("<I", data, offset + 12), offset + 16
    if size > MAX_UNITS or start + 2 * size > len(data):
        raise ImageError(f"code of {size} units does not fit", offset=offset)
    return start, size


def parse_code(
    data: bytes, offset: int, operations: Operations = OPERATIONS, *, compact: bool = False
) -> Code:
    """Read the code item at ``offset``; instructions are decoded when they are asked for.

    Raises:
        ImageError: It does not fit the file, or its handlers are damaged.
    """
    start, size = code_span(data, offset, compact=compact)
    if compact:
        registers, parameter_count, tries, _ = code_head(data, offset)
    else:
        registers, parameter_count, _, tries = unpack_from("<4H", data, offset)
    end = start + 2 * size
    if parameter_count > registers:
        raise ImageError(f"{parameter_count} parameters in {registers} registers", offset=offset)
    units = unpack_from(f"<{size}H", data, start)
    guarded: tuple[Guarded, ...] = ()
    if tries:
        end += -end % 4 if compact else 2 * (size & 1)
        if end + 8 * tries >= len(data):
            raise ImageError(f"{tries} exception ranges do not fit", offset=offset)
        guarded = tuple(_guarded(data, end, tries, size))
    return Code(offset, start, registers, parameter_count, units, guarded, operations)


def _guarded(data: bytes, start: int, tries: int, size: int) -> Iterable[Guarded]:
    lists = start + 8 * tries
    known: dict[int, tuple[tuple[int, int], ...]] = {}
    before = 0
    for at in range(start, lists, 8):
        first, count, relative = unpack_from("<IHH", data, at)
        if first + count > size:
            raise ImageError("an exception range runs past the code", offset=at)
        if first < before:
            raise ImageError("exception ranges overlap or are out of order", offset=at)
        before = first + count
        if relative not in known:
            known[relative] = _handlers(data, lists + relative, size)
        yield Guarded(first, first + count, known[relative])


def _handlers(data: bytes, offset: int, size: int) -> tuple[tuple[int, int], ...]:
    count, at = _leb128(data, offset, signed=True)
    found = []
    if abs(count) > size:
        raise ImageError(f"{abs(count)} exception handlers", offset=offset)
    for _ in range(abs(count)):
        kind, at = _leb128(data, at)
        address, at = _leb128(data, at)
        found.append((address, kind))
    if count <= 0:
        address, at = _leb128(data, at)
        found.append((address, -1))
    if any(address >= size for address, _ in found):
        raise ImageError("an exception handler lies outside the code", offset=offset)
    return tuple(found)


def _leb128(data: bytes, offset: int, *, signed: bool = False) -> tuple[int, int]:
    value = 0
    for length, byte in enumerate(data[offset : offset + 5]):
        value |= (byte & 0x7F) << 7 * length
        if byte < 0x80:
            bits = 7 * (length + 1)
            if signed and value >> (bits - 1):
                value -= 1 << bits
            return value, offset + length + 1
    raise ImageError("a number runs past the end or over five bytes", offset=offset)


def parameter_registers(method: Method, code: Code) -> list[tuple[int, str]]:
    """Return the first register and the type of each parameter; ``this`` comes first.

    Raises:
        ImageError: The code has registers for other parameters than the signature.
    """
    types = parameters(method.ref.signature)
    if not method.access & 0x8:
        types.insert(0, method.ref.owner)
    if sum(map(words, types)) != code.parameters:
        raise ImageError("parameters do not fit the signature", offset=code.offset)
    register = code.registers - code.parameters
    found = []
    for each in types:
        found.append((register, each))
        register += words(each)
    return found
