"""``rom-builder waivers``: look at waiver files without a ROM."""

from __future__ import annotations

from pathlib import Path

import click

FINDINGS = 1


@click.group()
def waivers() -> None:
    """Check and list waivers: failures that somebody answers for, until a day.

    \b
    Examples:
      rom-builder waivers lint waivers.yaml
      rom-builder waivers list waivers.yaml
    """


files = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)


@waivers.command()
@files
@click.pass_context
def lint(ctx: click.Context, paths: tuple[Path, ...]) -> None:
    """Say whether waiver files are sound, and which waivers have ended.

    Exit code 1: a waiver is past its last day. 2: a file is wrong.

    \b
    Example:
      rom-builder waivers lint waivers.yaml
    """
    from rom_builder.cli.options import today
    from rom_builder.waivers.models import load_waivers

    day = today()
    ended = [waiver for waiver in load_waivers(paths) if waiver.expired(day)]
    for waiver in ended:
        click.echo(f"{waiver.where}: {waiver.label} ended on {waiver.entry.expires}")
    if ended:
        ctx.exit(FINDINGS)
    for path in paths:
        click.echo(f"{path}: ok")


@waivers.command(name="list")
@files
def list_(paths: tuple[Path, ...]) -> None:
    """List waivers, those that end first on top.

    \b
    Example:
      rom-builder waivers list waivers.yaml
    """
    from rom_builder.cli.options import today
    from rom_builder.reports.text import printable
    from rom_builder.waivers.models import load_waivers

    day = today()
    for waiver in sorted(load_waivers(paths), key=lambda each: (each.entry.expires, each.where)):
        entry = waiver.entry
        state = "ended" if waiver.expired(day) else f"{waiver.days_left(day)} days left"
        click.echo(printable(f"{entry.expires}  {state:<15} {waiver.label}"))
        ticket = f" ({entry.ticket})" if entry.ticket else ""
        click.echo(printable(f"            {entry.reason} - {entry.approved_by}{ticket}"))
