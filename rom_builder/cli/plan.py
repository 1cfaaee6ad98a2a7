"""``rom-builder plan``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rom_builder.cli.options import ask, color_of, load, policy_option

if TYPE_CHECKING:
    from rom_builder.edits import Edit
    from rom_builder.plan import Plan
    from rom_builder.rom import Rom

MAX_TEXT = 256 << 10
"""Largest file that is shown as a text difference."""


def replacement(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> object:
    """Split each ``PATH=FILE``."""
    del ctx
    pairs = []
    for value in values:
        path, separator, file = value.partition("=")
        if not separator or not path.startswith("/") or not file:
            raise click.BadParameter(f"{value!r} is not /DEVICE/PATH=FILE", param=param)
        pairs.append((path, Path(file)))
    return tuple(pairs)


replace_option = click.option(
    "--replace",
    "replacements",
    multiple=True,
    callback=replacement,
    metavar="PATH=FILE",
    help="Put FILE at the device path PATH. May be repeated.",
)
tree_option = click.option(
    "--tree",
    "trees",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Put every file below DIR at its device path (DIR/system/app/X.apk). May be repeated.",
)

remove_option = click.option(
    "--remove",
    "removed",
    multiple=True,
    metavar="PATH",
    help="Take out the file, link or folder at the device path PATH. May be repeated.",
)
wipe_option = click.option(
    "--wipe",
    is_flag=True,
    help="Zero the bytes of what is replaced or removed inside partition images; without it they stay "
    "where no name leads to them.",
)
otacerts_option = click.option(
    "--replace-otacerts",
    is_flag=True,
    help="Let devices with the package accept the next one: put the certificate that signs into "
    "otacerts.zip, in the system and in recovery's ramdisk, and remove publicly known ones.",
)

added_otacert_option = click.option(
    "--otacert",
    "added",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CERT",
    help="With --replace-otacerts: let devices accept this certificate, too (keys rotate). May be "
    "repeated.",
)
dropped_otacert_option = click.option(
    "--drop-otacert",
    "dropped",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CERT",
    help="With --replace-otacerts: let devices no longer accept this certificate. May be repeated.",
)


@click.command()
@click.argument("base", type=click.Path(path_type=Path))
@policy_option
@click.option(
    "-s", "--signing", metavar="PROFILE",
    help="Signing profile that build will be given; needed with --replace-otacerts.",
)  # fmt: skip
@replace_option
@tree_option
@remove_option
@wipe_option
@otacerts_option
def plan(
    base: Path,
    policies: tuple[str, ...],
    signing: str | None,
    replacements: tuple[tuple[str, Path], ...],
    trees: tuple[Path, ...],
    removed: tuple[str, ...],
    wipe: bool,
    replace_otacerts: bool,
) -> None:
    """Show what build would change in BASE, like a diff, and why. Nothing is written.

    Exit code 0 even if something has to be brought in a new version; build refuses then.

    \b
    Example:
      rom-builder plan ota.zip -p messaging-opt-in
    """
    from rom_builder.build import remarks
    from rom_builder.packing.bases import base_of
    from rom_builder.packing.update_certificates import plan_certificates
    from rom_builder.plan import plan as make_plan
    from rom_builder.plan import read_brought
    from rom_builder.rom.opening import open_rom
    from rom_builder.signers.keyring import ON_THE_DEVICE, open_keyring

    if replace_otacerts and signing is None:
        raise click.UsageError("--replace-otacerts needs --signing: whose certificate is it?")
    keys = None
    if signing is not None:
        keys = open_keyring(signing, prompt=ask, allow_public_key=True, roles=ON_THE_DEVICE)
    rom = open_rom(base)
    kind = base_of(rom)
    brought = read_brought(replacements, trees)
    made = make_plan(rom, load(policies), brought, removed=removed, wipe=wipe)
    if replace_otacerts and keys is not None:
        made = plan_certificates(rom, made, *keys.device_certificates)
    notes = (*made.notes, *kind.notes, *remarks(rom, keys, replaces_otacerts=replace_otacerts))
    for line in shown(rom, made, notes, color=color_of(sys.stdout)):
        click.echo(line)


def shown(rom: Rom, made: Plan, notes: tuple[str, ...], *, color: bool) -> Iterator[str]:
    """Yield a plan as a person reads it: each edit with its reason, then what it cannot reach."""
    from rom_builder.reports.text import counted, printable

    for edit in made.edits:
        yield from (
            click.style(printable(line), fg=COLORS.get(line[:1])) if color else printable(line)
            for line in difference(rom, edit)
        )
    for change in made.ramdisk_edits:
        before = rom.by_name[change.name].node.size
        yield f"# replace {printable(change.name)}: {printable(change.why)}"
        yield f"@ {before} bytes become {len(change.data)}"
    for obstacle in made.obstacles:
        yield f"! {printable(obstacle.path)}: {printable(obstacle.why)}"
        yield f"    {printable(obstacle.hint)}"
    for note in notes:
        yield f"note: {printable(note)}"
    needed = {o.path.rpartition("!/")[0] or o.path for o in made.obstacles}
    yield f"{counted(len(made.edits) + len(made.ramdisk_edits), 'file')} would change; " + (
        f"{counted(len(needed), 'file')} must be brought in a new version"
        if needed
        else "nothing else is needed"
    )


COLORS = {"+": "green", "-": "red", "@": "cyan", "#": "yellow"}


def difference(rom: Rom, edit: Edit) -> Iterator[str]:
    """Yield one edit as a unified difference; binary files by size."""
    from rom_builder.formats.tree import NodeKind

    there = rom.files.get(edit.path)
    verb = "remove" if edit.new is None else "replace" if there else "add"
    yield f"# {verb} {edit.path}: {edit.why}"
    if edit.new is not None and there is None:
        yield f"# mode {edit.new.mode:04o}, owner {edit.new.uid}:{edit.new.gid}"
    if there is not None and there.node.kind is not NodeKind.FILE:
        return
    before = rom.read(there) if there else b""
    after = edit.new.data if edit.new else b""
    if edit.new is not None and edit.new.unsigned_app:
        yield from overlay_lines(after)
        return
    texts = [text_of(before), text_of(after)]
    if None in texts:
        yield f"@ {len(before)} bytes become {len(after)}"
        return
    yield from difflib.unified_diff(
        (texts[0] or "").splitlines(),
        (texts[1] or "").splitlines(),
        f"a{edit.path}" if there else "/dev/null",
        f"b{edit.path}" if edit.new else "/dev/null",
        lineterm="",
    )


def overlay_lines(data: bytes) -> Iterator[str]:
    """Yield what an overlay sets, as nobody has signed it yet."""
    from rom_builder.formats.axml import Element
    from rom_builder.formats.axml_text import write_text
    from rom_builder.formats.overlay_apk import parse_overlay_apk

    overlay = parse_overlay_apk(data)
    named = f", its overlayable {overlay.target_name}" if overlay.target_name else ""
    yield f"# {overlay.package}: static overlay of {overlay.target}{named}, priority {overlay.priority}"
    yield "# build signs it with the key of the role apk"
    for resource in overlay.resources:
        name = f"{resource.name} ({resource.qualifiers})" if resource.qualifiers else resource.name
        if isinstance(resource.value, Element):
            yield f"+{name}"
            yield from (f"+  {line}" for line in write_text(resource.value).splitlines())
        else:
            value = resource.value
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            yield f"+{name} = {text}"


def text_of(data: bytes) -> str | None:
    """Return text, None for what is not."""
    if len(data) > MAX_TEXT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
