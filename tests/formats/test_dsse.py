from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as ForeignEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from rom_builder.errors import ImageError
from rom_builder.formats.dsse import IN_TOTO, Envelope, Signature, key_id, parse_dsse

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
SHA256 = utils.Prehashed(hashes.SHA256())


def signed(payload: bytes, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Envelope:
    digest = Envelope(IN_TOTO, payload, ()).signed_digest
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(digest, padding.PKCS1v15(), SHA256)
    else:
        signature = key.sign(digest, ec.ECDSA(SHA256))
    return Envelope(IN_TOTO, payload, (Signature(key_id(key.public_key()), signature),))


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "p256"])
def test_what_is_encoded_verifies(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    envelope = parse_dsse(signed(b'{"a": 1}', key).encode())
    assert envelope.payload == b'{"a": 1}'
    envelope.verify(key.public_key())
    other = EC if key is RSA else RSA
    with pytest.raises(ImageError, match="no signature is that of the key"):
        envelope.verify(other.public_key())


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "p256"])
def test_securesystemslib_accepts_our_envelope(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    ours = signed(b'{"a": 1}', key)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    kind, scheme = (
        ("rsa", "rsa-pkcs1v15-sha256") if key is RSA else ("ecdsa", "ecdsa-sha2-nistp256")
    )
    foreign = SSlibKey(ours.signatures[0].keyid, kind, scheme, {"public": pem.decode()})
    envelope = ForeignEnvelope.from_dict(json.loads(ours.encode()))
    assert set(envelope.verify([foreign], 1)) == {foreign.keyid}


def test_we_accept_an_envelope_of_securesystemslib() -> None:
    signer = CryptoSigner(EC)
    foreign = ForeignEnvelope(b"payload", IN_TOTO, {})
    foreign.sign(signer)
    parse_dsse(json.dumps(foreign.to_dict()).encode()).verify(EC.public_key())


def test_either_base64_alphabet_is_read() -> None:
    document = json.loads(signed(b"\xff\xfe\xfd", EC).encode())
    document["payload"] = base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()
    assert parse_dsse(json.dumps(document).encode()).payload == b"\xff\xfe\xfd"


def changed(**change: Any) -> bytes:
    return json.dumps({**json.loads(signed(b"x", EC).encode()), **change}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        changed(payload=7),
        changed(payload="*"),
        changed(signatures=[]),
        changed(signatures=[{"sig": "AA=="}] * 17),
        changed(signatures=[{"keyid": "x"}]),
        b" " * ((16 << 20) + 1),
    ],
    ids=lambda data: data[:20].decode(errors="replace"),
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_dsse(data)


ENVELOPE = signed(b'{"subject": "x", "verdict": "compliant"}', EC)
LINE = ENVELOPE.encode()


@given(st.integers(0, len(LINE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_passes_for_another_payload(at: int, mask: int) -> None:
    data = bytearray(LINE)
    data[at] ^= mask
    try:
        envelope = parse_dsse(bytes(data))
        envelope.verify(EC.public_key())
    except ImageError:
        return
    assert (envelope.payload_type, envelope.payload) == (IN_TOTO, ENVELOPE.payload)
