"""Measure ``rom-builder check`` of a ROM tree against reading its DEX strings with androguard.

Both run in processes of their own, in the same session, on the same files. The comparison is
lopsided in androguard's favour: check also reads manifests, resources, signatures and settings, and
takes the SHA-256 of the whole tree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.measure import cost, report, table
from bench.synthetic_rom import write_rom

CHECKED = (0, 1, 2)
"""Exit codes of a check that was carried out: the verdict does not matter here."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.check_rom", description=__doc__)
    parser.add_argument("rom", nargs="?", type=Path, help="ROM tree; a synthetic one if not given")
    parser.add_argument("--policy", default="messaging-opt-in")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--apps", type=int, default=80, help="apps of the synthetic ROM")
    parser.add_argument("--strings", type=int, default=12000, help="strings of each such app")
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.rom is not None:
        compare(arguments.rom, str(arguments.rom.name), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        rom = Path(folder) / "rom"
        write_rom(rom, apps=arguments.apps, strings=arguments.strings)
        compare(rom, f"synthetic, {arguments.apps} apps of {arguments.strings} strings", arguments)


def compare(rom: Path, name: str, arguments: argparse.Namespace) -> None:
    files = [path for path in rom.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files) / 2**20
    check = (sys.executable, "-m", "rom_builder", "check", str(rom), "-p", arguments.policy)
    other = (sys.executable, "-m", "bench.androguard_strings", str(rom))
    costs = [
        cost("rom-builder check", check, runs=arguments.runs, expected=CHECKED),
        cost("androguard, DEX strings", other, runs=arguments.runs),
    ]
    title = f"check of a ROM ({name}): {size:.0f} MiB in {len(files)} files"
    report(title, table(costs), save=arguments.save)


if __name__ == "__main__":
    main()
