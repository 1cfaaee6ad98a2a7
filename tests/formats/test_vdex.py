"""Containers of every version that Android 8 to 14 wrote, made here by hand around smali's files."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.vdex import parse_vdex

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
ONE, TWO = ((DEX / f"{name}.dex").read_bytes() for name in ("switch", "urls"))


def section(files: list[bytes], prefix: bytes = b"") -> bytes:
    return b"".join(prefix + each + bytes(-len(each) % 4) for each in files)


def vdex(version: str, files: list[bytes], quickened: bytes = b"", shared: bytes = b"") -> bytes:
    start = b"vdex" + version.encode() + b"\0"
    checksums = pack(f"<{len(files)}I", *range(len(files)))
    if version in ("006", "010"):
        held = section(files)
        sizes = pack("<4I", len(files), len(held), 4, len(quickened))
        return start + sizes + checksums + held + b"deps" + quickened
    if version == "027":
        held, at = section(files), 12 + 4 * 12
        rows = [(0, at, len(checksums)), (1, at + len(checksums), len(held)),
                (2, at + len(checksums) + len(held), 4), (3, 0, 0)]  # fmt: skip
        table = b"".join(pack("<3I", *row) for row in rows)
        return start + pack("<I", 4) + table + checksums + held + b"deps"
    held = section(files, pack("<I", 0))
    more = b"" if version == "019" else bytes(8)
    head = start + b"002\0" + pack("<2I", len(files), 4) + more + checksums
    sizes = pack("<3I", len(held), len(shared), len(quickened))
    return head + sizes + held + shared + b"deps" + quickened


VERSIONS = ("006", "010", "019", "021", "026", "027")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_inside_come_out_whole(version: str) -> None:
    assert [dex.data for dex in parse_vdex(vdex(version, [ONE, TWO]))] == [ONE, TWO]


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_quickened_code_is_refused(version: str) -> None:
    with pytest.raises(ImageError, match="quickened code is not read"):
        parse_vdex(vdex(version, [ONE], quickened=bytes(12)))


@pytest.mark.parametrize("version", ["019", "027"])
def test_compact_code_is_refused(version: str) -> None:
    compact = b"cdex001\0" + ONE[8:]
    with pytest.raises(ImageError, match="a compact DEX is not read"):
        parse_vdex(vdex(version, [compact]))


def test_without_files_there_is_no_code() -> None:
    assert parse_vdex(b"vdex021\0" + b"000\0" + pack("<4I", 1, 4, 0, 0) + bytes(8)) == []
    assert parse_vdex(vdex("027", [])) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"vdex", "not a verified DEX container"),
        (b"vdex030\0" + bytes(40), "version '030' of vdex is not read"),
        (b"vdex021\0" + b"009\0" + bytes(40), "a DEX section of version"),
        (b"vdex006\0" + pack("<4I", 1 << 30, 1 << 31, 0, 0), "do not fit"),
        (b"vdex006\0" + pack("<4I", 1, 40, 0, 0) + bytes(44), "runs past its section"),
        (b"vdex006\0" + pack("<4I", 1, 400, 0, 0) + bytes(404), "a DEX file of 0 bytes"),
        (b"vdex027\0" + pack("<I", 1 << 30) + bytes(40), "sections"),
        (b"vdex021\0" + b"002\0" + pack("<4I", 1 << 30, 0, 0, 0), "do not fit"),
    ],
)
def test_what_does_not_hold_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_vdex(data)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cut_file_is_refused_and_nothing_else_raised(version: str) -> None:
    whole = vdex(version, [ONE, TWO])
    end = whole.index(TWO) + len(TWO)
    for size in range(0, end, 97):
        with pytest.raises(ImageError):
            parse_vdex(whole[:size])
