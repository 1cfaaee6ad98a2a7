"""Decoded operations, so that none is decoded twice.

They are found by what they are made of, so payloads that share the data of operations, as a base and
a package built from it do, can share a store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import IO, NamedTuple

MEMORY = 1 << 26
"""Bytes of decoded operations kept in memory, 64 MiB; those used longest ago go to a file."""


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
    """

    def __init__(self, memory: int = MEMORY, disk: int | None = None) -> None:
        self._memory = memory
        self._disk = disk
        self._used = 0
        self._items: OrderedDict[OperationKey, bytes] = OrderedDict()
        self._file: IO[bytes] | None = None
        self._places: dict[OperationKey, int] = {}
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

    def __contains__(self, key: OperationKey) -> bool:
        with self._lock:
            return key in self._items or key in self._places

    def read(self, key: OperationKey, start: int, size: int) -> bytes | None:
        """Return ``size`` bytes of an output from ``start`` on, None if it is not here."""
        with self._lock:
            content = self._items.get(key)
            if content is not None:
                self._items.move_to_end(key)
                return content[start : start + size]
            place = self._places.get(key)
            if place is None or self._file is None:
                return None
            found = os.pread(self._file.fileno(), size, place + start)
        return found if len(found) == size else None

    def put(self, key: OperationKey, content: bytes) -> None:
        """Keep an output."""
        with self._lock:
            if key in self._items or key in self._places:
                return
            self._items[key] = content
            self._used += len(content)
            while self._used > self._memory and len(self._items) > 1:
                old, dropped = self._items.popitem(last=False)
                self._used -= len(dropped)
                self._write(old, dropped)

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
        self._places[key] = self._end
        self._end += len(content)
