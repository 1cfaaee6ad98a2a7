"""``file:`` a key file: PEM, PKCS#8 in DER or PKCS#12."""

from __future__ import annotations

from rom_builder.keys.files import read_key_file
from rom_builder.signers import REGISTRY
from rom_builder.signers.signer import KeyReference, KeySigner, Signer


@REGISTRY.register("file")
def open_file(reference: KeyReference) -> Signer:
    """Open ``file:PATH``; a relative path starts from the signing profile's folder.

    Raises:
        SigningError: See :func:`rom_builder.keys.files.read_key_file`.
    """
    path = reference.folder / reference.reference
    readable = "key-readable-by-others" in reference.allowed
    found = read_key_file(path, reference.passphrase, readable_by_others=readable)
    return KeySigner(found.private_key, found.certificate, remarks=found.weaknesses)
