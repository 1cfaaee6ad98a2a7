"""What a signer is, and the check that stands before every one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from rom_builder.errors import SigningError
from rom_builder.keys import spki_sha256
from rom_builder.keys.files import PassphraseSource, PrivateKey, PublicKey

SigningDigest = Literal["sha256", "sha512"]
"""What may be signed: SHA-1 is verified where devices still do, but never signed."""

_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}

DIGEST_INFO: dict[SigningDigest, bytes] = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What PKCS#1 v1.5 puts before a digest (RFC 8017, 9.2, note 1)."""

Allowance = Literal["inline-pin", "key-readable-by-others"]
"""What a signing profile may allow for a key that is refused otherwise."""

PROBE = hashlib.sha256(b"rom-builder asks a signer which key it has; this signs nothing").digest()
"""A digest that is signed only to see whose signature comes back."""


class Signer(Protocol):
    """A private key somewhere."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""
        ...

    @property
    def certificate(self) -> x509.Certificate | None:
        """The certificate kept beside the key, None if there is none."""
        ...

    @property
    def development(self) -> bool:
        """Whether it is a throw-away key that must not sign a release."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its owner should mend, such as a weakly encrypted key file."""
        ...

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        """Return an RSA PKCS#1 v1.5 signature, or an ECDSA one in DER, over a digest.

        Raises:
            SigningError: The key cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyReference:
    """What a scheme's opener is given.

    Attributes:
        uri: The whole URI without a secret that may stand in it, for messages.
        reference: What stands after the scheme.
        folder: What a relative path starts from.
        passphrase: Where a passphrase or PIN comes from.
        expected: The public key that it must be, if that is known before the signer is asked.
        allowed: What is let through that is refused otherwise.
    """

    uri: str
    reference: str = field(repr=False)
    folder: Path
    passphrase: PassphraseSource | None
    expected: PublicKey | None = None
    allowed: frozenset[Allowance] = frozenset()


Opener = Callable[[KeyReference], Signer]


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A signer over a private key in this process's memory."""

    private_key: PrivateKey = field(repr=False)
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        prehashed = utils.Prehashed(_HASHES[algorithm])
        if isinstance(self.private_key, ec.EllipticCurvePrivateKey):
            return self.private_key.sign(digest, ec.ECDSA(prehashed))
        return self.private_key.sign(digest, padding.PKCS1v15(), prehashed)


@dataclass(frozen=True, slots=True)
class CheckedSigner:
    """A signer that lets no signature out which the expected key does not verify.

    Attributes:
        signer: Has the key.
        public_key: The key that was expected, and that the signer has.
        uri: Where the key is, for messages.
        given: The certificate of the key; roles whose signatures carry none do without.
        absent: Whether the key is not here and what it signs is signed later, elsewhere.
        record: Told of each verified signature before anybody gets it: digest and algorithm.
    """

    signer: Signer = field(repr=False)
    public_key: PublicKey
    uri: str
    given: x509.Certificate | None = None
    absent: bool = False
    record: Callable[[bytes, SigningDigest], None] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key.

        Raises:
            SigningError: Only the public key is known.
        """
        if self.given is None:
            raise SigningError(
                f"{self.uri}: no certificate lies beside this key, and what it signs needs one",
                hint="name the certificate in the signing profile",
            )
        return self.given

    @property
    def development(self) -> bool:
        """Whether it is a throw-away key that must not sign a release."""
        return self.signer.development

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the key's owner should mend, each with the place of the key."""
        return tuple(f"{self.uri}: {remark}" for remark in self.signer.remarks)

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        """Return a verified signature over a digest; see :meth:`Signer.sign_digest`.

        Raises:
            SigningError: The key cannot be used, or what came back is not its signature.
            ValueError: The algorithm is not one that is signed with, or not the digest's.
        """
        if algorithm not in _HASHES or len(digest) != _HASHES[algorithm].digest_size:
            raise ValueError(f"{len(digest)} bytes are no {algorithm} digest")
        signature = self.signer.sign_digest(digest, algorithm)
        if not verifies(self.public_key, signature, digest, algorithm):
            size = signature_size(self.public_key)
            rsa_key = isinstance(self.public_key, rsa.RSAPublicKey)
            wrong_size = len(signature) != size if rsa_key else len(signature) > size
            raise SigningError(
                f"{self.uri}: the signer returned {len(signature)} bytes; a signature of this key "
                f"has {size}{'' if rsa_key else ' or fewer'}"
                if wrong_size
                else f"{self.uri}: the signer returned something that its key does not verify",
                hint="it may have signed with another key, or hashed the digest once more",
            )
        if self.record is not None:
            self.record(digest, algorithm)
        return signature

    @property
    def signers(self) -> tuple[CheckedSigner, ...]:
        """Itself: one key can sign for every partition."""
        return (self,)

    def for_partition(self, name: str) -> CheckedSigner:
        """Return itself, whichever partition it is."""
        return self

    def probe(self) -> None:
        """Let it sign a digest of nothing, to see whether it can and has the right key.

        Raises:
            SigningError: As :meth:`sign_digest`.
        """
        self.sign_digest(PROBE)


