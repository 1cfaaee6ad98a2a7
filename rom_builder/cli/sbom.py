"""``rom-builder sbom``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; standard output if left out.",
)  # fmt: skip
@click.pass_context
def sbom(ctx: click.Context, image: Path, output: Path | None) -> None:
    """Write the bill of materials of the ROM in IMAGE: partitions, apps and modules.

    The format is CycloneDX 1.6 in JSON. Each component has its SHA-256, apps and modules also their
    version and the fingerprints of the keys that signed them.

    Exit code 2: it could not be done, or a part could not be read; the parts are named.

    \b
    Example:
      rom-builder sbom ota.zip -o ota.cdx.json
    """
    from rom_builder.cli.options import moment
    from rom_builder.cli.progress import progress
    from rom_builder.files import write_whole
    from rom_builder.provenance.sbom import sbom as make
    from rom_builder.reports.text import printable
    from rom_builder.rom.opening import open_rom

    with progress() as step:
        rom = open_rom(image, step=step)
        data = make(rom, rom.sha256, moment())
    if output is None:
        click.echo(data.decode(), nl=False)
    else:
        with write_whole(output) as file:
            file.write(data)
    for part in sorted(set(rom.unread), key=lambda each: each.path):
        click.echo(printable(f"not read: {part.path}: {part.reason}"), err=True)
    if rom.unread:
        ctx.exit(2)
