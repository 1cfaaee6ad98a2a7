"""The example programs of ``examples/signers`` sign, each against what speaks its service's protocol."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from rom_builder.errors import SigningError
from rom_builder.signers import open_signer
from tests.signing_material import key

RECIPES = Path(__file__).parents[2] / "examples" / "signers"
MADE = key("rsa-2048")
TOKEN = "a-token-of-the-service"


def signed(digest: bytes) -> bytes:
    private = MADE.private_key
    return private.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))  # type: ignore[union-attr, call-arg, arg-type]


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Service(BaseHTTPRequestHandler):
    """Vault's, Google's and Azure's sign calls as their references have them."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vault = self.path == "/v1/transit/sign/ota/sha2-256"
        said = self.headers["X-Vault-Token" if vault else "Authorization"]
        if said != (TOKEN if vault else f"Bearer {TOKEN}"):
            return self.answer(403, {"errors": ["permission denied"]})
        if vault:
            assert (asked["prehashed"], asked["signature_algorithm"]) == (True, "pkcs1v15")
            signature = base64.b64encode(signed(base64.b64decode(asked["input"]))).decode()
            return self.answer(200, {"data": {"signature": f"vault:v1:{signature}"}})
        if self.path == "/v1/projects/p/cryptoKeyVersions/1:asymmetricSign":
            digest = base64.b64decode(asked["digest"]["sha256"])
            return self.answer(200, {"signature": base64.b64encode(signed(digest)).decode()})
        if self.path == "/keys/ota/1/sign?api-version=7.4" and asked["alg"] == "RS256":
            value = asked["value"]
            digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
            return self.answer(200, {"kid": "k", "value": unpadded(signed(digest))})
        return self.answer(404, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for program in ("gcloud", "az"):
        (tmp_path / program).write_text(f"#!/bin/sh\necho {TOKEN}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("VAULT_ADDR", address)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", f"{address}/")
    yield address
    server.shutdown()
    server.server_close()


def command(recipe: str) -> str:
    return f"exec:{sys.executable} {RECIPES}/{recipe}"


@pytest.mark.parametrize(
    "recipe",
    [
        "vault_transit.py ota",
        "gcp_kms.py projects/p/cryptoKeyVersions/1",
        "azure_key_vault.py {service}/keys/ota/1",
    ],
)
def test_a_cloud_signs_through_its_example(recipe: str, service: str) -> None:
    uri = command(recipe.format(service=service))
    open_signer(uri, MADE.certificate).probe()


def test_a_refusal_is_told(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "another")
    with pytest.raises(SigningError, match="HTTP Error 403") as caught:
        open_signer(command("vault_transit.py ota"), MADE.certificate)
    assert "\n" not in str(caught.value)


def numbers(answer: bytes) -> rsa.RSAPublicNumbers:
    """Read ``(10:public-key(3:rsa(1:n257:...)(1:e3:...)))`` out of lines of data."""
    data = unquote_to_bytes(
        b"".join(line[2:] for line in answer.split(b"\n") if line.startswith(b"D "))
    )
    found = {}
    for name in (b"n", b"e"):
        match = re.search(rb"\(1:" + name + rb"(\d+):", data)
        assert match is not None
        found[name] = int.from_bytes(data[match.end() : match.end() + int(match[1])], "big")
    return rsa.RSAPublicNumbers(found[b"e"], found[b"n"])


@pytest.mark.judge("gpg", "gpg-connect-agent", "openssl")
def test_gpg_agent_signs_through_its_example(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    gpg = ["gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
    new = [*gpg, "--quick-gen-key", "rom ota <ota@example.com>", "rsa2048", "sign"]
    subprocess.run(new, check=True, capture_output=True)
    listed = [*gpg, "--with-colons", "--with-keygrip", "--list-secret-keys"]
    shown = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    grip = next(line.split(":")[9] for line in shown.splitlines() if line.startswith("grp"))
    read = ["gpg-connect-agent", f"READKEY {grip}", "/bye"]
    public = numbers(subprocess.run(read, check=True, capture_output=True).stdout).public_key()
    try:
        for _ in range(8):  # escapes differ from one signature to the next
            signer = open_signer(command(f"gpg_agent.py {grip}"), public_key=public)
            signer.sign_digest(os.urandom(32))
        with pytest.raises(SigningError, match="exit code 1: ERR"):
            open_signer(command(f"gpg_agent.py {'0' * 40}"), public_key=public)
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False)
