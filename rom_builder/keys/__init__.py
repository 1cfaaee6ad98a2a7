"""Signing keys: which are publicly known, which a device takes for what, and new ones.

A key is known by the SHA-256 of its DER SubjectPublicKeyInfo, not by a certificate: the same public
test key stands in several certificates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from rom_builder.errors import SigningError
from rom_builder.formats.otacert import recovery_fitness, recovery_key_fitness
from rom_builder.formats.x509 import parse_certificate
from rom_builder.keys.files import PrivateKey
from rom_builder.resources import data_folder

DEVELOPMENT = "rom-builder development key"
"""What the subject of a throw-away certificate begins with, so that nobody takes it for another."""

Role = Literal["ota", "payload", "avb", "apk", "apex", "attestation"]
ROLES: tuple[Role, ...] = ("ota", "payload", "avb", "apk", "apex", "attestation")
"""What a key signs. A profile may have one for a part of a role: ``avb.vbmeta_system``."""

VALIDITY = timedelta(days=10_000)
"""How long a new certificate is valid, as AOSP's ``make_key`` has it; devices never look."""

_RECOVERY = ("rsa-2048", "rsa-4096", "p256")
_SIGNING = ("rsa-3072", "rsa-4096", "p256", "p384")
_KINDS: dict[Role, tuple[str, ...]] = {
    "ota": _RECOVERY,
    "payload": _RECOVERY,
    "avb": ("rsa-2048", "rsa-4096", "rsa-8192"),
    "apk": ("rsa-2048", *_SIGNING),
    "apex": ("rsa-4096",),
    "attestation": _SIGNING,
}
_WHY: dict[Role, str] = {
    "ota": "recovery takes no other, and one such certificate in otacerts.zip drops all",
    "payload": "update_engine takes no other, and its certificate stands in otacerts.zip too",
    "avb": "Android Verified Boot 2.0 has no other algorithm",
    "apk": "APK Signature Scheme v2 has no other, or it would be weak",
    "apex": "AOSP's apexer signs the image in it with SHA256_RSA4096",
    "attestation": "what vouches for others should be strong",
}


