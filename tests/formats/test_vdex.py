"""Containers of every version that Android 8 to 14 wrote, made here by hand around smali's files."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.vdex import parse_vdex
from tests.formats.builders.cdex import vdex

DEX = Path(__file__).parent.parent / "fixtures" / "dex"
ONE, TWO = ((DEX / f"{name}.dex").read_bytes() for name in ("switch", "urls"))


VERSIONS = ("006", "010", "019", "021", "026", "027")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_inside_come_out_whole(version: str) -> None:
    found = parse_vdex(vdex(version, [ONE, TWO]))
    assert [dex.data for dex in found.files] == [ONE, TWO]
    assert found.restored() == found.files


def test_without_files_there_is_no_code() -> None:
    assert parse_vdex(b"vdex021\0" + b"000\0" + pack("<4I", 1, 4, 0, 0) + bytes(8)).files == []
    assert parse_vdex(vdex("027", [])).files == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"vdex", "not a verified DEX container"),
        (b"vdex030\0" + bytes(40), "version '030' of vdex is not read"),
        (b"vdex021\0" + b"009\0" + bytes(40), "a DEX section of version"),
        (b"vdex006\0" + pack("<4I", 1 << 30, 1 << 31, 0, 0), "do not fit"),
        (b"vdex006\0" + pack("<4I", 1, 40, 0, 0) + bytes(44), "runs past its section"),
        (b"vdex006\0" + pack("<4I", 1, 400, 0, 0) + bytes(404), "a DEX file of 0 bytes"),
        (b"vdex006\0" + pack("<4I", 0, 0, 1, 1) + b"x", "quickening data of 1 bytes do not fit"),
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
