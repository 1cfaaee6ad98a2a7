"""The story of a verification: the whole file, its archive, its keys, its payloads, its metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from cryptography import x509

from rom_builder.background import in_background
from rom_builder.errors import ImageError, RomBuilderError
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.ota_signature import PackageDigests, digests_of, parse_ota_signature
from rom_builder.formats.ota_verify import OtaVerification, verify_ota_signature
from rom_builder.formats.otacert import OTACERT, parse_certificates, read_otacert
from rom_builder.formats.source import Source
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import publicly_known, spki_sha256
from rom_builder.verification.archive import check_end, check_entries, check_otacert
from rom_builder.verification.checks import (
    Check,
    Digest,
    PublicKey,
    Verification,
    keys_of,
    shown,
    signed_by,
    tried,
)
from rom_builder.verification.metadata import is_retrofit, verify_metadata
from rom_builder.verification.payload import Asked, verify_payload

WHOLE_FILE = "whole-file signature"
SECONDARY = "secondary/"
"""Folder of a second payload, for the other slot."""

_READ_SIZE = 1 << 21


def verify_package(
    source: Source,
    trusted: Sequence[x509.Certificate] = (),
    *,
    avb_keys: Sequence[bytes] = (),
    payload_keys: Sequence[PublicKey] = (),
    quick: bool = False,
    allow_public_key: bool = False,
) -> Verification:
    """Verify a package: its whole-file signature, and for an A/B package all that is in it.

    The file is hashed while its partitions are decoded, one after the other. Memory is bounded, and
    nothing is written to disk but for the parity of partitions larger than 3 GB.

    Args:
        source: The package; read from several threads.
        trusted: What the device trusts; the certificate inside the package if none is given.
        avb_keys: Key blobs of which the top vbmeta image must have one; none for any.
        payload_keys: What the device trusts to sign payloads besides the certificates.
        quick: Leave out what needs whole partitions.
        allow_public_key: Accept a publicly known package key.

    Raises:
        OSError: There is no room for the parity of a partition.
    """
    hashing = in_background(lambda: _hashed(source))
    certificates: Sequence[x509.Certificate] = trusted
    fault: RomBuilderError | None = None
    try:
        certificates = trusted or embedded_certificates(source)
    except RomBuilderError as error:
        fault = error
    ends = tried("archive", lambda: check_end(source))
    inside: list[Check] = []
    otacert: list[x509.Certificate] = []
    unread: ImageError | None = None
    hint = None
    try:
        archive = ZipArchive(source)
        if ends.ok:
            ends = tried("archive", lambda: check_entries(archive, source))
        otacert = read_otacert(archive)
        asked = Asked(
            [*keys_of([*(certificates or otacert)]), *payload_keys],
            avb_keys,
            quick,
            is_retrofit(archive),
        )
        for folder in ("", SECONDARY):
            if folder + PAYLOAD_NAME in archive.entries:
                inside += verify_payload(archive, folder, asked)
        inside += verify_metadata(archive, source.size)
    except ImageError as error:
        unread = error
    digests = hashing.result()
    signature: OtaVerification | None = None
    try:
        if fault is not None:
            raise fault
        known = digests if digests.signed else None
        signature = verify_ota_signature(source, certificates, known)
        checks = [_signed(signature, digests), ends]
    except RomBuilderError as error:
        hint = error.hint
        signed = (Digest("whole file", "sha256", digests.signed.hex()),) if digests.signed else ()
        checks = [
            Check(WHOLE_FILE, False, "", str(error), digests=signed, kind="signature"),
            ends,
        ]
    if unread is None:
        signers = [*otacert, *([signature.certificate] if signature else [])]
        checks += _public_keys(signers, allow_public_key=allow_public_key)
        checks += _verify_otacert(otacert, signature)
        checks += inside
    elif signature is not None or ends.ok:
        checks.append(Check("archive", False, "", str(unread)))
    return Verification(tuple(checks), signature, hint, digests.file.hex())


def _hashed(source: Source) -> PackageDigests:
    """Hash a package; what a signature would cover only if there is room for one."""
    try:
        return digests_of(source)
    except ImageError:
        digest = hashlib.sha256()
        for offset in range(0, source.size, _READ_SIZE):
            digest.update(source.read_at(offset, min(_READ_SIZE, source.size - offset)))
        return PackageDigests(b"", digest.digest())


def _signed(signature: OtaVerification, digests: PackageDigests) -> Check:
    key, algorithm = signature.certificate.public_key(), signature.digest_algorithm
    signed = Digest("whole file", algorithm, digests.signed.hex() if algorithm == "sha256" else "")
    who = f"{shown(key)}, {algorithm}"
    return Check(WHOLE_FILE, True, who, "", signed_by(key, algorithm), (signed,), "signature")


def embedded_certificates(source: Source) -> list[x509.Certificate]:
    """Return the otacert of a package, or else the certificate inside its signature.

    Raises:
        ImageError: The package or the certificate is damaged.
    """
    signature = parse_ota_signature(source)
    if signature is None:
        return []
    return read_otacert(ZipArchive(source)) or [
        found for der in parse_cms(signature.cms).certificates for found in parse_certificates(der)
    ]


def _verify_otacert(
    otacert: Sequence[x509.Certificate], signature: OtaVerification | None
) -> Iterator[Check]:
    """Yield the check of an otacert that is not the signer's."""
    if signature is not None:
        found = tried(OTACERT, lambda: check_otacert(otacert, signature.certificate))
        if not found.ok:
            yield found


def _public_keys(
    certificates: Sequence[x509.Certificate], *, allow_public_key: bool
) -> Iterator[Check]:
    """Yield a check for each publicly known key of the package."""
    names: list[str] = []
    for key in keys_of(certificates):
        known = publicly_known(spki_sha256(key))
        if known is not None and known.names[0] not in names:
            names.append(known.names[0])
            allowed = ", as allowed" if allow_public_key else ""
            detail = f"publicly known: {', '.join(known.names)}: anyone could have signed{allowed}"
            yield Check("package key", allow_public_key, "", detail)
