"""Sign payloads with keys that live elsewhere: a signer sees a digest.

A signature is stored in as many bytes as its key could need, filled with zeros, with its real size
beside it: the size of a signatures message stands in the bytes that are signed, so it must be known
before there is a signature. Source: AOSP ``system/update_engine/payload_generator/
payload_signer.cc``.

========== ================ ==================
key        bytes of storage signatures message
========== ================ ==================
RSA-2048   256              267
RSA-4096   512              523
P-256      72               81
========== ================ ==================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rom_builder.errors import SigningError
from rom_builder.formats.payload.manifest import Signature, Signatures
from rom_builder.formats.payload.signatures import _matches

P256_SIGNATURE_SIZE = 72
"""Longest DER form of an ECDSA signature with P-256: two integers of 33 bytes and three headers."""

RSA_BITS = (2048, 4096)
"""RSA keys that update_engine's verifier knows a padding for."""


@dataclass(frozen=True, slots=True)
class PayloadKey:
    """A key that payloads are signed with.

    Attributes:
        public_key: RSA with 2048 or 4096 bits, or P-256.
        sign: ``sign(digest, "sha256")``: an RSA PKCS#1 v1.5 signature, or an ECDSA one in DER; None
            leaves zeros in its place, for it is made later.

    Raises:
        SigningError: Devices cannot verify signatures of such a key.
    """

    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    sign: Callable[[bytes, Literal["sha256"]], bytes] | None = field(repr=False)

    def __post_init__(self) -> None:
        key = self.public_key
        if isinstance(key, rsa.RSAPublicKey):
            if key.key_size not in RSA_BITS:
                raise SigningError(f"no device verifies payloads with an RSA-{key.key_size} key")
        elif not isinstance(key.curve, ec.SECP256R1):
            raise SigningError(f"no device verifies payloads with a {key.curve.name} key")

    @property
    def signature_size(self) -> int:
        """Bytes that one of its signatures is stored in."""
        if isinstance(self.public_key, rsa.RSAPublicKey):
            return self.public_key.key_size // 8
        return P256_SIGNATURE_SIZE


def signatures_size(keys: Sequence[PayloadKey]) -> int:
    """Bytes of the message that :func:`sign_digest` returns."""
    return len(_message([(bytes(key.signature_size), key.signature_size) for key in keys]))


def sign_digest(digest: bytes, keys: Sequence[PayloadKey]) -> bytes:
    """Return the signatures message over a SHA-256 digest, every signature verified.

    Raises:
        SigningError: What came back is not the key's signature, or is too long; or as ``sign``.
    """
    stored = []
    for key in keys:
        if key.sign is None:
            stored.append((bytes(key.signature_size), key.signature_size))
            continue
        signature = key.sign(digest, "sha256")
        if len(signature) > key.signature_size or not _matches(
            key.public_key, Signature(data=signature), digest
        ):
            raise SigningError("a payload's signer returned something that its key does not verify")
        stored.append((signature.ljust(key.signature_size, b"\0"), len(signature)))
    return _message(stored)


def _message(stored: Sequence[tuple[bytes, int]]) -> bytes:
    return Signatures(
        tuple(Signature(data=data, unpadded_signature_size=size) for data, size in stored)
    ).encode()
