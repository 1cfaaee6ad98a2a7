"""``rom-builder man``: every command's help as one manual page."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from rom_builder import __version__


@click.command()
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print the manual page, in the language of man.

    \b
    Example:
      rom-builder man > ~/.local/share/man/man1/rom-builder.1
    """
    click.echo("\n".join(page(ctx.find_root().command)))


def page(root: click.Command) -> Iterator[str]:
    """Yield the lines of the page: the program, then each command with its options."""
    yield f'.TH ROM\\-BUILDER 1 "" "rom\\-builder {__version__}"'
    yield ".SH NAME"
    summary = cleandoc(root.help or "").splitlines()[0]
    yield f"rom\\-builder \\- {roff(summary)}"
    yield ".SH SYNOPSIS"
    yield ".B rom\\-builder\n[OPTIONS] COMMAND [ARGUMENTS]"
    yield ".SH OPTIONS"
    yield from options(root)
    yield ".SH COMMANDS"
    for path, command in commands(root, ()):
        yield f'.SS "rom\\-builder {roff(" ".join(path))}"'
        yield from text(command.help or "")
        yield from options(command)
    yield ".SH EXIT STATUS"
    for code, meaning in (
        ("0", "compliant, built or valid"),
        ("1", "findings at or above \\-\\-fail\\-on, or a package that was refused"),
        ("2", "it could not be done, or the verdict is incomplete"),
        ("130", "interrupted"),
    ):
        yield f".TP\n.B {code}\n{meaning}"


def commands(
    group: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group with its words."""
    if not isinstance(group, click.Group):
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield (*path, name), command
            yield from commands(command, (*path, name))


def text(help_text: str) -> Iterator[str]:
    """Yield a help text; paragraphs that click leaves as they are stay so."""
    for paragraph in cleandoc(help_text).split("\n\n"):
        kept = paragraph.startswith("\b\n")
        yield ".PP"
        if kept:
            yield ".nf"
        yield from (roff(line) for line in paragraph.removeprefix("\b\n").splitlines())
        if kept:
            yield ".fi"


def options(command: click.Command) -> Iterator[str]:
    """Yield the options of a command, and what its arguments are called."""
    context = click.Context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield f".TP\n.B {roff(record[0])}\n{roff(record[1])}"


def roff(line: str) -> str:
    r"""Escape what man would read as its own.

    >>> print(roff(".a -b"), roff("'x"))
    \&.a \-b \&'x
    """
    escaped = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
