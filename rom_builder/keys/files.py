"""Private keys in files: read with care, written once.

A key file is PEM, PKCS#8 in DER (``.pk8``) or PKCS#12, encrypted or not. Passphrases come from a
file, an environment variable or a prompt, never from an argument. No message and no ``repr`` here
holds key material or a passphrase, and a process that read some leaves no core dump. Python cannot
wipe memory: a key that must not be stolen from a running process belongs in an HSM.
"""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.der import (
    INTEGER,
    NULL,
    OCTET_STRING,
    OID,
    SEQUENCE,
    DerReader,
    der,
    der_integer,
)
from rom_builder.keys.encryption import weaknesses

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

KDF_ROUNDS = 600_000
"""PBKDF2-HMAC-SHA256 rounds of the key files written here (OWASP Password Storage, 2023)."""

_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")
_AES256_CBC = bytes.fromhex("60864801650304012a")

_LARGEST = 1 << 16
"""Bytes of the largest key or passphrase file read; an RSA-8192 key takes under 8 KiB."""


class PassphraseSource(Protocol):
    """Where the passphrase of a key file comes from."""

    def read(self) -> bytes:
        """Return the passphrase.

        Raises:
            SigningError: There is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class PassphraseFile:
    """A file, readable by its owner alone, or a pipe, whose first line is the passphrase."""

    path: Path

    def read(self) -> bytes:
        return read_private(self.path, "passphrase file").split(b"\n", 1)[0].rstrip(b"\r")


_variables: dict[str, bytes] = {}


def without_core_dumps() -> None:
    """Keep this process from leaving its memory in a file: it is about to hold a secret."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def hide_variable(name: str) -> None:
    """Take a secret variable out of the environment, for :func:`take_variable` to return later.

    Programs that are started from now on do not inherit it.
    """
    value = os.environ.pop(name, None)
    if value is not None:
        without_core_dumps()
        _variables[name] = os.fsencode(value)


def take_variable(name: str) -> bytes:
    """Return a secret environment variable, taken away so that no child process inherits it.

    Raises:
        SigningError: It is not set, or empty.
    """
    hide_variable(name)
    if name not in _variables:
        raise SigningError(f"the environment variable {name} is not set")
    if not _variables[name]:
        raise SigningError(
            f"the environment variable {name} is empty",
            hint="a CI gives no secrets to pull requests from forks",
        )
    return _variables[name]


@dataclass(frozen=True, slots=True)
class PassphraseVariable:
    """An environment variable; reading takes it away so that no child process inherits it."""

    name: str

    def read(self) -> bytes:
        return take_variable(self.name)


