from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rom_builder.cli import cli, main
from tests.cli.test_help import commands


def test_the_page_has_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    page = capsys.readouterr().out.replace("\\-", "-")
    for path in commands(cli):
        assert f'.SS "rom-builder {" ".join(path)}"' in page
    command = cli.get_command(click.Context(cli), "check")
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in page


@pytest.mark.judge("man")
def test_man_reads_the_page_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    page = capsys.readouterr().out
    done = subprocess.run(
        ["man", "--warnings", "-l", "-Tutf8", "-"], input=page, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "rom-builder check ota.zip -p messaging-opt-in" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_ROM_BUILDER_COMPLETE" in capsys.readouterr().out


@pytest.mark.judge("bash")
def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = "COMP_WORDS=(rom-builder che) COMP_CWORD=1; _rom_builder_completion rom-builder; echo ${COMPREPLY[@]}"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{words}"], capture_output=True, text=True, env=env
    )
    assert done.stdout.split() == ["check"], done.stderr
