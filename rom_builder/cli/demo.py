"""``rom-builder demo``: an example ROM that fails, and the way to one that complies."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

import click

PACKAGE = "pine-4118.zip"
FIXED_APP = "Messaging-2.0.apk"
RESULT = "pine-4118-opt-in.zip"
POLICY = "messaging-opt-in"
APP_PATH = "/product/priv-app/Messaging/Messaging.apk"

CHECK = ("check", PACKAGE, "-p", POLICY)
PLAN = ("plan", PACKAGE, "-p", POLICY)
BUILD = (
    *("build", PACKAGE, "-p", POLICY, "-s", "dev"),
    *("--replace", f"{APP_PATH}={FIXED_APP}", "-o", RESULT),
)
VERIFY = ("verify", RESULT)
CHECK_AGAIN = ("check", RESULT, "-p", POLICY)

WALK = (
    (
        CHECK,
        1,
        "A vendor's update of an imaginary phone, as phones of today take it: a payload of partition "
        "images. Does it meet the messaging policy?",
    ),
    (PLAN, 0, "It does not. What would have to change?"),
    (
        BUILD,
        0,
        "Settings follow from the policy; what is inside the app needs the fixed version of it, "
        "which the vendor supplied. Build with both: the files of the system (ext4) and product "
        "(EROFS) partitions are edited in place, the partitions sealed again, the payload and the "
        "package signed with throw-away keys:",
    ),
    (
        VERIFY,
        0,
        "Does every signature and digest hold, down to the hash trees that a phone reads through?",
    ),
    (CHECK_AGAIN, 0, "And does the result meet the policy, judged like a stranger's package?"),
)
"""Each step of the story: arguments, the exit code it has to end with, and what leads to it."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--no-walk", is_flag=True, help="Write the files and run nothing.")
def demo(folder: Path, no_walk: bool) -> None:
    """Write a small example ROM into DIR and walk it from failing to compliant.

    DIR must be absent or empty. The ROM is a full A/B package of an imaginary phone whose messaging is
    on by default, pre-ticked and unencrypted. Each command is shown as you would type it, and run; the
    throw-away signing keys stay in your data folder.

    \b
    Example:
      rom-builder demo /tmp/demo
    """
    write_files(folder)
    click.echo(f"{folder}/{PACKAGE}  the vendor's package")
    click.echo(f"{folder}/{FIXED_APP}  the vendor's fixed version of its messaging app")
    if no_walk:
        click.echo("\nTry:")
        for command in (("cd", str(folder)), *(("rom-builder", *step) for step, _, _ in WALK)):
            click.echo(f"  {shlex.join(command)}")
        return
    click.echo(f"\n$ {click.style(shlex.join(('cd', str(folder))), bold=True)}")
    with contextlib.chdir(folder):
        for number, (arguments, expected, why) in enumerate(WALK, 1):
            walk(number, arguments, expected, why)
    click.echo(f"\nDone. {folder}/{RESULT} is a package that meets the policy.")


def walk(number: int, arguments: tuple[str, ...], expected: int, why: str) -> None:
    """Say why a command comes next, show it, run it, and say how it ended."""
    from rom_builder.cli import main

    click.echo(f"\n{click.style(f'[{number}/{len(WALK)}]', fg='cyan')} {why}\n")
    click.echo(f"$ {click.style(shlex.join(('rom-builder', *arguments)), bold=True)}")
    code = main(arguments)
    click.echo(click.style(f"(exit code {code})", dim=True))
    if code != expected:
        raise click.ClickException(f"the example should have ended with exit code {expected} here")


def write_files(folder: Path) -> None:
    """Write the example's package and the fixed app into a folder that is absent or empty."""
    from rom_builder.files import write_whole
    from rom_builder.resources import data_folder

    if folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder} is not empty", param_hint="DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PACKAGE, FIXED_APP):
        with write_whole(folder / name) as file:
            file.write((data_folder("examples") / "demo" / name).read_bytes())
