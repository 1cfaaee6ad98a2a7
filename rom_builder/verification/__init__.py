"""Everything in a package that can be verified without a device.

A device checks an A/B package in stages, and each stage looks at other bytes: recovery or the
updater at the whole file, update_engine at the payload's two signatures and digests, the bootloader
and dm-verity at what was written. A package is good only if all of them would be satisfied; what a
reference tool forgives is not forgiven here.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rom_builder.errors import ImageError, RomBuilderError
from rom_builder.formats.ab_metadata import (
    CARE_MAP_NAME,
    METADATA_PROTO_NAME,
    PAYLOAD_NAME,
    PAYLOAD_PROPERTIES_NAME,
    PROPERTY_FILES,
    CareMap,
    care_ranges,
    legacy_metadata,
    parse_property_files,
)
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.ota_signature import (
    COMMENT_LIMIT,
    EOCD_MAGIC,
    EOCD_SIZE,
    OtaVerification,
    parse_ota_signature,
    verify_ota_signature,
)
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.payload import (
    Payload,
    problems,
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.payload.properties import MAX_SIZE, parse_payload_properties
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import STORED
from rom_builder.keys import key_facts, publicly_known, spki_sha256
from rom_builder.keys.inspection import OTACERT
from rom_builder.packing.ab_pack import base_metadata, verify_places
from rom_builder.verification.vbmeta import Check, incremental, verify_vbmetas

WHOLE_FILE = "whole-file signature"
SECONDARY = "secondary/"
"""Folder of a second payload, for the other slot."""

_BLOCK = 4096
_READ_SIZE = 1 << 20
_SHOWN = 3

_Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of a package.

    Attributes:
        checks: Everything that was verified, in the order of the package.
        signature: The whole-file signature, None if it does not hold.
        hint: What to do about a whole-file signature that does not hold.
    """

    checks: tuple[Check, ...]
    signature: OtaVerification | None
    hint: str | None = None

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if check.ok is False)

    @property
    def unknown(self) -> tuple[Check, ...]:
        """The checks that could not be done."""
        return tuple(check for check in self.checks if check.ok is None)


def verify_package(
    source: Source,
    trusted: Sequence[x509.Certificate] = (),
    *,
    avb_keys: Sequence[bytes] = (),
    payload_keys: Sequence[_Key] = (),
    quick: bool = False,
    allow_public_key: bool = False,
) -> Verification:
    """Verify a package: its whole-file signature, and for an A/B package all that is in it.

    Memory is bounded; one partition at a time is decoded into a temporary file.

    Args:
        source: The package.
        trusted: What the device trusts; the certificate inside the package if none is given.
        avb_keys: Key blobs of which the top vbmeta image must have one; none for any.
        payload_keys: What the device trusts to sign payloads besides the certificates.
        quick: Leave out what needs whole partitions.
        allow_public_key: Accept a publicly known package key.

    Raises:
        OSError: There is no room for a partition.
    """
    signature, hint = None, None
    certificates: Sequence[x509.Certificate] = trusted
    try:
        certificates = trusted or embedded_certificates(source)
        signature = verify_ota_signature(source, certificates)
        signer = f"{_shown(signature.certificate.public_key())}, {signature.digest_algorithm}"
        checks = [Check(WHOLE_FILE, True, signer)]
    except RomBuilderError as error:
        hint = error.hint
        checks = [Check(WHOLE_FILE, False, "", str(error))]
    checks.append(_tried("archive", lambda: _check_end(source)))
    try:
        archive = ZipArchive(source)
        otacert = _otacert(archive)
    except ImageError as error:
        if signature is not None or checks[-1].ok:
            checks.append(Check("archive", False, "", str(error)))
        return Verification(tuple(checks), signature, hint)
    if signature is not None:
        otacert = [*otacert, signature.certificate]
    checks += _public_keys(otacert, allow_public_key=allow_public_key)
    keys = [*_keys_of(certificates or otacert), *payload_keys]
    for folder in ("", SECONDARY):
        if folder + PAYLOAD_NAME in archive.entries:
            checks += _verify_payload(archive, folder, keys, quick, avb_keys)
    if PAYLOAD_NAME in archive.entries:
        checks.append(_tried("metadata", lambda: _check_metadata(archive, source.size)))
    return Verification(tuple(checks), signature, hint)


def embedded_certificates(source: Source) -> list[x509.Certificate]:
    """Return the otacert of a package, or else the certificate inside its signature.

    Raises:
        ImageError: The package or the certificate is damaged.
    """
    signature = parse_ota_signature(source)
    if signature is None:
        return []
    return _otacert(ZipArchive(source)) or [
        found for der in parse_cms(signature.cms).certificates for found in parse_certificates(der)
    ]


