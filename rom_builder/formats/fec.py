"""Forward error correction of dm-verity: Reed-Solomon parity over an image and its hash tree.

Source: AOSP ``system/extras/verity/fec``, ``libfec/include/fec/ecc.h`` and the kernel's
``dm-verity-fec.c``. The code is RS(255, 255 - roots) over GF(2**8) with polynomial 0x11d, first
root ``a**0`` and primitive element ``a = 2``. The covered bytes, image and tree as they lie in the
partition, fill ``255 - roots`` rows one after the other, zeros after their end::

    rounds   = ceil(blocks / (255 - roots))      blocks of 4096 bytes
    row size = rounds * 4096
    codeword k = byte k of every row, its highest power first: 0 <= k < row size

Parity of codeword ``k`` lies at ``k * roots``, highest power first.

How it is computed: columns of many codewords are one large integer. With ``c`` the codeword as a
polynomial, parity is the polynomial of degree below ``roots`` that equals ``c`` at ``a**0``,
``a**1`` ..., so ``c`` is evaluated there and the values interpolated. A row's weight in
``c(a**i)`` is a power of ``a``; the row is added, unmultiplied, to one sum for each bit set in that
weight, and the eight sums of a root are combined only once.
"""

from __future__ import annotations

import tempfile
from functools import cache

from rom_builder.errors import ImageError
from rom_builder.formats.source import FileSource, Source

BLOCK_SIZE = 4096
CODEWORD_SIZE = 255
DEFAULT_ROOTS = 2
MIN_ROOTS, MAX_ROOTS = 2, 24
"""Parity bytes of a codeword that the kernel takes (``DM_VERITY_FEC_MIN_RSN`` and ``MAX_RSN``)."""

_POLYNOMIAL = 0x11D
_COLUMNS = 1 << 14
"""Bytes of a row worked on at once: all sums of a root stay in a processor's cache."""

SUMS_SIZE = 192 << 20
"""Bytes of sums that a stream keeps in memory, 192 MiB: enough for a partition of 3 GB."""

_POWERS = [1]
while len(_POWERS) < CODEWORD_SIZE:
    _POWERS.append(_POWERS[-1] << 1 ^ (_POLYNOMIAL if _POWERS[-1] & 0x80 else 0))
_LOGS = {power: exponent for exponent, power in enumerate(_POWERS)}


