"""Decoded operations, whole or their first bytes, so that none is decoded again and again.

They are found by what they are made of, so payloads that share the data of operations, as a base and
a package built from it do, can share a store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import IO, NamedTuple

from rom_builder.formats.compression import Stepwise

MEMORY = 1 << 24
"""Bytes of decoded operations kept in memory, 16 MiB; those used longest ago go to a file."""

BEGUN = 4
"""Decoders that wait to go on; each takes up to three times what its operation gives."""


class OperationKey(NamedTuple):
    """What an operation's output follows from.

    Attributes:
        kind: An :class:`~rom_builder.formats.payload.manifest.OperationType`.
        digest: SHA-256 of its data.
        size: Bytes that it gives.
    """

    kind: int
    digest: bytes
    size: int


class OperationStore:
    """The output of operations; safe to share between threads.

    What does not fit into memory goes to a temporary file without a name, up to half of the space
    that is free where temporary files are (``TMPDIR``); what does not fit there is forgotten.

    Args:
        memory: Most bytes kept in memory; the output used last is kept whatever its size.
        disk: Most bytes kept in the file; None for half of the free space.
        whole: Names of partitions that are going to be read to their end: none of their operations is
            decoded in part.
    """

    def __init__(
        self, memory: int = MEMORY, disk: int | None = None, whole: Collection[str] = ()
    ) -> None:
        self.whole = whole
        self._memory = memory
        self._disk = disk
        self._used = 0
        self._items: OrderedDict[OperationKey, bytes] = OrderedDict()
        self._file: IO[bytes] | None = None
        self._places: dict[OperationKey, tuple[int, int]] = {}  # offset in the file, and size
        self._begun: OrderedDict[OperationKey, Stepwise] = OrderedDict()
        self._end = 0
        self._ahead: set[Future[object]] = set()
        self._lock = threading.Lock()

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")

    def decode_ahead(self, decode: Callable[[], object]) -> None:
        """Decode an operation that somebody is going to read, one a processor at a time."""
        future = self._workers.submit(decode)
        self._ahead.add(future)
        future.add_done_callback(self._ahead.discard)

    def give_way(self) -> None:
        """Wait while operations are decoded ahead: for those whose reading has time."""
        while self._ahead:
            wait(tuple(self._ahead))

    def held(self, key: OperationKey) -> int:
        """Return how many bytes of an output are here, from its start on."""
        with self._lock:
            return self._held(key)

    def _held(self, key: OperationKey) -> int:
        if key in self._begun:
            return self._begun[key].decoded
        return len(self._items[key]) if key in self._items else self._places.get(key, (0, 0))[1]

    def read(self, key: OperationKey, start: int, size: int) -> bytes | None:
        """Return ``size`` bytes of an output from ``start`` on, None if they are not here."""
        with self._lock:
            if self._held(key) < start + size:
                return None
            if key in self._begun:
                self._begun.move_to_end(key)
                return self._begun[key].read(start, size)
            content = self._items.get(key)
            if content is not None:
                self._items.move_to_end(key)
                return content[start : start + size]
            if self._file is None:
                return None
            found = os.pread(self._file.fileno(), size, self._places[key][0] + start)
        return found if len(found) == size else None

    def put(self, key: OperationKey, content: bytes) -> None:
        """Keep an output, or the first bytes of one."""
        with self._lock:
            self._put(key, content)

    def _put(self, key: OperationKey, content: bytes) -> None:
        if self._held(key) >= len(content):
            return
        self._places.pop(key, None)
        self._used += len(content) - len(self._items.pop(key, b""))
        self._items[key] = content
        while self._used > self._memory and len(self._items) > 1:
            old, dropped = self._items.popitem(last=False)
            self._used -= len(dropped)
            self._write(old, dropped)

    def put_begun(self, key: OperationKey, begun: Stepwise) -> None:
        """Keep an output that was decoded in part, and its decoder for a while."""
        with self._lock:
            self._begun[key] = begun
            while len(self._begun) > BEGUN:
                old, dropped = self._begun.popitem(last=False)
                self._put(old, dropped.read(0, dropped.decoded))

    def take_begun(self, key: OperationKey) -> Stepwise | None:
        """Return what was put by :meth:`put_begun`, for the caller alone; None if it is gone."""
        with self._lock:
            return self._begun.pop(key, None)

    def _write(self, key: OperationKey, content: bytes) -> None:
        try:
            if self._disk is None:
                self._disk = shutil.disk_usage(tempfile.gettempdir()).free // 2
            if self._end + len(content) > self._disk:
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="rom-builder-", buffering=0)  # noqa: SIM115
            for done in range(0, len(content), 1 << 22):
                piece = content[done : done + (1 << 22)]
                if os.pwrite(self._file.fileno(), piece, self._end + done) != len(piece):
                    raise OSError("no space left")
        except OSError:
            self._disk = 0
            return
        self._places[key] = (self._end, len(content))
        self._end += len(content)