def _otacert(archive: ZipArchive) -> list[x509.Certificate]:
    entry = archive.entries.get(OTACERT)
    return parse_certificates(archive.read(entry, MAX_CERTIFICATE_SIZE)) if entry else []


def _tried(name: str, check: Callable[[], str]) -> Check:
    """Run a check that returns a detail and raises ImageError if it does not hold."""
    try:
        return Check(name, True, "", check())
    except ImageError as error:
        return Check(name, False, "", str(error))


def _check_end(source: Source) -> str:
    """Refuse a second end record: some readers take the first, others the last."""
    size = min(source.size, EOCD_SIZE + COMMENT_LIMIT)
    tail = source.read_at(source.size - size, size)
    at = tail.find(EOCD_MAGIC)
    while at != -1:
        comment_size = int.from_bytes(tail[at + EOCD_SIZE - 2 : at + EOCD_SIZE], "little")
        if at + EOCD_SIZE + comment_size == size:
            break
        at = tail.find(EOCD_MAGIC, at + 1)
    if at == -1:
        raise ImageError("no end-of-central-directory record ends the file")
    second = tail.find(EOCD_MAGIC, at + 4)
    if second != -1:
        raise ImageError(
            "the comment holds a second end-of-central-directory record",
            offset=source.size - size + second,
        )
    return ""


def _public_keys(
    certificates: Sequence[x509.Certificate], *, allow_public_key: bool
) -> Iterator[Check]:
    """Yield a check for each publicly known key of the package."""
    names: list[str] = []
    for key in _keys_of(certificates):
        known = publicly_known(spki_sha256(key))
        if known is not None and known.names[0] not in names:
            names.append(known.names[0])
            allowed = ", as allowed" if allow_public_key else ""
            detail = f"publicly known: {', '.join(known.names)}: anyone could have signed{allowed}"
            yield Check("package key", allow_public_key, "", detail)


def _keys_of(certificates: Sequence[x509.Certificate]) -> list[_Key]:
    """Return the keys of certificates, those of kinds that sign no package left out."""
    found = []
    for certificate in certificates:
        try:
            key = certificate.public_key()
        except (UnsupportedAlgorithm, ValueError):
            continue
        if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            found.append(key)
    return found


def _shown(key: object) -> str:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return "a key of another kind"
    return f"{key_facts(key, '').key}, {spki_sha256(key)[:16]}…"


def _verify_payload(
    archive: ZipArchive, folder: str, keys: Sequence[_Key], quick: bool, avb_keys: Sequence[bytes]
) -> Iterator[Check]:
    """Yield the checks of one payload and of what is said about it."""
    entry = archive.entries[folder + PAYLOAD_NAME]
    try:
        if entry.method != STORED:
            raise ImageError("is compressed: a device reads it in place", path=entry.name)
        payload = Payload(archive.raw(entry))
    except ImageError as error:
        yield Check(entry.name, False, "", str(error))
        return
    for name, verify in (
        ("metadata signature", verify_metadata_signature),
        ("payload signature", verify_payload_signature),
    ):
        try:
            yield Check(folder + name, True, _shown(verify(payload, keys)))
        except ImageError as error:
            yield Check(folder + name, False, "", str(error))
    yield _tried(f"{folder}payload rules", lambda: _check_rules(payload))
    yield _tried(f"{folder}operation data", lambda: _check_operations(payload))
    properties = folder + PAYLOAD_PROPERTIES_NAME
    yield _tried(properties, lambda: _check_properties(archive, folder, payload))
    if folder:
        yield from _verify_partitions(payload, {}, quick)
        return
    vbmetas = verify_vbmetas(payload, avb_keys)
    yield from vbmetas.checks
    yield from _verify_partitions(payload, vbmetas.descriptors, quick)
    if CARE_MAP_NAME in archive.entries:
        yield _tried(CARE_MAP_NAME, lambda: _check_care_map(archive, payload, vbmetas.descriptors))


def _check_rules(payload: Payload) -> str:
    found = problems(payload)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ImageError("; ".join(found[:_SHOWN]) + more)
    return f"{len(payload.names)} partitions, minor version {payload.minor_version}"


def _check_operations(payload: Payload) -> str:
    """Compare the data of every operation with its digest."""
    count = total = 0
    for update in payload.manifest.partitions:
        for index, operation in enumerate(update.operations):
            if operation.data_length is None or operation.data_offset is None:
                continue
            total += operation.data_length
            if total > payload.source.size:
                raise ImageError("operations share their data")
            start = payload.blob_offset + operation.data_offset
            digest = hashlib.sha256()
            for at in range(0, operation.data_length, _READ_SIZE):
                size = min(_READ_SIZE, operation.data_length - at)
                digest.update(payload.source.read_at(start + at, size))
            if digest.digest() != operation.data_sha256_hash:
                raise ImageError(
                    f"the data of operation {index} of partition {update.partition_name} does not "
                    "match its SHA-256",
                    offset=start,
                )
            count += 1
    return f"{count} operations"


