"""Which kind of package is built from a base, and whether one can be built at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import BuildRefused
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.packing.ab_pack import write_ab_package
from rom_builder.packing.block_pack import is_block_based, refuse_unsuitable, write_block_package
from rom_builder.packing.file_pack import write_package
from rom_builder.packing.image_base import is_image_base, read_image_base
from rom_builder.packing.image_pack import write_image_package
from rom_builder.packing.partitions import refuse_unread
from rom_builder.plan import Plan
from rom_builder.rom import Rom
from rom_builder.signers.keyring import Keyring

Write = Callable[[Rom, Plan, Keyring, BinaryIO], None]
WHAT_BUILDS = (
    "give a full A/B package, a target-files package, a folder of partition images, or a file-based "
    "or full block-based package, packed or unpacked"
)


@dataclass(frozen=True, slots=True)
class Base:
    """How a package is made from a base.

    Attributes:
        write: Writes the package, its whole-file signature aside.
        is_ab: Whether the package holds a payload.
        is_sealed: Whether signatures are made while it is written, so that it has to be judged before.
        notes: What the user should know.
    """

    write: Write
    is_ab: bool
    is_sealed: bool
    notes: tuple[str, ...] = ()


def base_of(rom: Rom) -> Base:
    """Return how a package is made from a ROM.

    Raises:
        BuildRefused: None can be, or something that it must tell is missing.
        ImageError: A file that tells it is damaged.
    """
    if PAYLOAD_NAME in rom.contents.payloads:
        refuse_unread(rom)
        refuse_other_packing(rom)
        return Base(write_ab_package, is_ab=True, is_sealed=True)
    if is_block_based(rom):
        refuse_unsuitable(rom)
        return Base(write_block_package, is_ab=False, is_sealed=True)
    if rom.script is not None:
        return Base(_write_file_based, is_ab=False, is_sealed=False)
    if is_image_base(rom):
        refuse_unread(rom)
        notes = read_image_base(rom).notes
        return Base(write_image_package, is_ab=True, is_sealed=True, notes=notes)
    raise BuildRefused(
        f"{rom.path}: is a {rom.kind}, which no package can be built from", hint=WHAT_BUILDS
    )


def refuse_other_packing(rom: Rom) -> None:
    """Refuse an A/B package of which not every byte that a device installs would be made anew.

    Raises:
        BuildRefused: It is unpacked, so that its entries' order is lost, or has a second payload.
    """
    if not isinstance(rom.mounts[0].tree, ZipTree):
        raise BuildRefused(
            f"{rom.path}: the A/B package is unpacked",
            hint="give the zip as its maker published it",
        )
    second = next((name for name in rom.contents.payloads if name != PAYLOAD_NAME), None)
    if second is not None:
        raise BuildRefused(
            f"{rom.path}: {second} is a second payload, for the other slot; only one is edited",
            hint="give the package without it: ota_from_target_files without --include_secondary",
        )


def _write_file_based(rom: Rom, plan: Plan, keys: Keyring, file: BinaryIO) -> None:
    write_package(rom, plan, keys.ota.certificate.public_bytes(Encoding.PEM), file)