def fec_size(covered_size: int, roots: int = DEFAULT_ROOTS) -> int:
    """Bytes of parity for an image with its hash tree.

    >>> fec_size(8 * 1024 * 1024 + 17 * 4096)
    73728

    Raises:
        ImageError: The kernel takes no such number of roots.
    """
    _check_roots(roots)
    return -(-covered_size // (BLOCK_SIZE * (CODEWORD_SIZE - roots))) * roots * BLOCK_SIZE


def build_fec(source: Source, roots: int = DEFAULT_ROOTS) -> bytes:
    """Return the parity of a partition's bytes from its start to the end of its hash tree.

    Every byte is read once, but in strides of a row's size: a file, or bytes in memory, not a
    source that decodes what it reads.

    Raises:
        ImageError: The size is no multiple of 4096, the kernel takes no such number of roots, or
            as ``source`` raises.
    """
    size = fec_size(source.size, roots)
    if source.size % BLOCK_SIZE:
        raise ImageError(f"parity is made of whole blocks, not of {source.size} bytes")
    row_size = size // roots
    return b"".join(
        _parity(source, start, min(_COLUMNS, row_size - start), row_size, roots)
        for start in range(0, row_size, _COLUMNS)
    )


def compare_fec(fec: bytes, expected: bytes) -> None:
    """Compare the parity that an image has with the one that follows from it.

    Raises:
        ImageError: They differ.
    """
    if len(fec) != len(expected):
        raise ImageError(f"parity of {len(fec)} bytes, expected {len(expected)}")
    if fec != expected:
        at = next(i for i, pair in enumerate(zip(fec, expected, strict=True)) if len(set(pair)) > 1)
        raise ImageError("the error correction parity does not match the image", offset=at)


def _check_roots(roots: int) -> None:
    if not MIN_ROOTS <= roots <= MAX_ROOTS:
        raise ImageError(f"{roots} parity bytes a codeword, not {MIN_ROOTS} to {MAX_ROOTS}")


class FecStream:
    """The parity of bytes that are given from start to end, as :func:`build_fec` makes it.

    The sums of all columns take ``8 * roots / (255 - roots)`` of the covered bytes, a sixteenth for two
    roots; where that is more than :data:`SUMS_SIZE`, the bytes go to a temporary file instead.

    Args:
        size: Bytes that will be given.
        roots: Parity bytes of a codeword.

    Raises:
        ImageError: As :func:`build_fec`.
        OSError: There is no room for the temporary file.
    """

    def __init__(self, size: int, roots: int = DEFAULT_ROOTS) -> None:
        self._row_size = fec_size(size, roots) // roots
        if size % BLOCK_SIZE:
            raise ImageError(f"parity is made of whole blocks, not of {size} bytes")
        self._size, self._roots = size, roots
        self._position = 0
        self._columns: dict[int, list[int]] = {}
        self._begun = bytearray()  # bytes of a column that the next ones complete
        large = 8 * roots * self._row_size > SUMS_SIZE
        self._file = tempfile.TemporaryFile() if large else None  # noqa: SIM115

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        if self._file is not None:
            self._file.write(data)
            return
        view, start = memoryview(data), 0
        while start < len(view):
            row, column = divmod(self._position, self._row_size)
            width = min(_COLUMNS, self._row_size - column, self._size - self._position)
            piece: memoryview | bytearray = view[start : start + width - len(self._begun)]
            start += len(piece)
            if self._begun or len(piece) < width:
                self._begun += piece
                if len(self._begun) < width:
                    return
                piece, self._begun = self._begun, bytearray()
            self._add(row, column, int.from_bytes(piece, "little"))
            self._position += width

    def _add(self, row: int, column: int, value: int) -> None:
        sums = self._columns.setdefault(column, [0] * (8 * self._roots))
        for target in _targets(self._roots)[row] if value else ():
            sums[target] ^= value

    def finish(self) -> bytes:
        """Return the parity, once all bytes were given."""
        if self._file is not None:
            with self._file as file:
                file.flush()
                return build_fec(FileSource(file.fileno()), self._roots)
        return b"".join(
            _interpolated(
                self._columns.pop(start, [0] * (8 * self._roots)),
                min(_COLUMNS, self._row_size - start),
                self._roots,
            )
            for start in range(0, self._row_size, _COLUMNS)
        )


def _parity(source: Source, start: int, width: int, row_size: int, roots: int) -> bytes:
    """Parity of ``width`` codewords from ``start`` on, interleaved as it is stored."""
    sums = [0] * (8 * roots)
    for row, targets in enumerate(_targets(roots)):
        position = row * row_size + start
        if position >= source.size:
            break
        # A row may be cut short by the end of the covered bytes; little-endian, so the missing
        # bytes are zeros at the top.
        value = int.from_bytes(
            source.read_at(position, min(width, source.size - position)), "little"
        )
        if value:
            for target in targets:
                sums[target] ^= value
    return _interpolated(sums, width, roots)


def _interpolated(sums: list[int], width: int, roots: int) -> bytes:
    """Return the parity that follows from the sums of ``width`` codewords."""
    values = [
        _combined(sums[8 * root : 8 * root + 8], width).to_bytes(width, "little")
        for root in range(roots)
    ]
    parity = bytearray(width * roots)
    for index, weights in enumerate(_interpolation(roots)):
        total = 0
        for weight, value_bytes in zip(weights, values, strict=True):
            total ^= int.from_bytes(value_bytes.translate(_product_table(weight)), "little")
        parity[index::roots] = total.to_bytes(width, "little")
    return bytes(parity)


@cache
def _targets(roots: int) -> list[tuple[int, ...]]:
    """For every row the sums it is added to: ``8i + b`` for bit ``b`` of its weight at root i."""
    found = []
    for row in range(CODEWORD_SIZE - roots):
        exponent = CODEWORD_SIZE - 1 - row
        weights = [_POWERS[exponent * root % CODEWORD_SIZE] for root in range(roots)]
        found.append(
            tuple(8 * i + bit for i, w in enumerate(weights) for bit in range(8) if w >> bit & 1)
        )
    return found


def _combined(sums: list[int], width: int) -> int:
    """Return the sum of ``sums[b] * a**b``, for every byte of the large integers."""
    ones = int.from_bytes(b"\x01" * width, "little")
    low_bits = 0x7F * ones
    total = 0
    for value in reversed(sums):
        total = (total & low_bits) << 1 ^ (total >> 7 & ones) * (_POLYNOMIAL & 0xFF) ^ value
    return total


@cache
def _interpolation(roots: int) -> list[list[int]]:
    """Weights of the values at ``a**0, a**1 ...`` in each coefficient, highest power first."""
    columns = []
    for root in range(roots):
        polynomial, divisor = [1], 1  # product of (x - a**other), highest power first
        for other in range(roots):
            if other != root:
                scaled = [_product(_POWERS[other], item) for item in polynomial]
                polynomial = [
                    left ^ right for left, right in zip([*polynomial, 0], [0, *scaled], strict=True)
                ]
                divisor = _product(divisor, _POWERS[root] ^ _POWERS[other])
        inverse = _POWERS[-_LOGS[divisor] % CODEWORD_SIZE]
        columns.append([_product(inverse, item) for item in polynomial])
    return [list(row) for row in zip(*columns, strict=True)]


@cache
def _product_table(weight: int) -> bytes:
    return bytes(_product(weight, value) for value in range(256))


def _product(left: int, right: int) -> int:
    if not left or not right:
        return 0
    return _POWERS[(_LOGS[left] + _LOGS[right]) % CODEWORD_SIZE]
