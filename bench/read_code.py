"""Measure reading of bytecode against androguard, in the same session, on the same files.

Two comparisons: all DEX files of a ROM searched for a profile's anchors, against androguard reading
their strings; and all that is read of the service's code, against androguard's cross-references of
the same APKs. The second is lopsided in androguard's favour: ours also opens the ROM, finds the
packages, reads the framework jars that the profile names, and follows paths, URLs and data.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.measure import cost, report, table
from bench.scan_code import profile_named
from rom_builder.opening import open_rom
from rom_builder.packages import Packages


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
    costs = [
        cost("rom-builder, service", ours("analyse"), runs=runs),
        cost("androguard, AnalyzeAPK", references, runs=runs),
    ]
    names = ", ".join(app.name for app in apps)
    report(f"code of {names} in {rom.name}", table(costs), save=arguments.save)


def service_apps(folder: Path, profile: str) -> list[Path]:
    wanted = profile_named(profile).packages
    found = Packages(open_rom(folder)).described
    return [folder / file.name for file, package in found if package.name in wanted]


if __name__ == "__main__":
    main()