_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key that is found in public source code.

    Attributes:
        spki_sha256: SHA-256 of the DER SubjectPublicKeyInfo, hexadecimal.
        key: Kind, size and exponent, such as ``RSA-2048 e=3``.
        avb_sha1: SHA-1 of the AVB public key blob, which ``avbtool info_image`` prints; None for
        EC. names: The files it is found in, ``project path/name`` without extension. deny: Whether
        its private half must be taken as known to everyone; false for the public keys
            of services that keep theirs.
    """

    spki_sha256: str
    key: str
    avb_sha1: str | None
    names: tuple[str, ...]
    deny: bool


@cache
def known_keys() -> Mapping[str, KnownKey]:
    """Return every key of ``signing/known-public-keys.json`` by its SPKI SHA-256."""
    path = data_folder("signing") / "known-public-keys.json"
    rows = json.loads(path.read_bytes())
    keys = (KnownKey(**{**row, "names": tuple(row["names"])}) for row in rows)
    return MappingProxyType({key.spki_sha256: key for key in keys})


def publicly_known(spki_sha256: str) -> KnownKey | None:
    """Return the key with this fingerprint if everyone can sign with it, None otherwise."""
    key = known_keys().get(spki_sha256.lower())
    return key if key is not None and key.deny else None


def publicly_known_avb(avb_sha1: str) -> KnownKey | None:
    """Like :func:`publicly_known`, by the SHA-1 of the AVB public key blob."""
    matches = (key for key in known_keys().values() if key.avb_sha1 == avb_sha1.lower())
    return next((key for key in matches if key.deny), None)


def spki_sha256(key: PublicKeyTypes) -> str:
    """Return the SHA-256 of a public key's DER SubjectPublicKeyInfo, hexadecimal."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def refuse_public_key(key: PublicKeyTypes, *, allow_public_key: bool, name: str = "") -> None:
    """Refuse to sign with a key that everyone has.

    Args:
        key: The public half.
        allow_public_key: Let it through.
        name: What the key is called, for the message.

    Raises:
        SigningError: It is publicly known and that is not allowed.
    """
    known = publicly_known(spki_sha256(key))
    if known is not None and not allow_public_key:
        raise SigningError(
            f"{name or 'this key'}: publicly known: {', '.join(known.names)}",
            hint="everyone can sign with it; make one with `rom-builder keys new`",
        )


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What can be said of one key or certificate.

    Attributes:
        name: Where it was found.
        key: Kind, size and exponent, such as ``RSA-2048 e=3``.
        spki_sha256: Its fingerprint.
        subject: The certificate's subject (RFC 4514); None for a bare key, as the next two.
        cert_sha256: SHA-256 of the certificate's DER.
        not_after: When the certificate ends.
        known: The publicly known key it is.
        weaknesses: Why it should not sign anything today.
        unfit: Per role, why a device would refuse it; a role without reasons is one it can have.
    """

    name: str
    key: str
    spki_sha256: str
    subject: str | None
    cert_sha256: str | None
    not_after: datetime | None
    known: KnownKey | None
    weaknesses: tuple[str, ...]
    unfit: Mapping[Role, tuple[str, ...]]

    def days_left(self, now: datetime) -> int | None:
        """Return the days until the certificate ends, negative after that; None for a bare key."""
        return None if self.not_after is None else (self.not_after - now).days


def certificate_facts(certificate: x509.Certificate, name: str) -> KeyFacts:
    """Return what can be said of a certificate and its key.

    Raises:
        SigningError: Its key is of a kind that nothing here reads.
        ImageError: It is damaged.
    """
    facts = parse_certificate(certificate.public_bytes(Encoding.DER))
    try:
        of_key = key_facts(certificate.public_key(), name)
    except (UnsupportedAlgorithm, ValueError):
        raise SigningError(f"{name}: a key of the kind {facts.key_kind} cannot be read") from None
    weaknesses = of_key.weaknesses
    if facts.signature_digest in ("MD2", "MD5", "SHA-1"):
        weaknesses += (f"its certificate is signed with {facts.signature_digest}",)
    return replace(
        of_key,
        subject=facts.subject,
        cert_sha256=facts.cert_sha256,
        not_after=facts.not_after,
        weaknesses=weaknesses,
        unfit={
            **of_key.unfit,
            "ota": tuple(recovery_fitness(certificate)),
            "payload": tuple(recovery_fitness(certificate)),
        },
    )


def key_facts(key: PublicKeyTypes, name: str) -> KeyFacts:
    """Return what can be said of a bare public key."""
    fingerprint = spki_sha256(key)
    weaknesses = []
    avb: tuple[str, ...] = ("AVB takes RSA only",)
    apex: tuple[str, ...] = ("an APEX is signed with RSA-4096",)
    apk: tuple[str, ...] = ("APK signatures take RSA and EC P-256, P-384 and P-521",)
    attestation: tuple[str, ...] = (
        "attestations are signed with RSA and EC P-256, P-384 and P-521",
    )
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        kind, apk, attestation = f"RSA-{key.key_size} e={exponent}", (), ()
        avb = () if key.key_size in (2048, 4096, 8192) else ("AVB takes RSA-2048, -4096 and -8192",)
        if exponent != 65537:
            avb += ("AVB takes the exponent 65537",)
        if key.key_size == 4096:
            apex = avb
        if key.key_size < 2048:
            weaknesses.append(f"RSA with {key.key_size} bits")
        if exponent < 65537:
            weaknesses.append(f"RSA with the exponent {exponent}")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind = f"EC {_CURVES.get(key.curve.name, key.curve.name)}"
        if key.curve.name in _CURVES:
            apk = attestation = ()
        if key.curve.key_size < 224:
            weaknesses.append(f"EC with {key.curve.key_size} bits")
    else:
        kind = type(key).__name__.strip("_").removesuffix("PublicKey")
    return KeyFacts(
        name=name,
        key=kind,
        spki_sha256=fingerprint,
        subject=None,
        cert_sha256=None,
        not_after=None,
        known=publicly_known(fingerprint),
        weaknesses=tuple(weaknesses),
        unfit={
            "ota": tuple(recovery_key_fitness(key)),
            "payload": tuple(recovery_key_fitness(key)),
            "avb": avb,
            "apk": apk,
            "apex": apex,
            "attestation": attestation,
        },
    )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A private key made just now, and its self-signed certificate."""

    private_key: PrivateKey = field(repr=False)
    certificate: x509.Certificate


def new_key(role: Role, kind: str, *, subject: str = "rom-builder") -> NewKey:
    """Make a key that the devices take for a role.

    Args:
        role: What it will sign.
        kind: ``rsa-2048``, ``rsa-4096``, ``p256``, ...
        subject: Common name of the certificate, which is signed with SHA-256.

    Raises:
        SigningError: No device would take such a key for this role; says which it would.
    """
    if kind not in _KINDS[role]:
        raise SigningError(
            f"{kind} cannot be the kind of a key for {role}: {_WHY[role]}",
            hint=f"choose one of {', '.join(_KINDS[role])}",
        )
    private_key: PrivateKey
    if kind.startswith("rsa-"):
        private_key = rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))
    else:
        curve = ec.SECP256R1() if kind == "p256" else ec.SECP384R1()
        private_key = ec.generate_private_key(curve)
    return NewKey(private_key, self_signed(private_key, subject))


def self_signed(key: PrivateKey, subject: str) -> x509.Certificate:
    """Return a certificate of a key by itself: SHA-256, 10,000 days, as AOSP's ``make_key`` does.

    Raises:
        SigningError: The subject is empty or longer than 64 characters.
    """
    if not 1 <= len(subject) <= 64:
        raise SigningError("the subject of a certificate has 1 to 64 characters")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
