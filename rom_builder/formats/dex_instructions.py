"""Dalvik instructions: one table of operations, and how each kind of operand is packed.

Code is a sequence of 16-bit units, little-endian; the low byte of an instruction's first unit is
its operation. A format is named by its units, its registers and the kind of its other operand:
``22c`` takes two units (https://source.android.com/docs/core/runtime/instruction-formats).

Operations 0xe3 to 0xff exist three times: those of :data:`OPERATIONS`; in files that were optimised
on the device (odex), those of :data:`OPTIMISED` (dalvik/libdex/DexOpcodes.h, Android 4.x); and in
files that were quickened when they were compiled ahead (oat), those of :data:`QUICKENED`
(art/runtime/dex_instruction_list.h, Android 5 to 7). Formats ``22cs``,
``35ms``, ``3rms`` and ``35mi``, ``3rmi`` have a slot instead of an index: what they name is not
known from the file.
"""

# ruff: noqa: ARG005 - the readers of operands share one signature

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from struct import pack, unpack, unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError


class Operation(NamedTuple):
    """What an operation code means: its mnemonic and the format of its operands."""

    name: str
    format: str


class Instruction(NamedTuple):
    """One decoded instruction.

    Attributes:
        address: Its first unit, counted from the start of the method's code.
        code: Operation code, 0 to 255.
        name: Mnemonic.
        registers: In the order in which the mnemonic lists them.
        operand: Index of a string, type, field, method ..., a literal, or 0.
        target: Address of the branch or payload, -1 if it has none.
        size: In units.
    """

    address: int
    code: int
    name: str
    registers: tuple[int, ...]
    operand: int
    target: int
    size: int


_BY_SLOT = ("22cs", "35ms", "3rms", "35mi", "3rmi")


class Operations(dict[int, Operation]):
    """The operations of one kind of file by their code.

    Attributes:
        sizes: Units of an instruction by its code; 0 where there is none.
        slots: Codes of those that name a slot instead of a method or field.
    """

    def __init__(self, text: str, extends: Operations | None = None) -> None:
        super().__init__(extends or {})
        for line in text.strip().splitlines():
            start, form, *names = line.split()
            for index, name in enumerate(names):
                self[int(start, 16) + index] = Operation(name, form)
        self.sizes = [int(self[code].format[0]) if code in self else 0 for code in range(256)]
        self.slots = frozenset(code for code in self if self[code].format in _BY_SLOT)
        self._steps: dict[frozenset[int], list[int]] = {}

    @cached_property
    def readers(self) -> dict[int, tuple[str, _Reader, int]]:
        """Mnemonic, reader of the operands and size in units of each operation."""
        return {c: (each.name, _OPERANDS[each.format], self.sizes[c]) for c, each in self.items()}

    def steps(self, codes: frozenset[int]) -> list[int]:
        """Return the bytes of an instruction by its code, negative if the code is one of some.

        It is 0 for nop, which may begin a table, and where there is no instruction.
        """
        if codes not in self._steps:
            sizes = enumerate(self.sizes)
            steps = [-2 * size if code in codes else 2 * size for code, size in sizes]
            self._steps[codes] = [0, *steps[1:]]
        return self._steps[codes]


def _arithmetic() -> str:
    integer = ["add", "sub", "mul", "div", "rem", "and", "or", "xor", "shl", "shr", "ushr"]
    real = integer[:5]
    names = [f"{op}-int" for op in integer] + [f"{op}-long" for op in integer]
    names += [f"{op}-float" for op in real] + [f"{op}-double" for op in real]
    return f"90 23x {' '.join(names)}\nb0 12x {' '.join(f'{name}/2addr' for name in names)}"


_KINDS = ("", "-wide", "-object", "-boolean", "-byte", "-char", "-short")

