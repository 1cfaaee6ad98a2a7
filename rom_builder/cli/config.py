"""``rom-builder config``: the settings that hold here, and where each comes from."""

from __future__ import annotations

import json

import click


@click.group()
def config() -> None:
    """See the settings of a project: rom-builder.yaml, [tool.rom-builder] and the environment.

    \b
    Example:
      rom-builder config show
    """


@config.command()
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Format on standard output.",
)  # fmt: skip
@click.pass_context
def show(ctx: click.Context, form: str) -> None:
    """Print every setting, its value and its source.

    An option on the command line outranks a variable, a variable the file.

    \b
    Examples:
      rom-builder config show
      ROM_BUILDER_FAIL_ON=warning rom-builder config show --format json
    """
    from rom_builder.reports.text import printable

    found = ctx.find_root().obj["settings"]()
    if form == "json":
        rows = {s.key: {"value": s.value, "source": s.source} for s in found.values()}
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(map(len, found))
    for setting in found.values():
        value = setting.value
        shown = " ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        shown = shown.lower() if isinstance(value, bool) else shown
        click.echo(printable(f"{setting.key:{width}}  {shown or '-'}  ({setting.source})"))
