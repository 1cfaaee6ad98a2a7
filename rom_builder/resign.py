"""The story of a package signed with other keys: open, sign what holds signatures, pack, verify, name."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from rom_builder.build import Step, before_signing, refuse_unless_compliant, remarks
from rom_builder.check import check_rom
from rom_builder.errors import BuildRefused, SigningError
from rom_builder.files import write_whole
from rom_builder.findings import Report
from rom_builder.formats.ab_metadata import verify_places
from rom_builder.formats.ota_signature import signed_size
from rom_builder.formats.source import FileSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import refuse_public_key
from rom_builder.packing.bases import Base, base_of
from rom_builder.packing.image_base import is_image_base
from rom_builder.packing.update_certificates import plan_certificates
from rom_builder.plan import Plan
from rom_builder.policy.load import Policies
from rom_builder.rom import Rom
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.package import refuse_unfit, sign_package
from rom_builder.verification.package import verify_package


@dataclass(frozen=True, slots=True)
class Resigned:
    """A package that was signed anew.

    Attributes:
        path: Where it is.
        plan: What changed besides signatures.
        report: On the package, if it was held to policies.
    """

    path: Path
    plan: Plan
    report: Report | None


def resign(
    package: Path,
    keys: Keyring,
    output: Path,
    *,
    replace_otacerts: bool = False,
    keep_vbmeta: bool = False,
    allow_public_key: bool = False,
    policies: Policies | None = None,
    today: date,
    step: Step = lambda _: None,
) -> Resigned:
    """Sign a finished package with other keys: whole file, payload, every vbmeta image.

    Partitions keep their content, and operations that no vbmeta image lies in keep their bytes.

    Args:
        package: A full A/B package, or a file-based or full block-based one.
        keys: What signs it; ``avb`` is needed where the package has verified boot.
        output: The package to write; appears whole or not at all.
        replace_otacerts: As in a build: put the certificates of the new keys where devices look.
        keep_vbmeta: Leave verified boot as it is.
        allow_public_key: Sign with a publicly known key all the same.
        policies: What the result must meet, if anything.
        today: Day on which expiry dates are judged.
        step: Told what is being done.

    Raises:
        NotCompliant: The result would not meet its policies.
        BuildRefused: It is no such package, or is damaged.
        SigningError: A key is refused, missing or fails, or the result does not verify.
        ImageError: The package is damaged where it has to be read.
    """
    for key in keys.signers:
        refuse_public_key(key.public_key, allow_public_key=allow_public_key, name=key.uri)
    refuse_unfit(keys.ota)
    step("open")
    rom = open_rom(package)
    kind = package_kind(rom)
    if output.exists() and output.resolve() == package.resolve():
        raise BuildRefused(f"{output} is the package itself", hint="write to another file")
    step("plan")
    made = Plan((), (), resign=not keep_vbmeta)
    if replace_otacerts:
        made = plan_certificates(rom, made, *keys.device_certificates)
    made = replace(
        made, notes=(*made.notes, *remarks(rom, keys, replaces_otacerts=replace_otacerts))
    )
    with write_whole(output) as file:
        if policies is not None:  # vbmeta images and payload are signed while it is packed
            step("check")
            edited = rom.with_edits(made.edits)
            found = check_rom(edited, policies, today=today, sha256="")
            refuse_unless_compliant(before_signing(found, edited), made, output, rom)
        step("pack")
        kind.write(rom, made, keys, file)
        file.flush()
        packed = Path(file.name)
        report = None
        if policies is not None:
            step("check")
            result = open_rom(packed, operations=rom.contents.operations)
            report = check_rom(result, policies, today=today, notes=made.notes, sha256="")
            refuse_unless_compliant(report, made, output, result)
        step("sign")
        with closing(FileSource(packed)) as source:
            tail = sign_package(source, keys.ota)
            file.seek(signed_size(source))
        file.write(tail)
        file.truncate()
        file.flush()
        step("verify")
        refuse_unverified(packed, package, keys, kind.is_ab, allow_public_key=allow_public_key)
    return Resigned(output, made, report)


def package_kind(rom: Rom) -> Base:
    """Return how a finished package is written.

    Raises:
        BuildRefused: The input is none.
    """
    if not rom.path.is_file() or is_image_base(rom):
        raise BuildRefused(
            f"{rom.path}: is no finished package: there is nothing to sign anew",
            hint="make one with rom-builder build",
        )
    return base_of(rom)


def refuse_unverified(
    result: Path, before: Path | None, keys: Keyring, is_ab: bool, *, allow_public_key: bool
) -> None:
    """Let no package out of which something does not hold that held before, or that was signed here.

    Raises:
        SigningError: It does not.
        ImageError: Its metadata is wrong.
    """
    trusted = [key.given for key in (keys.ota, keys.payload) if key.given is not None]
    with closing(FileSource(result)) as source:
        found = verify_package(
            source,
            list(dict.fromkeys(trusted)),
            payload_keys=[keys.payload.public_key],
            quick=True,
            allow_public_key=allow_public_key,
        )
        if is_ab:
            verify_places(ZipArchive(source), source.size)
    if not found.failed:
        return
    known = {"verified boot covers"}  # what the base did not cover is for the policy to judge
    if before is not None:
        with closing(FileSource(before)) as source:
            known |= {check.name for check in verify_package(source, quick=True).failed}
    mine = ("whole-file signature", "metadata signature", "payload signature")
    for check in found.failed:
        if check.name not in known or check.name in mine:
            raise SigningError(f"the result does not verify: {check.name}: {check.detail}")
