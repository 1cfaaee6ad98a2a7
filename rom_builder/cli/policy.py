"""``rom-builder policy``: check, show and list policies, and write their JSON schemas."""

from __future__ import annotations

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
@click.argument("kind", type=click.Choice(["policy", "profile", "waivers"]), default="policy")
def schema(kind: Literal["policy", "profile", "waivers"]) -> None:
    """Print the JSON schema of policy, profile or waiver files, for editors.

    \b
    Example:
      rom-builder policy schema > policy.schema.json
    """
    from rom_builder.policy.schema import encode_schema, policy_schema, profile_schema

    if kind == "policy":
        click.echo(encode_schema(policy_schema()), nl=False)
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
