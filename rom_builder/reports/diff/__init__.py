"""Reports on what differs between two ROMs: one format each, from a difference to text."""

from __future__ import annotations

from typing import Protocol

from rom_builder.diff.changes import Difference
from rom_builder.registry import Registry
from rom_builder.reports import PLAIN, Options


class DiffWriter(Protocol):
    """Turns a difference into the text of one format; the same difference gives the same text."""

    def __call__(self, difference: Difference, options: Options = PLAIN) -> str: ...


DIFFS: Registry[DiffWriter] = Registry(__name__)
