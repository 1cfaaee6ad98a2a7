"""Run a program several times and say what it cost: wall-clock and CPU seconds, peak memory."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"
TOOL_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Where tools are looked for, those for administrators too."""


@dataclass(frozen=True)
class Cost:
    """What one program cost: medians of several runs.

    ``cpu`` is user and system time of all its threads; on a busy machine it says more than ``wall``.
    """

    name: str
    runs: int
    wall: float
    cpu: float
    peak_mib: float


def cost(name: str, argv: Sequence[str], *, runs: int, expected: Sequence[int] = (0,)) -> Cost:
    """Run a program ``runs`` times after one run that warms the caches; what it prints is dropped.

    Raises:
        SystemExit: It ended with an exit code that was not expected.
    """
    return in_turns({name: argv}, runs=runs, expected=expected)[0]


def in_turns(
    programs: Mapping[str, Sequence[str]], *, runs: int, expected: Sequence[int] = (0,)
) -> list[Cost]:
    """Run programs in turns, ``runs`` times after a first turn that warms the caches.

    Raises:
        SystemExit: One ended with an exit code that was not expected.
    """
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, argv in programs.items():
            figure = once(argv, expected)
            if turn:
                figures[name].append(figure)
    medians = {n: [median(column) for column in zip(*f, strict=True)] for n, f in figures.items()}
    return [Cost(name, runs, *columns) for name, columns in medians.items()]


def once(argv: Sequence[str], expected: Sequence[int]) -> tuple[float, float, float]:
    """Return wall-clock seconds, CPU seconds and peak MiB of one run of a program in a process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in expected:
            output.seek(0)
            sys.stderr.buffer.write(output.read()[-4000:])
            raise SystemExit(f"exit code {process.returncode}: {' '.join(argv)}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20


def machine() -> str:
    """Say what was measured on."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    load = f"{os.getloadavg()[0]:.1f}"
    return (
        f"{model}, {os.cpu_count()} cores (load {load}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def table(costs: Sequence[Cost]) -> list[str]:
    """Return a Markdown table, one line a program, the first the measure of the others."""
    lines = [
        "| program | runs | wall s | CPU s | peak MiB | CPU against the first |",
        "|---|---|---|---|---|---|",
    ]
    for each in costs:
        ratio = f"{each.cpu / costs[0].cpu:.1f}"
        lines.append(
            f"| {each.name} | {each.runs} | {each.wall:.2f} | {each.cpu:.2f} "
            f"| {each.peak_mib:.0f} | {ratio} |"
        )
    return lines


def against_goals(costs: Sequence[Cost], *, floors: float, peak_mib: float) -> list[str]:
    """Return two lines: whether the second program kept to goals of time and of memory.

    Args:
        costs: What the floor cost, the program, and maybe others.
        floors: Most wall-clock time that the program may take, in floors.
        peak_mib: MiB that it may take at its peak.
    """
    floor, program, *_ = costs
    ratio, peak = program.wall / floor.wall, program.peak_mib
    return [
        f"Wall time: {ratio:.2f} floors, goal at most {floors}: {verdict(ratio <= floors)}.",
        f"Peak memory: {peak:.0f} MiB, goal at most {peak_mib}: {verdict(peak <= peak_mib)}.",
    ]


def verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def missing_tool(names: Sequence[str]) -> str | None:
    """Return the first tool that is not in :data:`TOOL_PATH`."""
    return next((name for name in names if shutil.which(name, path=TOOL_PATH) is None), None)


def report(title: str, lines: Sequence[str], *, save: bool) -> None:
    """Print a result, and add it to ``bench/results/<date>.md`` if that is asked for."""
    text = "\n".join((f"## {title}", "", machine(), "", *lines, ""))
    print(text)
    if save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.md").open("a") as file:
            file.write(text + "\n")
