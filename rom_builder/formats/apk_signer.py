"""One signer of an APK, and how its signatures are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rom_builder.formats.x509 import Certificate

Scheme = Literal["v1", "v2", "v3", "v3.1"]

HASHES: dict[str, hashes.HashAlgorithm] = {
    "MD5": hashes.MD5(),  # noqa: S303
    "SHA-1": hashes.SHA1(),  # noqa: S303
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}
"""Digests that signatures are read with; the first two prove nothing against an attacker."""


@dataclass(frozen=True, slots=True)
class ApkSigner:
    """One signer of an APK or JAR, by one scheme.

    Attributes:
        scheme: Which signature scheme; v1 is the JAR signature.
        certificates: The signer's own first, then what it brought along.
        digest_algorithms: Names of the digests of its signatures: ``SHA-1``, ``SHA-256`` ...
        lineage: Certificates of v3 key rotation, oldest first; the last one is the signer's.
        min_sdk: First platform version that looks at this v3 signer, else None.
        max_sdk: Last one.
        block: v1: the entry that holds the signature.
        faults: Why Android would refuse it, of all that was checked; empty if nothing was found.
        verified: Whether every signature and every digest was checked, not only the structure.
    """

    scheme: Scheme
    certificates: tuple[Certificate, ...]
    digest_algorithms: tuple[str, ...]
    lineage: tuple[Certificate, ...] = ()
    min_sdk: int | None = None
    max_sdk: int | None = None
    block: str | None = None
    faults: tuple[str, ...] = ()
    verified: bool = False


def signature_fault(
    spki: bytes, digest: str, signature: bytes, data: bytes, *, pss: bool = False
) -> str | None:
    """Return why a signature over ``data`` does not hold, None if it does.

    Args:
        spki: The public key's SubjectPublicKeyInfo in DER: RSA, EC or DSA.
        digest: A key of :data:`HASHES`.
        signature: RSA PKCS#1 v1.5 or PSS, or the DER of an ECDSA or DSA one.
        data: What was signed.
        pss: RSA with PSS padding, its salt as long as the digest.
    """
    algorithm = HASHES[digest]
    try:
        key = load_der_public_key(spki)
        match key:
            case rsa.RSAPublicKey() if pss:
                salted = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
                key.verify(signature, data, salted, algorithm)
            case rsa.RSAPublicKey():
                key.verify(signature, data, padding.PKCS1v15(), algorithm)
            case ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(algorithm))
            case dsa.DSAPublicKey():
                key.verify(signature, data, algorithm)
            case _:
                return "the key is neither RSA nor EC nor DSA"
    except InvalidSignature:
        return "the signature is wrong"
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        return f"the signature cannot be checked ({error})"
    return None
