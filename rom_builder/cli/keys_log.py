"""``rom-builder keys log``: what was signed with which key, and whether the record is whole."""

from __future__ import annotations

from pathlib import Path

import click

BROKEN = 1


@click.group("log")
def log() -> None:
    """Show and verify a signing log.

    `build` and `sign` keep one where --signing-log, $ROM_BUILDER_SIGNING_LOG or `log:` of the signing
    profile says.

    \b
    Example:
      rom-builder keys log verify signing.log
    """


@log.command("show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def show(file: Path) -> None:
    """Show the signatures that the log FILE records, the oldest first.

    \b
    Example:
      rom-builder keys log show signing.log
    """
    from rom_builder.reports.text import printable
    from rom_builder.signers.log import read_log

    for entry in read_log(file):
        by = " ".join(part for part in (entry.actor, entry.run_id) if part)
        click.echo(
            printable(
                f"{entry.time}  {entry.role:<18} {entry.key_spki[:16]}…  {entry.algorithm} "
                f"{entry.digest[:16]}…  {entry.artifact}{f'  by {by}' if by else ''}"
            )
        )


@log.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--head", metavar="SHA256",
    help="A line that the log must hold, as an attestation names it (signingLog.head): without it, "
    "lines missing at the end do not show.",
)  # fmt: skip
@click.pass_context
def verify(ctx: click.Context, file: Path, head: str | None) -> None:
    """Check that no line of the log FILE was changed, taken out, put in or moved.

    Exit code 0: it is whole. 1: it is not. 2: it cannot be read.

    \b
    Examples:
      rom-builder keys log verify signing.log
      rom-builder keys log verify signing.log --head "$HEAD"
    """
    from rom_builder.errors import SigningError
    from rom_builder.reports.text import printable
    from rom_builder.signers.log import verify_log

    if head is not None and (len(head) != 64 or set(head) - set("0123456789abcdef")):
        raise click.UsageError("--head is 64 hexadecimal digits, in lower case")
    try:
        found = verify_log(file, head)
    except SigningError as error:
        click.echo(f"NOT whole: {printable(error.message)}")
        ctx.exit(BROKEN)
    click.echo(f"{printable(str(file))}: whole, {found.entries} signatures")
    click.echo(f"  head {found.head}")
    if found.after is not None:
        click.echo(f"  holds the line asked for, {found.after} after it")
    else:
        click.echo("  lines missing at the end would not show; give --head to see that")
