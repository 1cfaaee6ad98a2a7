"""The places a private key can live, one each, behind a URI.

``file:ota.pem`` and ``dev:ota`` are such URIs. A signer sees a digest, never what was hashed. A
scheme is a module that registers its opener::

    @REGISTRY.register("file")
    def open_file(reference: KeyReference) -> Signer: ...
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from rom_builder.errors import SigningError
from rom_builder.key_files import PassphraseSource
from rom_builder.registry import Registry
from rom_builder.signers.signer import CheckedSigner, KeyReference, Opener, checked

REGISTRY: Registry[Opener] = Registry(__name__)


def open_signer(
    uri: str,
    certificate: x509.Certificate | None = None,
    *,
    passphrase: PassphraseSource | None = None,
    folder: Path = Path(),
) -> CheckedSigner:
    """Open the signer behind a URI and make sure that it has the certificate's key.

    Args:
        uri: ``scheme:reference``; the schemes are the keys of :data:`REGISTRY`.
        certificate: The certificate whose key it must be; None takes the one kept beside the key.
        passphrase: Where the passphrase comes from, if the key needs one.
        folder: What a relative path in ``uri`` starts from.

    Raises:
        SigningError: The scheme is unknown, the key cannot be had, there is no certificate, or it
            is not this key's.
    """
    scheme, colon, reference = uri.partition(":")
    if not colon or scheme not in REGISTRY:
        raise SigningError(
            f"{uri}: a signer is one of {', '.join(f'{name}:…' for name in REGISTRY)}",
            hint=f"file:{uri}" if not colon else None,
        )
    signer = REGISTRY[scheme](KeyReference(uri, reference, folder, passphrase))
    return checked(signer, certificate or signer.certificate, uri)
