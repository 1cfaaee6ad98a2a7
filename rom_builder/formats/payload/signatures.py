"""The two signatures of a payload, verified with given public keys.

Both are RSA PKCS#1 v1.5 with SHA-256 or ECDSA with SHA-256 over a 32-byte digest. Neither covers
the other's bytes, so both must be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rom_builder.errors import ImageError
from rom_builder.formats.payload.container import Payload
from rom_builder.formats.payload.manifest import Signature, Signatures

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = RSAPublicKey | EllipticCurvePublicKey


def verify_metadata_signature(payload: Payload, keys: Sequence[PublicKey]) -> PublicKey:
    """Return the first key that made one of the signatures of header and manifest.

    Raises:
        ImageError: There is no signature, or none of the keys made one.
    """
    return _verify("metadata", payload.metadata_signatures(), payload.metadata_digest(), keys)


def verify_payload_signature(
    payload: Payload, keys: Sequence[PublicKey], digest: Callable[[], bytes] | None = None
) -> PublicKey:
    """Return the first key that made one of the signatures of header, manifest and blobs.

    Args:
        payload: The payload; all of it is read, unless ``digest`` is given.
        keys: What may have signed it.
        digest: Returns the digest that is signed, where that is computed anyway.

    Raises:
        ImageError: There is no signature, it does not end the file, or none of the keys made one.
    """
    signatures = payload.payload_signatures()
    manifest = payload.manifest
    end = (manifest.signatures_offset or 0) + (manifest.signatures_size or 0) + payload.blob_offset
    if signatures.signatures and end != payload.source.size:
        raise ImageError(
            f"{payload.source.size - end} unsigned bytes follow the payload signature", offset=end
        )
    return _verify("payload", signatures, (digest or payload.payload_digest)(), keys)


def _verify(
    what: str, signatures: Signatures, digest: bytes, keys: Sequence[PublicKey]
) -> PublicKey:
    if not signatures.signatures:
        raise ImageError(f"the payload has no {what} signature")
    for key in keys:
        if any(_matches(key, signature, digest) for signature in signatures.signatures):
            return key
    raise ImageError(
        f"none of {len(keys)} keys made one of the {len(signatures.signatures)} {what} signatures"
    )


def _matches(key: PublicKey, signature: Signature, digest: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    data = signature.data or b""
    if signature.unpadded_signature_size is not None:
        data = data[: signature.unpadded_signature_size]
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(data, digest, PKCS1v15(), Prehashed(SHA256()))
        else:
            key.verify(data, digest, ECDSA(Prehashed(SHA256())))
    except InvalidSignature:
        return False
    return True
