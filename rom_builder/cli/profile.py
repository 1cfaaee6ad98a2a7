"""``rom-builder profile``: try a profile on an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from rom_builder.facts.code import (
    AnchorFound,
    BoxTicked,
    CodeFact,
    CodeRead,
    CodeUrl,
    ConsentCheck,
    ConstantChoice,
    DataRead,
    GateWritten,
    TrustAll,
    UnresolvedUrls,
)

MISSING = 1
SHOWN = 8
"""Places of one anchor that are listed."""


@click.group()
def profile() -> None:
    """Work with profiles: where a service lives in a ROM.

    \b
    Example:
      rom-builder profile test our-messaging.yaml rom/
    """


@profile.command("test")
@click.argument("profile")
@click.argument("image", type=click.Path(path_type=Path))
@click.pass_context
def test_(ctx: click.Context, profile: str, image: Path) -> None:
    """Show where the code anchors of PROFILE (a file, or a shipped id) are in IMAGE.

    Also says for each sink whether consent is asked for on the paths that lead there, and what else
    the code shows: data that is read, addresses, controls, trust in anybody. Exit code 0: every
    anchor was found. 1: one was found nowhere. 2: it could not be done, or code is unread.

    \b
    Example:
      rom-builder profile test our-messaging.yaml rom/
    """
    from rom_builder.code.reading import read_service_code
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy.load import shipped
    from rom_builder.policy.profile import load_profile
    from rom_builder.readers.packages import Packages
    from rom_builder.reports.text import printable
    from rom_builder.rom.opening import open_rom

    path = shipped("profiles").get(profile, Path(profile))
    loaded = load_profile(path, binding_models())
    rom = open_rom(image)
    facts = list(read_service_code(rom, Packages(rom), loaded, {}))
    for line in lines(facts):
        click.echo(printable(line))
    for part in rom.unread:
        click.echo(printable(f"unread: {part.path}: {part.reason}"), err=True)
    read = [fact for fact in facts if isinstance(fact, CodeRead)]
    if any(fact.unread for fact in read) or not any(fact.programs for fact in read):
        ctx.exit(2)
    if any(isinstance(fact, AnchorFound) and not fact.methods for fact in facts):
        ctx.exit(MISSING)


def lines(facts: list[CodeFact]) -> Iterator[str]:
    """Yield what was found, an anchor at a time."""
    for fact in facts:
        if isinstance(fact, CodeRead):
            yield f"programs: {', '.join(fact.programs) or 'none'}"
    for fact in facts:
        if not isinstance(fact, AnchorFound):
            continue
        name = f" {fact.sink}" if fact.sink else ""
        count = len(fact.methods)
        where = f"{count} place{'s' * (count != 1)}" if count else "found nowhere"
        yield f"{fact.role}{name}: {fact.anchor}: {where}"
        for step in fact.methods[:SHOWN]:
            yield f"    {step.text}  {step.location}"
        if count > SHOWN:
            yield f"    and {count - SHOWN} more"
    for fact in facts:
        if isinstance(fact, ConsentCheck):
            starts = "starts without a user" if fact.automatic else "all starts"
            yield f"consent before {fact.sink} ({starts}): {fact.outcome.value}"
            for step in (*fact.steps, *fact.unknown)[:SHOWN]:
                yield f"    {step.text}  {step.location}"
    yield from seen(facts)


def seen(facts: list[CodeFact]) -> Iterator[str]:
    """Yield what else the code shows: data on the way to sinks, addresses, controls, trust."""
    for fact in facts:
        match fact:
            case DataRead():
                through = f", through {fact.hashed}" if fact.hashed else ""
                yield f"data for {fact.sink}: {fact.category} ({fact.api}){through}"
                yield f"    {fact.steps[-1].text}  {fact.location}"
            case CodeUrl() if fact.reachable:
                yield f"address: {fact.url}"
                yield f"    {fact.method}  {fact.location}"
            case BoxTicked() | GateWritten() | ConstantChoice():
                yield f"control: {fact.step.text}  {fact.step.location}"
            case TrustAll():
                live = "" if fact.reachable else " (nothing leads there)"
                yield f"trust: {fact.what}{live}  {fact.location}"
            case UnresolvedUrls():
                yield f"addresses known only at run time: {fact.count}, such as {fact.example.text}"
