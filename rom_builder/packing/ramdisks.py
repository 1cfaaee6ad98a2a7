"""Give files in the ramdisk of a boot image new content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rom_builder.edits import RamdiskEdit
from rom_builder.formats.boot_files import with_file
from rom_builder.formats.source import BytesSource, Slice, Source
from rom_builder.formats.vbmeta import read_footer


def edits_by_image(edits: Iterable[RamdiskEdit]) -> Mapping[str, Sequence[RamdiskEdit]]:
    """Sort edits by the nested name of their image."""
    found: dict[str, list[RamdiskEdit]] = {}
    for edit in edits:
        found.setdefault(edit.partition, []).append(edit)
    return found


def edited_boot_image(image: Source, edits: Iterable[RamdiskEdit]) -> Source:
    """Return what a boot image's AVB footer says is its content, the whole image if it has none, edited.

    Raises:
        ImageError: The image is damaged, or cannot be written.
    """
    footer = read_footer(image)
    content: Source = Slice(image, 0, footer.original_image_size) if footer else image
    for edit in edits:
        content = BytesSource(with_file(content, edit.path, edit.data))
    return content
