"""Measure ``build`` of a full A/B package of more than 1 GB: time and peak memory.

The package has four partitions, of which one is edited; see ``bench/large_ota.py``. It is made once and
kept in ``.cache/bench``. Each build is measured against the floor of its format, in the same
session: copying the package, hashing it, decoding the edited partition; see ``bench/ota_floor.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.large_ota import TOOLS
from bench.measure import against_goals, in_turns, missing_tool, report, table

CACHE = Path(__file__).parent.parent / ".cache" / "bench"
TIME_GOAL = 1.5
"""Most that ``build`` may take, in floors."""
MEMORY_GOAL = 400
"""MiB that it may take at its peak."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.build_ota", description=__doc__)
    parser.add_argument("--package", type=Path, help="a package that exists")
    parser.add_argument("--edited", default="system", help="its partition that the policy edits")
    parser.add_argument("--tree", type=Path, help="a /system to take the content of files from")
    parser.add_argument("--scale", type=float, default=1.0, help="size, 1 for about 1.2 GB")
    parser.add_argument("--policy", default="messaging-opt-in")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.package is None and (tool := missing_tool(TOOLS)):
        print(f"builds are not measured: {tool} not found")
        return
    package = arguments.package or made(arguments)
    with tempfile.TemporaryDirectory(dir=package.parent) as name:
        measure(package, Path(name), arguments)


def made(arguments: argparse.Namespace) -> Path:
    """Return the package, made in a process of its own if it is not there yet."""
    source = "" if arguments.tree is None else f"-{arguments.tree.name}"
    package = CACHE / f"large-{arguments.scale}{source}.zip"
    if not package.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"making {package} ...", file=sys.stderr)
        part = package.with_suffix(".part")
        maker = [sys.executable, "-m", "bench.large_ota", part, "--scale", str(arguments.scale)]
        if arguments.tree is not None:
            maker += ["--tree", arguments.tree]
        subprocess.run(maker, check=True)
        part.rename(package)
    return package


def measure(package: Path, folder: Path, arguments: argparse.Namespace) -> None:
    output = folder / "out.zip"
    floor = (sys.executable, "-m", "bench.ota_floor", package, arguments.edited, output)
    build = (
        *(sys.executable, "-m", "rom_builder", "build", package),
        *("-p", arguments.policy, "-s", "dev", "-o", output),
    )
    programs = {
        "floor": tuple(map(str, floor)),
        f"build -p {arguments.policy}": tuple(map(str, build)),
    }
    costs = in_turns(programs, runs=arguments.runs)
    lines = [
        *table(costs),
        "",
        *against_goals(costs, floors=TIME_GOAL, peak_mib=MEMORY_GOAL),
    ]
    title = f"build of a full A/B package of {package.stat().st_size / 1e9:.2f} GB"
    report(title, lines, save=arguments.save)


if __name__ == "__main__":
    main()
