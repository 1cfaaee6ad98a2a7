"""Measure reading whole images against the field's own programs, which unpack them into memory.

ext4 against ``debugfs rdump``, EROFS (lz4hc) against ``fsck.erofs --extract``, a sparse image against
``simg2img``; each pair takes turns in one session, and each run is a process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Cost, once, report, table
from bench.synthetic_tree import write_tree

MEMORY = Path("/dev/shm")  # noqa: S108 - what is written there must not wait for a disk
TOOLS = ("mkfs.ext4", "debugfs", "mkfs.erofs", "fsck.erofs", "img2simg", "simg2img")
EXT4_OPTIONS = "^has_journal,^metadata_csum,^64bit,^resize_inode"
"""As Android makes its read-only images."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.file_systems", description=__doc__)
    parser.add_argument("tree", nargs="?", type=Path, help="files; synthetic ones if not given")
    parser.add_argument("--mebibytes", type=int, default=200, help="size of the synthetic tree")
    parser.add_argument("--files", type=int, default=3000, help="files of the synthetic tree")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"file systems are not measured: {', '.join(missing)} not found")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        tree = arguments.tree
        title = str(tree.name) if tree else "synthetic"
        if tree is None:
            tree = folder / "tree"
            write_tree(tree, mebibytes=arguments.mebibytes, files=arguments.files)
        compare(tree, title, folder, arguments)


def compare(tree: Path, name: str, folder: Path, arguments: argparse.Namespace) -> None:
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    ext4, erofs, sparse = (folder / f"{kind}.img" for kind in ("ext4", "erofs", "sparse"))
    blocks = (size // 4096 + 2 * len(files)) * 21 // 20 + 4096
    make = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", EXT4_OPTIONS, "-d", tree, ext4)
    run(*make, str(blocks))
    run("mkfs.erofs", "-zlz4hc", erofs, tree)
    run("img2simg", ext4, sparse)
    out = folder / "out"
    pairs: dict[str, tuple[str, Path, Sequence[str]]] = {
        "ext4": ("debugfs rdump", ext4, ("debugfs", "-R", f"rdump / {out}", str(ext4))),
        "erofs": ("fsck.erofs --extract", erofs, ("fsck.erofs", f"--extract={out}", str(erofs))),
        "sparse": ("simg2img", sparse, ("simg2img", str(sparse), str(out / "raw"))),
    }
    lines: list[str] = []
    for kind, (other, image, argv) in pairs.items():
        ours = (sys.executable, "-m", "bench.read_image", kind, str(image))
        costs = in_turns({other: argv, f"rom-builder, {kind}": ours}, arguments.runs, out)
        wall, cpu = (costs[1].wall / costs[0].wall, costs[1].cpu / costs[0].cpu)
        lines += [*table(costs)[0 if not lines else 2 :]]
        lines.append(f"| *{kind}: wall {wall:.2f} times, CPU {cpu:.2f} times* | | | | | |")
    report(
        f"images of {name}: {size / 2**20:.0f} MiB in {len(files)} files",
        lines,
        save=arguments.save,
    )


def in_turns(programs: dict[str, Sequence[str]], runs: int, out: Path) -> list[Cost]:
    """Run programs in turns, an empty folder ``out`` before each; the first turn warms the caches."""
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, argv in programs.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            figure = once(argv, (0,))
            if turn:
                figures[name].append(figure)
    shutil.rmtree(out, ignore_errors=True)
    medians = {n: [median(column) for column in zip(*f, strict=True)] for n, f in figures.items()}
    return [Cost(name, runs, *columns) for name, columns in medians.items()]


def run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
