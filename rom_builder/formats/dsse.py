"""DSSE envelopes: a signed statement and who signed it (secure-systems-lab/dsse, version 1.0.2).

What is signed is not the JSON but the pre-authentication encoding of type and payload::

    "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload      LEN: bytes, decimal ASCII

The envelope is JSON: ``payload`` and each ``sig`` in base64, ``payloadType``, and ``signatures``. A
``keyid`` is a hint only; here it is the SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal digits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rom_builder.errors import ImageError

IN_TOTO = "application/vnd.in-toto+json"
"""Payload type of an in-toto statement."""
MAX_SIZE = 16 << 20
"""Bytes an envelope may have."""
MAX_SIGNATURES = 16

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: RSA PKCS#1 v1.5 or ECDSA in DER, over the SHA-256 of the encoding."""

    keyid: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and its signatures."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def signed_digest(self) -> bytes:
        """SHA-256 of what is signed."""
        return hashlib.sha256(pre_authentication_encoding(self.payload_type, self.payload)).digest()

    def encode(self) -> bytes:
        """Return the envelope as one line of JSON; the same envelope gives the same bytes."""
        document = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": each.keyid, "sig": base64.b64encode(each.signature).decode()}
                for each in self.signatures
            ],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def verify(self, key: PublicKey) -> None:
        """Check that a key signed the payload.

        Raises:
            ImageError: None of the signatures is that key's.
        """
        encoded = pre_authentication_encoding(self.payload_type, self.payload)
        for each in self.signatures:
            try:
                if isinstance(key, rsa.RSAPublicKey):
                    key.verify(each.signature, encoded, padding.PKCS1v15(), hashes.SHA256())
                else:
                    key.verify(each.signature, encoded, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return
        raise ImageError(f"no signature is that of the key {key_id(key)[:16]}")


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(key: PublicKey) -> str:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo, in hexadecimal digits."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


class _Signature(BaseModel):
    model_config = ConfigDict(strict=True)
    sig: Annotated[str, Field(max_length=1 << 16)]
    keyid: Annotated[str, Field(max_length=1 << 10)] = ""


class _Envelope(BaseModel):
    model_config = ConfigDict(strict=True)
    payload: str
    payload_type: Annotated[str, Field(alias="payloadType", max_length=1 << 10)]
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=MAX_SIGNATURES)]


def parse_dsse(data: bytes) -> Envelope:
    """Return an envelope; nothing in it is verified.

    Raises:
        ImageError: It is no envelope, or too large.
    """
    if len(data) > MAX_SIZE:
        raise ImageError(f"the envelope has {len(data)} bytes, more than {MAX_SIZE}")
    try:
        model = _Envelope.model_validate_json(data)
        payload = _decoded(model.payload)
        signatures = tuple(Signature(each.keyid, _decoded(each.sig)) for each in model.signatures)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ImageError(f"is no DSSE envelope: {where}: {first['msg']}") from None
    return Envelope(model.payload_type, payload, signatures)


def _decoded(text: str) -> bytes:
    # The specification allows both alphabets.
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        raise ImageError("is no DSSE envelope: a value is not base64") from None
