"""``dev:`` throw-away keys, made at first use and kept in the user's data folder.

A package signed with one is for the maker's own devices; a release build refuses it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import SigningError
from rom_builder.keys import DEVELOPMENT, new_key
from rom_builder.keys.files import plain_key, read_key_file, write_new_file
from rom_builder.signers import REGISTRY
from rom_builder.signers.signer import KeyReference, KeySigner, Signer

KIND = "rsa-2048"
"""Taken by recovery, update_engine, AVB and APK Signature Schemes alike, and quick to make."""


@REGISTRY.register("dev")
def open_dev(reference: KeyReference) -> Signer:
    """Open ``dev:NAME``, and make the key if there is none of this name yet.

    Raises:
        SigningError: The name is not a word, or the folder cannot be used.
    """
    name = reference.reference
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise SigningError(f"{reference.uri}: a development key is named by a-z, 0-9 and -")
    path = dev_keys_folder() / f"{name}.pem"
    if not path.exists():
        _make(path, name)
    found = read_key_file(path)
    return KeySigner(found.private_key, found.certificate, development=True)


def dev_keys_folder() -> Path:
    """Return ``$XDG_DATA_HOME/rom-builder/dev-keys`` (XDG Base Directory Specification 0.8)."""
    data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():
        data_home = Path.home() / ".local" / "share"
    return data_home / "rom-builder" / "dev-keys"


def _make(path: Path, name: str) -> None:
    """Write a new key and certificate; whoever comes first wins, everyone then reads that file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SigningError(f"{path.parent}: {error.strerror}") from None
    made = new_key("ota", KIND, subject=f"{DEVELOPMENT} {name}")
    try:
        write_new_file(
            path, plain_key(made.private_key) + made.certificate.public_bytes(Encoding.PEM)
        )
    except SigningError:
        if not path.exists():
            raise
