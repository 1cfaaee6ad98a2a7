"""``rom-builder check``."""

from __future__ import annotations

from pathlib import Path

import click

from rom_builder.cli.options import (
    exceptions_of,
    load,
    policy_option,
    severity,
    today,
    waiver_options,
)
from rom_builder.cli.reporting import (
    fail_on_option,
    format_option,
    no_color_option,
    outputs_option,
    print_report,
    show_waived_option,
    targets_of,
    write_reports,
)

FINDINGS = 1
INCOMPLETE = 2


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@policy_option
@format_option
@outputs_option("--output", "a report")
@fail_on_option
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
@show_waived_option
@no_color_option
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
    suppressed: bool,
    no_color: bool,
) -> None:
    """Hold the ROM in IMAGE (a package, an image or a folder) to policies.

    Exit code 0: compliant. 1: a finding at or above --fail-on. 2: it could not be done, or
    something is unknown or unread.

    \b
    Examples:
      rom-builder check ota.zip -p messaging-opt-in
      rom-builder check rom/ -p rom-baseline -p my.yaml --output html=report.html
      rom-builder check ota.zip -p my.yaml --waivers waivers.yaml --baseline known.json
      rom-builder check ota.zip -p my.yaml --format github --output sarif=rom.sarif
    """
    from rom_builder.check import check as run_check
    from rom_builder.cli.progress import progress
    from rom_builder.files import write_whole
    from rom_builder.findings import Status, Verdict
    from rom_builder.waivers.baseline import baseline_of, encode_baseline, pruned

    if prune_baseline and baseline is None:
        raise click.UsageError("--prune-baseline needs --baseline FILE")
    targets = targets_of(outputs)
    loaded = load(policies)
    exceptions = exceptions_of(waivers, no_waivers, strict_waivers, baseline)
    with progress() as step:
        report = run_check(image, loaded, today=today(), exceptions=exceptions, step=step)
    write_reports(report, targets, fail_on=fail_on, suppressed=suppressed)
    if write_baseline is not None:
        with write_whole(write_baseline) as file:
            file.write(encode_baseline(baseline_of(report)))
    if prune_baseline and exceptions.baseline is not None and baseline is not None:
        with write_whole(baseline) as file:
            file.write(encode_baseline(pruned(exceptions.baseline, report)))
    print_report(report, form, fail_on=fail_on, suppressed=suppressed, no_color=no_color)
    if report.failures(severity(fail_on)):
        ctx.exit(FINDINGS)
    unknown = any(row.status is Status.UNKNOWN for row in report.requirements)
    if report.unread or unknown or report.verdict is Verdict.INCOMPLETE:
        ctx.exit(INCOMPLETE)
