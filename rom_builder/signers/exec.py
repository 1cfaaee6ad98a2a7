"""``exec:`` a program that signs, called as AOSP's tools call one.

============== ===================================== ============================================
scheme         called as                             by the convention of
============== ===================================== ============================================
exec           PROGRAM ARGUMENTS -in FILE -out FILE  ``--payload_signer`` of AOSP's releasetools:
                                                     the digest in one file, the signature in another
exec-avb       PROGRAM ARGUMENTS ALGORITHM KEY       ``--signing_helper`` of avbtool: the padded
                                                     digest on standard input, the signature on output
exec-avb-files PROGRAM ARGUMENTS ALGORITHM KEY FILE  ``--signing_helper_with_files`` of avbtool: the
                                                     padded digest in FILE, then the signature
============== ===================================== ============================================

KEY is a file with the public key in PEM. Sources: ``PayloadSigner.SignHashFile`` in AOSP build/make
``tools/releasetools/payload_signer.py``; ``RSAPublicKey.sign`` in external/avb ``avbtool.py``.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.errors import SigningError, ToolError
from rom_builder.keys.files import PublicKey
from rom_builder.signers import REGISTRY
from rom_builder.signers.padding import algorithm_name, padded
from rom_builder.signers.signer import PROBE, KeyReference, Signer, SigningDigest, verifies
from rom_builder.tools import run

TIMEOUT = 120.0
"""Seconds that a program has, somebody who touches a smart card included."""
LARGEST = 4096
"""Bytes of what a program may return; a signature of RSA-8192 has 1024."""

Convention = Literal["payload", "avb", "avb-files"]


@REGISTRY.register("exec")
def open_exec(reference: KeyReference) -> Signer:
    """Open ``exec:PROGRAM ARGUMENTS``, a payload signer.

    The program is started once at this point, to see whether it has the right key. It gets the
    environment of this process, secrets that were read out of it excepted. A program with a slash
    in its name starts from the signing profile's folder.

    Raises:
        SigningError: The profile names no certificate or public key, the command is empty, or what
            the program returns is not a signature of that key.
    """
    return _open(reference, "payload")


@REGISTRY.register("exec-avb")
def open_exec_avb(reference: KeyReference) -> Signer:
    """Open ``exec-avb:PROGRAM ARGUMENTS``, a signing helper of avbtool; see :func:`open_exec`."""
    return _open(reference, "avb")


@REGISTRY.register("exec-avb-files")
def open_exec_avb_files(reference: KeyReference) -> Signer:
    """Open ``exec-avb-files:PROGRAM ARGUMENTS``, one with files; see :func:`open_exec`."""
    return _open(reference, "avb-files")


def _open(reference: KeyReference, convention: Convention) -> Signer:
    uri = reference.uri
    if reference.expected is None:
        raise SigningError(
            f"{uri}: nothing says which key this program has",
            hint="name the certificate or public_key in the signing profile",
        )
    if convention != "payload" and not isinstance(reference.expected, rsa.RSAPublicKey):
        raise SigningError(f"{uri}: avbtool's helpers sign with RSA keys only")
    try:
        command = shlex.split(reference.reference)
    except ValueError as error:
        raise SigningError(f"{uri}: not a command line: {error}") from None
    if not command:
        raise SigningError(f"{uri}: names no program")
    if "/" in command[0]:
        command[0] = str((reference.folder / command[0]).absolute())
    signer = ExecSigner(uri, tuple(command), convention, reference.expected)
    returned = signer.sign_digest(PROBE)
    if not verifies(signer.public_key, returned, PROBE, "sha256"):
        raise SigningError(
            f"{uri}: asked for a signature, the program returned {len(returned)} bytes that the key "
            "in the profile does not verify",
            hint="it has another key, or signs something else than the digest it is given",
        )
    return signer


@dataclass(frozen=True, slots=True)
class ExecSigner:
    """A signer that is a program."""

    uri: str
    command: tuple[str, ...] = field(repr=False)
    convention: Convention
    public_key: PublicKey
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        call = CALLS[self.convention]
        try:
            with tempfile.TemporaryDirectory(prefix="rom-builder-") as folder:
                return call(self, digest, algorithm, Path(folder))
        except ToolError as error:
            # The program's words, on one line: it is the user's own and says what is wrong.
            said = " ".join(error.message.split())[:500]
            raise SigningError(f"{self.uri}: {said}") from None
        except OSError as error:
            raise SigningError(f"{self.uri}: {error.strerror}") from None


def _as_payload_signer(
    signer: ExecSigner, digest: bytes, algorithm: SigningDigest, folder: Path
) -> bytes:
    del algorithm  # the length of the digest says it
    given, returned = folder / "digest.bin", folder / "signature.bin"
    given.write_bytes(digest)
    run([*signer.command, "-in", str(given), "-out", str(returned)], timeout=TIMEOUT)
    if not returned.is_file():
        raise SigningError(f"{signer.uri}: the program wrote no signature")
    return _bounded(returned, signer.uri)


def _as_signing_helper(
    signer: ExecSigner, digest: bytes, algorithm: SigningDigest, folder: Path
) -> bytes:
    block = padded(digest, algorithm, _size(signer))
    command = [*signer.command, *_named(signer, algorithm, folder)]
    return run(command, stdin=block, timeout=TIMEOUT, largest=LARGEST)


def _as_signing_helper_with_files(
    signer: ExecSigner, digest: bytes, algorithm: SigningDigest, folder: Path
) -> bytes:
    file = folder / "block.bin"
    file.write_bytes(padded(digest, algorithm, _size(signer)))
    run([*signer.command, *_named(signer, algorithm, folder), str(file)], timeout=TIMEOUT)
    return _bounded(file, signer.uri)


Call = Callable[[ExecSigner, bytes, SigningDigest, Path], bytes]
CALLS: dict[Convention, Call] = {
    "payload": _as_payload_signer,
    "avb": _as_signing_helper,
    "avb-files": _as_signing_helper_with_files,
}


def _size(signer: ExecSigner) -> int:
    return (signer.public_key.key_size + 7) // 8


def _named(signer: ExecSigner, algorithm: SigningDigest, folder: Path) -> tuple[str, str]:
    """Return algorithm and public key file as avbtool gives them."""
    key = folder / "key.pem"
    key.write_bytes(signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return algorithm_name(algorithm, signer.public_key.key_size), str(key)


def _bounded(path: Path, uri: str) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise SigningError(f"{uri}: the program wrote more than {LARGEST} bytes as a signature")
    return data