OPERATIONS = Operations(f"""
00 10x nop
01 12x move
02 22x move/from16
03 32x move/16
04 12x move-wide
05 22x move-wide/from16
06 32x move-wide/16
07 12x move-object
08 22x move-object/from16
09 32x move-object/16
0a 11x move-result move-result-wide move-result-object move-exception
0e 10x return-void
0f 11x return return-wide return-object
12 11n const/4
13 21s const/16
14 31i const
15 21h const/high16
16 21s const-wide/16
17 31i const-wide/32
18 51l const-wide
19 21h const-wide/high16
1a 21c const-string
1b 31c const-string/jumbo
1c 21c const-class
1d 11x monitor-enter monitor-exit
1f 21c check-cast
20 22c instance-of
21 12x array-length
22 21c new-instance
23 22c new-array
24 35c filled-new-array
25 3rc filled-new-array/range
26 31t fill-array-data
27 11x throw
28 10t goto
29 20t goto/16
2a 30t goto/32
2b 31t packed-switch sparse-switch
2d 23x cmpl-float cmpg-float cmpl-double cmpg-double cmp-long
32 22t if-eq if-ne if-lt if-ge if-gt if-le
38 21t if-eqz if-nez if-ltz if-gez if-gtz if-lez
44 23x {" ".join(f"aget{kind}" for kind in _KINDS)}
4b 23x {" ".join(f"aput{kind}" for kind in _KINDS)}
52 22c {" ".join(f"iget{kind}" for kind in _KINDS)}
59 22c {" ".join(f"iput{kind}" for kind in _KINDS)}
60 21c {" ".join(f"sget{kind}" for kind in _KINDS)}
67 21c {" ".join(f"sput{kind}" for kind in _KINDS)}
6e 35c invoke-virtual invoke-super invoke-direct invoke-static invoke-interface
74 3rc invoke-virtual/range invoke-super/range invoke-direct/range invoke-static/range
78 3rc invoke-interface/range
7b 12x neg-int not-int neg-long not-long neg-float neg-double
81 12x int-to-long int-to-float int-to-double long-to-int long-to-float long-to-double
87 12x float-to-int float-to-long float-to-double double-to-int double-to-long double-to-float
8d 12x int-to-byte int-to-char int-to-short
{_arithmetic()}
d0 22s add-int/lit16 rsub-int mul-int/lit16 div-int/lit16 rem-int/lit16 and-int/lit16 or-int/lit16
d7 22s xor-int/lit16
d8 22b add-int/lit8 rsub-int/lit8 mul-int/lit8 div-int/lit8 rem-int/lit8 and-int/lit8 or-int/lit8
df 22b xor-int/lit8 shl-int/lit8 shr-int/lit8 ushr-int/lit8
fa 45cc invoke-polymorphic
fb 4rcc invoke-polymorphic/range
fc 35c invoke-custom
fd 3rc invoke-custom/range
fe 21c const-method-handle const-method-type
""")

OPTIMISED = Operations(
    """
e3 22c iget-volatile iput-volatile
e5 21c sget-volatile sput-volatile
e7 22c iget-object-volatile iget-wide-volatile iput-wide-volatile
ea 21c sget-wide-volatile sput-wide-volatile
ec 10x breakpoint
ed 20bc throw-verification-error
ee 35mi execute-inline
ef 3rmi execute-inline/range
f0 3rc invoke-object-init/range
f1 10x return-void-barrier
f2 22cs iget-quick iget-wide-quick iget-object-quick iput-quick iput-wide-quick iput-object-quick
f8 35ms invoke-virtual-quick
f9 3rms invoke-virtual-quick/range
fa 35ms invoke-super-quick
fb 3rms invoke-super-quick/range
fc 22c iput-object-volatile
fd 21c sget-object-volatile sput-object-volatile
""",
    OPERATIONS,
)

QUICKENED = Operations(
    """
73 10x return-void-no-barrier
e3 22cs iget-quick iget-wide-quick iget-object-quick iput-quick iput-wide-quick iput-object-quick
e9 35ms invoke-virtual-quick
ea 3rms invoke-virtual-quick/range
eb 22cs iput-boolean-quick iput-byte-quick iput-char-quick iput-short-quick
ef 22cs iget-boolean-quick iget-byte-quick iget-char-quick iget-short-quick
""",
    OPERATIONS,
)

