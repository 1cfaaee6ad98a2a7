"""Whole-file signature of an OTA zip: what ``signapk -w`` writes and recovery checks.

The signature lies in the zip's archive comment. Layout from the end of the central directory on:

=====================  ====================================================================
bytes                  content
=====================  ====================================================================
20                     end of central directory (EOCD) up to its comment length: signed
2                      comment length, little-endian: the first byte that is not signed
18                     text that names the signer and ends in NUL
n                      CMS SignedData in DER (:mod:`rom_builder.formats.cms`)
2                      signature start = n + 6: from the end of the file back to the CMS, LE
2                      ``FF FF``
2                      comment length again, little-endian
=====================  ====================================================================

Source: ``verify_file`` in AOSP bootable/recovery ``otautil/verifier.cpp`` and ``signWholeFile`` in
AOSP build ``tools/signapk``. Recovery takes nothing from the comment but the position of the
signature and the signature's octets; :func:`verify_ota_signature` also refuses every other byte
that is not as its signer wrote it, so that no byte of a verified package is free.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.cms import CmsSignature, parse_cms
from rom_builder.formats.otacert import (
    RecoveryDigest,
    parse_certificates,
    recovery_digest,
    recovery_fitness,
)
from rom_builder.formats.source import Source
from rom_builder.formats.x509 import parse_certificate

FOOTER_SIZE = 6
EOCD_SIZE = 22
EOCD_MAGIC = b"PK\x05\x06"
COMMENT_LIMIT = 0xFFFF
"""Longest archive comment; its length is a 16-bit field."""

SIGNAPK_TEXT = b"signed by SignApk\0"
KNOWN_TEXTS = (SIGNAPK_TEXT, b"signed by avbroot\0")
"""What the tools in use write before the CMS."""

_CHUNK = 4 << 20

_HASHES: dict[RecoveryDigest, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303
    "sha256": hashes.SHA256(),
}


@dataclass(frozen=True, slots=True)
class OtaSignature:
    """Where a whole-file signature lies.

    Attributes:
        signed_size: Bytes from the start of the file that the signature covers.
        comment_size: Bytes of the archive comment, footer included, by the footer's word.
        cms_offset: Where in the file the CMS starts.
        text: What the comment holds before the CMS.
        cms: The CMS in DER.
    """

    signed_size: int
    comment_size: int
    cms_offset: int
    text: bytes
    cms: bytes


@dataclass(frozen=True, slots=True)
class OtaVerification:
    """Whose signature a package has.

    Attributes:
        certificate: The trusted certificate whose key made it.
        digest_algorithm: What the package was hashed with.
        signature: Where it lies.
        cms: What it consists of.
    """

    certificate: x509.Certificate
    digest_algorithm: RecoveryDigest
    signature: OtaSignature
    cms: CmsSignature


def parse_ota_signature(source: Source) -> OtaSignature | None:
    """Find a package's whole-file signature by recovery's rules.

    Returns:
        None where recovery would see no whole-file signature: no footer, a signature start or
        comment size out of range, no EOCD exactly where the footer says, or a second EOCD magic
        after it.
    """
    if source.size < FOOTER_SIZE:
        return None
    start, marker, comment_size = struct.unpack(
        "<H2sH", source.read_at(source.size - FOOTER_SIZE, FOOTER_SIZE)
    )
    if marker != b"\xff\xff" or not FOOTER_SIZE < start <= comment_size:
        return None
    eocd_offset = source.size - comment_size - EOCD_SIZE
    if eocd_offset < 0:
        return None
    eocd = source.read_at(eocd_offset, EOCD_SIZE + comment_size)
    if not eocd.startswith(EOCD_MAGIC) or eocd.find(EOCD_MAGIC, 4) != -1:
        return None
    return OtaSignature(
        signed_size=eocd_offset + EOCD_SIZE - 2,
        comment_size=comment_size,
        cms_offset=source.size - start,
        text=eocd[EOCD_SIZE:-start],
        cms=eocd[-start:-FOOTER_SIZE],
    )


def signed_size(source: Source) -> int:
    """Return how many bytes the signature of a package covers, signed already or not.

    Raises:
        ImageError: Not a zip, or one with an archive comment that is not a signature.
    """
    signature = parse_ota_signature(source)
    if signature is not None:
        return signature.signed_size
    start = source.size - EOCD_SIZE
    if (
        start < 0
        or source.read_at(start, 4) != EOCD_MAGIC
        or source.read_at(start + 20, 2) != b"\0\0"
    ):
        raise ImageError("not a zip without archive comment", offset=max(start, 0))
    return source.size - 2


def signed_digest(source: Source, algorithm: RecoveryDigest = "sha256") -> bytes:
    """Hash what a package's whole-file signature covers, without holding it in memory.

    Raises:
        ImageError: See :func:`signed_size`.
    """
    digest = hashlib.new(algorithm, usedforsecurity=algorithm != "sha1")
    size = signed_size(source)
    for offset in range(0, size, _CHUNK):
        digest.update(source.read_at(offset, min(_CHUNK, size - offset)))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class PackageDigests:
    """SHA-256 of a package.

    Attributes:
        signed: Of what its whole-file signature covers.
        file: Of the whole file.
    """

    signed: bytes
    file: bytes


def digests_of(source: Source) -> PackageDigests:
    """Hash a package, reading it once.

    Raises:
        ImageError: See :func:`signed_size`.
    """
    digest = hashlib.sha256()
    size = signed_size(source)
    for offset in range(0, size, _CHUNK):
        digest.update(source.read_at(offset, min(_CHUNK, size - offset)))
    signed = digest.digest()
    digest.update(source.read_at(size, source.size - size))
    return PackageDigests(signed, digest.digest())


def comment_for(cms: bytes) -> bytes:
    """Return the archive comment that carries a signature.

    A signed package is ``package[:signed_size] + struct.pack("<H", len(comment)) + comment``.

    Raises:
        SigningError: Longer than an archive comment can be, or it happens to hold an EOCD magic,
            which recovery refuses; both need another certificate (the magic: another serial number
            may do).
    """
    size = len(SIGNAPK_TEXT) + len(cms) + FOOTER_SIZE
    if size > COMMENT_LIMIT:
        raise SigningError(
            f"the signature needs an archive comment of {size} bytes, {COMMENT_LIMIT} are possible",
            hint="use a smaller certificate",
        )
    footer = struct.pack("<H2sH", len(cms) + FOOTER_SIZE, b"\xff\xff", size)
    comment = SIGNAPK_TEXT + cms + footer
    if EOCD_MAGIC in comment:
        raise SigningError(
            "the signature holds the bytes 'PK\\5\\6', which recovery refuses",
            hint="change any byte of the package, for example its time stamp, or the certificate",
        )
    return comment


def verify_ota_signature(
    source: Source,
    certificates: Sequence[x509.Certificate],
    known: PackageDigests | None = None,
) -> OtaVerification:
    """Check a package's whole-file signature as recovery would, and that no other byte was touched.

    Stricter than recovery where recovery looks away, because these bytes are covered by no
    signature:

    - the EOCD's comment length equals the footer's;
    - the text before the CMS is one that a known tool writes;
    - the CMS is strict DER without a byte to spare, and its algorithms agree with key and digest;
    - the certificate inside it is the trusted one, byte for byte, or another one for the same key
      whose own signature by that key is good; it is the one that the SignerInfo names.

    Only the two OIDs that both mean RSA PKCS#1 v1.5 here (rsaEncryption, sha256WithRSAEncryption)
    can stand for each other: real tools write either.

    Args:
        source: The package.
        certificates: What the device would trust: its otacerts.
        known: Digests of this very package where they were just computed; else it is read.

    Returns:
        The first certificate that made the signature.

    Raises:
        ImageError: The signature, or what surrounds it, is not as a signer writes it.
        SigningError: There is no signature, no certificate, one that recovery refuses, or none that
            made the signature.
    """
    signature = parse_ota_signature(source)
    if signature is None:
        raise SigningError("the package has no whole-file signature")
    if not certificates:
        raise SigningError("there is no certificate to verify with")
    for certificate in certificates:
        if reasons := recovery_fitness(certificate):
            raise SigningError(
                f"recovery refuses the certificate {_name(certificate)}: {'; '.join(reasons)}",
                hint="one refused certificate in otacerts.zip makes recovery drop all of them",
            )
    _check_surroundings(source, signature)
    cms = _parse(signature)
    digests: dict[str, bytes] = {} if known is None else {"sha256": known.signed}
    found = _find_signer(source, cms, certificates, digests)
    if found is None:
        raise _no_signer(source, cms, certificates, digests)
    certificate, digest = found
    _check_certificate(cms, certificate, signature.cms_offset)
    return OtaVerification(certificate, digest, signature, cms)


def _name(certificate: x509.Certificate) -> str:
    return f"{certificate.fingerprint(hashes.SHA256()).hex()[:16]}…"


def _check_surroundings(source: Source, signature: OtaSignature) -> None:
    length = int.from_bytes(source.read_at(signature.signed_size, 2), "little")
    if length != signature.comment_size:
        raise ImageError(
            f"the archive comment has {length} bytes, the signature's footer says "
            f"{signature.comment_size}",
            offset=signature.signed_size,
        )
    if signature.text not in KNOWN_TEXTS:
        raise ImageError(
            f"{len(signature.text)} bytes before the signature are covered by nothing",
            offset=signature.signed_size + 2,
            hint="recovery ignores them; no known tool writes them",
        )


def _parse(signature: OtaSignature) -> CmsSignature:
    try:
        cms = parse_cms(signature.cms)
    except ImageError as error:
        at = signature.cms_offset + (error.offset or 0)
        raise ImageError(f"the signature is damaged: {error.message}", offset=at) from error
    if cms.has_signed_attributes:
        raise SigningError(
            "the signature is over signed attributes; recovery cannot read such a one",
            hint="openssl cms needs -noattr",
        )
    return cms


def _find_signer(
    source: Source,
    cms: CmsSignature,
    certificates: Sequence[x509.Certificate],
    digests: dict[str, bytes],
) -> tuple[x509.Certificate, RecoveryDigest] | None:
    """Return the first certificate whose key made the signature, and the digest used.

    Args:
        digests: Digests of the package by algorithm; those that are computed are added.
    """
    for certificate in certificates:
        algorithm = recovery_digest(certificate)
        if algorithm is None or algorithm != cms.digest_algorithm:
            continue
        if algorithm not in digests:
            digests[algorithm] = signed_digest(source, algorithm)
        if _made(certificate, cms, digests[algorithm], algorithm):
            return certificate, algorithm
    return None


def _made(
    certificate: x509.Certificate, cms: CmsSignature, digest: bytes, algorithm: RecoveryDigest
) -> bool:
    key = certificate.public_key()
    prehashed = utils.Prehashed(_HASHES[algorithm])
    try:
        if isinstance(key, rsa.RSAPublicKey) and cms.signature_algorithm == "rsa":
            key.verify(cms.signature, digest, padding.PKCS1v15(), prehashed)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and cms.signature_algorithm == "ecdsa":
            key.verify(cms.signature, digest, ec.ECDSA(prehashed))
            return True
    except InvalidSignature:
        pass
    return False


def _no_signer(
    source: Source,
    cms: CmsSignature,
    certificates: Sequence[x509.Certificate],
    digests: dict[str, bytes],
) -> SigningError:
    """Say which of the three it is: another key, another digest, or altered after it was signed."""
    embedded = _load_embedded(cms)
    trusted = ", ".join(_name(certificate) for certificate in certificates)
    fit = embedded is not None and not recovery_fitness(embedded)
    if embedded is not None and fit and _find_signer(source, cms, [embedded], digests):
        return SigningError(
            f"the package is signed by another key (its certificate is {_name(embedded)}), "
            f"not by {trusted}",
            hint="check with the certificate of the key that signed it",
        )
    return SigningError(
        f"the signature is not that of {trusted} over this package: the package was altered "
        "after it was signed, or signed by another key"
    )


def _load_embedded(cms: CmsSignature) -> x509.Certificate | None:
    if len(cms.certificates) != 1:
        return None
    try:
        return parse_certificates(cms.certificates[0])[0]
    except ImageError:
        return None


def _check_certificate(cms: CmsSignature, trusted: x509.Certificate, offset: int) -> None:
    """Check what the CMS says about its signer against the certificate that verified it."""
    own = trusted.public_bytes(Encoding.DER)
    named = cms.certificates[0] if len(cms.certificates) == 1 else own
    if len(cms.certificates) > 1:
        raise ImageError("the signature carries more than one certificate", offset=offset)
    if named != own and not _same_key(_load_embedded(cms), trusted):
        raise ImageError(
            "the certificate inside the signature is not that of the key that made it",
            offset=offset,
            hint="recovery ignores it and would install the package",
        )
    facts = parse_certificate(named)
    if (facts.issuer_der, facts.serial) != (cms.issuer, cms.serial):
        raise ImageError("the signature names another certificate as its signer's", offset=offset)


def _same_key(embedded: x509.Certificate | None, trusted: x509.Certificate) -> bool:
    """Whether another certificate is for the trusted key and really signed by that key."""
    if embedded is None:
        return False
    # The signature is a BIT STRING; its count of unused bits is the one octet that nothing covers.
    whole_octets = embedded.public_bytes(Encoding.DER).endswith(b"\0" + embedded.signature)
    try:
        embedded.verify_directly_issued_by(embedded)
        return whole_octets and embedded.public_key() == trusted.public_key()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
