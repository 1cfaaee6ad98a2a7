"""EROFS content that is compressed, readable at any byte: only the clusters needed are decoded."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.erofs.data import ReadAhead, check_read
from rom_builder.formats.erofs.decompress import MAX_DECODED_SIZE, MAX_ENCODED_SIZE, decompress
from rom_builder.formats.erofs.index import (
    BIG_CLUSTER_1,
    BIG_CLUSTER_2,
    COMPACT_2B,
    HEAD1,
    HEAD2,
    NONHEAD,
    CompactIndex,
    FullIndex,
)
from rom_builder.formats.erofs.inode import COMPRESSED_FULL, Inode
from rom_builder.formats.erofs.superblock import (
    ALGORITHMS,
    COMPR_CFGS,
    LZ4,
    ZERO_PADDING,
    Superblock,
)
from rom_builder.formats.source import Slice, Source, check_range

_MAP_HEADER = struct.Struct("<IHBB")
_EXTENT_RECORDS = 0x01  # in a full index
_INLINE_CLUSTER = 0x08
_INTERLACED = 0x10
_FRAGMENT = 0x20
_WHOLE_FRAGMENT = 0x80
_CLUSTER_BITS = 0x0F

# Entries decoded at a time: 4 MiB of content at 4 KiB a cluster.
_WINDOW = 1024


class Cache:
    """Decoded clusters, the least recently used ones dropped first; safe for several threads."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._held = 0
        self._entries: OrderedDict[_Extent, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, extent: _Extent, decode: Callable[[_Extent], bytes]) -> bytes:
        """Return what ``decode(extent)`` gave before or gives now."""
        with self._lock:
            if (data := self._entries.get(extent)) is not None:
                self._entries.move_to_end(extent)
                return data
        data = decode(extent)
        with self._lock:
            if extent not in self._entries:
                self._entries[extent] = data
                self._held += len(data)
            while self._held > self._limit:
                self._held -= len(self._entries.popitem(last=False)[1])
        return data


class _Head(NamedTuple):
    """A logical cluster that starts an extent, at byte ``start`` of the file."""

    start: int
    cluster: int
    type: int
    block: int
    blocks: int
    partial: bool


class _Window(NamedTuple):
    """The heads of a run of logical clusters; ``reach`` is how far back those before them point."""

    heads: list[_Head]
    starts: list[int]
    reach: int


class _Extent(NamedTuple):
    """Bytes ``start`` to ``end`` of a file and the physical cluster that holds them.

    ``algorithm`` is None for bytes stored as they are; ``rotation`` is then where the first of
    them lies in the cluster, the others following it and going on at the cluster's start.
    ``offset`` is a byte of the image, or of the packed inode if ``fragment`` is set.
    """

    start: int
    end: int
    offset: int
    size: int
    algorithm: int | None
    partial: bool
    rotation: int
    fragment: bool


