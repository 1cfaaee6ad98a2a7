"""Keys that are not here: their public half is known, and what they sign is signed elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from rom_builder.errors import SigningError
from rom_builder.keys.files import PublicKey
from rom_builder.signers.signer import CheckedSigner, SigningDigest, verifies


@dataclass(frozen=True, slots=True)
class AbsentSigner:
    """A signer that has only signatures, made elsewhere."""

    public_key: PublicKey
    uri: str
    signatures: tuple[bytes, ...] = field(default=(), repr=False)
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        for signature in self.signatures:
            if verifies(self.public_key, signature, digest, algorithm):
                return signature
        raise SigningError(f"{self.uri}: no signature of this key over {digest.hex()} was given")


def absent(
    uri: str,
    public_key: PublicKey,
    certificate: x509.Certificate | None,
    signatures: tuple[bytes, ...] | None = None,
) -> CheckedSigner:
    """Return a key that is not here.

    Args:
        uri: What it is called in messages.
        public_key: Its public half.
        certificate: Its certificate, if it has one.
        signatures: What it signed elsewhere; None where that is still to come.
    """
    signer = AbsentSigner(public_key, uri, signatures or ())
    return CheckedSigner(signer, public_key, uri, certificate, absent=signatures is None)
