"""What was verified, and what came of it: values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rom_builder.errors import ImageError
from rom_builder.formats.ota_verify import OtaVerification
from rom_builder.keys import key_facts, publicly_known, spki_sha256

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Kind = Literal["signature", "digest", "rule"]


@dataclass(frozen=True, slots=True)
class SignedBy:
    """A signature and whose it is, or says it is where it does not hold.

    Attributes:
        key: Kind and size: ``RSA-2048 e=65537``.
        algorithm: ``sha256``, or the name of AVB's: ``SHA256_RSA4096``.
        spki_sha256: SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal.
        avb_sha1: SHA-1 of the key blob where it is one of AVB, as avbtool shows it.
        known_as: Names under which the key is publicly known.
    """

    key: str
    algorithm: str
    spki_sha256: str
    avb_sha1: str = ""
    known_as: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest that was compared.

    Attributes:
        of: Of what: ``partition system``, ``hash tree of system`` ...
        algorithm: ``sha256``, ``crc32`` ...
        computed: What was found, hexadecimal; empty if it was not computed.
        expected: What the package says; None for what a signature vouches for.
    """

    of: str
    algorithm: str
    computed: str
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified.

    Attributes:
        name: What: ``whole-file signature``, ``vbmeta image boot`` ...
        ok: Whether it holds; None if that could not be found out.
        signer: The key that signed it, in words; empty for what carries no signature of its own.
        detail: What is wrong, or what else is worth knowing.
        signature: The same key for programs.
        digests: What was compared, or signed.
        kind: Whether it is about a signature, about digests, or about what else must hold.
    """

    name: str
    ok: bool | None
    signer: str = ""
    detail: str = ""
    signature: SignedBy | None = None
    digests: tuple[Digest, ...] = ()
    kind: Kind = "rule"


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of a package.

    Attributes:
        checks: Everything that was verified, in the order of the package.
        signature: The whole-file signature, None if it does not hold.
        hint: What to do about a whole-file signature that does not hold.
        sha256: Digest of the whole file, hexadecimal; empty if it could not be read to its end.
    """

    checks: tuple[Check, ...]
    signature: OtaVerification | None
    hint: str | None = None
    sha256: str = ""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if check.ok is False)

    @property
    def unknown(self) -> tuple[Check, ...]:
        """The checks that could not be done."""
        return tuple(check for check in self.checks if check.ok is None)


def tried(
    name: str, check: Callable[[], str | tuple[str, tuple[Digest, ...]]], kind: Kind = "rule"
) -> Check:
    """Run a check that returns a detail, maybe with digests, and raises ImageError if it does not hold."""
    try:
        found = check()
    except ImageError as error:
        return Check(name, False, "", str(error), kind=kind)
    detail, digests = (found, ()) if isinstance(found, str) else found
    return Check(name, True, "", detail, digests=digests, kind=kind)


def signed_by(key: object, algorithm: str) -> SignedBy | None:
    """Return a key for programs, None if it is of a kind that signs no package."""
    if not isinstance(key, PublicKey):
        return None
    spki = spki_sha256(key)
    known = publicly_known(spki)
    names = known.names if known else ()
    return SignedBy(key_facts(key, "").key, algorithm, spki, known_as=names)


def shown(key: object) -> str:
    """Return a key in words."""
    if not isinstance(key, PublicKey):
        return "a key of another kind"
    return f"{key_facts(key, '').key}, {spki_sha256(key)[:16]}…"


def keys_of(certificates: Sequence[x509.Certificate]) -> list[PublicKey]:
    """Return the keys of certificates, those of kinds that sign no package left out."""
    found = []
    for certificate in certificates:
        try:
            key = certificate.public_key()
        except (UnsupportedAlgorithm, ValueError):
            continue
        if isinstance(key, PublicKey):
            found.append(key)
    return found
