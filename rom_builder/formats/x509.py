"""Facts about X.509 certificates: whose, how long, which key, signed with what.

The structure (RFC 5280, 4.1) is read here and not by ``cryptography``, so that old certificates it
refuses or warns of (a negative serial number, MD5, a short key) still give the hash of their key::

    Certificate              SEQUENCE
      tbsCertificate         SEQUENCE
        [0] version
        serialNumber         INTEGER
        signature            AlgorithmIdentifier
        issuer               Name
        validity             SEQUENCE { notBefore Time, notAfter Time }
        subject              Name
        subjectPublicKeyInfo SEQUENCE { AlgorithmIdentifier, BIT STRING }     (SPKI)
        ...
      signatureAlgorithm, signature
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from rom_builder.errors import ImageError
from rom_builder.formats.der import BIT_STRING, CONTEXT_0, OID, SEQUENCE, SET, DerReader
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive

MAX_CERTIFICATE_SIZE = 1 << 20
"""Bytes of a certificate file that are read; real ones have one to four thousand."""
_REMEMBERED_SIZE = 8 << 10
"""Bytes of a certificate whose facts are kept for when it is met again: a ROM has few signers."""

_PEM = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----"
)
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18

_NAME_PARTS = {
    "2.5.4.3": "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""Names of parts: RFC 4514, 3; the last one is what openssl says."""
_STRINGS = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""Encoding by DER tag; every other kind of string is ASCII or Latin-1."""
_SPECIAL = re.compile(r'[,+"\\<>;]|^[ #]| $')

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
_DSA = "1.2.840.10040.4.1"

_CURVES = {
    "1.2.840.10045.3.1.7": "P-256",
    "1.3.132.0.34": "P-384",
    "1.3.132.0.35": "P-521",
    "1.3.132.0.33": "P-224",
    "1.2.840.10045.3.1.1": "P-192",
    "1.3.132.0.10": "secp256k1",
}
"""Curve by OID: RFC 5480, 2.1.1.1 and SEC 2."""
_OTHER_KEYS = {"1.3.101.112": "Ed25519", "1.3.101.113": "Ed448"}
"""Key kind by OID: RFC 8410, 3."""

_SIGNATURE_DIGESTS = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.3.14.3.2.3": "MD5",
    "1.2.840.113549.1.1.4": "MD5",
    "1.3.14.3.2.29": "SHA-1",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.2.840.10040.4.3": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.113549.1.1.14": "SHA-224",
    "1.2.840.10045.4.3.1": "SHA-224",
    "2.16.840.1.101.3.4.3.1": "SHA-224",
    "1.2.840.113549.1.1.11": "SHA-256",
    "1.2.840.10045.4.3.2": "SHA-256",
    "2.16.840.1.101.3.4.3.2": "SHA-256",
    "1.2.840.113549.1.1.12": "SHA-384",
    "1.2.840.10045.4.3.3": "SHA-384",
    "1.2.840.113549.1.1.13": "SHA-512",
    "1.2.840.10045.4.3.4": "SHA-512",
    "1.2.840.113549.1.1.10": "PSS",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
"""Digest by OID of the signature algorithm: RFC 3279, RFC 4055, RFC 5758 and RFC 8410. PSS carries
its digest in parameters, EdDSA has no choice: both stand for themselves."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One X.509 certificate.

    Attributes:
        der: The certificate.
        spki: Its SubjectPublicKeyInfo in DER.
        subject: Name in RFC 4514 form.
        issuer_der: DER of the issuer's name, as it stands there.
        serial: Serial number; old certificates have negative ones.
        not_before: Start of validity, UTC.
        not_after: End of validity, UTC.
        key_kind: ``RSA-2048``, ``P-256``, ``DSA-1024``, ``Ed25519``, or the dotted OID of another.
        exponent: Public exponent of an RSA key, else None.
        signature_digest: What the issuer signed it with: ``MD5``, ``SHA-1``, ``SHA-256`` ...,
            ``PSS``, ``Ed25519``, or the dotted OID of an unknown algorithm.
    """

    der: bytes = field(repr=False)
    spki: bytes = field(repr=False)
    subject: str
    issuer_der: bytes = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    key_kind: str
    exponent: int | None
    signature_digest: str

    @property
    def cert_sha256(self) -> str:
        """SHA-256 of the certificate, hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def cert_sha1(self) -> str:
        """SHA-1 of the certificate, hexadecimal: a name that old lists use, no protection."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, hexadecimal: the name of the key."""
        return hashlib.sha256(self.spki).hexdigest()


def parse_certificate(data: bytes) -> Certificate:
    """Return the facts about a certificate in DER, or the first one in a PEM text.

    Raises:
        ImageError: Not a certificate, or damaged.
    """
    der = data if data[:1] == b"\x30" else _from_pem(data)
    return _known(der) if len(der) <= _REMEMBERED_SIZE else _parse(der)


