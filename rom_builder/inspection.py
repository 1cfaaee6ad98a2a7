"""What a ROM is: device, build, partitions, verified boot, signatures, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rom_builder.errors import ImageError
from rom_builder.facts import SigningCertificate, VerifiedBoot
from rom_builder.formats.ab_metadata import MAX_METADATA_SIZE
from rom_builder.formats.ota_metadata import METADATA_NAME, parse_ota_metadata
from rom_builder.formats.otacert import OTACERT, parse_certificates
from rom_builder.formats.payload import Payload, problems, verify_metadata_signature
from rom_builder.formats.tree import Unread
from rom_builder.formats.x509 import parse_otacerts
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.readers.signatures import (
    MAX_CERTIFICATES_SIZE,
    OTACERTS,
    read_update_certificates,
)
from rom_builder.readers.verified_boot import known_as, read_verified_boot, sha1_of
from rom_builder.rom import Rom
from rom_builder.rom.completeness import missing_parts
from rom_builder.rom.containers import Partition

MAX_PROBLEMS = 20
"""Complaints about one payload that are listed."""
BUILD = {
    "device": ("ro.product.device", "ro.product.system.device", "ro.product.vendor.device",
               "ro.build.product"),
    "model": ("ro.product.model", "ro.product.system.model", "ro.product.vendor.model"),
    "fingerprint": ("ro.build.fingerprint", "ro.system.build.fingerprint",
                    "ro.product.build.fingerprint", "ro.vendor.build.fingerprint"),
    "release": ("ro.build.version.release", "ro.system.build.version.release"),
    "api_level": ("ro.build.version.sdk", "ro.system.build.version.sdk"),
    "security_patch": ("ro.build.version.security_patch", "ro.vendor.build.security_patch"),
    "type": ("ro.build.type", "ro.system.build.type"),
    "tags": ("ro.build.tags", "ro.system.build.tags"),
}  # fmt: skip
"""Properties that name a build, the first that is set counts."""
FROM_METADATA = {
    "device": "pre-device",
    "fingerprint": "post-build",
    "api_level": "post-sdk-level",
    "security_patch": "post-security-patch-level",
}
FROM_VBMETA = {
    "fingerprint": "com.android.build.system.fingerprint",
    "release": "com.android.build.system.os_version",
    "security_patch": "com.android.build.system.security_patch",
}


@dataclass(frozen=True, slots=True)
class BootFacts:
    """The header of a boot image."""

    header_version: int
    is_vendor: bool
    os_version: str
    os_patch_level: str
    ramdisks: int
    cmdline: str


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """One partition image.

    Attributes:
        name: Without slot suffix.
        slot: ``a``, ``b`` or empty.
        path: Its name in the input.
        kind: ``EROFS``, ``ext4``, ``boot``, ``vbmeta`` ... or ``data`` if it is of no known kind.
        size: Bytes of the image.
        wrapped_in: Containers around it, outermost first.
        mounted_at: Where the device has its files, ``/`` for the root; None if it shows none.
        files: Number of its files, folders and links.
        boot: Its header, if it is a boot image.
    """

    name: str
    slot: str
    path: str
    kind: str
    size: int
    wrapped_in: tuple[str, ...]
    mounted_at: str | None
    files: int
    boot: BootFacts | None


@dataclass(frozen=True, slots=True)
class PayloadFacts:
    """One A/B payload.

    Attributes:
        minor_version: 0 for a full payload.
        partitions: Name, bytes of the new image and number of operations of each.
        signed_by: Subject of the certificate whose key signed its manifest: that of the package or one
            that the device accepts updates from.
        signature: Why there is none of these, empty if there is.
        problems: What update_engine's checkers would complain of.
    """

    path: str
    minor_version: int
    partitions: tuple[tuple[str, int, int], ...]
    security_patch: str
    max_timestamp: int | None
    signed_by: str | None
    signature: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """One APEX module.

    Attributes:
        known_as: Name of its key, if everyone has it.
        fault: Why its payload is not signed with its key, empty if it is.
    """

    name: str
    version: int
    path: str
    key_sha1: str
    known_as: str | None
    fault: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a ROM is.

    Attributes:
        path: As the user named it.
        kind: In words.
        size: Bytes of the file, None for a folder.
        build: Device, fingerprint and so on, by the keys of :data:`BUILD`; only what is known.
        metadata: What the package says of itself (``META-INF/com/android/metadata``).
        files: Number of installed files, folders and links.
    """

    path: str
    kind: str
    size: int | None
    build: dict[str, str]
    metadata: dict[str, str]
    files: int
    partitions: tuple[PartitionFacts, ...]
    verified_boot: tuple[VerifiedBoot, ...]
    certificates: tuple[SigningCertificate, ...]
    payloads: tuple[PayloadFacts, ...]
    modules: tuple[ModuleFacts, ...]
    unread: tuple[Unread, ...]


