"""``rom-builder check``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rom_builder.cli.options import (
    color_of,
    exceptions_of,
    load,
    policy_option,
    severity,
    today,
    waiver_options,
)

FORMATS = ("text", "json")
SEVERITIES = ("note", "warning", "error", "critical")
FINDINGS = 1
INCOMPLETE = 2


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@policy_option
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Format on standard output.",
)  # fmt: skip
@click.option(
    "--output", "outputs", multiple=True, metavar="FORMAT=PATH",
    help="Also write a report to a file. May be repeated.",
)  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(SEVERITIES), default="error", show_default=True,
    help="Lowest severity of a failed finding that makes the exit code 1.",
)  # fmt: skip
@waiver_options
@click.option(
    "--baseline", type=click.Path(path_type=Path), metavar="FILE",
    help="Do not count failures that this file has from an earlier check.",
)  # fmt: skip
@click.option(
    "--write-baseline", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the failures of this check to a baseline.",
)  # fmt: skip
@click.option(
    "--prune-baseline", is_flag=True,
    help="Take failures that are gone out of the --baseline.",
)  # fmt: skip
@click.pass_context
def check(
    ctx: click.Context,
    image: Path,
    policies: tuple[str, ...],
    form: str,
    outputs: tuple[str, ...],
    fail_on: str,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    strict_waivers: bool,
    baseline: Path | None,
    write_baseline: Path | None,
    prune_baseline: bool,
) -> None:
    """Hold the ROM in IMAGE (a package, an image or a folder) to policies.

    Exit code 0: compliant. 1: a finding at or above --fail-on. 2: it could not be done, or
    something is unknown or unread.

    \b
    Examples:
      rom-builder check ota.zip -p messaging-opt-in
      rom-builder check rom/ -p rom-baseline -p my.yaml --output json=report.json
      rom-builder check ota.zip -p my.yaml --waivers waivers.yaml --baseline known.json
    """
    from rom_builder.check import check as run_check
    from rom_builder.cli.progress import progress
    from rom_builder.files import write_whole
    from rom_builder.findings import Status, Verdict
    from rom_builder.reports import REPORTS
    from rom_builder.waivers.baseline import baseline_of, encode_baseline, pruned

    if prune_baseline and baseline is None:
        raise click.UsageError("--prune-baseline needs --baseline FILE")
    targets = [target_of(output) for output in outputs]
    loaded = load(policies)
    exceptions = exceptions_of(waivers, no_waivers, strict_waivers, baseline)
    with progress() as step:
        report = run_check(image, loaded, today=today(), exceptions=exceptions, step=step)
    for name, path in targets:
        with write_whole(path) as file:
            file.write(REPORTS[name](report).encode())
    if write_baseline is not None:
        with write_whole(write_baseline) as file:
            file.write(encode_baseline(baseline_of(report)))
    if prune_baseline and exceptions.baseline is not None and baseline is not None:
        with write_whole(baseline) as file:
            file.write(encode_baseline(pruned(exceptions.baseline, report)))
    width = terminal_width()
    click.echo(REPORTS[form](report, color=color_of(sys.stdout), width=width), nl=False)
    if report.failures(severity(fail_on)):
        ctx.exit(FINDINGS)
    unknown = any(row.status is Status.UNKNOWN for row in report.requirements)
    if report.unread or unknown or report.verdict is Verdict.INCOMPLETE:
        ctx.exit(INCOMPLETE)


def target_of(output: str, option: str = "--output") -> tuple[str, Path]:
    """Split ``FORMAT=PATH``."""
    form, separator, path = output.partition("=")
    if form not in FORMATS or not separator or not path:
        raise click.BadParameter(
            f"{output!r} is not FORMAT=PATH with FORMAT one of {', '.join(FORMATS)}",
            param_hint=option,
        )
    return form, Path(path)


def terminal_width() -> int:
    """Columns of the terminal, 100 where there is none."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
