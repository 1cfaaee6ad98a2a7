"""``rom-builder inspect``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rom_builder.facts import SigningCertificate, VerifiedBoot
    from rom_builder.inspection import Inspection, ModuleFacts, PartitionFacts, PayloadFacts

SHOWN = 20
"""Lines of one list; the JSON form has all."""


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True,
    help="Format on standard output.",
)  # fmt: skip
def inspect(image: Path, form: str) -> None:
    """Explain the ROM in IMAGE: what it is, what is in it, and who signed it.

    Any input opens, without root or unpacking: OTA packages (A/B, block-based, file-based), payload.bin,
    target-files, factory and fastboot packages, disk, super and partition images, APEX, a folder.

    \b
    Examples:
      rom-builder inspect ota.zip
      rom-builder inspect super.img --format json
    """
    from rom_builder.cli.progress import progress
    from rom_builder.inspection import inspect_rom
    from rom_builder.rom.opening import open_rom

    with progress() as step:
        found = inspect_rom(open_rom(image, step=step))
    if form == "json":
        click.echo(json.dumps(as_json(found), indent=2, ensure_ascii=True))
        return
    from rom_builder.cli.options import color_of
    from rom_builder.reports.text import printable

    color = color_of(sys.stdout)
    for line in lines(found):
        heading = not line.startswith(" ")
        text = printable(line)
        click.echo(click.style(text, bold=True) if color and heading else text)


def as_json(found: Inspection) -> dict[str, object]:
    """Return the values as JSON has them."""
    return {"schema": "rom-builder/inspection/v1", **dataclasses.asdict(found)}


def lines(found: Inspection) -> Iterator[str]:
    """Yield the text form line by line."""
    size = f", {sized(found.size)}" if found.size is not None else ""
    yield f"{found.path}: {found.kind}{size}, {found.files} installed files"
    for what, value in found.build.items():
        yield f"  {what.replace('_', ' '):<16}{value}"
    yield from section("package says", (f"{k} = {v}" for k, v in found.metadata.items()))
    yield from section("partitions", map(partition_line, found.partitions))
    yield from section("payloads", (x for each in found.payloads for x in payload_lines(each)))
    yield from section("verified boot", (x for e in found.verified_boot for x in avb_lines(e)))
    yield from section("update certificates", map(certificate_line, found.certificates))
    yield from section("APEX modules", map(module_line, found.modules))
    unread = [f"{part.path}: {part.reason}" for part in found.unread]
    yield from section("NOT READ", unread) if unread else ["everything could be read"]


def section(title: str, items: Iterable[str]) -> Iterator[str]:
    """Yield a list under its title, nothing if it is empty."""
    listed = list(items)
    if listed:
        yield title
    for item in listed[:SHOWN]:
        yield f"  {item}"
    if len(listed) > SHOWN:
        yield f"  and {len(listed) - SHOWN} more (see --format json)"


def partition_line(each: PartitionFacts) -> str:
    """Say what one partition is."""
    words = [f"{each.name + ('_' + each.slot if each.slot else ''):<20}{sized(each.size):>10}"]
    words.append(f"  {each.kind}")
    if each.wrapped_in:
        words.append(f"in {', '.join(each.wrapped_in)}")
    if each.files:
        words.append(f"{each.files} files")
    if each.mounted_at:
        words.append(f"at {each.mounted_at}")
    if each.boot:
        words.append(f"header v{each.boot.header_version}")
        words += [f"Android {each.boot.os_version}"] if each.boot.os_version else []
        words += [f"patch level {each.boot.os_patch_level}"] if each.boot.os_patch_level else []
    return " ".join(words)


def payload_lines(each: PayloadFacts) -> Iterator[str]:
    """Say what one payload is."""
    kind = "full" if each.minor_version == 0 else f"minor version {each.minor_version}"
    yield f"{each.path}: {kind}, {len(each.partitions)} partitions"
    if each.signed_by:
        yield f"  manifest signed by {each.signed_by}"
    else:
        yield f"  manifest signature not established: {each.signature}"
    for problem in each.problems:
        yield f"  {problem}"


def avb_lines(each: VerifiedBoot) -> Iterator[str]:
    """Say what one vbmeta image says."""
    slot = f"_{each.slot}" if each.slot else ""
    known = f" PUBLICLY KNOWN: {each.known_as}" if each.known_as else ""
    key = f", key {each.key_sha1}{known}" if each.key_sha1 else ""
    fault = f": {each.fault}" if each.fault else ""
    yield (
        f"{each.image}{slot}: {each.algorithm}, {each.trust}{fault}, flags {each.flags}, "
        f"rollback index {each.rollback_index}{key}"
    )
    if each.covered:
        yield f"  covers {', '.join(f'{n} ({kind})' for n, kind in sorted(each.covered.items()))}"
    for name, sha1 in sorted(each.chained.items()):
        yield f"  chains to {name}, key {sha1}"


def certificate_line(each: SigningCertificate) -> str:
    """Say what one certificate is for."""
    known = f" PUBLICLY KNOWN: {each.known_as}" if each.known_as else ""
    return f"{each.use}: {each.subject}, {each.key}, {each.digest}, SHA-1 {each.cert_sha1}{known}"


def module_line(each: ModuleFacts) -> str:
    """Say what one module is."""
    known = f" PUBLICLY KNOWN: {each.known_as}" if each.known_as else ""
    fault = f" NOT SIGNED WITH IT: {each.fault}" if each.fault else ""
    return f"{each.name} {each.version}, key {each.key_sha1 or 'none'}{known}{fault}"


def sized(size: int) -> str:
    """Return a number of bytes for people.

    >>> sized(512), sized(64 << 20), sized(3 << 30)
    ('512 B', '64.0 MiB', '3.0 GiB')
    """
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size} B"