PACKED_SWITCH, SPARSE_SWITCH, ARRAY_DATA = 0x0100, 0x0200, 0x0300
"""First unit of the tables that stand between instructions."""


def payload_size(units: Sequence[int], address: int) -> int:
    """Return the units of the table at ``address``, 0 if there is none.

    Raises:
        ImageError: It runs past the end of the code; the offset counts from its start.
    """
    size = _table_size(units[address : address + 4], len(units) - address)
    if address + size > len(units):
        raise ImageError("a table in the code runs past its end", offset=2 * address)
    return size


def _table_size(head: Sequence[int], left: int) -> int:
    """Return the units of the table with these first units, 0 if it is none; ``left`` are there."""
    kind = head[0]
    if kind in (PACKED_SWITCH, SPARSE_SWITCH):
        count = head[1] if len(head) > 1 else left
        return 4 + 2 * count if kind == PACKED_SWITCH else 2 + 4 * count
    if kind == ARRAY_DATA:
        width, low, high = (*head[1:4], 0, 0, 0)[:3]
        return 4 + ((low | high << 16) * width + 1) // 2
    return 0


def switch_cases(units: Sequence[int], table: int, origin: int) -> list[tuple[int, int]]:
    """Return value and address of each case of a switch instruction at ``origin``, in file order.

    Raises:
        ImageError: There is no such table; the offset counts from the start of the code.
    """
    if not 0 <= table < len(units) or units[table] not in (PACKED_SWITCH, SPARSE_SWITCH):
        raise ImageError("a switch without a table", offset=2 * origin)
    payload_size(units, table)
    count = units[table + 1]
    packed = units[table] == PACKED_SWITCH
    numbers = 1 + count if packed else 2 * count
    raw = pack(f"<{2 * numbers}H", *units[table + 2 : table + 2 + 2 * numbers])
    found = unpack(f"<{numbers}i", raw)
    keys = range(found[0], found[0] + count) if packed else found[:count]
    return [
        (key, origin + relative)
        for key, relative in zip(keys, found[1:] if packed else found[count:], strict=True)
    ]


def addresses(units: Sequence[int], table: Operations) -> Iterator[tuple[int, int]]:
    """Yield address and operation code of each instruction, tables left out.

    Raises:
        ImageError: An operation is unknown or cut off; the offset counts from the code's start.
    """
    sizes = table.sizes
    address, end = 0, len(units)
    while address < end:
        unit = units[address]
        code = unit & 0xFF
        if not code and unit and (size := payload_size(units, address)):
            address += size
            continue
        found = sizes[code]
        if not found or address + found > end:
            raise ImageError(f"operation {code:#04x} is unknown or cut off", offset=2 * address)
        yield address, code
        address += found


def positions(data: bytes, start: int, size: int, steps: Sequence[int]) -> list[int]:
    """Return the byte offset in the file of each instruction with one of some operation codes.

    What :meth:`Code.references` finds, at a fraction of the time.

    Args:
        data: The file.
        start: Byte offset of the code.
        size: Its code units.
        steps: What :meth:`Operations.steps` returns for those operation codes.

    Raises:
        ImageError: An operation is unknown or cut off; the offset counts from the file's start.
    """
    found: list[int] = []
    note = found.append
    at, end = start, start + 2 * size
    while at < end:
        step = steps[data[at]]
        if step > 0:
            at += step
        elif step < 0:
            note(at)
            at -= step
        elif data[at]:
            raise ImageError(f"operation {data[at]:#04x} is unknown or cut off", offset=at)
        else:
            at += 2 * table_at(data, at, end) if data[at + 1] else 2
    if at > end:
        raise ImageError("the last operation is cut off", offset=start)
    return found


def table_at(data: bytes | bytearray, at: int, end: int) -> int:
    """Return the units of the table at an offset, 1 for a nop with something in its unused half.

    Raises:
        ImageError: It runs past the end.
    """
    left = (end - at) // 2
    size = _table_size(unpack_from(f"<{min(left, 4)}H", data, at), left)
    if size > left:
        raise ImageError("a table in the code runs past its end", offset=at)
    return size or 1


