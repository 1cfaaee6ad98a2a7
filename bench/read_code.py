"""Measure reading of bytecode against androguard, in the same session, on the same files.

Two comparisons: all DEX files of a ROM searched for a profile's anchors, against androguard reading
their strings; and all that is read of the service's code, against androguard's cross-references of
the same APKs.

The second is told apart by what the time goes to: the start of the interpreter with its imports,
opening the ROM and finding the packages, and the analysis, which on both sides begins with an APK
as a file. Ours stands there twice: of a ROM with nothing but the same APKs, and of the whole ROM,
where the framework jars that the profile names are read and followed as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import cost, report, table
from bench.scan_code import profile_named
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.read_code", description=__doc__)
    parser.add_argument("rom", type=Path, help="ROM tree")
    parser.add_argument("--profile", default="miui-cloud-messaging")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the results to bench/results/")
    arguments = parser.parse_args()
    rom, runs = arguments.rom, arguments.runs

    def ours(what: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "bench.scan_code", what, str(rom), arguments.profile)

    strings = (sys.executable, "-m", "bench.androguard_strings", str(rom))
    costs = [
        cost("rom-builder, anchors", ours("scan"), runs=runs),
        cost("androguard, DEX strings", strings, runs=runs),
    ]
    report(f"anchors in all DEX files of {rom.name}", table(costs), save=arguments.save)

    apps = service_apps(rom, arguments.profile)
    references = (sys.executable, "-m", "bench.androguard_analysis", *map(str, apps))
    with tempfile.TemporaryDirectory() as folder:
        for app in apps:
            place = Path(folder) / app.relative_to(rom)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(app, place)
        same = (sys.executable, "-m", "bench.scan_code", "analyse", folder, arguments.profile)
        parts = {
            "rom-builder, the same APKs": seconds(same, runs),
            "rom-builder, the whole ROM": seconds(ours("analyse"), runs),
            "androguard, AnalyzeAPK": seconds(references, runs),
        }
    names = ", ".join(app.name for app in apps)
    report(f"code of {names} in {rom.name}, CPU seconds", split(parts), save=arguments.save)


def seconds(argv: Sequence[str], runs: int) -> dict[str, float]:
    """Return the medians of what the last line of a program's output says, after one run more."""
    found = []
    for _ in range(runs + 1):
        output = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
        found.append(json.loads(output.splitlines()[-1]))
    return {part: median(each[part] for each in found[1:]) for part in found[0]}


def split(parts: dict[str, dict[str, float]]) -> list[str]:
    """Return a Markdown table of what each program's time goes to, the first the measure."""
    first = next(iter(parts.values()))
    lines = [
        "| program | start, imports | opening | analysis | analysis against the first | all |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in parts.items():
        cells = [f"{each[part]:.2f}" for part in ("start", "open", "analysis")]
        cells.append(f"{each['analysis'] / first['analysis']:.1f}")
        cells.append(f"{sum(each.values()) / sum(first.values()):.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def service_apps(folder: Path, profile: str) -> list[Path]:
    wanted = profile_named(profile).packages
    found = Packages(open_rom(folder)).described
    return [folder / file.name for file, package in found if package.name in wanted]


if __name__ == "__main__":
    main()