class AvbSigners(Protocol):
    """The keys of the role ``avb``."""

    @property
    def signers(self) -> tuple[CheckedSigner, ...]:
        """All of them."""
        ...

    def for_partition(self, name: str) -> CheckedSigner | None:
        """Return the key that signs a partition's vbmeta image, None if there is none."""
        ...


def verifies(key: PublicKey, signature: bytes, digest: bytes, algorithm: SigningDigest) -> bool:
    """Say whether a signature over a digest is that of a key."""
    prehashed = utils.Prehashed(_HASHES[algorithm])
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
    except InvalidSignature:
        return False
    return True


def signature_size(key: PublicKey) -> int:
    """Return the bytes of a signature of this key; of an ECDSA one in DER, at most.

    >>> signature_size(ec.generate_private_key(ec.SECP256R1()).public_key())
    72
    """
    if isinstance(key, rsa.RSAPublicKey):
        return (key.key_size + 7) // 8
    # SEQUENCE of two INTEGERs, each with one more byte where the highest bit is set.
    numbers = 2 * (2 + (key.curve.key_size + 7) // 8 + 1)
    return numbers + (2 if numbers < 0x80 else 3)


def checked(
    signer: Signer,
    certificate: x509.Certificate | None,
    uri: str,
    *,
    public_key: PublicKey | None = None,
    fingerprint: str | None = None,
) -> CheckedSigner:
    """Tie a signer to the key that it must have.

    Args:
        signer: Has some key.
        certificate: Of the key that it must have.
        uri: Where the key is, for messages.
        public_key: The key that it must have.
        fingerprint: SHA-256 of the SubjectPublicKeyInfo of the key that it must have.

    Raises:
        SigningError: Nothing says which key it must have, or it has another.
    """
    if certificate is None and public_key is None and fingerprint is None:
        raise SigningError(
            f"{uri}: no certificate lies beside this key",
            hint="name the certificate in the signing profile",
        )
    found = signer.public_key
    for what, same in (
        ("certificate", certificate is None or found == public_key_of(certificate)),
        ("public key", public_key is None or found == public_key),
        ("fingerprint", fingerprint is None or spki_sha256(found) == fingerprint),
    ):
        if not same:
            raise SigningError(
                f"{uri}: the key is not that of the {what}",
                hint=f"its fingerprint is {spki_sha256(found)}",
            )
    return CheckedSigner(signer, found, uri, certificate)


def public_key_of(certificate: x509.Certificate) -> PublicKey | None:
    """Return the key of a certificate, None if it is of a kind that nothing here signs with."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return None
    return key if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None
