from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from rom_builder.cli import COMMANDS, cli

HEAVY = ("cryptography", "jinja2", "lxml", "pydantic", "rich", "yaml")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*path, name)
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def help_of(*path: str) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"], prog_name="rom-builder")
    assert result.exit_code == 0, result.output
    return result.output


def examples_in(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("rom-builder ")]


@pytest.mark.parametrize("path", [(), *commands(cli)], ids=" ".join)
def test_every_command_shows_an_example_of_itself(path: tuple[str, ...]) -> None:
    shown = examples_in(help_of(*path))
    assert any(tuple(words[1 : 1 + len(path)]) == path for words in shown)


@pytest.mark.parametrize("path", [(), *commands(cli)], ids=" ".join)
def test_every_example_uses_options_that_exist(path: tuple[str, ...]) -> None:
    for words in examples_in(help_of(*path)):
        command: click.Command = cli
        rest = words[1:]
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), rest.pop(0))
            assert found is not None, words
            command = found
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or cli
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_overview_names_every_command() -> None:
    text = help_of()
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_the_overview_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom rom_builder.cli import main\nmain(sys.argv[1:])\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('loaded:', loaded, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "loaded: []"
