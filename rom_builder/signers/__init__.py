"""The places a private key can live, one each, behind a URI.

``file:ota.pem`` and ``pkcs11:object=ota`` are such URIs. A signer sees a digest, never what was hashed. A
scheme is a module that registers its opener::

    @REGISTRY.register("file")
    def open_file(reference: KeyReference) -> Signer: ...
"""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509

from rom_builder.errors import SigningError
from rom_builder.keys.files import PassphraseSource, PublicKey
from rom_builder.registry import Registry
from rom_builder.signers.signer import (
    Allowance,
    CheckedSigner,
    KeyReference,
    Opener,
    checked,
    public_key_of,
)

REGISTRY: Registry[Opener] = Registry(__name__)


def open_signer(
    uri: str,
    certificate: x509.Certificate | None = None,
    *,
    public_key: PublicKey | None = None,
    fingerprint: str | None = None,
    passphrase: PassphraseSource | None = None,
    folder: Path = Path(),
    allowed: frozenset[Allowance] = frozenset(),
) -> CheckedSigner:
    """Open the signer behind a URI and make sure that it has the right key.

    Args:
        uri: ``scheme:reference``; the schemes are the keys of :data:`REGISTRY`.
        certificate: The certificate whose key it must be; None takes the one kept beside the key.
        public_key: The key that it must be.
        fingerprint: SHA-256 of the SubjectPublicKeyInfo of the key that it must be.
        passphrase: Where the passphrase or PIN comes from, if the key needs one.
        folder: What a relative path in ``uri`` starts from.
        allowed: What is let through that is refused otherwise.

    Raises:
        SigningError: The scheme is unknown, the key cannot be had, nothing says which key it must
            be, or it is another.
    """
    shown = without_secret(uri)
    scheme, colon, reference = uri.partition(":")
    if not colon or scheme not in REGISTRY:
        raise SigningError(
            f"{shown}: a signer is one of {', '.join(f'{name}:…' for name in REGISTRY)}",
            hint=f"file:{shown}" if not colon else None,
        )
    expected = public_key_of(certificate) if certificate is not None else public_key
    signer = REGISTRY[scheme](KeyReference(shown, reference, folder, passphrase, expected, allowed))
    return checked(
        signer,
        certificate or signer.certificate,
        shown,
        public_key=public_key,
        fingerprint=fingerprint,
    )


def without_secret(uri: str) -> str:
    """Return a signer URI as it may be shown.

    >>> without_secret("pkcs11:object=ota?pin-value=1234")
    'pkcs11:object=ota?pin-value=…'
    """
    return re.sub(r"(pin-value=)[^&;?]*", r"\1…", uri, flags=re.IGNORECASE)