def _check_properties(archive: ZipArchive, folder: str, payload: Payload) -> str:
    """Compare ``payload_properties.txt`` with the payload; reads all of it, its CRC-32 too."""
    entry = archive.entries.get(folder + PAYLOAD_PROPERTIES_NAME)
    if entry is None:
        raise ImageError("is missing")
    said = parse_payload_properties(archive.read(entry, MAX_SIZE))
    digest = hashlib.sha256()
    for piece in archive.stream(archive.entries[folder + PAYLOAD_NAME]):
        digest.update(piece)
    for name, is_, should in (
        ("FILE_HASH", said.file_hash, digest.digest()),
        ("FILE_SIZE", said.file_size, payload.source.size),
        ("METADATA_HASH", said.metadata_hash, payload.metadata_digest()),
        ("METADATA_SIZE", said.metadata_size, payload.metadata_size),
    ):
        if is_ != should:
            raise ImageError(f"{name} is not that of the payload")
    return ", ".join(f"{key}={value}" for key, value in said.extra.items())


def _verify_partitions(
    payload: Payload,
    descriptors: dict[str, list[HashDescriptor | HashtreeDescriptor]],
    quick: bool,
) -> Iterator[Check]:
    """Yield a check of each partition's digest and of each descriptor, decoding it once."""
    for name in sorted(set(descriptors) - set(payload.names)):
        yield Check(f"partition {name}", None, "", "a vbmeta image describes it; it is not here")
    if quick:
        return
    for name in dict.fromkeys(payload.names):
        yield from _verify_partition(payload, name, descriptors.get(name, []))


def _verify_partition(
    payload: Payload, name: str, descriptors: Sequence[HashDescriptor | HashtreeDescriptor]
) -> Iterator[Check]:
    what = f"partition {name}"
    try:
        if incremental(payload, name):
            yield Check(what, None, "", "incremental: needs the image of the build before")
            return
        with tempfile.TemporaryFile() as file:
            payload.verify_partition(name, file.write)
            file.flush()
            with closing(FileSource(file.fileno())) as image:
                for descriptor in descriptors:
                    verify_image(image, descriptor)
    except ImageError as error:
        yield Check(what, False, "", str(error))
        return
    yield Check(what, True, "", "; ".join(["SHA-256", *map(_described, descriptors)]))


def _described(descriptor: HashDescriptor | HashtreeDescriptor) -> str:
    if isinstance(descriptor, HashDescriptor):
        return f"hash descriptor, {descriptor.hash_algorithm}"
    fec = ", error correction" if descriptor.fec_size else ""
    return f"hash tree, {descriptor.hash_algorithm}{fec}"


def _check_care_map(
    archive: ZipArchive,
    payload: Payload,
    descriptors: dict[str, list[HashDescriptor | HashtreeDescriptor]],
) -> str:
    """Hold the blocks that are read after the update to those that dm-verity has."""
    entry = archive.entries[CARE_MAP_NAME]
    care_map = CareMap.parse(archive.read(entry, _READ_SIZE))
    for item in care_map.partitions:
        name = item.name or ""
        if name not in payload.names:
            raise ImageError(f"names {name}, which the payload does not hold")
        info = payload.update(name).new_partition_info
        sizes = [d.image_size for d in descriptors.get(name, ())] or [(info and info.size) or 0]
        blocks = min(sizes) // _BLOCK
        ranges = care_ranges(item)
        if any(part.stop > blocks for part in ranges):
            raise ImageError(f"reads blocks of {name} after its {blocks} data blocks")
    return f"{len(care_map.partitions)} partitions"


def _check_metadata(archive: ZipArchive, package_size: int) -> str:
    """Compare both forms of the metadata, and their property files with the package."""
    verify_places(archive, package_size)
    proto, text = base_metadata(archive)
    if proto is not None:
        for key, value in legacy_metadata(proto).items():
            if key in text and text[key] != value.strip():
                raise ImageError(f"{key} differs from {METADATA_PROTO_NAME}")
    named = [key for key in text if key.endswith("property-files")]
    if PROPERTY_FILES in text:
        payload = Payload(archive.raw(archive.entries[PAYLOAD_NAME]))
        place = parse_property_files(text[PROPERTY_FILES]).get("payload_metadata.bin")
        if place is not None and place.size != payload.blob_offset:
            raise ImageError(
                f"payload_metadata.bin has {payload.blob_offset} bytes, not {place.size}"
            )
    return f"{', '.join(named) or 'no property files'}"
