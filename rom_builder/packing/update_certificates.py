"""Let a device that installs a package take the next one: put its certificate where devices look.

The updater app looks in ``/system/etc/security/otacerts.zip``, recovery in the copy of that file in
its own ramdisk, which is in the partition recovery, boot, vendor_boot or init_boot. Each copy is
renewed by itself: what stands in one need not stand in another.

Source: AOSP frameworks/base ``RecoverySystem.getTrustedCerts`` and bootable/recovery
``LoadKeysFromZipfile``, in older versions ``load_keys``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.edits import Edit, FileData, RamdiskEdit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.otacert import parse_certificates, recovery_fitness
from rom_builder.formats.source import BytesSource
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.keys import publicly_known, spki_sha256
from rom_builder.packing.image_base import is_image_base, read_image_base
from rom_builder.packing.ramdisks import edited_boot_image
from rom_builder.plan import Plan, add
from rom_builder.readers.signatures import MAX_CERTIFICATES_SIZE, OTACERTS
from rom_builder.rom import Rom, RomFile
from rom_builder.rom.containers import Partition

RES_KEYS = "res/keys"
"""Where recovery has its keys before Android 9, as numbers in a text."""
RECOVERY_PATCHES = (
    "/system/recovery-from-boot.p",
    "/vendor/recovery-from-boot.p",
    "/system/etc/recovery.img",
    "/vendor/etc/recovery.img",
)
"""What a device without slots makes its recovery partition from, each time it boots."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of the accepted certificates.

    Attributes:
        file: Where it lies in the input.
        partition: The boot image whose ramdisk holds it, None for the installed file.
    """

    file: RomFile
    partition: Partition | None


class Accepted(NamedTuple):
    """One entry of an ``otacerts.zip``.

    Attributes:
        content: The entry as it is.
        certificate: The one that a device reads from it, None if there is none.
        unfit: Why recovery would refuse it, and with it the whole list; empty if it takes it.
    """

    entry: str
    content: bytes
    certificate: x509.Certificate | None
    unfit: str

    @property
    def label(self) -> str:
        """How a person tells it from the others."""
        return self.certificate.subject.rfc4514_string() if self.certificate else self.entry

    @property
    def public_name(self) -> str | None:
        """Name of the publicly known key that it has, None if it has none."""
        if self.unfit or self.certificate is None:
            return None
        known = publicly_known(spki_sha256(self.certificate.public_key()))
        return known.names[0] if known else None


@dataclass(frozen=True, slots=True)
class Renewed:
    """New content of one copy, and what became of its certificates.

    Attributes:
        data: The archive afterwards.
        why: What is kept, added and removed, in one line.
        changed: Whether any certificate was added or removed.
    """

    data: bytes
    why: str
    changed: bool


def plan_certificates(
    rom: Rom,
    made: Plan,
    *certificates: x509.Certificate,
    added: Sequence[x509.Certificate] = (),
    dropped: Sequence[x509.Certificate] = (),
) -> Plan:
    """Add to a plan that every copy of the accepted certificates holds those that sign.

    Certificates of publicly known keys, and those that recovery cannot use, are removed; all others
    are kept as they are.

    Args:
        rom: The base.
        made: The other edits; an ``otacerts.zip`` that the user brings is renewed like the base's.
        certificates: Those of the keys that sign the package and its payload.
        added: Others that a device shall accept, too.
        dropped: Those that it shall no longer accept.

    Raises:
        BuildRefused: Recovery would refuse a certificate, or the base has no place for the file.
        ImageError: A copy is damaged, or the ramdisk it lies in cannot be written.
    """
    for certificate in dropped:
        if certificate in (*certificates, *added):
            raise BuildRefused(
                f"the certificate {certificate.subject.rfc4514_string()} signs this package or is to "
                "be accepted: it cannot be dropped",
                hint="drop it in a release that the new key signs",
            )
    certificates = tuple(dict.fromkeys((*certificates, *added)))
    unfit = [reason for certificate in certificates for reason in recovery_fitness(certificate)]
    if unfit:
        raise BuildRefused(
            f"recovery cannot use a certificate that it is given: {'; '.join(unfit)}",
            hint="one such certificate in otacerts.zip makes it refuse every package",
        )
    edits = {edit.path: edit for edit in made.edits}
    edited = rom.with_edits(made.edits)
    notes: list[str] = []
    ramdisk_edits: list[RamdiskEdit] = []
    installed = next((copy for copy in copies(edited) if copy.partition is None), None)
    before = edited.read(installed.file, MAX_CERTIFICATES_SIZE) if installed else None
    renewed = renew(before, certificates, OTACERTS, dropped)
    if renewed.changed:
        add(rom, edits, Edit(OTACERTS, FileData(renewed.data), renewed.why))
    for copy in copies(rom):
        if copy.partition is not None:
            edit, note = ramdisk_edit(rom, copy, copy.partition, certificates, dropped)
            ramdisk_edits += [edit] if edit else []
            notes += [note] if note else []
    return replace(
        made,
        edits=tuple(edits[path] for path in sorted(edits)),
        ramdisk_edits=tuple(sorted(ramdisk_edits, key=lambda edit: edit.name)),
        notes=(*made.notes, *notes, *what_is_left(rom)),
    )


def ramdisk_edit(
    rom: Rom,
    copy: Copy,
    partition: Partition,
    certificates: Sequence[x509.Certificate],
    dropped: Sequence[x509.Certificate] = (),
) -> tuple[RamdiskEdit | None, str | None]:
    """Return the edit of a copy in a ramdisk, or a note why it stays; neither if it is as it should be.

    Raises:
        ImageError: The copy is damaged, or its payload's image cannot be written.
    """
    name = copy.file.name
    renewed = renew(rom.read(copy.file, MAX_CERTIFICATES_SIZE), certificates, name, dropped)
    if not renewed.changed:
        return None, None
    edit = RamdiskEdit(partition.path, copy.file.node.path, renewed.data, renewed.why)
    if partition.path.startswith(f"{PAYLOAD_NAME}!/"):
        return edit, None
    if is_image_base(rom):
        written = partition in read_image_base(rom).partitions.values()
        return edit if written else None, None
    left = f"{name} stays as it is: %s; recovery will refuse the next package that this key signs"
    if "!/" in partition.path or partition.containers:
        return None, left % "images inside other containers cannot be edited"
    if partition.vbmeta is not None:
        return (
            None,
            left % "verified boot covers its image, and is sealed again in A/B packages only",
        )
    try:
        edited_boot_image(partition.source, [edit])
    except ImageError as error:
        return None, left % f"its image cannot be written: {error.message}"
    return edit, None


def what_is_left(rom: Rom) -> Iterator[str]:
    """Yield what the user should know of the keys that no edit reaches."""
    in_ramdisks = [copy for copy in copies(rom) if copy.partition is not None]
    old = [
        f"{mount.prefix}{RES_KEYS}"
        for mount in rom.mounts
        if mount.partition is not None
        and mount.partition.boot is not None
        and f"{mount.prefix}{RES_KEYS}" in rom.by_name
    ]
    for name in old:
        yield (
            f"{name} stays as it is: recovery before Android 9 has its keys in that form, which is "
            "not written; it will refuse the next package that this key signs"
        )
    if not in_ramdisks and not old:
        yield (
            "no boot image of the base has otacerts.zip in its ramdisk: recovery keeps the "
            "certificates that it has on the device"
        )
    for path in RECOVERY_PATCHES:
        if rom.find(path) is not None:
            yield (
                f"{path}: the device makes its recovery from this, with the certificates of the "
                "base; it stays as it is"
            )


def copies(rom: Rom) -> Iterator[Copy]:
    """Yield every copy of ``otacerts.zip``: the installed one first, then those in ramdisks."""
    ramdisks = {
        mount.prefix: mount.partition for mount in rom.mounts if is_ramdisk(mount.partition)
    }
    inside = {prefix + OTACERTS.lstrip("/"): partition for prefix, partition in ramdisks.items()}
    installed = rom.find(OTACERTS)
    if installed is not None and installed.name not in inside:
        yield Copy(installed, None)
    for name, partition in sorted(inside.items()):
        file = rom.by_name.get(name)
        if file is not None and file.node.kind is NodeKind.FILE:
            yield Copy(file, partition)


def is_ramdisk(partition: Partition | None) -> bool:
    """Say whether the files of a partition image are those of its ramdisk."""
    return partition is not None and partition.boot is not None


def renew(
    data: bytes | None,
    certificates: Sequence[x509.Certificate],
    name: str,
    dropped: Sequence[x509.Certificate] = (),
) -> Renewed:
    """Return a copy with certificates added and those that endanger the device removed.

    The same copy and certificates give the same bytes; renewing twice changes nothing more.

    Args:
        data: The copy; None if there is none yet.
        certificates: Those that sign.
        name: Of the copy, for errors.
        dropped: Those that are taken out.

    Raises:
        ImageError: The copy is no archive, or damaged.
    """
    kept: list[Accepted] = []
    removed: list[str] = []
    missing = list(certificates)
    for item in read_copy(data, name) if data is not None else ():
        if item.certificate in certificates:
            missing = [certificate for certificate in missing if certificate != item.certificate]
            kept.append(item)
        elif item.certificate is not None and item.certificate in dropped:
            removed.append(f"{item.label} (as asked)")
        elif item.unfit:
            removed.append(f"{item.label} (recovery cannot use it: {item.unfit})")
        elif item.public_name:
            removed.append(f"{item.label} (publicly known: {item.public_name})")
        else:
            kept.append(item)
    labels = [item.label for item in kept]
    entries = {item.entry: item.content for item in kept}
    parts = [f"keeps {', '.join(labels)}"] if labels else []
    for certificate in missing:
        fingerprint = certificate.fingerprint(SHA256()).hex()
        entries[f"{fingerprint[:16]}.x509.pem"] = certificate.public_bytes(Encoding.PEM)
        parts.append(f"adds {certificate.subject.rfc4514_string()}")
    parts += [f"removes {', '.join(removed)}"] if removed else []
    file = io.BytesIO()
    writer = ZipWriter(file)
    for entry, content in entries.items():
        writer.add(entry, content, compress=False)
    writer.close()
    why = f"--replace-otacerts: {'; '.join(parts)}"
    return Renewed(file.getvalue(), why, changed=bool(missing or removed))


def read_copy(data: bytes, name: str) -> Iterator[Accepted]:
    """Yield the entries of an ``otacerts.zip`` that recovery reads.

    Raises:
        ImageError: It is no archive, or damaged.
    """
    try:
        archive = ZipArchive(BytesSource(data), lenient=True)
        for entry in archive.entries.values():
            if entry.name.endswith("x509.pem"):
                yield judged(entry.name, archive.read(entry, limit=MAX_CERTIFICATE_SIZE))
    except ImageError as error:
        raise error.within(name) from error


def judged(entry: str, content: bytes) -> Accepted:
    """Read one entry as recovery does: its first certificate counts."""
    try:
        certificate = parse_certificates(content)[0]
        unfit = recovery_fitness(certificate)
    except ImageError as error:
        return Accepted(entry, content, None, error.message)
    return Accepted(entry, content, certificate, "; ".join(unfit))


def dangers(rom: Rom) -> Iterator[str]:
    """Yield a warning for each certificate, or damage, that makes recovery drop a whole list."""
    for copy in copies(rom):
        name = copy.file.name
        try:
            found = list(read_copy(rom.read(copy.file, MAX_CERTIFICATES_SIZE), name))
        except ImageError as error:
            yield f"WARNING: recovery cannot read its list of certificates: {error}"
            continue
        for item in found:
            if item.unfit:
                yield (
                    f"WARNING: {name}!/{item.entry}: recovery cannot use this certificate and drops "
                    f"the whole list for it, so that the device takes no package at all: "
                    f"{item.unfit}; --replace-otacerts removes it"
                )
