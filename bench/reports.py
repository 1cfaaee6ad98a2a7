"""Measure the formats of a long report, each as a program of its own, against JSON."""

from __future__ import annotations

import argparse
import sys

from bench.measure import cost, report, table

FORMATS = ("json", "text", "sarif", "junit", "gitlab", "github", "markdown", "html")


def write(name: str, findings: int) -> None:
    """The program that is measured: write one report of that many findings."""
    from rom_builder.reports import REPORTS
    from tests.reports.samples import many

    sys.stdout.write(REPORTS[name](many(findings)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--findings", type=int, default=5000)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    parser.add_argument("--write", choices=FORMATS, help="write one report instead")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.findings)
        return
    program = (sys.executable, "-m", "bench.reports", "--findings", str(arguments.findings))
    costs = [cost(name, (*program, "--write", name), runs=arguments.runs) for name in FORMATS]
    report(f"reports of {arguments.findings} findings", table(costs), save=arguments.save)


if __name__ == "__main__":
    main()
