"""``pkcs11:`` a key in an HSM, smart card or SoftHSM, by its PKCS #11 URI (RFC 7512).

The key stays in the token: it is given DigestInfo and digest to sign with ``CKM_RSA_PKCS``, or a
digest with ``CKM_ECDSA``, which every token offers; it never sees what was hashed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rom_builder.errors import SigningError
from rom_builder.keys.files import PublicKey
from rom_builder.signers import REGISTRY
from rom_builder.signers.pkcs11_token import LoggedIn, log_in, told
from rom_builder.signers.pkcs11_uri import Pkcs11Uri, module_of, parse_pkcs11_uri
from rom_builder.signers.signer import (
    DIGEST_INFO,
    PROBE,
    KeyReference,
    Signer,
    SigningDigest,
    verifies,
)

if TYPE_CHECKING:
    from pkcs11 import PrivateKey

MODULE_VARIABLE = "PKCS11_MODULE_PATH"
"""Names the module of URIs that name none, as for OpenSSL's engine."""


@REGISTRY.register("pkcs11")
def open_pkcs11(reference: KeyReference) -> Signer:
    """Open ``pkcs11:token=…;object=…?module-path=…``, which needs the extra ``pkcs11``.

    The PIN comes from the file that ``pin-source`` names, else from the passphrase source of the
    signing profile, else from ``$ROM_BUILDER_PIN``.

    Raises:
        SigningError: The URI is wrong, there is no such token or key or more than one, or the PIN is
            missing or wrong.
    """
    try:
        import pkcs11
    except ImportError:
        raise SigningError(
            f"{reference.uri}: python-pkcs11 is not installed",
            hint="pip install 'rom-builder[pkcs11]'",
        ) from None
    uri = parse_pkcs11_uri(reference.reference, reference.uri)
    module = module_of(uri, os.environ.get(MODULE_VARIABLE), reference.folder, reference.uri)
    opened = log_in(module, uri, reference)
    try:
        key = _private_key(opened, uri, reference.uri)
        public = _public_key(opened, key)
        if public is None and reference.expected is None:
            raise SigningError(
                f"{reference.uri}: the token does not tell the public half of this key",
                hint="name the certificate or public_key in the signing profile",
            )
        signer = Pkcs11Signer(
            reference.uri, key, public or reference.expected, opened, _asks_again(key)
        )
    except pkcs11.exceptions.PKCS11Error as error:
        raise SigningError(f"{reference.uri}: {told(error)}") from None
    if public is None and not verifies(
        signer.public_key, signer.sign_digest(PROBE), PROBE, "sha256"
    ):
        raise SigningError(f"{reference.uri}: the key is not the one that the profile names")
    return signer


@dataclass(frozen=True, slots=True)
class Pkcs11Signer:
    """A signer over a key in a token."""

    uri: str
    key: Any = field(repr=False)
    known: PublicKey | None
    opened: LoggedIn = field(repr=False)
    asks_again: bool
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def public_key(self) -> PublicKey:
        assert self.known is not None  # noqa: S101 - the opener refuses a key without one
        return self.known

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        import pkcs11

        pin = self.opened.pin if self.asks_again else None
        ecdsa = isinstance(self.public_key, ec.EllipticCurvePublicKey)
        mechanism = pkcs11.Mechanism.ECDSA if ecdsa else pkcs11.Mechanism.RSA_PKCS
        data = digest if ecdsa else DIGEST_INFO[algorithm] + digest
        try:
            raw: bytes = self.key.sign(data, mechanism=mechanism, pin=pin)
        except pkcs11.exceptions.PKCS11Error as error:
            raise SigningError(f"{self.uri}: {told(error)}") from None
        if not ecdsa:
            return raw
        half = len(raw) // 2  # r and s, each as long as the curve's order
        r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
        return encode_dss_signature(r, s)


def _private_key(opened: LoggedIn, uri: Pkcs11Uri, shown: str) -> PrivateKey:
    """Return the one private key that a URI means.

    Raises:
        SigningError: There is none, or more than one, or it is of another kind.
    """
    from pkcs11 import Attribute, KeyType, ObjectClass, PrivateKey

    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    found = list(opened.session.get_objects({**template, **_selected(uri)}))
    if not found:
        labels = [_label(key) for key in opened.session.get_objects(template)]
        raise SigningError(
            f"{shown}: the token has no such private key",
            hint=f"it has: {', '.join(sorted(labels)[:20]) or 'none'}",
        )
    if len(found) > 1:
        raise SigningError(
            f"{shown}: {len(found)} private keys could be meant",
            hint="add id=: " + ", ".join(sorted(_label(key) for key in found)[:20]),
        )
    (key,) = found
    if not isinstance(key, PrivateKey) or key.key_type not in (KeyType.RSA, KeyType.EC):
        raise SigningError(f"{shown}: the key is neither RSA nor EC")
    return key


def _selected(uri: Pkcs11Uri) -> dict[Any, Any]:
    from pkcs11 import Attribute

    wanted = {Attribute.LABEL: uri.object, Attribute.ID: uri.id}
    return {name: value for name, value in wanted.items() if value is not None}


def _label(key: Any) -> str:
    key_id = "".join(f"%{octet:02X}" for octet in key.id or b"")
    return f"object={key.label!r} id={key_id}"


def _public_key(opened: LoggedIn, key: PrivateKey) -> PublicKey | None:
    """Return the public half of a private key, from its public object or the key itself.

    The public object counts only if it has the private key's id: a label proves nothing.
    """
    from pkcs11 import Attribute, KeyType, ObjectClass

    if key.key_type is KeyType.RSA:
        numbers = _rsa_numbers(key)
        if numbers is not None:
            return numbers.public_key()
    if not key.id:
        return None
    template = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.ID: key.id,
        Attribute.KEY_TYPE: key.key_type,
    }
    for public in opened.session.get_objects(template):
        if key.key_type is KeyType.RSA:
            numbers = _rsa_numbers(public)
            return numbers.public_key() if numbers else None
        return _ec_key(public)
    return None


def _rsa_numbers(key: Any) -> rsa.RSAPublicNumbers | None:
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    try:
        modulus, exponent = key[Attribute.MODULUS], key[Attribute.PUBLIC_EXPONENT]
    except PKCS11Error:
        return None
    if not modulus or not exponent:
        return None
    return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))


def _ec_key(public: Any) -> PublicKey | None:
    from pkcs11.exceptions import PKCS11Error
    from pkcs11.util.ec import encode_ec_public_key

    try:
        key = load_der_public_key(encode_ec_public_key(public))
    except (PKCS11Error, ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _asks_again(key: Any) -> bool:
    """Say whether the token wants the PIN for each signature, as PIV's key 9c does."""
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    try:
        return bool(key[Attribute.ALWAYS_AUTHENTICATE])
    except PKCS11Error:
        return False
