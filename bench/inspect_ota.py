"""Measure ``inspect`` and ``check`` of a full A/B package: time and peak memory.

The package is made around a tree of files; see ``bench/synthetic_ota.py``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import cost, report, table, verdict
from bench.synthetic_tree import write_tree

GOAL = 300
"""MiB that reading a package may take at its peak."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inspect_ota", description=__doc__)
    parser.add_argument(
        "tree", nargs="?", type=Path, help="a /system; a synthetic one if not given"
    )
    parser.add_argument("--package", type=Path, help="a package that exists, instead of a tree")
    parser.add_argument("--mebibytes", type=int, default=300, help="size of the synthetic tree")
    parser.add_argument("--files", type=int, default=3000, help="files of the synthetic tree")
    parser.add_argument("--policy", default="rom-baseline")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.package is None and shutil.which("mkfs.erofs") is None:
        print("packages are not measured: mkfs.erofs not found")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(arguments.package or made(folder, arguments), arguments)


def made(folder: Path, arguments: argparse.Namespace) -> Path:
    """Write the package."""
    root, image, package = folder / "root", folder / "system.img", folder / "base.zip"
    if arguments.tree is None:
        write_tree(root, mebibytes=arguments.mebibytes, files=arguments.files)
    else:
        shutil.copytree(arguments.tree, root / "system", symlinks=True)
    command = ("mkfs.erofs", "-zlz4hc", "--all-root", image, root)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # in a process of its own: Linux counts the memory of the process that starts another as its peak
    maker = (sys.executable, "-m", "bench.synthetic_ota", str(image), str(package))
    subprocess.run(maker, check=True)
    return package


def measure(package: Path, arguments: argparse.Namespace) -> None:
    program = (sys.executable, "-m", "rom_builder")
    costs = [
        cost("inspect", (*program, "inspect", str(package)), runs=arguments.runs),
        cost(
            f"check -p {arguments.policy}",
            (*program, "check", str(package), "-p", arguments.policy),
            runs=arguments.runs,
            expected=(0, 1, 2),
        ),
    ]
    peak = max(each.peak_mib for each in costs)
    kept = verdict(peak <= GOAL)
    lines = [*table(costs), "", f"Peak memory: {peak:.0f} MiB, goal at most {GOAL} MiB: {kept}."]
    title = f"a full A/B package of {package.stat().st_size / 2**20:.0f} MiB"
    report(title, lines, save=arguments.save)


if __name__ == "__main__":
    main()
