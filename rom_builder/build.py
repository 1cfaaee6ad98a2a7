"""The story of a package: open, check, plan, edit, pack, check again as a stranger, sign."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.background import in_background
from rom_builder.check import check_rom
from rom_builder.edits import FileData
from rom_builder.errors import BuildRefused, SigningError
from rom_builder.files import write_whole
from rom_builder.findings import Report, Verdict
from rom_builder.formats.ab_metadata import verify_places
from rom_builder.formats.ota_signature import digests_of, signed_digest, signed_size
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.payload import OperationStore
from rom_builder.formats.source import FileSource
from rom_builder.formats.x509 import parse_certificate
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import publicly_known, refuse_public_key, spki_sha256
from rom_builder.packing.bases import Base, base_of
from rom_builder.packing.file_pack import missing_sources
from rom_builder.packing.update_certificates import dangers, plan_certificates
from rom_builder.plan import Plan, plan
from rom_builder.policy.load import Policies
from rom_builder.provenance.attestations import Artifact, Origin
from rom_builder.provenance.proof import Proof, brought_files, write_proof
from rom_builder.provenance.sbom import components, read_ahead
from rom_builder.readers.signatures import read_accepted
from rom_builder.rom import Rom
from rom_builder.rom.opening import open_rom
from rom_builder.signers.apk import sign_app
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.package import refuse_unfit, sign_package
from rom_builder.signers.signer import CheckedSigner
from rom_builder.signing_requests.asking import (
    Asking,
    asked_by,
    refuse_unsigned_apps,
    request_for,
    write_request,
)
from rom_builder.signing_requests.request import RequestedFile
from rom_builder.waivers.apply import NONE, Exceptions

Step = Callable[[str], None]
SIGNED_ANEW = ("rom.public_keys", "rom.weak_signatures", "rom.verified_boot")
"""Requirements that a build meets by signing."""


@dataclass(frozen=True, slots=True)
class Built:
    """A package that was written, and the report on it.

    Attributes:
        unsigned: Whether it waits for signatures; a signing request lies beside it.
    """

    path: Path
    plan: Plan
    report: Report
    unsigned: bool = False


class NotCompliant(BuildRefused):
    """The package would not meet its policy; the report says why."""

    def __init__(self, report: Report, made: Plan) -> None:
        super().__init__(
            f"the package would be {report.verdict}; nothing was written",
            hint="bring what configuration cannot mend with --replace or --tree",
        )
        self.report = report
        self.plan = made


def build(
    base: Path,
    policies: Policies,
    keys: Keyring,
    output: Path,
    *,
    brought: dict[str, FileData],
    removed: Sequence[str] = (),
    wipe: bool = False,
    today: date,
    allow_public_key: bool = False,
    replace_otacerts: bool = False,
    added_otacerts: Sequence[x509.Certificate] = (),
    dropped_otacerts: Sequence[x509.Certificate] = (),
    exceptions: Exceptions = NONE,
    proof: Proof | None = None,
    step: Step = lambda _: None,
) -> Built:
    """Write a signed package that meets its policies, or nothing.

    Args:
        base: A full A/B package, a target-files package, partition images, or a file-based or full
            block-based package, packed or unpacked.
        keys: What signs it; ``avb`` is needed where verified boot has to be sealed again, ``apk``
            where the package gets an app of its own: an overlay. With absent keys the package is
            written without their signatures, and a request for these beside it.
        output: The package to write; appears whole or not at all.
        brought: Files that the user brings, by device path.
        removed: Device paths of files, links and whole folders that are taken out.
        wipe: Let no byte of what is replaced or removed stay in an image, or refuse.
        today: Day on which expiry dates are judged.
        allow_public_key: Sign with a publicly known key all the same; the report says so.
        replace_otacerts: Put the certificates of the keys that sign the package and its payload where
            devices look for those that they accept, and take out what endangers them.
        added_otacerts: With that, other certificates that they shall accept.
        dropped_otacerts: With that, certificates that they shall no longer accept.
        exceptions: Failures that do not count; a baseline among them makes nothing compliant.
        proof: Write attestations and a bill of materials beside the package, if the keys have one for
            attestations; they appear before the package does.
        step: Told what is being done.

    Raises:
        NotCompliant: The result does not meet its policies.
        AppsFirst: Keys are absent and an app has to be signed before the package can be made; the
            request for that was written.
        BuildRefused: The base cannot be edited safely.
        SigningError: The key is refused or fails.
        ImageError: The base is damaged where it has to be read.
    """
    for key in keys.signers:
        refuse_public_key(key.public_key, allow_public_key=allow_public_key, name=key.uri)
    refuse_unfit(keys.ota)
    step("open")
    rom = open_rom(base, operations=OperationStore(whole=likely_edited(brought, removed)))
    attesting = None if keys.attestation is None else proof
    wanted = attesting or keys.ota.absent
    base_digest = in_background(lambda: rom.sha256) if wanted else None
    _refuse_output(base, output)
    kind = base_of(rom)
    if attesting and rom.contents.payloads:
        in_background(lambda: read_ahead(rom))  # decoded beside what only one processor can do
    step("plan")
    made = plan(rom, policies, brought, removed=removed, wipe=wipe)
    if replace_otacerts:
        made = plan_certificates(
            rom,
            made,
            *keys.device_certificates,
            added=added_otacerts,
            dropped=dropped_otacerts,
        )
    asking = None
    if keys.ota.absent and base_digest is not None:
        file_asked = RequestedFile(name=base.name, sha256=base_digest.result())
        asking = asked_by(policies, file_asked, brought, proof)
        refuse_unsigned_apps(made, keys, output, asking)
    made = with_signed_apps(made, keys.apk)
    remarked = remarks(rom, keys, replaces_otacerts=replace_otacerts)
    made = replace(made, notes=(*made.notes, *kind.notes, *remarked))
    work = _Work(rom, kind, made, keys, output, policies, exceptions, today, step)
    with write_whole(output) as file:
        result, report, digest = work.packed(file)
        if asking:
            return work.asked(result, report, asking)
        refuse_unless_compliant(report, made, output, result)
        work.sign(file, digest.result())
        step("verify")
        hashed = in_background(lambda: work.verified(file))
        in_background(lambda: os.fsync(file.fileno()))  # before the file is closed and synced
        parts = components(result) if attesting else None
        report = named(report, output, hashed.result())
        if attesting is not None and base_digest is not None and keys.attestation is not None:
            step("attest")
            origin = Origin(
                base=Artifact(base.name, base_digest.result()),
                policies=policies,
                brought=brought_files(brought),
                signed_by=keys.fingerprints,
                builder=attesting.builder,
                moment=attesting.moment,
                log_head=attesting.log.head() if attesting.log else None,
            )
            write_proof(output, report, result, origin, keys.attestation, parts)
    return Built(output, made, report)


def likely_edited(brought: Iterable[str], removed: Iterable[str]) -> set[str]:
    """Return partitions that an edit is likely to be in: an edited one is read to its end.

    Files of a policy's own lie in the system partition.
    """
    return {"system", *(path.lstrip("/").split("/", 1)[0] for path in (*brought, *removed))}


def _refuse_output(base: Path, output: Path) -> None:
    if output.exists() and output.resolve() == base.resolve():
        raise BuildRefused(f"{output} is the base itself", hint="write to another file")
    if base.is_dir() and output.resolve().is_relative_to(base.resolve()):
        raise BuildRefused(
            f"{output} is inside the base: the next package would hold it",
            hint="write to another folder",
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """The part of a build that comes after its plan: what it needs for every step."""

    rom: Rom
    kind: Base
    made: Plan
    keys: Keyring
    output: Path
    policies: Policies
    exceptions: Exceptions
    today: date
    step: Step

    def packed(self, file: BinaryIO) -> tuple[Rom, Report, Future[bytes]]:
        """Write the package without its whole-file signature, and judge it as a stranger would.

        Returns:
            The package as a ROM, the report on it, and the digest that is to be signed.
        """
        self.step("pack")
        if self.kind.is_sealed:
            # Its inner signatures are made while it is packed: it is judged before them, too.
            edited = self.rom.with_edits(self.made.edits)
            before = before_signing(self.judged(edited), edited)
            refuse_unless_compliant(before, self.made, self.output, self.rom)
        self.kind.write(self.rom, self.made, self.keys, file)
        file.flush()
        self.step("check")
        source = FileSource(Path(file.name))
        digest = in_background(lambda: signed_digest(source))
        in_background(lambda: os.fsync(file.fileno()))  # less is left to wait for at the end
        result = open_rom(Path(file.name), operations=self.rom.contents.operations)
        return result, self.judged(result), digest

    def judged(self, rom: Rom) -> Report:
        """Hold the package, as edited or as packed, to the policies; it is not hashed yet."""
        return check_rom(
            rom,
            self.policies,
            today=self.today,
            notes=self.made.notes,
            sha256="",
            exceptions=self.exceptions,
        )

    def asked(self, result: Rom, report: Report, asking: Asking) -> Built:
        """Leave the package unsigned, and write the request for its signatures beside it."""
        report = before_signing(report, result)
        refuse_unless_compliant(report, self.made, self.output, result)
        asking = replace(asking, verdict=str(report.verdict))
        request = request_for(result, self.output.name, self.keys, asking)
        if request is not None:
            write_request(self.output, request)
        report = named(report, self.output, result.sha256)
        return Built(self.output, self.made, report, unsigned=True)

    def sign(self, file: BinaryIO, digest: bytes) -> None:
        """Sign the whole file."""
        self.step("sign")
        source = FileSource(Path(file.name))
        tail = sign_package(source, self.keys.ota, digest)
        file.seek(signed_size(source))
        file.write(tail)
        file.truncate()
        file.flush()

    def verified(self, file: BinaryIO) -> str:
        """Verify the signature of the whole file; return the SHA-256 of the package in hex."""
        signed = FileSource(Path(file.name))
        digests = digests_of(signed)
        verify_ota_signature(signed, [self.keys.ota.certificate], digests)
        if self.kind.is_ab:
            verify_places(ZipArchive(signed), signed.size)
        return digests.file.hex()


def before_signing(report: Report, rom: Rom) -> Report:
    """Return a report on a ROM without what it says of signatures that are going to be made anew.

    Keys of files on the device, such as apps, stay in it.
    """
    installed = {file.name for file in rom.files.values()}
    return replace(
        report,
        requirements=tuple(r for r in report.requirements if r.name not in SIGNED_ANEW),
        findings=tuple(
            finding
            for finding in report.findings
            if finding.requirement not in SIGNED_ANEW or finding.location.path in installed
        ),
    )


def with_signed_apps(made: Plan, signer: CheckedSigner | None) -> Plan:
    """Return a plan whose new apps are signed.

    Raises:
        SigningError: There are some and no key for them, or the key cannot be used.
    """
    edits = []
    for edit in made.edits:
        if edit.new is not None and edit.new.unsigned_app:
            if signer is None:
                raise SigningError(
                    f"{edit.path} has to be signed and there is no key for it",
                    hint="add roles.apk to the signing profile",
                )
            data = sign_app(edit.new.data, signer)
            edit = replace(edit, new=replace(edit.new, data=data, unsigned_app=False))
        edits.append(edit)
    return replace(made, edits=tuple(edits))


def refuse_unless_compliant(report: Report, made: Plan, output: Path, rom: Rom) -> None:
    """Go on only with what meets its policies.

    Raises:
        NotCompliant: It does not.
    """
    if report.verdict is not Verdict.COMPLIANT:
        raise NotCompliant(named(report, output, rom.sha256), made)


def named(report: Report, output: Path, sha256: str) -> Report:
    """Return a report that gives the name and digest of the package that is written."""
    return replace(report, image=replace(report.image, path=str(output), sha256=sha256))


def remarks(rom: Rom, keys: Keyring | None, *, replaces_otacerts: bool = False) -> tuple[str, ...]:
    """Return what the user should know of a package made from this base with this key.

    Args:
        rom: The base.
        keys: What signs, None if it is not known yet.
        replaces_otacerts: The package brings its certificate along.
    """
    notes = [] if replaces_otacerts else list(dangers(rom))
    missing = missing_sources(rom)
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        notes.append(
            f"the updater-script installs {len(missing)} things that the base lacks ({shown}): "
            "a device will refuse the package"
        )
    if keys is None:
        return tuple(notes)
    certificate = parse_certificate(keys.ota.certificate.public_bytes(Encoding.DER))
    known = publicly_known(certificate.spki_sha256)
    if known:
        notes.append(f"signed with the publicly known key {known.names[0]}, as allowed")
    accepted = read_accepted(rom)
    if accepted and certificate.spki_sha256 not in {c.spki_sha256 for c in accepted}:
        notes.append(
            "the certificate is not in the base's otacerts.zip: a device with this ROM would not "
            "accept the package, and would refuse the next one that this key signs"
            if not replaces_otacerts
            else "the certificate is not in the base's otacerts.zip: a device with this ROM would not "
            "accept the package; one that has the package accepts the next"
        )
    trusted = {certificate.spki_sha256, *(known.spki_sha256 for known in accepted)}
    if accepted and spki_sha256(keys.payload.public_key) not in trusted and not replaces_otacerts:
        notes.append(
            "the payload's key is not in the base's otacerts.zip: update_engine on a device with this "
            "ROM would not accept the payload"
        )
    return tuple(notes)
