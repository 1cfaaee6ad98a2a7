"""``rom-builder explain``."""

from __future__ import annotations

import difflib

import click


@click.command()
@click.argument("rule", required=False)
def explain(rule: str | None) -> None:
    """Explain RULE (ROM101, or messaging-default-opt-in); without one, list all rules.

    \b
    Example:
      rom-builder explain ROM101
    """
    from rom_builder.rules import RULES

    if rule is None:
        for known in RULES.values():
            click.echo(f"{known.id}  {known.alias:<28}  {known.title}")
        return
    by_name = {name: known for known in RULES.values() for name in (known.id, known.alias)}
    found = by_name.get(rule.upper()) or by_name.get(rule.lower())
    if found is None:
        near = difflib.get_close_matches(rule.upper(), by_name, 1) or difflib.get_close_matches(
            rule.lower(), by_name, 1
        )
        hint = f"; did you mean {near[0]}?" if near else "; rom-builder explain lists them"
        raise click.BadParameter(f"no rule {rule!r}{hint}", param_hint="RULE")
    click.echo(f"{found.id} {found.alias}: {found.title}\n")
    click.echo(found.explanation)
    click.echo(f"\nrequirement: {found.requirement}\nseverity:    {found.severity}")
    click.echo(f"fix:         {found.fix}\nreferences:  {'; '.join(found.references)}")
