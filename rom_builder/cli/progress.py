"""Progress on a terminal, for what takes longer than a second; nothing in pipes and in CI."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rom_builder.rom import Step, silent

PATIENCE = 1.0
"""Seconds without a word."""
INTERVAL = 0.1


@contextlib.contextmanager
def progress() -> Iterator[Step]:
    """Give a function to tell of steps, which shows them on standard error while the block runs."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        yield silent
        return
    shown = _Shown()
    try:
        yield shown.step
    finally:
        shown.stop()


class _Shown:
    """Lines of progress, one for each kind of step; steps may come from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = time.monotonic() + PATIENCE
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def step(self, what: str, done: int, total: int) -> None:
        with self._lock:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + INTERVAL
            if self._bars is None:
                self._bars = _bars()
                self._bars.start()
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total or None)
            self._bars.update(self._tasks[what], completed=done, total=total or None)

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        console=Console(stderr=True),
        transient=True,
    )
