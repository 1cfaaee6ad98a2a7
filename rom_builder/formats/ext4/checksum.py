"""The two checksums of ext4: CRC-32C without final inversion, CRC-16 for old group descriptors."""

from __future__ import annotations

import struct
from array import array
from functools import cache

# Castagnoli polynomial 0x1EDC6F41 and CRC-16/ARC polynomial 0x8005, bits reversed.
_CRC32C = 0x82F63B78
_CRC16 = 0xA001


@cache
def _crc32c_tables() -> tuple[array[int], array[int]]:
    """Return the CRC of every low and of every high half of a 32-bit word.

    A CRC is linear, so the CRC of a word is the exclusive or of the CRCs of its halves: one look-up
    for each 16 bits instead of one for each 8.
    """
    of_bit = []
    for bit in range(32):
        value = 1 << bit
        for _ in range(32):
            value = value >> 1 ^ (_CRC32C if value & 1 else 0)
        of_bit.append(value)
    tables = []
    for bits in (of_bit[:16], of_bit[16:]):
        table = array("L", [0])
        for value in bits:
            table.extend(array("L", [entry ^ value for entry in table]))
        tables.append(table)
    return tables[0], tables[1]


def crc32c(value: int, data: bytes) -> int:
    """Continue the CRC-32C ``value`` over ``data``; ext4 starts at 0xFFFFFFFF and never inverts.

    >>> hex(crc32c(0xFFFFFFFF, b"123456789") ^ 0xFFFFFFFF)
    '0xe3069283'
    """
    low, high = _crc32c_tables()
    words = len(data) // 4
    for word in struct.unpack_from(f"<{words}I", data):
        value ^= word
        value = low[value & 0xFFFF] ^ high[value >> 16]
    for byte in data[4 * words :]:
        value = high[((value ^ byte) & 0xFF) << 8] ^ value >> 8
    return value


def crc16(value: int, data: bytes) -> int:
    """Continue the CRC-16 ``value`` over ``data``; ext4 starts at 0xFFFF.

    >>> hex(crc16(0, b"123456789"))
    '0xbb3d'
    """
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_CRC16 if value & 1 else 0)
    return value
