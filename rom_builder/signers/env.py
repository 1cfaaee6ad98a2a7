"""``env:`` key material in an environment variable, as a CI hands out its secrets."""

from __future__ import annotations

import base64
import binascii

from rom_builder.errors import SigningError
from rom_builder.keys.files import parse_key_file, take_variable
from rom_builder.signers import REGISTRY
from rom_builder.signers.signer import KeyReference, KeySigner, Signer


@REGISTRY.register("env")
def open_env(reference: KeyReference) -> Signer:
    """Open ``env:NAME``: a key file as its text (PEM), or in base64 (PEM, PKCS#8 or PKCS#12).

    The variable is taken out of the environment: programs that are started later do not inherit it.

    Raises:
        SigningError: It is not set or empty, or holds no key; as for ``file:`` otherwise.
    """
    data = take_variable(reference.reference)
    if b"-----BEGIN" not in data:
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            raise SigningError(
                f"{reference.uri}: neither PEM nor base64",
                hint="put `base64 -w0 ota.pem` into the secret",
            ) from None
    found = parse_key_file(data, reference.uri, reference.passphrase)
    # Not encrypted is what such a secret usually is: the CI's store is the lock.
    remarks = tuple(remark for remark in found.weaknesses if "not encrypted" not in remark)
    return KeySigner(found.private_key, found.certificate, remarks=remarks)
