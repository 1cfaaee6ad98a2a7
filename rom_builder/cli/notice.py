"""``rom-builder notice``."""

from __future__ import annotations

from pathlib import Path

import click

from rom_builder.cli.options import load, policy_option, today

UNTRUE = 1


@click.command()
@click.argument("image", required=False, type=click.Path(path_type=Path))
@policy_option
@click.option(
    "--language", default="en", show_default=True, metavar="LANGUAGE",
    help="Language of the text: en, de, zh, or a file with a translation (LANGUAGE.yaml).",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["markdown", "html"]), default="markdown",
    show_default=True, help="Format of the text.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; standard output if left out.",
)  # fmt: skip
@click.pass_context
def notice(
    ctx: click.Context,
    image: Path | None,
    policies: tuple[str, ...],
    language: str,
    form: str,
    output: Path | None,
) -> None:
    """Write the plain-language text that tells users what a service does with their data.

    It says what the service is for, when it is on and how to turn it off, what it sends and to whom,
    how that is protected, what was checked in IMAGE, and what is only promised.

    Exit code 1: a sentence does not hold in IMAGE, and the text says so. 2: it could not be done.

    \b
    Examples:
      rom-builder notice -p messaging-opt-in
      rom-builder notice ota.zip -p messaging-opt-in --language de --format html -o notice.html
    """
    from rom_builder.check import check
    from rom_builder.cli.progress import progress
    from rom_builder.errors import PolicyError, Problem
    from rom_builder.files import write_whole
    from rom_builder.notice import as_html, as_markdown, languages, load_catalogue, notices

    known = languages()
    path = known.get(language, Path(language))
    if language not in known and path.suffix != ".yaml":
        raise click.BadParameter(
            f"{language!r} is none of {', '.join(known)}, and no .yaml file",
            param_hint="--language",
        )
    catalogue = load_catalogue(path)
    loaded = load(policies)
    if not loaded.services:
        problem = Problem(
            loaded.policies[0].path, 1, 1, "speaks of no service, so there is nothing to tell"
        )
        raise PolicyError([problem])
    report = None
    if image is not None:
        with progress() as step:
            report = check(image, loaded, today=today(), step=step)
    made = notices(loaded, catalogue, path.stem, report, today())
    text = as_html(made, path.stem) if form == "html" else as_markdown(made)
    if output is None:
        click.echo(text, nl=False)
    else:
        with write_whole(output) as file:
            file.write(text.encode())
    if not all(each.true for each in made):
        click.echo("a sentence does not hold in this ROM; the text says which", err=True)
        ctx.exit(UNTRUE)
