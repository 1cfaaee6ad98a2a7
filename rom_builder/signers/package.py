"""Sign an OTA package: what the end of the file becomes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import SigningError
from rom_builder.formats.cms import KeyKind, cms_for
from rom_builder.formats.ota_signature import comment_for, signed_digest
from rom_builder.formats.otacert import recovery_digest, recovery_fitness
from rom_builder.formats.source import Source
from rom_builder.signers.signer import CheckedSigner


def sign_package(package: Source, signer: CheckedSigner, digest: bytes | None = None) -> bytes:
    """Return what stands after the signed bytes of a package: comment length and comment.

    The signed package is ``package[:signed_size(package)]`` followed by these bytes. The signer
    gets a digest; the package is read once and never held in memory.

    Args:
        package: A zip without archive comment, or one signed before.
        signer: The key of the role ``ota``.
        digest: SHA-256 of what the signature covers; computed if it is None.

    Raises:
        SigningError: Recovery would refuse the certificate or verify with SHA-1, or the signature
            does not fit.
        ImageError: The package is not such a zip.
    """
    refuse_unfit(signer)
    certificate = signer.certificate
    signature = signer.sign_digest(signed_digest(package) if digest is None else digest)
    kind: KeyKind = "rsa" if isinstance(signer.public_key, rsa.RSAPublicKey) else "ecdsa"
    cms = cms_for(certificate.public_bytes(Encoding.DER), signature, kind)
    comment = comment_for(cms.encode())
    return len(comment).to_bytes(2, "little") + comment


def refuse_unfit(signer: CheckedSigner) -> None:
    """Refuse a key whose packages recovery would not take.

    Raises:
        SigningError: Recovery would refuse the certificate or verify with SHA-1.
    """
    certificate = signer.certificate
    if reasons := recovery_fitness(certificate):
        raise SigningError(
            f"{signer.uri}: recovery refuses this certificate: {'; '.join(reasons)}",
            hint="make one with `rom-builder keys new --role ota`",
        )
    if recovery_digest(certificate) != "sha256":
        raise SigningError(
            f"{signer.uri}: recovery verifies with SHA-1 for this certificate, which is broken",
            hint="sign the certificate itself with SHA-256; the key can stay",
        )
