"""An image being edited: the old bytes with changed blocks kept in memory over them."""

from __future__ import annotations

from rom_builder.formats.image_edit import ImagePlan, Remains, Write, digest_of_old
from rom_builder.formats.ranges import difference
from rom_builder.formats.source import BytesSource, Pieces, Source, check_range


class Draft:
    """Blocks of an image that change, and content laid over whole blocks; a source itself.

    Args:
        image: The old image.
        block_size: Bytes of a block.
    """

    def __init__(self, image: Source, block_size: int) -> None:
        self._image = image
        self._block_size = block_size
        self._blocks: dict[int, bytearray] = {}
        self._placed: dict[int, Source] = {}
        self.size = image.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes as they are by now; content that was placed is not seen.

        Raises:
            ImageError: The range does not lie inside the image as it is by now.
        """
        check_range(self, offset, size)
        parts = []
        end = offset + size
        while offset < end:
            number, start = divmod(offset, self._block_size)
            count = min(self._block_size - start, end - offset)
            block = self._blocks.get(number)
            parts.append(
                self._old(offset, count) if block is None else bytes(block[start : start + count])
            )
            offset += count
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes; the image grows to hold them."""
        position = 0
        while position < len(data):
            number, start = divmod(offset + position, self._block_size)
            count = min(self._block_size - start, len(data) - position)
            block = self._blocks.get(number)
            if block is None:
                old = self._old(number * self._block_size, self._block_size)
                block = self._blocks[number] = bytearray(old)
            block[start : start + count] = data[position : position + count]
            position += count
        self.size = max(self.size, offset + len(data))

    def place(self, block: int, content: Source) -> None:
        """Lay content over whole blocks from ``block`` on, zeros behind its end."""
        if not content.size:
            return
        for number in range(block, block + -(-content.size // self._block_size)):
            self._blocks.pop(number, None)
        padding = -content.size % self._block_size
        self._placed[block] = (
            Pieces([(content, content.size), (None, padding)]) if padding else content
        )
        self.size = max(self.size, block * self._block_size + content.size + padding)

    def zero(self, offset: int, size: int) -> None:
        """Zero old bytes."""
        end = offset + size
        first = -(-offset // self._block_size)
        last = end // self._block_size
        if first >= last:
            self.write(offset, bytes(size))
            return
        self.write(offset, bytes(first * self._block_size - offset))
        self.write(last * self._block_size, bytes(end - last * self._block_size))
        start = first
        for number in sorted(n for n in self._blocks if first <= n < last):
            self._zero_blocks(start, number)
            self._blocks[number][:] = bytes(self._block_size)
            start = number + 1
        self._zero_blocks(start, last)

    def grow(self, size: int) -> None:
        """Make the image longer; the new bytes are zeros."""
        self.size = max(self.size, size)

    def _zero_blocks(self, first: int, last: int) -> None:
        if first < last:
            size = (last - first) * self._block_size
            self._placed[first] = Pieces([(None, size)])

    def plan(self, remains: tuple[Remains, ...] = ()) -> ImagePlan:
        """Return what differs from the old image by now."""
        parts = {number * self._block_size: content for number, content in self._placed.items()}
        for number, block in self._blocks.items():
            offset = number * self._block_size
            data = bytes(block[: self.size - offset])
            if offset >= self._image.size or data != self._old(offset, len(data)):
                parts[offset] = BytesSource(data)
        grown = [range(self._image.size, self.size)]
        written = [range(offset, offset + part.size) for offset, part in parts.items()]
        for gap in difference(grown, written):
            parts[gap.start] = Pieces([(None, len(gap))])
        writes: list[Write] = []
        run: list[Source] = []
        start = end = 0
        for offset in sorted(parts):
            if offset < end:
                raise AssertionError(f"two changes overlap at byte {offset:#x}")
            if run and offset != end:
                writes.append(_joined(start, run))
                run = []
            if not run:
                start = offset
            run.append(parts[offset])
            end = offset + parts[offset].size
        if run:
            writes.append(_joined(start, run))
        done = tuple(writes)
        return ImagePlan(
            self._image.size, self.size, done, digest_of_old(self._image, done), remains
        )

    def _old(self, offset: int, size: int) -> bytes:
        kept = max(0, min(size, self._image.size - offset))
        return self._image.read_at(offset, kept) + bytes(size - kept) if kept else bytes(size)


def _joined(offset: int, run: list[Source]) -> Write:
    if len(run) == 1:
        return Write(offset, run[0])
    return Write(offset, Pieces([(source, source.size) for source in run]))
