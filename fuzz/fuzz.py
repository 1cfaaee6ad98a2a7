"""Fuzz the readers with atheris, guided by the branches they take.

``python -m fuzz.fuzz --seconds 60 [TARGET...]`` runs each target in a process of its own and prints
how often it was executed. What broke a reader stays in ``.cache/fuzz/``; fix the reader and add
the input to ``fuzz/corpus/TARGET/``, where ``tests/test_fuzz.py`` replays it for ever.
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
WORK = Path(".cache/fuzz")
MAX_SIZE = 1 << 17
MAX_MEMORY = 1024
"""MiB that reading one input may take, with everything that was imported."""
MAX_SECONDS = 20
"""Longest that one input may be read, under instrumentation that makes Python several times slower."""


def seeds(name: str) -> Iterator[bytes]:
    """Yield the committed inputs of a target; those of ``any`` are everybody's."""
    for path in sorted(CORPUS.glob("*/*.gz" if name == "any" else f"{name}/*.gz")):
        yield gzip.decompress(path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="names of targets; all if none is given")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401 - asked for before many processes fail
    except ImportError:
        print("atheris is not installed (pip install -e '.[fuzz]'; CPython 3.11 to 3.13 on Linux)")
        return 0
    if arguments.inside:
        inside(arguments.inside, arguments.seconds)
    from fuzz.targets import TARGETS

    print("| target | executions | executions/s | peak MiB | found |\n|---|---|---|---|---|")
    names = arguments.targets or sorted(TARGETS)
    failed = [name for name in names if not outside(name, arguments.seconds)]
    if failed:
        print(f"\nbroken: {', '.join(failed)}; see {WORK}/*.log and {WORK}/*-found-*")
    return 1 if failed else 0


def outside(name: str, seconds: int) -> bool:
    """Run one target in a process, print a line of the table; return whether it held."""
    WORK.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "fuzz.fuzz", "--inside", name, "--seconds", str(seconds))
    log = WORK / f"{name}.log"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    text = log.read_text(errors="replace")
    done, rate, peak = (
        match[-1] if (match := re.findall(rf"stat::{key}:\s+(\d+)", text)) else "?"
        for key in ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb")
    )
    found = "nothing" if code == 0 else _reason(text)
    print(f"| {name} | {done} | {rate} | {peak} | {found} |", flush=True)
    return code == 0


def _reason(text: str) -> str:
    match = re.search(
        r"^([A-Za-z_.]+(?:Error|Exception)\b.*|.*ERROR: libFuzzer.*)$", text, re.MULTILINE
    )
    return match[0].replace("|", "/")[:150] if match else "see the log"


def inside(name: str, seconds: int) -> None:
    """Become libFuzzer; does not return."""
    import atheris

    with atheris.instrument_imports(include=["rom_builder"]):
        from fuzz.targets import TARGETS

    target = TARGETS[name]
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(data)
    options = (
        f"-max_total_time={seconds}",
        f"-max_len={MAX_SIZE}",
        f"-rss_limit_mb={MAX_MEMORY}",
        f"-timeout={MAX_SECONDS}",
        f"-artifact_prefix={WORK}/{name}-found-",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], str(folder), *options], lambda data: target(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
