"""Reports: one output format each, from a :class:`rom_builder.findings.Report` to text."""

from __future__ import annotations

from typing import Protocol

from rom_builder.findings import Report
from rom_builder.registry import Registry


class Writer(Protocol):
    """Turns a report into the text of one format.

    Args:
        report: What was found.
        color: Whether the text goes to a terminal that shows colours.
        width: Columns of that terminal.
    """

    def __call__(self, report: Report, *, color: bool = False, width: int = 100) -> str: ...


REPORTS: Registry[Writer] = Registry(__name__)