def _parse(der: bytes) -> Certificate:
    whole = DerReader(der)
    fields = whole.inside(SEQUENCE, "a certificate")
    whole.finish("a certificate")
    signed = fields.inside(SEQUENCE, "what a certificate's signature covers")
    signature = _oid(fields.inside(SEQUENCE, "a signature algorithm"), "a signature algorithm")
    fields.content(BIT_STRING, "a signature")
    fields.finish("a certificate")

    if signed.peek() == CONTEXT_0:
        signed.content(CONTEXT_0, "a certificate's version")
    serial = signed.integer("a serial number")
    signed.content(SEQUENCE, "a signature algorithm")
    issuer = signed.element(SEQUENCE, "an issuer")
    validity = signed.inside(SEQUENCE, "a period of validity")
    not_before, not_after = _time(validity), _time(validity)
    validity.finish("a period of validity")
    subject = _name(signed.inside(SEQUENCE, "a subject"))
    spki = signed.element(SEQUENCE, "a public key")
    key_kind, exponent = _key_kind(spki)
    return Certificate(
        der=der,
        spki=spki,
        subject=subject,
        issuer_der=issuer,
        serial=serial,
        not_before=not_before,
        not_after=not_after,
        key_kind=key_kind,
        exponent=exponent,
        signature_digest=_SIGNATURE_DIGESTS.get(signature, signature),
    )


_known = lru_cache(maxsize=256)(_parse)


def parse_certificates(data: bytes) -> list[Certificate]:
    """Return the one certificate in DER, or every one of a PEM text.

    Raises:
        ImageError: There is none, or one is damaged.
    """
    if data[:1] == b"\x30":
        return [parse_certificate(data)]
    found = [parse_certificate(match[0]) for match in _PEM.finditer(data)]
    return found or [parse_certificate(data)]


def parse_otacerts(data: bytes) -> list[Certificate]:
    """Return the certificates of an ``otacerts.zip``: its entries ending in ``x509.pem``.

    Raises:
        ImageError: The archive or one of the certificates is damaged; ``path`` names the entry.
    """
    archive = ZipArchive(BytesSource(data), lenient=True)
    certificates = []
    for entry in archive.entries.values():
        if entry.name.endswith("x509.pem"):
            content = archive.read(entry, limit=MAX_CERTIFICATE_SIZE)
            try:
                certificates.append(parse_certificate(content))
            except ImageError as error:
                raise error.within(entry.name) from error
    return certificates


def same_name(one: bytes, other: bytes) -> bool:
    """Say whether two names in DER mean the same.

    Kinds of string, upper and lower case and the amount of white space make no difference (RFC 5280, 7.1);
    Java, and with it signers and verifiers of apps, writes a name anew in other kinds than it read.

    Raises:
        ImageError: One is no name, and they differ.
    """
    return one == other or _comparable(one) == _comparable(other)


def _comparable(name: bytes) -> str:
    return " ".join(_name(DerReader(name).inside(SEQUENCE, "a name")).casefold().split())


def _from_pem(data: bytes) -> bytes:
    found = _PEM.search(data)
    if not found:
        raise ImageError("neither a certificate in DER nor in PEM", offset=0)
    try:
        return base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error as error:
        raise ImageError(f"damaged PEM ({error})", offset=found.start(1)) from error


def _oid(reader: DerReader, what: str) -> str:
    """Read an OBJECT IDENTIFIER as dotted numbers (X.690, 8.19)."""
    at = reader.offset
    content = reader.content(OID, what)
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise ImageError(f"{what} has a damaged OID", offset=at)
    numbers, value = [], 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _time(reader: DerReader) -> datetime:
    at = reader.offset
    tag = _UTC_TIME if reader.peek() == _UTC_TIME else _GENERALIZED_TIME
    text = reader.content(tag, "a time")
    if tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: 50 and later is 19xx
        text = (b"19" if text[:1] >= b"5" else b"20") + text
    try:
        return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ImageError(f"the time {text!r} cannot be read", offset=at) from error


def _key_kind(spki: bytes) -> tuple[str, int | None]:
    reader = DerReader(spki).inside(SEQUENCE, "a public key")
    algorithm = reader.inside(SEQUENCE, "a key algorithm")
    kind = _oid(algorithm, "a key algorithm")
    bits = reader.content(BIT_STRING, "a key")
    if kind == _RSA:  # RFC 8017, A.1.1
        key = DerReader(bits, 1).inside(SEQUENCE, "an RSA key")
        modulus = key.integer("an RSA modulus")
        return f"RSA-{modulus.bit_length()}", key.integer("an RSA exponent")
    if kind == _EC:
        if algorithm.peek() != OID:
            return "EC with its own curve", None
        curve = _oid(algorithm, "a curve")
        return _CURVES.get(curve, curve), None
    if kind == _DSA and algorithm.peek() == SEQUENCE:
        parameters = algorithm.inside(SEQUENCE, "DSA parameters")
        return f"DSA-{parameters.integer('a DSA prime').bit_length()}", None
    return _OTHER_KEYS.get(kind, kind), None


def _name(reader: DerReader) -> str:
    """Return a distinguished name as RFC 4514 writes it: last part first."""
    parts = []
    while reader.peek() is not None:
        relative = reader.inside(SET, "a part of a name")
        values = []
        while relative.peek() is not None:
            attribute = relative.inside(SEQUENCE, "an attribute of a name")
            kind = _oid(attribute, "an attribute's kind")
            encoding = _STRINGS.get(attribute.peek() or 0, "latin-1")
            text = attribute.content(attribute.peek() or 0, "an attribute's value")
            escaped = _SPECIAL.sub(r"\\\g<0>", text.decode(encoding, errors="replace"))
            values.append(f"{_NAME_PARTS.get(kind, kind)}={escaped}")
        parts.append("+".join(values))
    return ",".join(reversed(parts))
