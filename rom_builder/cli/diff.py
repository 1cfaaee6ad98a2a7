"""``rom-builder diff``."""

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
from rom_builder.cli.reporting import (
    fail_on_option,
    for_files,
    format_option,
    no_color_option,
    outputs_option,
    targets_of,
    terminal_width,
)

FINDINGS = 1
INCOMPLETE = 2


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@policy_option
@format_option
@outputs_option("--output", "the difference")
@fail_on_option
@waiver_options
@no_color_option
@click.pass_context
def diff(
    ctx: click.Context,
    old: Path,
    new: Path,
    policies: tuple[str, ...],
    form: str,
    outputs: tuple[str, ...],
    fail_on: str,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    strict_waivers: bool,
    no_color: bool,
) -> None:
    """Say what the update from OLD to NEW changes for privacy, held to policies.

    Defaults, consent in code, addresses, data, permissions and keys that became worse, better or
    just different; failures that are new, fixed and not fixed. In the formats of CI systems only new
    failures count.

    Exit code 0: nothing new at or above --fail-on. 1: a new failure. 2: it could not be done, or a
    part of NEW could not be read.

    \b
    Examples:
      rom-builder diff pine-4118.zip pine-4119.zip -p messaging-opt-in
      rom-builder diff old/ new/ -p messaging-opt-in --output html=diff.html --output sarif=new.sarif
    """
    from dataclasses import replace

    from rom_builder.cli.progress import progress
    from rom_builder.diff.compare import compare
    from rom_builder.files import write_whole
    from rom_builder.reports.diff import DIFFS

    targets = targets_of(outputs)
    loaded = load(policies)
    exceptions = exceptions_of(waivers, no_waivers, strict_waivers)
    with progress() as step:
        difference = compare(old, new, loaded, today=today(), exceptions=exceptions, step=step)
    options = for_files(fail_on, suppressed=False)
    for name, path in targets:
        with write_whole(path) as file:
            file.write(DIFFS[name](difference, options).encode())
    color = not no_color and color_of(sys.stdout)
    shown = replace(options, color=color, width=terminal_width())
    click.echo(DIFFS[form](difference, shown), nl=False)
    if difference.new_failures(severity(fail_on)):
        ctx.exit(FINDINGS)
    if difference.new.unread:
        ctx.exit(INCOMPLETE)
