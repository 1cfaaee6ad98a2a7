"""What a build without keys asks to be signed: a file beside the package.

``PACKAGE.signing.json`` names every digest of one round, with the key that has to sign it. Signatures
follow from one another, so there are up to four rounds:

======= ======================================================== =======================================
round   what is signed                                           what it changes
======= ======================================================== =======================================
apk     apps that the build makes, before there is a package     partitions
avb     vbmeta images                                            partitions, so operations of a payload
payload metadata and data of a payload                           the payload
ota     the whole file                                           the end of the file
======= ======================================================== =======================================

A request is no proof: whoever signs computes every digest again from the package or the apps themselves.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.otacert import parse_certificates
from rom_builder.keys import spki_sha256
from rom_builder.keys.files import PublicKey
from rom_builder.signers.signer import CheckedSigner

SUFFIX = ".signing.json"
MAX_SIZE = 16 << 20
"""Bytes of a request; the apps in it are overlays of some kilobytes."""

Round = Literal["apk", "avb", "payload", "ota"]
ROUNDS: tuple[Round, ...] = ("apk", "avb", "payload", "ota")

Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Text = Annotated[str, StringConstraints(max_length=4096)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


class RequestedDigest(_Model):
    """One signature that is asked for.

    Attributes:
        id: Names the files for its digest and its signature: ``avb.vbmeta_system``.
        role: Whose key signs; a key of ``keys``.
        what: What was hashed, for people.
        digest: Hexadecimal digits.
    """

    id: Name
    role: Name
    what: Text
    algorithm: Literal["sha256", "sha512"]
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{128})$")]


class RequestedKey(_Model):
    """A key that has to sign, in PEM."""

    kind: Text
    spki_sha256: Hex
    public_key: Text
    certificate: Annotated[str, StringConstraints(max_length=65536)] | None = None


class RequestedFile(_Model):
    """A file by name and digest."""

    name: Text
    sha256: Hex
    size: Annotated[int, Field(ge=0)] | None = None


class RequestedApp(_Model):
    """An app that the build made: its device path, and the unsigned archive in base64."""

    path: Text
    content: Annotated[str, StringConstraints(max_length=MAX_SIZE)]

    @property
    def data(self) -> bytes:
        """The unsigned archive."""
        try:
            return base64.b64decode(self.content, validate=True)
        except ValueError:
            raise SigningError(f"{self.path}: its content is no base64") from None


class SigningRequest(_Model):
    """One round of signatures.

    Attributes:
        round: What kind of them.
        later: The rounds that follow it.
        package: The package without them, None in round ``apk``.
        digests: What has to be signed.
        keys: With what, by role.
        verdict: What the build found when it held the package to ``policies``.
        policies: Id and digest of each policy, extended ones included.
        base: What the package was made from.
        brought: Files that the user brought, by device path.
        builder: URI of who built.
        apps: What is signed in round ``apk``.
    """

    version: Annotated[Literal["rom-builder/signing-request/v1"], Field(alias="schema")]
    round: Round
    later: tuple[Round, ...] = ()
    package: RequestedFile | None
    digests: Annotated[tuple[RequestedDigest, ...], Field(min_length=1, max_length=256)]
    keys: dict[Name, RequestedKey]
    verdict: Text
    policies: tuple[RequestedFile, ...]
    base: RequestedFile
    brought: tuple[RequestedFile, ...] = ()
    builder: Text = ""
    apps: tuple[RequestedApp, ...] = ()

    def encode(self) -> bytes:
        """Return the content of the file."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        data.setdefault("package", None)
        return (json.dumps(data, indent=1) + "\n").encode()


def request_path(package: Path) -> Path:
    """Return where the request for a package lies."""
    return package.with_name(package.name + SUFFIX)


def load_request(path: Path) -> SigningRequest:
    """Read a request.

    Raises:
        SigningError: It is none, or damaged.
    """
    with path.open("rb") as file:
        return parse_request(file.read(MAX_SIZE + 1), str(path))


def parse_request(data: bytes, path: str) -> SigningRequest:
    """Return the request in ``data``; messages name it ``path``.

    Raises:
        SigningError: It is none, or damaged.
    """
    if len(data) > MAX_SIZE:
        raise SigningError(f"{path}: more than {MAX_SIZE} bytes: that is no signing request")
    try:
        request = SigningRequest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SigningError(f"{path}: no signing request: {where}: {first['msg']}") from None
    ids = [item.id for item in request.digests]
    if len(set(ids)) < len(ids):
        raise SigningError(f"{path}: two digests have the same id")
    for item in request.digests:
        if item.role not in request.keys:
            raise SigningError(f"{path}: names no key for the role {item.role}")
    if (request.package is None) != (request.round == "apk"):
        raise SigningError(f"{path}: round {request.round} and its package do not go together")
    return request


def requested_key(signer: CheckedSigner) -> RequestedKey:
    """Return a key as a request names it."""
    key, certificate = signer.public_key, signer.given
    kind = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else key.curve.name
    return RequestedKey(
        kind=kind,
        spki_sha256=spki_sha256(key),
        public_key=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        certificate=certificate.public_bytes(Encoding.PEM).decode() if certificate else None,
    )


def public_half(role: str, key: RequestedKey) -> tuple[PublicKey, x509.Certificate | None]:
    """Return the public key and certificate that a request names, each held to its fingerprint.

    Raises:
        SigningError: One is damaged or of another key.
    """
    try:
        loaded = load_pem_public_key(key.public_key.encode())
        found = parse_certificates(key.certificate.encode())[0] if key.certificate else None
        certified = found.public_key() if found else loaded
    except (ValueError, UnsupportedAlgorithm, ImageError):
        raise SigningError(f"the request's key for the role {role} is damaged") from None
    if not isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise SigningError(f"the request's key for the role {role} is neither RSA nor EC")
    if {spki_sha256(loaded), spki_sha256(certified)} != {key.spki_sha256}:
        raise SigningError(f"the request's key for the role {role} is not that of its fingerprint")
    return loaded, found
