"""Measure the start of ``rom-builder --help`` against Python that does nothing."""

from __future__ import annotations

import argparse
import sys

from bench.measure import cost, report, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.help", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    costs = [
        cost("python -c pass", (sys.executable, "-c", "pass"), runs=arguments.runs),
        cost(
            "rom-builder --help",
            (sys.executable, "-m", "rom_builder", "--help"),
            runs=arguments.runs,
        ),
    ]
    report("start-up", table(costs), save=arguments.save)


if __name__ == "__main__":
    main()
