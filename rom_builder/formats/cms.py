"""CMS SignedData (RFC 5652) around a signature that something else made.

The one form that Android's recovery reads, and signapk and ``openssl cms -sign -noattr`` write:
detached, one SignerInfo named by issuer and serial number, no attributes, so that the signature is
directly over the content's digest::

    ContentInfo        SEQUENCE
      contentType      OID id-signedData
      [0] SignedData   SEQUENCE
        version        INTEGER 1
        digests        SET of AlgorithmIdentifier
        content        SEQUENCE { OID id-data }              detached: no content
        [0] certificates                                     at most one X.509 certificate
        signerInfos    SET of one SEQUENCE
          version      INTEGER 1
          sid          SEQUENCE { issuer Name, serialNumber INTEGER }
          digest       AlgorithmIdentifier
          [0] signed attributes                              recovery cannot read on here
          algorithm    AlgorithmIdentifier
          signature    OCTET STRING
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.formats.der import (
    CONTEXT_0,
    NULL,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    DerReader,
    der,
    der_integer,
)
from rom_builder.formats.x509 import parse_certificate

KeyKind = Literal["rsa", "ecdsa"]
Digest = Literal["md5", "sha1", "sha256", "sha384", "sha512"]

_DATA = bytes.fromhex("2a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")

_DIGESTS: dict[bytes, Digest] = {
    bytes.fromhex("2a864886f70d0205"): "md5",
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
"""Digest algorithm by OID content: RFC 3370, 2 and RFC 5754, 2."""

_SIGNATURES: dict[bytes, tuple[KeyKind, Digest | None]] = {
    bytes.fromhex("2a864886f70d010101"): ("rsa", None),
    bytes.fromhex("2a864886f70d010104"): ("rsa", "md5"),
    bytes.fromhex("2a864886f70d010105"): ("rsa", "sha1"),
    bytes.fromhex("2a864886f70d01010b"): ("rsa", "sha256"),
    bytes.fromhex("2a864886f70d01010c"): ("rsa", "sha384"),
    bytes.fromhex("2a864886f70d01010d"): ("rsa", "sha512"),
    bytes.fromhex("2a8648ce3d0401"): ("ecdsa", "sha1"),
    bytes.fromhex("2a8648ce3d040302"): ("ecdsa", "sha256"),
    bytes.fromhex("2a8648ce3d040303"): ("ecdsa", "sha384"),
    bytes.fromhex("2a8648ce3d040304"): ("ecdsa", "sha512"),
}
"""Key kind and digest by OID content: RFC 3370, 3, RFC 5754, 3 and RFC 5758, 3.2."""


@dataclass(frozen=True, slots=True)
class CmsSignature:
    """The parts of one detached SignedData with one signer.

    Attributes:
        certificates: X.509 certificates in DER, as they stand there.
        digest_algorithm: What the content was hashed with, by the signer's own word.
        signature_algorithm: RSA PKCS#1 v1.5, or ECDSA.
        signature: The raw RSA signature, or the DER of an ECDSA one.
        issuer: DER of the signer's issuer Name.
        serial: Serial number of the signer's certificate.
        has_signed_attributes: The signature is over attributes, not directly over the digest.
    """

    certificates: tuple[bytes, ...]
    digest_algorithm: Digest
    signature_algorithm: KeyKind
    signature: bytes
    issuer: bytes
    serial: int
    has_signed_attributes: bool = False

    def encode(self) -> bytes:
        """Return the DER, with the algorithm identifiers that signapk writes.

        Raises:
            ValueError: Signed attributes are not kept, so such a signature cannot be written again.
        """
        if self.has_signed_attributes:
            raise ValueError("a signature over attributes cannot be encoded without them")
        pair = (self.signature_algorithm, self.digest_algorithm)
        digest = der(SEQUENCE, der(OID, _oid_of(_DIGESTS, self.digest_algorithm)))
        parameters = der(NULL) if self.signature_algorithm == "rsa" else b""
        signer = der(
            SEQUENCE,
            der_integer(1),
            der(SEQUENCE, self.issuer, der_integer(self.serial)),
            digest,
            der(SEQUENCE, der(OID, _oid_of(_SIGNATURES, pair)), parameters),
            der(OCTET_STRING, self.signature),
        )
        signed_data = der(
            SEQUENCE,
            der_integer(1),
            der(SET, digest),
            der(SEQUENCE, der(OID, _DATA)),
            der(CONTEXT_0, *sorted(self.certificates)) if self.certificates else b"",
            der(SET, signer),
        )
        return der(SEQUENCE, der(OID, _SIGNED_DATA), der(CONTEXT_0, signed_data))


def cms_for(
    certificate: bytes, signature: bytes, kind: KeyKind, digest_algorithm: Digest = "sha256"
) -> CmsSignature:
    """Wrap a signature over a content digest together with its signer's certificate.

    Args:
        certificate: The signer's X.509 certificate in DER.
        signature: RSA PKCS#1 v1.5, or ECDSA in DER, over the digest of the content.
        kind: Which of the two.
        digest_algorithm: What the content was hashed with.

    Raises:
        ImageError: The certificate is damaged.
    """
    facts = parse_certificate(certificate)
    return CmsSignature(
        certificates=(certificate,),
        digest_algorithm=digest_algorithm,
        signature_algorithm=kind,
        signature=signature,
        issuer=facts.issuer_der,
        serial=facts.serial,
    )


def parse_cms(data: bytes) -> CmsSignature:
    """Return the parts of a detached signature.

    Reads what signapk, ``openssl cms -sign`` and ``openssl smime -sign`` write. Strict: DER only,
    no byte that means nothing, no part that neither the signature nor this function checks
    (embedded content, revocation lists, further signers, unsigned attributes).

    Args:
        data: The DER of a ContentInfo, nothing after it.

    Raises:
        ImageError: Anything else, with the offset inside ``data``.
    """
    whole = DerReader(data)
    info = whole.inside(SEQUENCE, "a CMS ContentInfo")
    whole.finish("the CMS")
    _expect_oid(info, _SIGNED_DATA, "id-signedData")
    explicit = info.inside(CONTEXT_0, "SignedData")
    info.finish("ContentInfo")
    signed_data = explicit.inside(SEQUENCE, "SignedData")
    explicit.finish("ContentInfo")

    _expect_version(signed_data, "SignedData")
    digests = signed_data.inside(SET, "the set of digest algorithms")
    announced = _digest(digests)
    digests.finish("the set of digest algorithms")
    content = signed_data.inside(SEQUENCE, "the description of the content")
    _expect_oid(content, _DATA, "id-data")
    content.finish("the description of detached content")
    certificates = []
    if signed_data.peek() == CONTEXT_0:
        bag = signed_data.inside(CONTEXT_0, "the certificates")
        while bag.peek() is not None:
            certificates.append(bag.element(SEQUENCE, "a certificate"))
    signers = signed_data.inside(SET, "the set of signers")
    signed_data.finish("SignedData")

    signer = signers.inside(SEQUENCE, "a SignerInfo")
    signers.finish("the set of one signer")
    _expect_version(signer, "SignerInfo")
    name = signer.inside(SEQUENCE, "issuer and serial number")
    issuer = name.element(SEQUENCE, "an issuer")
    serial = name.integer("a serial number")
    name.finish("issuer and serial number")
    at = signer.offset
    digest = _digest(signer)
    if digest != announced:
        raise ImageError(f"the signer hashed with {digest}, announced is {announced}", offset=at)
    has_attributes = signer.peek() == CONTEXT_0
    if has_attributes:
        signer.element(CONTEXT_0, "signed attributes")
    kind = _signature_algorithm(signer, digest)
    signature = signer.content(OCTET_STRING, "a signature")
    signer.finish("SignerInfo")
    return CmsSignature(
        tuple(certificates), digest, kind, signature, issuer, serial, has_attributes
    )


def _oid_of(
    table: dict[bytes, Digest] | dict[bytes, tuple[KeyKind, Digest | None]], value: object
) -> bytes:
    return next(oid for oid, known in table.items() if known == value)


def _expect_oid(reader: DerReader, oid: bytes, name: str) -> None:
    at = reader.offset
    if reader.content(OID, name) != oid:
        raise ImageError(f"{name} is wanted here", offset=at)


def _expect_version(reader: DerReader, what: str) -> None:
    at = reader.offset
    version = reader.integer(f"the version of {what}")
    if version != 1:
        raise ImageError(f"{what} has version {version}, only 1 is read", offset=at)


def _algorithm(reader: DerReader, what: str) -> tuple[bytes, bool]:
    """Return the OID's content and whether NULL parameters follow it; refuse others."""
    identifier = reader.inside(SEQUENCE, what)
    oid = identifier.content(OID, what)
    at = identifier.offset
    has_null = identifier.peek() is not None
    if has_null and identifier.content(NULL, "NULL"):
        raise ImageError("NULL is not empty", offset=at)
    identifier.finish(what)
    return oid, has_null


def _digest(reader: DerReader) -> Digest:
    """Read a digest algorithm; parameters may be absent or NULL (RFC 5754, 2)."""
    at = reader.offset
    oid, _ = _algorithm(reader, "a digest algorithm")
    if oid not in _DIGESTS:
        raise ImageError(f"the digest algorithm is unknown (OID {oid.hex()})", offset=at)
    return _DIGESTS[oid]


def _signature_algorithm(reader: DerReader, digest: Digest) -> KeyKind:
    """Read a signature algorithm; RSA has NULL parameters, ECDSA none (RFC 5754, 3)."""
    at = reader.offset
    oid, has_null = _algorithm(reader, "a signature algorithm")
    if oid not in _SIGNATURES:
        raise ImageError(f"the signature algorithm is unknown (OID {oid.hex()})", offset=at)
    kind, own_digest = _SIGNATURES[oid]
    if own_digest not in (None, digest):
        raise ImageError(
            f"the signature algorithm hashes with {own_digest}, the signer says {digest}", offset=at
        )
    if has_null != (kind == "rsa"):
        raise ImageError(f"{kind} has the wrong algorithm parameters", offset=at)
    return kind
