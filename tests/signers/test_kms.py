"""``kms:`` keys behind a server that speaks AWS KMS's protocol (JSON 1.1) with real keys."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.errors import SigningError
from rom_builder.keys import NewKey
from rom_builder.signers import open_signer
from rom_builder.signers.signer import PROBE, KeySigner
from tests.signing_material import key

ARN = "arn:aws:kms:eu-central-1:123456789012:key/"
KEYS: dict[str, NewKey] = {
    "alias/rsa": key("rsa-2048"),
    "alias/p256": key("p256"),
    "alias/hashes-again": key("rsa-2048"),
    "alias/moved": key("rsa-2048", 1),
}
SECRET = "kms-secret-77a0b1"


class Kms(BaseHTTPRequestHandler):
    """GetPublicKey and Sign as the API reference has them; every request must be signed."""

    seen: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        action = self.headers["X-Amz-Target"].removeprefix("TrentService.")
        self.seen.append((action, asked))
        key_id = asked["KeyId"]
        name = key_id.removeprefix(ARN) if key_id.startswith(ARN) else key_id
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return self.answer(400, {"__type": "MissingAuthenticationTokenException"})
        if name == "alias/denied":
            message = "User: ci is not authorized\nto perform: kms:GetPublicKey"
            return self.answer(400, {"__type": "AccessDeniedException", "message": message})
        if name == "alias/encrypts":
            public = self.public("alias/rsa")
            return self.answer(200, {"PublicKey": public, "KeyUsage": "ENCRYPT_DECRYPT"})
        if name == "alias/garbage":
            return self.answer(200, {"PublicKey": "AAAA", "KeyUsage": "SIGN_VERIFY"})
        if name not in KEYS:
            return self.answer(400, {"__type": "NotFoundException", "message": f"no {name}"})
        if action == "GetPublicKey":
            found = {"KeyId": ARN + name, "PublicKey": self.public(name), "KeyUsage": "SIGN_VERIFY"}
            return self.answer(200, found)
        return self.answer(200, {"Signature": self.signature(name, asked)})

    def public(self, name: str) -> str:
        form = PublicFormat.SubjectPublicKeyInfo
        spki = KEYS[name].private_key.public_key().public_bytes(Encoding.DER, form)
        return base64.b64encode(spki).decode()

    def signature(self, name: str, asked: dict[str, Any]) -> str:
        assert asked["MessageType"] == "DIGEST"
        digest = base64.b64decode(asked["Message"])
        private = KEYS[name].private_key
        if name == "alias/hashes-again":
            digest = hashlib.sha256(digest).digest()
        if asked["SigningAlgorithm"] == "ECDSA_SHA_256":
            signed = KeySigner(private).sign_digest(digest)
        elif asked["SigningAlgorithm"] == "RSASSA_PKCS1_V1_5_SHA_512":
            signed = KeySigner(private).sign_digest(digest, "sha512")
        else:
            assert asked["SigningAlgorithm"] == "RSASSA_PKCS1_V1_5_SHA_256"
            signed = private.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))  # type: ignore[union-attr, call-arg, arg-type]
        return base64.b64encode(signed).decode()

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kms)
    Thread(target=server.serve_forever, daemon=True).start()
    Kms.seen.clear()
    environment = {
        "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["alias/rsa", "alias/p256", f"{ARN}alias/rsa"])
def test_a_key_in_kms_signs_a_digest(name: str) -> None:
    made = KEYS[name.removeprefix(ARN)]
    signer = open_signer(f"kms:{name}", made.certificate)
    signer.probe()
    (_, asked) = Kms.seen[-1]
    assert base64.b64decode(asked["Message"]) == PROBE
    assert asked["KeyId"].startswith(ARN), "an alias may be moved between two calls"


def test_rsa_signatures_are_those_of_the_same_key_in_a_file() -> None:
    signer = open_signer("kms:alias/rsa", KEYS["alias/rsa"].certificate)
    file = KeySigner(KEYS["alias/rsa"].private_key)
    assert signer.sign_digest(PROBE) == file.sign_digest(PROBE)
    assert signer.sign_digest(bytes(64), "sha512") == file.sign_digest(bytes(64), "sha512")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alias/none", "KMS answers NotFoundException: no alias/none"),
        ("alias/denied", "AccessDeniedException: User: ci is not authorized to perform"),
        ("alias/encrypts", "does not sign"),
        ("alias/garbage", "no public key"),
        ("alias/moved", "not that of the certificate"),
    ],
)
def test_what_is_wrong_is_one_line(name: str, message: str) -> None:
    with pytest.raises(SigningError, match=message) as caught:
        open_signer(f"kms:{name}", key("rsa-2048").certificate)
    assert "\n" not in str(caught.value)
    assert SECRET not in f"{caught.value!r}{caught.value.hint}"


def test_a_kms_that_hashes_the_digest_again_is_found_out() -> None:
    signer = open_signer("kms:alias/hashes-again", key("rsa-2048").certificate)
    with pytest.raises(SigningError, match="does not verify") as caught:
        signer.probe()
    assert "hashed the digest once more" in str(caught.value.hint)


def test_a_kms_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SigningError, match="Could not connect to the endpoint URL"):
        open_signer("kms:alias/rsa", key("rsa-2048").certificate)


def test_without_credentials_or_region_it_is_said_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SigningError, match="credentials") as caught:
        open_signer("kms:alias/rsa", key("rsa-2048").certificate)
    assert "OIDC" in str(caught.value.hint)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(SigningError, match="region") as caught:
        open_signer("kms:alias/rsa", key("rsa-2048").certificate)
    assert "AWS_REGION" in str(caught.value.hint)
