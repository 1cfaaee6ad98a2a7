"""``rom-builder keys rotate``: plan the way from old keys to new ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

MAX_OTACERTS = 1 << 20


@click.command("rotate")
@click.option(
    "--old", multiple=True, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CERT", help="Certificate that packages are signed with now. May be repeated: ota, payload.",
)  # fmt: skip
@click.option(
    "--new", multiple=True, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CERT", help="Certificate that takes its place. May be repeated.",
)  # fmt: skip
@click.option(
    "--otacerts", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="otacerts.zip of the last release: other certificates in it stay.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write the otacerts.zip of each step into this folder.",
)  # fmt: skip
def rotate(
    old: tuple[Path, ...], new: tuple[Path, ...], otacerts: Path | None, output: Path | None
) -> None:
    """Plan three releases after which devices accept new keys and no longer the old ones.

    Refuses certificates that would keep devices from installing anything: one that recovery cannot
    use makes it refuse every package.

    \b
    Examples:
      rom-builder keys rotate --old ota.x509.pem --new ota-2027.x509.pem
      rom-builder keys rotate --old ota.x509.pem --new ota-2027.x509.pem --otacerts otacerts.zip -o steps
    """
    from rom_builder.errors import SigningError
    from rom_builder.files import write_whole
    from rom_builder.reports.text import printable
    from rom_builder.rotation import plan_rotation
    from rom_builder.signers.profile import read_certificate

    current = None
    if otacerts is not None:
        with otacerts.open("rb") as file:
            current = file.read(MAX_OTACERTS + 1)
        if len(current) > MAX_OTACERTS:
            raise SigningError(
                f"{otacerts}: larger than {MAX_OTACERTS} bytes: that is no otacerts.zip"
            )
    planned = plan_rotation(
        [read_certificate(path) for path in old],
        [read_certificate(path) for path in new],
        current,
        datetime.now(UTC),
    )
    adding = "".join(f" --otacert {path}" for path in new)
    dropping = "".join(f" --drop-otacert {path}" for path in old)
    options = {"n": adding, "n + 1": "", "n + 2": dropping}
    for number, step in enumerate(planned.steps, 1):
        click.echo(f"release {step.name}: {step.why}")
        click.echo(printable(f"  otacerts.zip  {', '.join(step.holds)}"))
        command = (
            f"build ... -s {step.signed_with.upper()}.yaml --replace-otacerts{options[step.name]}"
        )
        click.echo(printable(f"  rom-builder {command}"))
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            path = output / f"{number}-otacerts.zip"
            with write_whole(path) as written:
                written.write(step.otacerts)
            click.echo(printable(f"  wrote {path}"))
    for note in planned.notes:
        click.echo(printable(f"note: {note}"))
