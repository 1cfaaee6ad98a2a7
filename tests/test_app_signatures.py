"""The signatures of a ROM's apps: each is verified, in any order, and told of in the order of paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from rom_builder.edits import Edit, FileData
from rom_builder.readers.packages import Apk, Packages
from rom_builder.readers.signatures import read_app_signatures
from rom_builder.rom import Rom, archives
from rom_builder.rom.opening import open_rom
from tests.roms import App, Content, Link, write_rom


def changed(app: App) -> bytes:
    """Give an app another program than the one that was signed."""
    data = app.encode()
    at = data.index(b"the program")
    return data[:at] + b"THE" + data[at + 3 :]


def app(number: int, scheme: str, size: int = 0) -> App:
    code = {"assets/code": b"the program" + bytes(size)}
    return App(f"com.example.a{number}", entries=code, signer="release", scheme=scheme)


def rom_of(folder: Path, files: dict[str, Content], sdk: int = 23) -> Rom:
    properties = f"ro.build.version.sdk={sdk}\n"
    return open_rom(write_rom(folder / "rom", {"/system/build.prop": properties, **files}))


@pytest.mark.parametrize(("scheme", "sdk"), [("v1", 23), ("v2", 27)])
def test_every_app_is_verified_and_told_of_in_the_order_of_paths(
    tmp_path: Path, scheme: str, sdk: int
) -> None:
    files: dict[str, Content] = {
        f"/system/app/{number:02}.apk": app(number, scheme, 40_000 * (number % 3)).encode()
        for number in range(12)
    }
    files["/system/app/03.apk"] = changed(app(3, scheme))
    files["/system/app/04.apk"] = b"no archive"
    files["/system/app/05.apk"] = App("com.example.b", signer=None).encode()
    files["/system/app/06.apk"] = Link("/system/app/07.apk")
    rom = rom_of(tmp_path, files, sdk)
    steps: list[tuple[int, int]] = []
    rom.step = lambda what, done, total: steps.append((done, total)) if "verif" in what else None
    found = {each.location.path: each for each in read_app_signatures(rom, sdk)}

    names = [f"system/app/{number:02}.apk" for number in range(12) if number != 6]
    assert list(found) == names
    assert steps == [(number, 11) for number in range(11)]
    refused = {name[-6:-4]: each.faults for name, each in found.items() if each.faults}
    assert list(refused) == ["03", "04", "05"]
    assert "not the file that was signed" in refused["03"][0] or "not the one" in refused["03"][0]
    assert refused["04"][0].startswith("it cannot be read: not a zip archive")
    assert refused["05"] == ("it is not signed",)
    assert found["system/app/00.apk"].schemes[0] == scheme


def test_an_unforeseen_error_is_raised_where_the_results_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rom = rom_of(tmp_path, {"/system/app/A.apk": app(1, "v2")})
    monkeypatch.setattr(rom, "archives", None)
    results = read_app_signatures(rom, 29)
    with pytest.raises(AttributeError):
        next(results)


def test_a_replaced_app_is_read_anew(tmp_path: Path) -> None:
    rom = rom_of(tmp_path, {"/system/app/A.apk": app(1, "v2")})
    file = rom.files["/system/app/A.apk"]
    assert Apk(rom, file).archive.entries == Apk(rom, file).archive.entries
    new = FileData(App("com.example.new", entries={"new": b""}).encode(), 0o644)
    edited = rom.with_edits([Edit("/system/app/A.apk", new, "test")])

    assert "new" in Apk(edited, edited.files["/system/app/A.apk"]).archive.entries
    assert "new" not in Apk(rom, file).archive.entries


def test_apps_with_more_entries_than_are_kept_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    rom = rom_of(tmp_path, {f"/system/app/{n}.apk": app(n, "v2") for n in range(3)})

    for _ in range(2):
        assert [package.name[-2:] for _, package in Packages(rom).described] == ["a0", "a1", "a2"]
        assert [len(Apk(rom, file).archive.entries) for file, _ in Packages(rom).described] == [
            2
        ] * 3
