"""Reports: one output format each, from a :class:`rom_builder.findings.Report` to text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rom_builder.findings import Report, Severity
from rom_builder.registry import Registry


@dataclass(frozen=True, slots=True)
class Options:
    """How a report is written.

    Attributes:
        color: Whether the text goes to a terminal that shows colours.
        width: Columns of that terminal.
        root: Folder from which programs name the user's files, the top of a repository; None if
            nobody said. Policies below it are named relative to it.
        folder: Folder from which relative names of policies were given; None: ``root``.
        fail_on: Lowest severity of a failed finding that fails a run.
        suppressed: Whether formats that feed other programs list waived and known findings, too.
    """

    color: bool = False
    width: int = 100
    root: Path | None = None
    folder: Path | None = None
    fail_on: Severity = Severity.ERROR
    suppressed: bool = False


PLAIN = Options()
"""For a file: no colours, 100 columns."""


class Writer(Protocol):
    """Turns a report into the text of one format; the same report gives the same text."""

    def __call__(self, report: Report, options: Options = PLAIN) -> str: ...


REPORTS: Registry[Writer] = Registry(__name__)
