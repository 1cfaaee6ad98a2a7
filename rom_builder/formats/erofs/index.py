"""The index of a compressed EROFS file: which logical clusters start an extent, and where it lies.

A file is cut into logical clusters of equal size. Each has an entry: a head says that an extent
starts inside it, at which byte, and in which block the extent's physical cluster begins; a nonhead
belongs to an extent that started before. Entries come in two forms:

Full (layout 1), 8 bytes each:

======  ======================================  ==========================================
offset  head                                    nonhead
======  ======================================  ==========================================
0       u16: bits 0-1 type, bit 15 "partial"    u16: bits 0-1 type
2       u16 first byte of the extent            -
4       u32 block                               u16 distance back to the head, or
                                                0x800 + blocks of the physical cluster
======  ======================================  ==========================================

Compact (layout 3), in packs of 2 (8 bytes, 16 bits an entry) or 16 (32 bytes, 14 bits an entry),
each pack ending in a u32 base block. From its lowest bit on, a pack is a row of entries: a value of
``max(log2 of the logical cluster, 12)`` bits, then 2 bits of type. A head's value is the first byte
of the extent, a nonhead's as above, but the last of a pack holds the distance to the next head. The
blocks of the heads in a pack follow each other from the base.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source, check_range

SHIFTED_HEAD, HEAD1, NONHEAD, HEAD2 = range(4)

COMPACT_2B = 0x01
BIG_CLUSTER_1 = 0x02
BIG_CLUSTER_2 = 0x04

_PARTIAL = 1 << 15
_BLOCK_COUNT = 1 << 11
_FULL_ENTRY = struct.Struct("<HHI")
_FULL_PADDING = 8


class Entry(NamedTuple):
    """One logical cluster.

    Attributes:
        type: ``SHIFTED_HEAD`` (stored as it is), ``HEAD1``, ``HEAD2`` or ``NONHEAD``.
        value: Head: first byte of the extent. Nonhead: clusters back to the head or to another
            nonhead of the same extent; 0 if not told.
        block: Head: first block of the physical cluster, for a compact entry without big
            clusters at least. Nonhead: blocks of the physical cluster, -1 if not told.
        partial: Head: the physical cluster holds more than the extent.
    """

    type: int
    value: int
    block: int
    partial: bool


class FullIndex:
    """Entries of 8 bytes, 8 bytes behind the map header.

    Raises:
        ImageError: They do not lie inside the image.
    """

    def __init__(self, image: Source, header_end: int, count: int) -> None:
        self.count = count
        self._image = image
        self._offset = header_end + _FULL_PADDING
        self.end = self._offset + count * _FULL_ENTRY.size
        check_range(image, self._offset, self.end - self._offset)

    def entries(self, first: int, last: int) -> list[Entry]:
        """Return entries ``first`` to ``last`` (excluded)."""
        size = _FULL_ENTRY.size
        data = self._image.read_at(self._offset + first * size, (last - first) * size)
        entries = []
        for advise, value, block in _FULL_ENTRY.iter_unpack(data):
            kind = advise & 3
            if kind == NONHEAD:
                entries.append(_nonhead(block & 0xFFFF))
            else:
                entries.append(Entry(kind, value, block, bool(advise & _PARTIAL)))
        return entries


class CompactIndex:
    """Entries in packs, directly behind the map header.

    Packs of 2 lead up to a 32-byte boundary, packs of 16 follow if ``COMPACT_2B`` is set, packs
    of 2 take the rest.

    Raises:
        ImageError: They do not lie inside the image, or the cluster size does not fit the packs.
    """

    def __init__(
        self, image: Source, header_end: int, count: int, advise: int, cluster_bits: int
    ) -> None:
        self.count = count
        self._image = image
        self._offset = header_end
        self._value_bits = max(cluster_bits, 12)
        self._big = bool(advise & BIG_CLUSTER_1)
        self._lead = (32 - header_end % 32) // 4 & 7
        dense = advise & COMPACT_2B and self._lead < count
        self._dense_end = self._lead + ((count - self._lead) & ~15 if dense else 0)
        if cluster_bits > (12 if self._dense_end > self._lead else 14):
            raise ImageError(
                f"compact index of clusters of 1 << {cluster_bits} bytes", offset=header_end
            )
        last_pack, _, last_size = self._pack(count - 1) if count else (header_end, 0, 0)
        self.end = last_pack + last_size
        check_range(image, header_end, self.end - header_end)

    def entries(self, first: int, last: int) -> list[Entry]:
        """Return entries ``first`` to ``last`` (excluded)."""
        if first >= last:
            return []
        start, skip, _ = self._pack(first)
        last_pack, _, last_size = self._pack(last - 1)
        data = self._image.read_at(start, last_pack + last_size - start)
        entries: list[Entry] = []
        position = 0
        cluster = first - skip
        while cluster < last:
            size = 32 if self._lead <= cluster < self._dense_end else 8
            pack = self._decode(data[position : position + size], start + position)
            entries += islice(pack, last - cluster)  # a last pack may be half used
            position += size
            cluster += 16 if size == 32 else 2
        return entries[skip:]

    def _pack(self, cluster: int) -> tuple[int, int, int]:
        """Return a cluster's pack: its byte of the image, the cluster's place in it, its size."""
        if cluster < self._lead:
            return self._offset + cluster // 2 * 8, cluster % 2, 8
        offset = self._offset + self._lead * 4
        cluster -= self._lead
        dense = self._dense_end - self._lead
        if cluster < dense:
            return offset + cluster // 16 * 32, cluster % 16, 32
        cluster -= dense
        return offset + dense * 2 + cluster // 2 * 8, cluster % 2, 8

    def _decode(self, pack: bytes, offset: int) -> Iterator[Entry]:
        """Yield the entries of one pack.

        The base block is that of the pack's first head; without big clusters it is one less.
        """
        count, width = (16, 14) if len(pack) == 32 else (2, 16)
        bits = int.from_bytes(pack[:-4], "little")
        mask = (1 << self._value_bits) - 1
        block = int.from_bytes(pack[-4:], "little") + (not self._big)
        after_head = False
        for place in range(count):
            value = bits & mask
            kind = bits >> self._value_bits & 3
            bits >>= width
            if kind != NONHEAD:
                yield Entry(kind, value, block, partial=False)
                block += 1
                after_head = True
                continue
            entry = _nonhead(value)
            if entry.block >= 0:
                if not self._big or not (after_head or place == 0):
                    raise ImageError("a number of blocks in the wrong place", offset=offset)
                block += entry.block - after_head
            elif place == count - 1:
                entry = Entry(NONHEAD, 0, -1, partial=False)
            yield entry
            after_head = False


def _nonhead(value: int) -> Entry:
    if value & _BLOCK_COUNT:
        return Entry(NONHEAD, 1, value & (_BLOCK_COUNT - 1), partial=False)
    return Entry(NONHEAD, value, -1, partial=False)
