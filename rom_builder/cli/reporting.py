"""Reports on their way out: formats, files, standard output and what CI systems want beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rom_builder.cli.options import color_of, severity

if TYPE_CHECKING:
    from rom_builder.findings import Report
    from rom_builder.reports import Options

FORMATS = ("text", "json", "sarif", "junit", "gitlab", "github", "markdown", "html")
"""Names of ``reports.REPORTS``, which takes too long to import for ``--help``."""
SEVERITIES = ("note", "warning", "error", "critical")
CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BUILD_SOURCESDIRECTORY", "WORKSPACE")
"""Where GitHub, GitLab, Azure and Jenkins say that the repository lies."""
SUMMARY = "GITHUB_STEP_SUMMARY"
SUMMARY_SIZE = 1 << 20
"""Bytes of a step summary; GitHub drops a longer one (docs.github.com, workflow commands)."""

F = TypeVar("F", bound=Callable[..., Any])

format_option = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Format on standard output.",
)  # fmt: skip
no_color_option = click.option(
    "--no-color", is_flag=True, help="No colours, as with NO_COLOR in the environment."
)
show_waived_option = click.option(
    "--show-waived", "suppressed", is_flag=True,
    help="List waived and known failures in SARIF, too; GitHub shows them as open.",
)  # fmt: skip
fail_on_option = click.option(
    "--fail-on", type=click.Choice(SEVERITIES), default="error", show_default=True,
    help="Lowest severity of a failed finding that makes the exit code 1.",
)  # fmt: skip


def outputs_option(flag: str, what: str) -> Callable[[F], F]:
    """Make the option that names files of reports."""
    return click.option(
        flag, "outputs", multiple=True, metavar="FORMAT=PATH",
        help=f"Also write {what} to a file ({', '.join(FORMATS)}). May be repeated.",
    )  # fmt: skip


def targets_of(outputs: Sequence[str], option: str = "--output") -> list[tuple[str, Path]]:
    """Split each ``FORMAT=PATH``, before any work is done that would be lost."""
    targets: list[tuple[str, Path]] = []
    for output in outputs:
        form, separator, name = output.partition("=")
        if form not in FORMATS or not separator or not name:
            raise click.BadParameter(
                f"{output!r} is not FORMAT=PATH with FORMAT one of {', '.join(FORMATS)}",
                param_hint=option,
            )
        path = Path(name)
        if path.is_dir() or not path.parent.is_dir():
            fault = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise click.BadParameter(f"{name}: {fault}", param_hint=option)
        if any(path.absolute() == other.absolute() for _, other in targets):
            raise click.BadParameter(f"{name} is named twice", param_hint=option)
        targets.append((form, path))
    return targets


def write_reports(
    report: Report,
    targets: Sequence[tuple[str, Path]],
    *,
    fail_on: str = "error",
    suppressed: bool = False,
) -> None:
    """Write a report to files, each whole or not at all."""
    from rom_builder.files import write_whole
    from rom_builder.reports import REPORTS

    options = for_files(fail_on, suppressed)
    texts = [REPORTS[form](report, options).encode() for form, _ in targets]
    for (_, path), text in zip(targets, texts, strict=True):
        with write_whole(path) as file:
            file.write(text)


def print_report(
    report: Report,
    form: str,
    *,
    fail_on: str = "error",
    suppressed: bool = False,
    no_color: bool = False,
) -> None:
    """Print a report; as annotations for GitHub, also add it to the summary of the step."""
    from dataclasses import replace

    from rom_builder.reports import REPORTS

    color = not no_color and color_of(sys.stdout)
    options = replace(for_files(fail_on, suppressed), color=color, width=terminal_width())
    click.echo(REPORTS[form](report, options), nl=False)
    summary = os.environ.get(SUMMARY)
    if form == "github" and summary:
        add_summary(Path(summary), REPORTS["markdown"](report, options))


def add_summary(path: Path, text: str) -> None:
    """Add Markdown to the summary of a GitHub step, unless it has become too long for GitHub."""
    data = text.encode()
    with path.open("ab") as file:
        if file.tell() + len(data) > SUMMARY_SIZE:
            data = b"The report is too long for a step summary; see its other formats.\n"
        file.write(data)


def for_files(fail_on: str, suppressed: bool) -> Options:
    """Return how reports are written to files: no colours, policies named from the repository."""
    from rom_builder.reports import Options

    return Options(
        root=checkout(), folder=Path.cwd(), fail_on=severity(fail_on), suppressed=suppressed
    )


def checkout() -> Path:
    """Return the top of the repository: what the CI system says, else what holds ``.git``."""
    here = Path.cwd()
    for name in CHECKOUTS:
        said = Path(os.environ.get(name) or "/nowhere").resolve()
        if here.is_relative_to(said):
            return said
    return next((top for top in (here, *here.parents) if (top / ".git").exists()), here)


def terminal_width() -> int:
    """Columns of the terminal, 100 where there is none."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
