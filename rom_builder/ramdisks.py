"""Give files in the ramdisk of a boot image new content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rom_builder.edits import RamdiskEdit
from rom_builder.formats.source import Source


def edits_by_image(edits: Iterable[RamdiskEdit]) -> Mapping[str, Sequence[RamdiskEdit]]:
    """Sort edits by the nested name of their image."""
    found: dict[str, list[RamdiskEdit]] = {}
    for edit in edits:
        found.setdefault(edit.partition, []).append(edit)
    return found


def edited_boot_image(image: Source, edits: Iterable[RamdiskEdit]) -> Source:
    """TODO"""
    raise NotImplementedError
