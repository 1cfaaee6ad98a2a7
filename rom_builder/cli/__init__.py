"""The command line: words in, one call, exit code out. The only place that prints.

Exit codes: 0 compliant or built; 1 findings at or above ``--fail-on``, or a signature that does not
hold; 2 it could not be done, or the verdict is incomplete; 130 interrupted; 141 output closed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rom_builder import __version__
from rom_builder.errors import RomBuilderError

if TYPE_CHECKING:
    from rom_builder.config import Setting

COMMANDS = {
    "check": "Hold a ROM to a policy: a verdict for each requirement, with evidence.",
    "diff": "Say what an update changes for privacy: worse, better, fixed and not fixed.",
    "plan": "Show what build would change in a ROM, and why; change nothing.",
    "build": "Write a signed OTA package that meets a policy.",
    "inspect": "Explain a ROM: what it is, what is in it, and who signed it.",
    "ls": "List the files of a ROM, on the device or inside its images.",
    "cat": "Write one file of a ROM, partition images and archives included.",
    "verify": "Say what signed an OTA package and whether recovery would accept it.",
    "sign": "Sign digests with the keys of a signing profile, for AOSP's tools too.",
    "keys": "Make signing keys and inspect keys, certificates and packages.",
    "policy": "Validate, show and list policies and profiles.",
    "profile": "Try a profile on an image: where its code anchors are.",
    "sbom": "Write the bill of materials of a ROM: partitions, apps, modules.",
    "notice": "Write the text that tells users what a service does with their data.",
    "waivers": "Check and list waivers: failures that somebody answers for.",
    "config": "Show the settings that hold here, and where each comes from.",
    "explain": "Explain a rule: what it demands, why, and what it rests on.",
    "completion": "Print the completion script of a shell.",
    "man": "Print the manual page.",
    "demo": "Write a small example ROM and walk it from failing to compliant.",
}
"""Name and one-line help; a command's module is imported only when it is run."""

COULD_NOT = 2
INTERRUPTED = 130
OUTPUT_CLOSED = 141


class Commands(click.Group):
    """The group of all commands, imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rom_builder.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "ROM_BUILDER",
        "max_content_width": 100,
    },
    epilog="Exit codes: 0 compliant or built, 1 findings, 2 could not be done or incomplete.",
)
@click.version_option(__version__, prog_name="rom-builder")
@click.option("--debug", is_flag=True, help="Show a traceback for errors.")
@click.option(
    "--config", "config_file", type=click.Path(), metavar="FILE",
    help="Configuration file; otherwise rom-builder.yaml or pyproject.toml here or further up.",
)  # fmt: skip
@click.option("--isolated", is_flag=True, help="Use no configuration file.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, config_file: str | None, isolated: bool) -> None:
    """One privacy policy in; signed, opt-in, TLS-only OTA packages and verdicts on any ROM out.

    \b
    Start here:
      rom-builder demo DIR
      rom-builder check ROM -p rom-baseline
      rom-builder build ROM -p messaging-opt-in -s dev -o OUT.zip
    """
    del debug  # read from the arguments by main(), which outlives this call
    settings = cache(lambda: settings_of(config_file, isolated))
    asked_for_help = ctx.obj is not None and ctx.obj["help"]
    ctx.obj = {"settings": settings}
    if ctx.invoked_subcommand not in (None, "config") and not asked_for_help:
        command = cli.get_command(ctx, str(ctx.invoked_subcommand))
        options = {} if command is None else settable(command)
        if options:
            ctx.default_map = {str(ctx.invoked_subcommand): defaults(options, settings())}


def settings_of(file: str | None, isolated: bool) -> dict[str, Setting]:
    """Return the settings of the file that was named or is found here, and of the environment."""
    from rom_builder.config import discover, settings

    if isolated and file is not None:
        raise click.UsageError("--isolated and --config exclude each other")
    found = Path(file) if file else None if isolated else discover(Path.cwd())
    return settings(found, os.environ)


OPTIONS = {
    "--policy": "policies", "--waivers": "waivers", "--strict-waivers": "strict_waivers",
    "--baseline": "baseline", "--fail-on": "fail_on", "--format": "format", "--output": "outputs",
    "--signing": "signing",
}  # fmt: skip
"""Options that a setting gives their default, by their long name, and the key of the setting."""


def settable(command: click.Command) -> dict[str, Any]:
    """Return the parameters of a command that settings speak of, those of its subcommands inside."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        inner = ((n, command.get_command(context, n)) for n in command.list_commands(context))
        return {name: found for name, sub in inner if sub and (found := settable(sub))}
    options = {}
    for parameter in command.params:
        for key in filter(None, map(OPTIONS.get, parameter.opts)):
            if key != "outputs" or parameter.multiple:  # -o of build is something else
                options[str(parameter.name)] = (key, parameter.type)
    return options


def defaults(options: dict[str, Any], settings: dict[str, Setting]) -> dict[str, Any]:
    """Return what the settings give to the parameters of a command, as click wants it."""
    given: dict[str, Any] = {}
    for name, option in options.items():
        if isinstance(option, dict):
            given[name] = defaults(option, settings)
            continue
        setting = settings[option[0]]
        choices = getattr(option[1], "choices", None)
        # A format that this command does not know is meant for others.
        if setting.source != "default" and (choices is None or setting.value in choices):
            given[name] = setting.value
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no exception leaves it.

    click's own mapping gives 1 for crashes, which would read as findings.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("ROM_BUILDER_DEBUG") == "1"
    try:
        asked = {"help": bool({"-h", "--help"} & set(arguments))}
        code: Any = cli.main(arguments, prog_name="rom-builder", standalone_mode=False, obj=asked)
        sys.stdout.flush()
    except click.Abort:
        return failed("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        return failed("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return COULD_NOT
    except BrokenPipeError:
        return closed()
    except SystemExit as stop:
        if "_ROM_BUILDER_COMPLETE" in os.environ:  # click has answered a shell
            return int(stop.code or 0)
        # click answers a closed pipe with sys.exit(1), even outside its standalone mode.
        return closed()
    except RomBuilderError as error:
        if debug:
            raise
        return failed(str(error), COULD_NOT, error.hint)
    except OSError as error:
        if debug:
            raise
        name = f"{error.filename}: " if error.filename else ""
        return failed(f"{name}{error.strerror or error}", COULD_NOT)
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        return failed(
            f"internal error: {kind}: {error}", COULD_NOT, "run again with --debug and report it"
        )
    return code if isinstance(code, int) else 0


def failed(message: str, code: int, hint: str | None = None) -> int:
    """Say on standard error what went wrong, in one line and a hint, and return the exit code."""
    from rom_builder.reports.text import printable

    for line in message.splitlines() or [""]:
        click.echo(f"{click.style('error', fg='red')}: {printable(line)}", err=True)
    if hint:
        click.echo(f"  hint: {printable(hint)}", err=True)
    return code


def closed() -> int:
    """Return the exit code for a reader that went away, keeping Python from complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OUTPUT_CLOSED


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def run() -> None:
    """Run the command line as a program."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