class CompressedFile:
    """Content of a compressed inode.

    The map header is 8 bytes behind inode and extended attributes, aligned to 8:

    ======  =====  ==========================================================================
    offset  type   field
    ======  =====  ==========================================================================
    0       u32    offset of the last extent in the packed inode, or u16 reserved and u16 size
                   of the last physical cluster, which lies behind the index
    4       u16    flags: 1 packs of 16 (compact) or extent records (full, not read),
                   2 and 4 big clusters of HEAD1 and HEAD2, 8 last cluster inline,
                   16 interlaced, 32 last extent in the packed inode
    6       u8     algorithm of HEAD1 (low nibble) and HEAD2 (high nibble)
    7       u8     bits 0-3 log2 of blocks a logical cluster takes; bit 7: the whole file lies in
                   the packed inode, at the other 63 bits of the header
    ======  =====  ==========================================================================

    Args:
        image: The file system.
        superblock: Its superblock.
        inode: A compressed inode.
        packed: Gives the content of the packed inode.
        cache: Decoded clusters, shared by the files of one image.

    Attributes:
        map_end: Byte of the image behind header and index.

    Raises:
        ImageError: The header or index is damaged, or of a kind that is not read.
    """

    def __init__(
        self,
        image: Source,
        superblock: Superblock,
        inode: Inode,
        packed: Callable[[], Source],
        cache: Cache,
    ) -> None:
        self.size = inode.size
        self._image = image
        self._superblock = superblock
        self._inode = inode
        self._packed = packed
        self._cache = cache
        self._last: _Extent | None = None
        self._windows: dict[int, _Window] = {}
        header = (inode.end + 7) & ~7
        tail, self._advise, algorithms, bits = _MAP_HEADER.unpack(image.read_at(header, 8))
        if bits & _WHOLE_FRAGMENT:
            offset = int.from_bytes(image.read_at(header, 8), "little") & ~(1 << 63)
            self._last = _Extent(0, self.size, offset, self.size, None, False, 0, fragment=True)
            self.map_end = header + 8
            return
        full = inode.layout == COMPRESSED_FULL
        if full and self._advise & _EXTENT_RECORDS:
            raise ImageError("extent records (48-bit layout) are not supported", offset=header)
        self._algorithms = {HEAD1: algorithms & 15, HEAD2: algorithms >> 4}
        block_bits = superblock.block_size.bit_length() - 1
        self._cluster_bits = block_bits + (bits & _CLUSTER_BITS)
        if not full:
            big = self._advise & (BIG_CLUSTER_1 | BIG_CLUSTER_2)
            if big not in (0, BIG_CLUSTER_1 | BIG_CLUSTER_2):
                raise ImageError("only one of two heads has big clusters", offset=header)
            if self._advise & COMPACT_2B and bits & _CLUSTER_BITS:
                # what packs such an index has is not defined: kernel and mkfs.erofs differ
                raise ImageError("packs of 16 for clusters of several blocks", offset=header)
        self._fragment = tail if self._advise & _FRAGMENT else None
        inline = self._advise & _INLINE_CLUSTER and self._fragment is None
        self._inline_size = tail >> 16 if inline else 0
        count = -(-self.size >> self._cluster_bits)
        self._index: FullIndex | CompactIndex = (
            FullIndex(image, header + 8, count)
            if full
            else CompactIndex(image, header + 8, count, self._advise, self._cluster_bits)
        )
        self.map_end = self._index.end

    def read_at(self, offset: int, size: int) -> bytes:
        check_read(self, offset, size)
        parts = []
        end = offset + size
        stored = ReadAhead(self._image)
        while offset < end:
            extent = self._last
            if extent is None or not extent.start <= offset < extent.end:
                extent = self._last = self._extent(offset)
            stop = min(end, extent.end)
            stored.wanted = end - offset
            parts.append(self._read(extent, offset - extent.start, stop - offset, stored))
            offset = stop
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def clusters(self) -> Iterator[tuple[range | None, int]]:
        """Yield the bytes of the image that each extent is stored in, and how many bytes it gives.

        None stands for a place in the packed inode.

        Raises:
            ImageError: The index is damaged.
        """
        position = 0
        while position < self.size:
            extent = self._last
            if extent is None or not extent.start <= position < extent.end:
                extent = self._extent(position)
            place = range(extent.offset, extent.offset + extent.size)
            yield None if extent.fragment else place, extent.end - position
            position = extent.end

    def _read(self, extent: _Extent, skip: int, size: int, stored: ReadAhead) -> bytes:
        """Return ``size`` bytes of an extent, from its byte ``skip`` on."""
        if extent.fragment:
            return self._packed().read_at(extent.offset + skip, size)
        if extent.algorithm is None:
            start = extent.rotation + skip
            if not extent.rotation or start + size <= extent.size:
                return stored.read_at(extent.offset + start, size)
            cluster = stored.read_at(extent.offset, extent.size)
            return (cluster + cluster)[start : start + size]
        if size == extent.end - extent.start:  # who reads on does not come back
            return self._decode(extent, stored)
        data = self._cache.get(extent, lambda extent: self._decode(extent, stored))
        return data[skip : skip + size]

    def _decode(self, extent: _Extent, stored: ReadAhead) -> bytes:
        return decompress(
            self._known(extent.algorithm),
            stored.read_at(extent.offset, extent.size),
            extent.end - extent.start,
            partial=extent.partial,
            zero_padded=bool(self._superblock.incompat & ZERO_PADDING),
            offset=extent.offset,
        )

    def _known(self, algorithm: int | None) -> int:
        """Refuse an algorithm that the superblock does not name."""
        if algorithm is not None:
            name = ALGORITHMS.get(algorithm, str(algorithm))
            named = name in self._superblock.algorithms
            if named or (algorithm == LZ4 and not self._superblock.incompat & COMPR_CFGS):
                return algorithm
        raise ImageError(
            f"inode {self._inode.nid}: compression algorithm {algorithm} is none of the image's",
            offset=self._inode.offset,
        )

    def _extent(self, offset: int) -> _Extent:
        """Return the extent of byte ``offset``."""
        head, end = self._bounds(offset)
        length = end - head.start
        if end == self.size and self._fragment is not None:
            start = self._fragment
            if isinstance(self._index, FullIndex):
                start |= head.block << 32
            return _Extent(head.start, end, start, length, None, False, 0, fragment=True)
        block_size = self._superblock.block_size
        if end == self.size and self._inline_size:
            position, size = self._index.end, self._inline_size
            if position % block_size + size > block_size:
                raise ImageError("an inline cluster crosses a block boundary", offset=position)
        else:
            position, size = head.block * block_size, self._blocks(head) * block_size
        check_range(self._image, position, size)
        if size > MAX_ENCODED_SIZE or length > MAX_DECODED_SIZE:
            raise ImageError(f"a cluster of {size} bytes for {length} bytes", offset=position)
        algorithm = self._algorithms.get(head.type)
        rotation = 0
        if algorithm is None:
            if length > size:
                raise ImageError(f"{length} bytes are stored in {size}", offset=position)
            if self._advise & _INTERLACED:
                rotation = head.start % block_size
                if rotation and size != block_size:
                    raise ImageError("an interlaced cluster is not one block", offset=position)
        return _Extent(
            head.start, end, position, size, algorithm, head.partial, rotation, fragment=False
        )

    def _blocks(self, head: _Head) -> int:
        """Return how many blocks the physical cluster of ``head`` takes."""
        if not self._advise & (BIG_CLUSTER_1 if head.type == HEAD1 else BIG_CLUSTER_2):
            return 1
        if head.blocks <= 0:
            raise ImageError(
                f"logical cluster {head.cluster} does not tell its blocks",
                offset=self._inode.offset,
            )
        return head.blocks

    def _bounds(self, offset: int) -> tuple[_Head, int]:
        """Return the head whose extent holds byte ``offset``, and where that extent ends."""
        number = (offset >> self._cluster_bits) // _WINDOW
        window = self._window(number)
        found = bisect_right(window.starts, offset) - 1
        if 0 <= found < len(window.starts) - 1:
            return window.heads[found], window.starts[found + 1]
        reach = self._index.count
        before = number
        while found < 0:
            reach = min(reach, window.reach)
            before -= 1
            if before < 0:
                raise self._error("no logical cluster starts an extent before byte", offset)
            window = self._window(before)
            found = len(window.heads) - 1
        head = window.heads[found]
        end = self.size
        if found + 1 < len(window.heads):
            end = window.starts[found + 1]
        else:
            last = (self._index.count - 1) // _WINDOW
            for after in range(before + 1, last + 1):
                window = self._window(after)
                reach = min(reach, window.reach)
                if window.heads:
                    end = window.starts[0]
                    break
        if reach < head.cluster:
            raise self._error("a logical cluster points before its extent near byte", offset)
        return head, end

    def _window(self, number: int) -> _Window:
        """Return the heads of logical clusters ``number * _WINDOW`` and on."""
        window = self._windows.get(number)
        if window is None:
            if len(self._windows) > 3:
                self._windows.clear()
            window = self._windows[number] = self._decode_window(number * _WINDOW)
        return window

    def _decode_window(self, first: int) -> _Window:
        last = min(first + _WINDOW, self._index.count)
        # one entry more tells the size of the last head's physical cluster
        entries = self._index.entries(first, min(last + 1, self._index.count))
        cluster_size = 1 << self._cluster_bits
        heads: list[_Head] = []
        starts: list[int] = []
        reach = latest = self._index.count
        for cluster, entry in enumerate(entries[: last - first], first):
            if entry.type == NONHEAD:
                target = cluster - entry.value
                if not heads:
                    reach = min(reach, target)
                elif target < latest:
                    raise self._error("a logical cluster points before its extent:", cluster)
                continue
            if entry.value >= cluster_size:
                raise self._error("an extent starts behind its logical cluster:", cluster)
            start = cluster * cluster_size + entry.value
            if start >= self.size:  # written where the last cluster is stored inline
                continue
            following = cluster - first + 1
            blocks = 1
            if following < len(entries) and entries[following].type == NONHEAD:
                blocks = entries[following].block
            heads.append(_Head(start, cluster, entry.type, entry.block, blocks, entry.partial))
            starts.append(start)
            latest = cluster
        return _Window(heads, starts, reach)

    def _error(self, message: str, place: int) -> ImageError:
        return ImageError(
            f"inode {self._inode.nid}: {message} {place:#x}", offset=self._inode.offset
        )


def open_compressed(
    image: Source,
    superblock: Superblock,
    inode: Inode,
    packed: Callable[[], Source],
    cache: Cache,
) -> Source:
    """Return the content of an inode of layout ``COMPRESSED_FULL`` or ``COMPRESSED_COMPACT``.

    Raises:
        ImageError: As :class:`CompressedFile`.
    """
    if not inode.size:
        return Slice(image, 0, 0)
    return CompressedFile(image, superblock, inode, packed, cache)
