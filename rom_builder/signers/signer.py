"""What a signer is, and the check that stands before every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from rom_builder.errors import SigningError
from rom_builder.key_files import PassphraseSource, PrivateKey, PublicKey

SigningDigest = Literal["sha256", "sha512"]
"""What may be signed: SHA-1 is verified where devices still do, but never signed."""

_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}


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
        uri: The whole URI, for messages.
        reference: What stands after the scheme.
        folder: What a relative path starts from.
        passphrase: Where a passphrase or PIN comes from.
    """

    uri: str
    reference: str
    folder: Path
    passphrase: PassphraseSource | None


Opener = Callable[[KeyReference], Signer]


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A signer over a private key in this process's memory."""

    private_key: PrivateKey = field(repr=False)
    certificate: x509.Certificate | None = None
    development: bool = False

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
    """A signer that lets no signature out which its certificate's key does not verify."""

    signer: Signer = field(repr=False)
    certificate: x509.Certificate
    uri: str

    @property
    def public_key(self) -> PublicKey:
        return self.signer.public_key

    @property
    def development(self) -> bool:
        return self.signer.development

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        """Return a verified signature over a digest; see :meth:`Signer.sign_digest`.

        Raises:
            SigningError: The key cannot be used, or what came back is not its signature.
            ValueError: The algorithm is not one that is signed with, or not the digest's.
        """
        if algorithm not in _HASHES or len(digest) != _HASHES[algorithm].digest_size:
            raise ValueError(f"{len(digest)} bytes are no {algorithm} digest")
        signature = self.signer.sign_digest(digest, algorithm)
        prehashed = utils.Prehashed(_HASHES[algorithm])
        key = self.public_key
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, digest, ec.ECDSA(prehashed))
            else:
                key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        except InvalidSignature:
            raise SigningError(
                f"{self.uri}: the signer returned something that its key does not verify"
            ) from None
        return signature


def checked(signer: Signer, certificate: x509.Certificate | None, uri: str) -> CheckedSigner:
    """Tie a signer to its certificate.

    Raises:
        SigningError: There is no certificate, or its key is not the signer's.
    """
    if certificate is None:
        raise SigningError(
            f"{uri}: no certificate lies beside this key",
            hint="name the certificate in the signing profile",
        )
    try:
        same = signer.public_key == certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        same = False
    if not same:
        raise SigningError(f"{uri}: the key is not that of the certificate")
    return CheckedSigner(signer, certificate, uri)