def inspect_rom(rom: Rom) -> Inspection:
    """Say what a ROM is; content is read only where that tells it."""
    for part in missing_parts(rom):
        rom.note_unread(ImageError(part.reason), part.path)
    metadata = _metadata(rom)
    accepted = _accepted(rom)
    return Inspection(
        path=str(rom.path),
        kind=rom.kind,
        size=rom.path.stat().st_size if rom.path.is_file() else None,
        build=_build(rom, metadata),
        metadata=metadata,
        files=len(rom.files),
        partitions=tuple(_partitions(rom)),
        verified_boot=tuple(f for f in read_verified_boot(rom) if f.role == "partition"),
        certificates=tuple(read_update_certificates(rom)),
        payloads=tuple(
            _payload(path or str(rom.path), payload, accepted)
            for path, payload in rom.contents.payloads.items()
        ),
        modules=tuple(_modules(rom)),
        unread=tuple(rom.unread),  # last: the lines above may add to it
    )


def _metadata(rom: Rom) -> dict[str, str]:
    file = rom.by_name.get(METADATA_NAME)
    if file is None:
        return {}
    try:
        return parse_ota_metadata(rom.read(file, MAX_METADATA_SIZE))
    except ImageError as error:
        rom.note_unread(error, METADATA_NAME)
        return {}


def _build(rom: Rom, metadata: dict[str, str]) -> dict[str, str]:
    """Return what names the build: its properties, else what the package or vbmeta says."""
    platform = read_platform(rom)
    found: dict[str, str] = {}
    for what, keys in BUILD.items():
        values = (platform.get(key) for key in keys)
        value = next(filter(None, values), None) or metadata.get(FROM_METADATA.get(what, ""))
        if value:
            found[what] = value
    for partition in rom.contents.partitions.values():
        said = partition.vbmeta.properties if partition.vbmeta else {}
        for what, key in FROM_VBMETA.items():
            if key in said:
                found.setdefault(what, said[key].decode(errors="replace"))
    return found


def _partitions(rom: Rom) -> Iterator[PartitionFacts]:
    mounts = {mount.partition.path: mount for mount in rom.mounts if mount.partition is not None}
    for partition in rom.contents.partitions.values():
        mount = mounts.get(partition.path)
        files = sum(1 for _ in mount.tree.walk()) if mount else 0
        yield PartitionFacts(
            name=partition.name,
            slot=partition.slot,
            path=partition.path,
            kind=partition.kind,
            size=partition.source.size,
            wrapped_in=partition.containers,
            mounted_at=(mount.place("") or "").rstrip("/") or "/"
            if mount and mount.is_installed
            else None,
            files=files,
            boot=_boot(partition),
        )


def _boot(partition: Partition) -> BootFacts | None:
    boot = partition.boot
    if boot is None:
        return None
    return BootFacts(
        boot.header_version,
        boot.is_vendor,
        boot.os_version,
        boot.os_patch_level,
        len(boot.ramdisks),
        boot.cmdline,
    )


def _accepted(rom: Rom) -> list[x509.Certificate]:
    """Return the certificate of the package, then those that the device accepts updates from."""
    found: list[x509.Certificate] = []
    for file in (rom.by_name.get(OTACERT), rom.find(OTACERTS)):
        if file is None:
            continue
        try:
            data = rom.read(file, MAX_CERTIFICATES_SIZE)
            if data.startswith(b"PK"):
                found += [parse_certificates(each.der)[0] for each in parse_otacerts(data)]
            else:
                found += parse_certificates(data)
        except ImageError as error:
            rom.note_unread(error, file.name)
    return found


def _payload(path: str, payload: Payload, accepted: list[x509.Certificate]) -> PayloadFacts:
    """Say what a payload is. Its blobs are not read: the manifest has the digest of each."""
    signed_by, signature = None, ""
    for certificate in accepted:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            try:
                verify_metadata_signature(payload, [key])
            except ImageError as error:
                signature = error.message
            else:
                signed_by, signature = certificate.subject.rfc4514_string(), ""
                break
    if not accepted:
        signature = "the input holds no certificate to verify it with"
    return PayloadFacts(
        path=path,
        minor_version=payload.minor_version,
        partitions=tuple(
            (
                update.partition_name or "",
                (update.new_partition_info.size if update.new_partition_info else None) or 0,
                len(update.operations),
            )
            for update in payload.manifest.partitions
        ),
        security_patch=payload.manifest.security_patch_level or "",
        max_timestamp=payload.manifest.max_timestamp,
        signed_by=signed_by,
        signature=signature,
        problems=tuple(problems(payload)[:MAX_PROBLEMS]),
    )


def _modules(rom: Rom) -> Iterator[ModuleFacts]:
    for fact in read_verified_boot(rom):
        if fact.role == "module":
            apex = rom.modules.get(fact.location.path) or rom.modules[""]
            sha1, known = sha1_of(apex.public_key), known_as(apex.public_key)
            version = apex.manifest.version or 0
            yield ModuleFacts(fact.image, version, fact.location.path, sha1, known, fact.fault)
