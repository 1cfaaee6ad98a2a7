"""Code that was taken out of an app or jar when it was optimised or compiled ahead.

====================  ==================================================================
Android               where it lies, beside the app or jar ``X``
====================  ==================================================================
1 to 4                ``X.odex`` (:mod:`rom_builder.formats.odex`)
5                     ``<instruction set>/X.odex`` (:mod:`rom_builder.formats.oat`)
6, 7                  ``oat/<instruction set>/X.odex``
5 to 7                ``<instruction set>/boot.oat``: the jars of the boot class path, each
                      under its location; in 7 also one a jar, ``boot-X.oat``
8 to 14               ``oat/<instruction set>/X.vdex`` (:mod:`rom_builder.formats.vdex`);
                      of the boot class path ``boot-X.vdex``, beside or below
====================  ==================================================================

All instruction sets have the same code; the first of :data:`INSTRUCTION_SETS` is read.
"""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex
from rom_builder.formats.elf import MAGIC as ELF
from rom_builder.formats.oat import parse_oat
from rom_builder.formats.odex import MAGIC, parse_odex
from rom_builder.formats.vdex import parse_vdex
from rom_builder.rom import READ_LIMIT, Rom, RomFile

INSTRUCTION_SETS = ("arm64", "arm", "x86_64", "x86", "riscv64", "mips64", "mips")
"""Folders of what is compiled ahead (art/libartbase/arch/instruction_set.cc)."""
BOOT = "boot.oat"


def taken_out_of(rom: Rom, file: RomFile) -> RomFile | None:
    """Return the file that holds the code taken out of an app or jar, if there is one.

    That a ``boot.oat`` does so is not certain before it is read.
    """
    folder, _, name = file.name.rpartition("/")
    stem, _, kind = name.rpartition(".")
    places = [f"boot-{stem}.vdex"]
    for instructions in INSTRUCTION_SETS:
        places += [f"oat/{instructions}/{stem}.vdex", f"{instructions}/boot-{stem}.vdex"]
    places.append(f"{stem}.odex")
    for instructions in INSTRUCTION_SETS:
        places += [f"oat/{instructions}/{stem}.odex", f"{instructions}/{stem}.odex"]
    if kind == "jar":
        places += [f"{each}/boot-{stem}.oat" for each in INSTRUCTION_SETS]
        places += [f"{each}/{BOOT}" for each in INSTRUCTION_SETS]
    found = (rom.by_name.get(f"{folder}/{place}" if folder else place) for place in places)
    return next((each for each in found if each is not None), None)


def read_taken_out(
    rom: Rom, file: RomFile, taken_out: RomFile, *, code: bool = False
) -> Iterator[tuple[str, Dex]]:
    """Yield the DEX files that were taken out of an app or jar, with the names they had in it.

    Args:
        rom: Where it lies.
        file: The app or jar.
        taken_out: What :func:`taken_out_of` returns for it.
        code: Also read the code, which may have been quickened; otherwise only texts count.

    Raises:
        ImageError: They cannot be read.
    """
    try:
        for name, dex in _read(rom, file, taken_out, code):
            yield f"{taken_out.name}{name}", dex
    except ImageError as error:
        raise error if error.path else error.within(taken_out.name) from error


def no_code(file: RomFile, taken_out: RomFile) -> ImageError:
    """Return the error for a file that holds nothing of the app or jar that it belongs to."""
    what = "holds no code, and its app neither"
    if taken_out.name.rpartition("/")[2] == BOOT:
        what = f"holds no code of {file.name.rpartition('/')[2]}"
    return ImageError(what, path=taken_out.name)


def _read(rom: Rom, file: RomFile, taken_out: RomFile, code: bool) -> Iterator[tuple[str, Dex]]:
    if taken_out.name.endswith(".vdex"):
        vdex = parse_vdex(rom.read(taken_out))
        for number, dex in enumerate(vdex.restored() if code else vdex.files, 1):
            yield f"!/{_entry(number)}", dex
        return
    source = rom.open(taken_out)
    if source.read_at(0, min(source.size, 4)) != ELF:
        data = rom.read(taken_out)
        if not data.startswith(MAGIC):
            raise ImageError("compiled code is not read")
        yield "", parse_odex(data)
        return
    inside = parse_oat(source)
    folder = ""
    if taken_out.name.endswith(".oat"):
        jar = file.name.rpartition("/")[2]
        inside = [each for each in inside if each.file == jar]
        folder = f"!/{jar}"
    size = sum(each.source.size for each in inside)
    if size > READ_LIMIT:
        raise ImageError(f"{size} bytes of DEX files; at most {READ_LIMIT} are read")
    for number, each in enumerate(inside, 1):
        name = f"{folder}!/{_entry(number)}"
        try:
            dex = each.dex()
        except ImageError as error:
            raise error.within(f"{taken_out.name}{name}") from error
        yield name, dex


def _entry(number: int) -> str:
    return f"classes{number if number > 1 else ''}.dex"
