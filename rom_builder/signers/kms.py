"""``kms:`` a key in AWS KMS, by key id, ARN or ``alias/NAME``; needs the extra ``aws``.

KMS gets a digest (``MessageType`` DIGEST) and never what was hashed. Credentials, region and endpoint
come from where the AWS SDK looks for them: a CI takes a role through OIDC, and no secret is stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rom_builder.errors import SigningError
from rom_builder.keys.files import PublicKey
from rom_builder.signers import REGISTRY
from rom_builder.signers.signer import KeyReference, Signer, SigningDigest

_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d+:(key|alias)/.+")
_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 30
_ATTEMPTS = 3

_RSA = {"sha256": "RSASSA_PKCS1_V1_5_SHA_256", "sha512": "RSASSA_PKCS1_V1_5_SHA_512"}
_EC = {"sha256": "ECDSA_SHA_256", "sha512": "ECDSA_SHA_512"}


@REGISTRY.register("kms")
def open_kms(reference: KeyReference) -> Signer:
    """Open ``kms:alias/NAME``, ``kms:KEY-ID`` or ``kms:ARN``.

    Raises:
        SigningError: boto3 is missing, KMS cannot be reached or refuses, or the key does not sign.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise SigningError(
            f"{reference.uri}: boto3 is not installed", hint="pip install 'rom-builder[aws]'"
        ) from None
    arn = _ARN.fullmatch(reference.reference)
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
    )
    try:
        client = Session().client("kms", region_name=arn[1] if arn else None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise SigningError(f"{reference.uri}: {_told(error)}", hint=_hint(error)) from None
    found = _asked(reference.uri, client.get_public_key, KeyId=reference.reference)
    if found.get("KeyUsage") != "SIGN_VERIFY":
        raise SigningError(f"{reference.uri}: this key does not sign (KeyUsage is not SIGN_VERIFY)")
    try:
        key = load_der_public_key(found["PublicKey"])
    except (ValueError, KeyError, UnsupportedAlgorithm):
        raise SigningError(f"{reference.uri}: KMS returned no public key that is known") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise SigningError(f"{reference.uri}: the key is neither RSA nor EC")
    # The id that was found, so that an alias that is moved meanwhile cannot bring in another key.
    return KmsSigner(reference.uri, found.get("KeyId", reference.reference), client, key)


@dataclass(frozen=True, slots=True)
class KmsSigner:
    """A signer over a key in AWS KMS."""

    uri: str
    key_id: str
    client: Any = field(repr=False)
    public_key: PublicKey
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        names = _RSA if isinstance(self.public_key, rsa.RSAPublicKey) else _EC
        answer = _asked(
            self.uri,
            self.client.sign,
            KeyId=self.key_id,
            Message=digest,
            MessageType="DIGEST",
            SigningAlgorithm=names[algorithm],
        )
        signature = answer.get("Signature")
        return signature if isinstance(signature, bytes) else b""


def _asked(uri: str, call: Any, **arguments: Any) -> dict[str, Any]:
    """Call KMS.

    Raises:
        SigningError: It cannot be reached, refuses or answers with something else.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = call(**arguments)
    except ClientError as error:
        said = error.response.get("Error", {})
        code = str(said.get("Code", "an error"))[:80]
        message = " ".join(str(said.get("Message", "")).split())[:300]
        raise SigningError(f"{uri}: KMS answers {code}: {message}") from None
    except (BotoCoreError, ValueError) as error:
        raise SigningError(f"{uri}: {_told(error)}", hint=_hint(error)) from None
    return answer


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _hint(error: Exception) -> str | None:
    hints = {
        "NoRegionError": "set AWS_REGION, or give the key's ARN",
        "NoCredentialsError": "let the CI assume a role (OIDC), or set AWS_PROFILE",
    }
    return hints.get(type(error).__name__)
