"""The made-up ROM of the benchmark is one that check reads to the end."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bench.measure import cost, in_turns, table
from bench.read_apps import PROGRAMS
from bench.synthetic_rom import dex, words, write_rom
from rom_builder.cli import main
from rom_builder.formats.dex import parse_dex


def test_the_synthetic_rom_is_read_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rom(tmp_path / "rom", apps=3, strings=200)
    assert main(["check", str(tmp_path / "rom"), "-p", "messaging-opt-in"]) == 1
    assert "not read" not in capsys.readouterr().out
    assert main(["check", str(tmp_path / "rom"), "-p", "rom-baseline"]) == 0


def test_its_code_holds_the_strings_that_were_asked_for() -> None:
    strings = words(Random(1), 300)
    data = dex(strings)
    assert list(parse_dex(data).strings) == strings
    androguard = pytest.importorskip("androguard.core.dex")
    assert androguard.DEX(data).get_strings() == strings


def test_costs_are_given_against_the_first() -> None:
    costs = [cost(name, ("python3", "-c", "pass"), runs=1) for name in ("one", "two")]
    assert [line.split("|")[1].strip() for line in table(costs)[2:]] == ["one", "two"]
    assert table(costs)[2].endswith("| 1.0 |")
    with pytest.raises(SystemExit, match="exit code 3"):
        cost("three", ("python3", "-c", "raise SystemExit(3)"), runs=1)


def test_programs_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    say = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    programs = {name: ("python3", "-c", say, str(log), name) for name in "ab"}
    assert [(each.name, each.runs) for each in in_turns(programs, runs=2)] == [("a", 2), ("b", 2)]
    assert log.read_text() == "ababab"


@pytest.mark.parametrize("program", ["tables", "androguard", "strings", "apps", "verified"])
def test_every_reader_of_apps_reads_them_all(program: str, tmp_path: Path) -> None:
    if program == "androguard":
        pytest.importorskip("androguard.core.axml")
    write_rom(tmp_path / "rom", apps=2, strings=20)
    said = PROGRAMS[program](tmp_path / "rom")()
    assert said.startswith(("4 manifests, ", "4 apps, "))
    assert "parts unread" not in said or said.endswith(", 0 parts unread")
