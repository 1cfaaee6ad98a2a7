"""``rom-builder cat``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

PIECE = 1 << 20


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("name", metavar="PATH")
@click.option("--xml", is_flag=True, help="Decode compiled XML to text.")
def cat(image: Path, name: str, xml: bool) -> None:
    """Write one file of the ROM in IMAGE to standard output, as it is.

    PATH is a path on the device (/product/etc/nsc.xml) or a name as ls gives it
    (super.img!/product_a!/etc/nsc.xml); !/ enters archives. A partition's name gives its image.

    \b
    Examples:
      rom-builder cat ota.zip /system/build.prop
      rom-builder cat ota.zip '/product/app/X/X.apk!/AndroidManifest.xml' --xml
      rom-builder cat ota.zip 'payload.bin!/boot' > boot.img
    """
    from rom_builder.errors import ImageError
    from rom_builder.formats.axml import parse_axml
    from rom_builder.formats.axml_text import write_text
    from rom_builder.rom import READ_LIMIT
    from rom_builder.rom.nested import open_name
    from rom_builder.rom.opening import open_rom

    source = open_name(open_rom(image, modules="apex" in name), name)
    out = sys.stdout.buffer
    try:
        if xml:
            if source.size > READ_LIMIT:
                raise ImageError(f"{source.size} bytes; at most {READ_LIMIT} are decoded")
            root = parse_axml(source.read_at(0, source.size))
            out.write(write_text(root).encode(errors="backslashreplace"))
            return
        for offset in range(0, source.size, PIECE):
            out.write(source.read_at(offset, min(PIECE, source.size - offset)))
    except ImageError as error:
        raise error.within(name) from error
