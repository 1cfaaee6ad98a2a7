"""The texts that users are shown before they agree, as the profile says where they lie."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.facts import Notice
from rom_builder.findings import Location
from rom_builder.formats.resource_config import language_of
from rom_builder.policy.profile import NoticeText, Profile
from rom_builder.readers.packages import RESOURCES, Apk, Packages
from rom_builder.rom import Rom

MAX_TEXT = 64 * 1024
"""Bytes of a text file that are read; a notice that nobody would read through is no notice."""


def read_notices(rom: Rom, packages: Packages, profile: Profile) -> Iterator[Notice]:
    """Yield the text of every notice of a service, once for each configuration of an app.

    What cannot be read is noted in the ROM's list of unread parts.
    """
    for notice in profile.notices:
        if notice.file is not None:
            yield from _of_file(rom, profile.id, notice.file, notice.language)
        else:
            for apk in packages.named(notice.package or ""):
                try:
                    yield from list(_of_app(profile.id, apk, notice))
                except ImageError as error:
                    rom.note_unread(error.within(apk.inner(RESOURCES)), apk.file.name)


def _of_file(rom: Rom, service: str, path: str, language: str) -> Iterator[Notice]:
    found = rom.find(path)
    if found is None:
        return
    try:
        data = rom.read(found)
    except ImageError as error:
        rom.note_unread(error, found.name)
        return
    text = data[:MAX_TEXT].decode(errors="replace").strip()
    if text:
        yield Notice(service, f"file {path}", language, text, Location(found.name))


def _of_app(service: str, apk: Apk, notice: NoticeText) -> Iterator[Notice]:
    table = apk.resources
    kind, _, name = (notice.resource or "").partition("/")
    identifier = table.find(kind, name) if table else None
    if table is None or identifier is None:
        return
    for value in table.resolve(identifier):
        if value.string and value.string.strip():
            label = notice.resource or ""
            place = Location(apk.inner(RESOURCES), value.offset)
            yield Notice(
                service,
                f"{label} ({value.config})" if value.config else label,
                language_of(value.config) or notice.language,
                value.string,
                place,
            )
