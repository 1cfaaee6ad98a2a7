"""``rom-builder ls``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rom_builder.formats.tree import Node

LETTERS = {
    "file": "-",
    "folder": "d",
    "symlink": "l",
    "character device": "c",
    "block device": "b",
    "fifo": "p",
    "socket": "s",
}


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("name", metavar="[PATH]", default="/")
@click.option(
    "-l", "--long", is_flag=True,
    help="Mode, owner, group, size, time, SELinux label, capabilities and link target as well.",
)  # fmt: skip
@click.option("-R", "--recursive", is_flag=True, help="Everything below PATH.")
def ls(image: Path, name: str, long: bool, recursive: bool) -> None:
    """List what lies in the ROM in IMAGE, one name a line.

    PATH is a path on the device (/product/app, default /), or a name in the input: . is its top,
    super.img!/product_a a partition, X.apk!/ what is in an archive. What the input does not say is
    shown as "-".

    \b
    Examples:
      rom-builder ls ota.zip /system/priv-app
      rom-builder ls ota.zip payload.bin
      rom-builder ls -l ota.zip '/product/app/X/X.apk!/res/xml'
    """
    from rom_builder.reports.text import printable
    from rom_builder.rom.nested import list_names
    from rom_builder.rom.opening import open_rom

    modules = "apex" in name or (recursive and name == "/")
    rom = open_rom(image, modules=modules or name == "/")
    for entry in list_names(rom, name, recursive=recursive):
        line = printable(entry.name)
        click.echo(f"{details(entry.node)}  {line}{target_of(entry.node)}" if long else line)
    for part in rom.unread:
        click.echo(f"not read: {printable(part.path)}: {printable(part.reason)}", err=True)


def details(node: Node) -> str:
    """Return the columns before the name."""
    owner = "-" if node.uid is None else str(node.uid)
    group = "-" if node.gid is None else str(node.gid)
    time = "-" if node.mtime is None else stamp(node.mtime)
    from rom_builder.reports.text import printable

    label = printable(node.label or "-")
    capabilities = node.capabilities.hex() if node.capabilities else "-"
    return (
        f"{mode_of(node)} {owner:>5} {group:>5} {node.size:>10} {time:<16} {label:<32} "
        f"{capabilities}"
    )


def stamp(seconds: int) -> str:
    """Return a time in UTC, or the number where there is no such day.

    >>> stamp(1402848000)
    '2014-06-15 16:00'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def mode_of(node: Node) -> str:
    """Return kind and permissions as ls shows them.

    >>> from rom_builder.formats.tree import Node, NodeKind
    >>> mode_of(Node("bin/su", NodeKind.FILE, mode=0o4755)), mode_of(Node("x", NodeKind.FOLDER))
    ('-rwsr-xr-x', 'd?????????')
    """
    letter = LETTERS[node.kind.value]
    if node.mode is None:
        return letter + "?" * 9
    bits = [c if node.mode >> (8 - i) & 1 else "-" for i, c in enumerate("rwxrwxrwx")]
    for place, bit, mark in ((2, 0o4000, "s"), (5, 0o2000, "s"), (8, 0o1000, "t")):
        if node.mode & bit:
            bits[place] = mark if bits[place] != "-" else mark.upper()
    return letter + "".join(bits)


def target_of(node: Node) -> str:
    """Return where a link points, as ls shows it."""
    from rom_builder.reports.text import printable

    return f" -> {printable(node.target)}" if node.target is not None else ""
