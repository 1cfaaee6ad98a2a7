"""Verify a package's whole-file signature as recovery does, and every byte around it.

Source: ``verify_file`` in AOSP bootable/recovery ``otautil/verifier.cpp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.cms import CmsSignature, parse_cms
from rom_builder.formats.ota_signature import (
    KNOWN_TEXTS,
    OtaSignature,
    PackageDigests,
    parse_ota_signature,
    signed_digest,
)
from rom_builder.formats.otacert import (
    RecoveryDigest,
    parse_certificates,
    recovery_digest,
    recovery_fitness,
)
from rom_builder.formats.source import Source
from rom_builder.formats.x509 import parse_certificate

_HASHES: dict[RecoveryDigest, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303
    "sha256": hashes.SHA256(),
}


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
