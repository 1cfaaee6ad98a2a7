"""Sign an app: what a build writes itself and the platform installs only if it is signed."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.formats.apk_signing import digests_to_sign, sign_apk
from rom_builder.signers.signer import CheckedSigner


def sign_app(unsigned: bytes, signer: CheckedSigner) -> bytes:
    """Return an app with a v2 and a v3 signature; see :func:`.sign_apk`.

    The signer gets digests. An RSA key gives the same bytes each time, an EC key does not.

    Args:
        unsigned: A zip archive without a signing block.
        signer: The key of the role ``apk``: RSA, P-256 or P-384.

    Raises:
        SigningError: The key is of another kind, or fails.
        ImageError: The archive is damaged or signed already.
    """
    certificate = signer.certificate.public_bytes(Encoding.DER)
    return sign_apk(unsigned, certificate, signer.sign_digest)


def app_digests(unsigned: bytes, signer: CheckedSigner) -> tuple[bytes, bytes]:
    """Return the digests that :func:`sign_app` asks a signer for: of scheme v2, of v3.

    Raises:
        SigningError: The key is of another kind.
        ImageError: The archive is damaged or signed already.
    """
    return digests_to_sign(unsigned, signer.certificate.public_bytes(Encoding.DER))