@dataclass(frozen=True, slots=True)
class PassphrasePrompt:
    """Somebody who is asked."""

    ask: Callable[[], str] = field(repr=False)

    def read(self) -> bytes:
        without_core_dumps()
        return self.ask().encode()


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file holds.

    Attributes:
        private_key: The key.
        certificate: The certificate beside it, if the file has one.
        weaknesses: What is weak in how it is encrypted.
    """

    private_key: PrivateKey = field(repr=False)
    certificate: x509.Certificate | None
    weaknesses: tuple[str, ...] = ()


def read_private(path: Path, what: str = "key file", *, readable_by_others: bool = False) -> bytes:
    """Return the content of a small file that nobody but its owner may read.

    Args:
        path: The file.
        what: Its kind, for messages.
        readable_by_others: Take it even if group or others may read it.

    Raises:
        SigningError: Missing, unreadable, too large, or open to group or others.
    """
    without_core_dumps()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (os.geteuid(), 0) and not readable_by_others:
                raise SigningError(f"{path}: this {what} belongs to another user")
            readable = stat.S_ISREG(status.st_mode) and status.st_mode & 0o077
            if readable and not readable_by_others:
                raise SigningError(
                    f"{path}: others can read this {what} (mode {status.st_mode & 0o777:04o})",
                    hint=f"chmod 600 {path}",
                )
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise SigningError(f"{path}: too large for a {what}")
    return data


def read_key_file(
    path: Path, passphrase: PassphraseSource | None = None, *, readable_by_others: bool = False
) -> KeyFile:
    """Return what a key file holds.

    Args:
        path: The file.
        passphrase: Read only if the file is encrypted.
        readable_by_others: Take it even if group or others may read it.

    Raises:
        SigningError: Missing, readable by others, not a key file, encrypted and no or the wrong
            passphrase given, or a key that is neither RSA nor EC.
    """
    data = read_private(path, readable_by_others=readable_by_others)
    return parse_key_file(data, str(path), passphrase)


def parse_key_file(data: bytes, name: str, passphrase: PassphraseSource | None = None) -> KeyFile:
    """Return what a key file with this content holds; see :func:`read_key_file`."""
    load = _load_pem if b"-----BEGIN" in data else _load_der
    if load is _load_der and _is_pkcs12(data):
        load = _load_pkcs12
    found = _attempt(load, data, None, f"{name}: not a private key")
    if found is None:
        if passphrase is None:
            raise SigningError(f"{name}: the key is encrypted and no passphrase is given")
        wrong = f"{name}: the passphrase is wrong, or the file is damaged"
        found = _attempt(load, data, passphrase.read(), wrong)
    if found is None:
        raise SigningError(f"{name}: not a private key")
    key, certificate = found
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise SigningError(f"{name}: the key is neither RSA nor EC")
    return KeyFile(key, certificate, weaknesses(data))


_Loaded = tuple[PrivateKeyTypes | None, x509.Certificate | None]


def _attempt(
    load: Callable[[bytes, bytes | None], _Loaded | None],
    data: bytes,
    passphrase: bytes | None,
    message: str,
) -> _Loaded | None:
    """Load a key; no message of another library gets through, it might quote what it read."""
    try:
        return load(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningError(message) from None


def _load_pem(data: bytes, passphrase: bytes | None) -> _Loaded | None:
    """Return key and certificate; None if a passphrase is needed."""
    certificate = None
    if b"-----BEGIN CERTIFICATE-----" in data:
        certificate = x509.load_pem_x509_certificate(data)
    try:
        return load_pem_private_key(data, passphrase), certificate
    except TypeError:
        if passphrase is None:
            return None
        raise


def _load_der(data: bytes, passphrase: bytes | None) -> _Loaded | None:
    try:
        return load_der_private_key(data, passphrase), None
    except TypeError:
        if passphrase is None:
            return None
        raise


def _load_pkcs12(data: bytes, passphrase: bytes | None) -> _Loaded | None:
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(data, passphrase)
    except ValueError:
        if passphrase is None:
            return None
        raise
    return key, certificate


def _is_pkcs12(data: bytes) -> bool:
    """Whether DER starts as a PFX does: version 3 (RFC 7292, 4); a PKCS#8 key has 0 or 1."""
    try:
        fields = DerReader(data).inside(SEQUENCE, "PFX")
        return fields.peek() == INTEGER and fields.integer("version") == 3
    except ImageError:
        return False


def plain_key(key: PrivateKey) -> bytes:
    """Return a key as unencrypted PKCS#8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encrypted_key(key: PrivateKey, passphrase: bytes) -> bytes:
    """Return a key as encrypted PKCS#8 in PEM: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC.

    Encoded here (RFC 8018, A.2 to A.4, B.2.5), because ``cryptography`` writes PKCS#8 with 2048
    rounds and PKCS#12 with 2048 rounds in its MAC, at which a passphrase can be guessed just as
    fast.

    Raises:
        SigningError: The passphrase is empty.
    """
    if not passphrase:
        raise SigningError("the passphrase is empty")
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    kek = hashlib.pbkdf2_hmac("sha256", passphrase, salt, KDF_ROUNDS, 32)
    padder = padding.PKCS7(128).padder()
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(kek), modes.CBC(iv)).encryptor()
    secret = encryptor.update(padded) + encryptor.finalize()
    prf = der(SEQUENCE, der(OID, _HMAC_SHA256), der(NULL))
    rounds = der(SEQUENCE, der(OCTET_STRING, salt), der_integer(KDF_ROUNDS), prf)
    kdf = der(SEQUENCE, der(OID, _PBKDF2), rounds)
    cipher = der(SEQUENCE, der(OID, _AES256_CBC), der(OCTET_STRING, iv))
    scheme = der(SEQUENCE, der(OID, _PBES2), der(SEQUENCE, kdf, cipher))
    return _pem("ENCRYPTED PRIVATE KEY", der(SEQUENCE, scheme, der(OCTET_STRING, secret)))


def _pem(label: str, content: bytes) -> bytes:
    """Return PEM (RFC 7468): base64 in lines of 64."""
    text = base64.b64encode(content).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def write_new_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not be there yet: whole or not at all, and never over another.

    Raises:
        SigningError: It is there already, or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink()
    except FileExistsError:
        raise SigningError(
            f"{path}: is there already and is not overwritten", hint="choose another name"
        ) from None
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
