"""``rom-builder policy``: check, show and list policies, and write their JSON schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.group()
def policy() -> None:
    """Work with policies and profiles, without a ROM.

    \b
    Examples:
      rom-builder policy list
      rom-builder policy validate my-policy.yaml
    """


@policy.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
def validate(files: tuple[str, ...]) -> None:
    """Check policy and profile files, and all that they extend.

    Every problem of every FILE is reported at once, with line and column.

    \b
    Example:
      rom-builder policy validate my-policy.yaml my-profile.yaml
    """
    from rom_builder.errors import PolicyError, Problem
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy.load import validate_file

    problems: list[Problem] = []
    for file in files:
        try:
            validate_file(file, binding_models())
        except PolicyError as error:
            problems += error.problems
        else:
            click.echo(f"{file}: ok")
    if problems:
        raise PolicyError(problems)


@policy.command()
@click.option(
    "-p",
    "--policy",
    "refs",
    multiple=True,
    required=True,
    metavar="POLICY",
    help="A file or the id of a shipped policy; may be given several times.",
)
def show(refs: tuple[str, ...]) -> None:
    """Print what policies demand together, each line with the place it comes from.

    \b
    Example:
      rom-builder policy show -p messaging-opt-in -p rom-baseline
    """
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy.load import load_policies
    from rom_builder.policy.show import show as render

    click.echo(render(load_policies(refs, binding_models())), nl=False)


@policy.command()
@click.argument(
    "kind", type=click.Choice(["policy", "profile", "waivers", "test"]), default="policy"
)
def schema(kind: Literal["policy", "profile", "waivers", "test"]) -> None:
    """Print the JSON schema of a kind of file, for editors.

    \b
    Example:
      rom-builder policy schema > policy.schema.json
    """
    from rom_builder.policy.schema import encode_schema, policy_schema, profile_schema

    if kind == "policy":
        click.echo(encode_schema(policy_schema()), nl=False)
    elif kind == "test":
        from rom_builder.policy.schema import file_schema
        from rom_builder.policy_tests import TestFile

        schema_of_tests = file_schema(TestFile, "policy-test", "Tests of rom-builder policies")
        click.echo(encode_schema(schema_of_tests), nl=False)
    elif kind == "waivers":
        from rom_builder.waivers.models import waiver_schema

        click.echo(encode_schema(waiver_schema()), nl=False)
    else:
        from rom_builder.mechanisms import binding_models

        click.echo(encode_schema(profile_schema(binding_models())), nl=False)


@policy.command(name="list")
def list_() -> None:
    """List the policies and profiles that come with rom-builder.

    \b
    Example:
      rom-builder policy list
    """
    from rom_builder.policy.load import shipped
    from rom_builder.policy.yaml import load_yaml

    policies, profiles = shipped("policies"), shipped("profiles")
    width = max(map(len, (*policies, *profiles)), default=0)
    for heading, files in (("policies", policies), ("profiles", profiles)):
        click.echo(f"{heading}:")
        for name, path in files.items():
            click.echo(f"  {name:{width}}  {load_yaml(path).data.get('title', '')}")


@policy.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML."
)
@click.option(
    "--require-coverage", is_flag=True,
    help="Fail where a rule is never seen to pass, or never to fail.",
)  # fmt: skip
@click.pass_context
def test(
    ctx: click.Context, paths: tuple[Path, ...], junit: Path | None, require_coverage: bool
) -> None:
    """Run the cases in PATH, a file or a folder with *.test.yaml files, against their policies.

    A case is a small ROM and what must be said of it; the pages on policies show one. Rules that no
    case shows to pass and to fail are listed.

    Exit code 1: a case is not as expected.

    \b
    Example:
      rom-builder policy test tests/ --junit results.xml
    """
    from rom_builder.cli.options import today
    from rom_builder.files import write_whole
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy_tests import as_junit, run_tests
    from rom_builder.reports.text import counted, printable

    outcomes, coverage = run_tests(paths, binding_models(), today())
    if junit is not None:
        with write_whole(junit) as file:
            file.write(as_junit(outcomes).encode())
    for outcome in outcomes:
        click.echo(printable(f"{'ok  ' if outcome.passed else 'FAIL'} {outcome.name}"))
        for difference in outcome.differences:
            click.echo(printable(f"     {outcome.file}:{outcome.line}: {difference}"))
    for words, rules in (
        ("never seen to pass", coverage.never_passed),
        ("never seen to fail", coverage.never_failed),
    ):
        if rules:
            click.echo(f"{words}: {' '.join(rules)}")
    failed = sum(not outcome.passed for outcome in outcomes)
    click.echo(f"{counted(len(outcomes), 'case')}, {failed} failed")
    uncovered = coverage.never_passed or coverage.never_failed
    if failed or (require_coverage and uncovered):
        ctx.exit(1)
