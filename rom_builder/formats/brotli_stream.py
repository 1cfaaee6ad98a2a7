"""A brotli stream (RFC 7932) read as if it were seekable."""

from __future__ import annotations

import tempfile
import threading

from rom_builder.errors import ImageError
from rom_builder.formats.source import Source, check_range

_READ_SIZE = 1 << 18
_WRITE_SIZE = 1 << 22


class BrotliStream:
    """The ``size`` bytes a brotli stream decodes to, as a source.

    The stream is decoded from its start as far as it is read; what was decoded is kept in an
    unnamed temporary file. Safe to use from several threads.

    Args:
        source: The stream.
        size: Bytes it must decode to.
    """

    def __init__(self, source: Source, size: int) -> None:
        import brotli

        self._source = source
        self.size = size
        self._decoder = brotli.Decompressor()
        self._position = 0
        self._decoded = 0
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the source
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        with self._lock:
            while self._decoded < offset + size:
                self._decode_more()
            if offset + size == self.size:
                self._check_end()
            self._spool.seek(offset)
            return self._spool.read(size)

    def _step(self) -> bytes:
        """Decode some more bytes; empty only at the end of the stream.

        Raises:
            ImageError: The stream is damaged or ends early.
        """
        import brotli

        piece = b""
        while not piece and not self._decoder.is_finished():
            data = b""
            if self._decoder.can_accept_more_data():
                count = min(_READ_SIZE, self._source.size - self._position)
                if not count:
                    raise ImageError("the brotli stream ends early", offset=self._position)
                data = self._source.read_at(self._position, count)
                self._position += count
            try:
                piece = self._decoder.process(data, output_buffer_limit=_WRITE_SIZE)
            except brotli.error as error:
                raise ImageError(f"damaged brotli stream: {error}", offset=self._position) from None
        return piece

    def _decode_more(self) -> None:
        piece = self._step()
        if not piece:
            raise ImageError(
                f"the brotli stream decodes to {self._decoded} bytes, not {self.size}",
                offset=self._position,
            )
        self._spool.seek(self._decoded)
        self._spool.write(piece)
        self._decoded += len(piece)
        if self._decoded > self.size:
            raise ImageError(f"the brotli stream decodes to more than {self.size} bytes")

    def _check_end(self) -> None:
        if not self._decoder.is_finished() and self._step():
            raise ImageError(f"the brotli stream decodes to more than {self.size} bytes")
        if self._position != self._source.size:
            raise ImageError("bytes follow the brotli stream", offset=self._position)
