"""Measure ``verify`` of a full A/B package: time and peak memory.

The package is that of ``bench/build_ota.py``, built with development keys; it is made once and kept in
``.cache/bench``. Each run is measured against the floor of its format, in the same session: every
operation decoded and the file hashed once, on all processors (``bench/verify_floor.py``). With
``--avbroot``, also against ``avbroot ota verify``, which checks the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.build_ota import CACHE, made
from bench.large_ota import TOOLS
from bench.measure import against_goals, in_turns, missing_tool, report, table

TIME_GOAL = 1.5
"""Most that ``verify`` may take, in floors."""
MEMORY_GOAL = 400
"""MiB that it may take at its peak."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.verify_ota", description=__doc__)
    parser.add_argument("--package", type=Path, help="a signed package that exists")
    parser.add_argument("--tree", type=Path, help="a /system to take the content of files from")
    parser.add_argument("--scale", type=float, default=1.0, help="size, 1 for about 1.2 GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--avbroot", type=Path, help="the program, to measure it too")
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.package is None and (tool := missing_tool(TOOLS)):
        print(f"verification is not measured: {tool} not found")
        return
    measure(arguments.package or signed(arguments), arguments)


def signed(arguments: argparse.Namespace) -> Path:
    """Return the package, built with development keys if it is not there yet."""
    base = made(arguments)
    package = CACHE / f"signed-{base.name.removeprefix('large-')}"
    if not package.exists():
        build = (sys.executable, "-m", "rom_builder", "build", base, "-p", "messaging-opt-in")
        subprocess.run((*build, "-s", "dev", "-o", package), check=True, stdout=subprocess.DEVNULL)
    return package


def measure(package: Path, arguments: argparse.Namespace) -> None:
    programs = {
        "floor": (sys.executable, "-m", "bench.verify_floor", str(package)),
        "verify": (sys.executable, "-m", "rom_builder", "verify", str(package)),
    }
    if arguments.avbroot is not None:
        avbroot = (str(arguments.avbroot), "ota", "verify", "--input", str(package))
        programs["avbroot ota verify"] = avbroot
    # avbroot fails at the very end: the package has no boot image with an otacerts.zip
    expected = (0,) if arguments.avbroot is None else (0, 1)
    costs = in_turns(programs, runs=arguments.runs, expected=expected)
    lines = [
        *table(costs),
        "",
        *against_goals(costs, floors=TIME_GOAL, peak_mib=MEMORY_GOAL),
    ]
    title = f"verify of a full A/B package of {package.stat().st_size / 1e9:.2f} GB"
    report(title, lines, save=arguments.save)


if __name__ == "__main__":
    main()
