"""What the tests of mechanisms share: read, render, apply, read again."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rom_builder.edits import AppEdit, Change, Edit
from rom_builder.facts import Value
from rom_builder.mechanisms import MECHANISMS
from rom_builder.mechanisms.mechanism import Found
from rom_builder.readers.packages import Packages
from rom_builder.rom import Rom
from rom_builder.rom.opening import open_rom
from tests.roms import Content, sign_v2, write_rom


class Bench:
    """One mechanism, one binding of it, and a ROM that its edits are put into."""

    def __init__(self, folder: Path, files: Mapping[str, Content], binding: Mapping[str, Any]):
        self.folder = write_rom(folder, files)
        self.mechanism = MECHANISMS[binding["mechanism"]]
        self.binding = self.mechanism.options.model_validate(binding)

    @property
    def rom(self) -> Rom:
        return open_rom(self.folder)

    def found(self) -> list[Found]:
        rom = self.rom
        return list(self.mechanism.read(rom, Packages(rom), self.binding))

    def read(self) -> list[tuple[Value, ...]]:
        return [found.values for found in self.found()]

    def render(self, *values: Value) -> list[Change]:
        rom = self.rom
        return list(self.mechanism.render(rom, Packages(rom), self.binding, values))

    def apply(self, changes: list[Change]) -> None:
        for change in changes:
            path = self.folder / getattr(change, "path", "").lstrip("/")
            if isinstance(change, Edit):
                assert change.new is not None
                data = change.new.data
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(sign_v2(data) if change.new.unsigned_app else data)
            elif isinstance(change, AppEdit):
                path.write_bytes(with_entry(path.read_bytes(), change.entry, change.data))
            else:
                raise AssertionError(change)


def with_entry(apk: bytes, name: str, data: bytes) -> bytes:
    """Put an entry into an app as a developer would, with another zip writer than ours."""
    old = zipfile.ZipFile(io.BytesIO(apk))
    assert name in old.namelist()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            new.writestr(info, data if info.filename == name else old.read(info))
    return file.getvalue()


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    def make(files: Mapping[str, Content], **binding: Any) -> Bench:
        return Bench(tmp_path / "rom", files, binding)

    return make


def differing(before: bytes, after: bytes) -> list[int]:
    """Offsets at which two contents of one length differ."""
    assert len(before) == len(after)
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