def decode(units: Sequence[int], table: Operations) -> list[Instruction]:
    """Decode the code of one method.

    Raises:
        ImageError: An operation is unknown or cut off; the offset counts from the code's start.
    """
    readers, new = table.readers, tuple.__new__
    found = []
    for address, code in addresses(units, table):
        name, read, size = readers[code]
        registers, operand, relative = read(units, address, units[address] >> 8)
        target = -1 if relative is None else address + relative
        values = (address, code, name, registers, operand, target, size)
        found.append(new(Instruction, values))  # at half the time of a call
    return found


_Operands = tuple[tuple[int, ...], int, int | None]
_Reader = Callable[[Sequence[int], int, int], _Operands]


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _u32(units: Sequence[int], at: int) -> int:
    return units[at] | units[at + 1] << 16


def _35(units: Sequence[int], at: int, high: int) -> _Operands:
    count, packed = min(high >> 4, 5), units[at + 2]
    nibbles = (packed & 15, packed >> 4 & 15, packed >> 8 & 15, packed >> 12, high & 15)
    return nibbles[:count], units[at + 1], None


def _3r(units: Sequence[int], at: int, high: int) -> _Operands:
    first = units[at + 2]
    return tuple(range(first, first + high)), units[at + 1], None


def _51(units: Sequence[int], at: int, high: int) -> _Operands:
    return (high,), _signed(_u32(units, at + 1) | _u32(units, at + 3) << 32, 64), None


def _high16(units: Sequence[int], at: int, high: int) -> _Operands:
    # const/high16 fills the upper half of 32 bits, const-wide/high16 (0x19) of 64.
    shift = 48 if units[at] & 0xFF == 0x19 else 16
    return (high,), _signed(units[at + 1], 16) << shift, None


_OPERANDS: dict[str, _Reader] = {
    "10x": lambda u, a, h: ((), 0, None),
    "12x": lambda u, a, h: ((h & 15, h >> 4), 0, None),
    "11n": lambda u, a, h: ((h & 15,), _signed(h >> 4, 4), None),
    "11x": lambda u, a, h: ((h,), 0, None),
    "10t": lambda u, a, h: ((), 0, _signed(h, 8)),
    "20t": lambda u, a, h: ((), 0, _signed(u[a + 1], 16)),
    "20bc": lambda u, a, h: ((), u[a + 1], None),
    "22x": lambda u, a, h: ((h, u[a + 1]), 0, None),
    "21t": lambda u, a, h: ((h,), 0, _signed(u[a + 1], 16)),
    "21s": lambda u, a, h: ((h,), _signed(u[a + 1], 16), None),
    "21h": _high16,
    "21c": lambda u, a, h: ((h,), u[a + 1], None),
    "23x": lambda u, a, h: ((h, u[a + 1] & 0xFF, u[a + 1] >> 8), 0, None),
    "22b": lambda u, a, h: ((h, u[a + 1] & 0xFF), _signed(u[a + 1] >> 8, 8), None),
    "22t": lambda u, a, h: ((h & 15, h >> 4), 0, _signed(u[a + 1], 16)),
    "22s": lambda u, a, h: ((h & 15, h >> 4), _signed(u[a + 1], 16), None),
    "22c": lambda u, a, h: ((h & 15, h >> 4), u[a + 1], None),
    "22cs": lambda u, a, h: ((h & 15, h >> 4), u[a + 1], None),
    "30t": lambda u, a, h: ((), 0, _signed(_u32(u, a + 1), 32)),
    "32x": lambda u, a, h: ((u[a + 1], u[a + 2]), 0, None),
    "31i": lambda u, a, h: ((h,), _signed(_u32(u, a + 1), 32), None),
    "31t": lambda u, a, h: ((h,), 0, _signed(_u32(u, a + 1), 32)),
    "31c": lambda u, a, h: ((h,), _u32(u, a + 1), None),
    "35c": _35, "35ms": _35, "35mi": _35, "45cc": _35,
    "3rc": _3r, "3rms": _3r, "3rmi": _3r, "4rcc": _3r,
    "51l": _51,
}  # fmt: skip
