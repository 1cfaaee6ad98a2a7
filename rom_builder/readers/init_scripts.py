"""Which properties the init scripts of a ROM set once its property files are read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.findings import Location
from rom_builder.formats.init_rc import MAX_SIZE, STAGES, SetProperty, parse_init_rc
from rom_builder.readers.sysconfig import PARTITIONS
from rom_builder.rom import Rom, RomFile


@dataclass(frozen=True, slots=True)
class ScriptedProperty:
    """One ``setprop`` and where it stands."""

    file: RomFile
    command: SetProperty

    @property
    def location(self) -> Location:
        """Where it stands."""
        return Location(self.file.name, line=self.command.line)

    @property
    def told(self) -> str:
        """The command in words."""
        value = self.command.value
        written = value if value is not None else "a value that is put together on the device"
        return f"init sets {self.command.name} to {written} (on {self.command.trigger})"


def scripted_properties(rom: Rom, name: str) -> list[ScriptedProperty]:
    """Return every place in the init scripts that sets a property.

    Scripts in the ramdisks of boot images are not looked at. One that cannot be read is noted.
    """
    found = []
    for file in init_scripts(rom):
        try:
            commands = parse_init_rc(rom.read(file, MAX_SIZE))
        except ImageError as error:
            rom.note_unread(error, file.name)
            continue
        found += [ScriptedProperty(file, each) for each in commands if each.name == name]
    return found


def init_scripts(rom: Rom) -> Iterator[RomFile]:
    """Yield the scripts that init reads: those in its own folders, and at the root."""
    folders = {""}
    for roots in PARTITIONS.values():
        for root in roots:
            try:
                folders.add(rom.resolve(f"{root}/etc/init"))
            except ImageError:
                continue
    seen = set()
    for path in sorted(rom.files):
        folder = posixpath.dirname(path).removesuffix("/hw").rstrip("/")
        file = rom.find(path) if path.endswith(".rc") and folder in folders else None
        if file is not None and file.name not in seen:
            seen.add(file.name)
            yield file


def deciding(found: list[ScriptedProperty]) -> list[ScriptedProperty]:
    """Return what is done in every start at the stage that decides: the last, for ``ro.`` the first.

    Several, where it is set more than once then; which of them comes last depends on how the scripts
    import one another.
    """
    stages = [each.command.stage for each in found if each.command.stage is not None]
    if not stages:
        return []
    stage = min(stages) if found[0].command.name.startswith("ro.") else max(stages)
    return [each for each in found if each.command.stage == stage]


def sometimes(found: list[ScriptedProperty]) -> list[ScriptedProperty]:
    """Return what is done only when something happens, such as another property getting a value."""
    return [each for each in found if each.command.trigger not in STAGES]
