"""``rom-builder completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes rom-builder's commands and options.

    \b
    Examples:
      rom-builder completion bash > ~/.local/share/bash-completion/completions/rom-builder
      rom-builder completion fish > ~/.config/fish/completions/rom-builder.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # the choices above are click's own
        raise click.UsageError(f"click knows no completion for {shell}")
    script = kind(ctx.find_root().command, {}, "rom-builder", "_ROM_BUILDER_COMPLETE")
    click.echo(script.source())
