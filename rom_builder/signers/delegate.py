"""Sign for other tools that ask an external signer: AOSP's releasetools and avbtool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.errors import SigningError
from rom_builder.keys.files import PassphrasePrompt
from rom_builder.signers.keyring import logged_key
from rom_builder.signers.log import SigningLog
from rom_builder.signers.padding import digest_in, parse_algorithm
from rom_builder.signers.profile import (
    SigningProfile,
    expected_key,
    load_signing_profile,
    profile_path,
    read_public_key,
    role_of,
)
from rom_builder.signers.signer import CheckedSigner, SigningDigest

Ask = Callable[[str], str]


def sign_file_digest(
    profile: str | Path,
    role: str,
    digest: bytes,
    ask: Ask,
    allow_public_key: bool = False,
    log: SigningLog | None = None,
) -> bytes:
    """Return the signature over a digest, as a payload signer of AOSP's releasetools returns it.

    Args:
        profile: A file, or the id of a shipped profile.
        role: Whose key signs.
        digest: 32 bytes of SHA-256 or 64 of SHA-512.
        ask: Asks for the passphrase of a role's key.
        allow_public_key: Sign even with a publicly known key.
        log: Where the signature is recorded.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: It is no digest, or the key cannot be used.
    """
    algorithm = _algorithm_of(digest)
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    signer = _opened(loaded, role, path.parent, ask, allow_public_key)
    return _recorded(signer, role, log).sign_digest(digest, algorithm)


def sign_block(
    profile: str | Path,
    role: str | None,
    algorithm: str,
    public_key: Path,
    block: bytes,
    ask: Ask,
    allow_public_key: bool = False,
    log: SigningLog | None = None,
) -> bytes:
    """Return the signature over a padded digest, as a signing helper of avbtool returns it.

    Args:
        profile: A file, or the id of a shipped profile.
        role: Whose key signs; None takes the ``avb`` role that has the public key.
        algorithm: AVB's name of it, such as ``SHA256_RSA4096``.
        public_key: File with the public key, or the certificate, that the signature must fit.
        block: The padded digest.
        ask: Asks for the passphrase of a role's key.
        allow_public_key: Sign even with a publicly known key.
        log: Where the signature is recorded.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: No role has that key, the block is not the algorithm's, or the key cannot be
            used.
    """
    name, bits = parse_algorithm(algorithm)
    digest = digest_in(block, name, bits // 8)
    wanted = read_public_key(public_key)
    if not isinstance(wanted, rsa.RSAPublicKey) or wanted.key_size != bits:
        raise SigningError(f"{public_key}: not a key for {algorithm}")
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    for candidate in _candidates(loaded, role, path.parent, wanted):
        signer = _opened(loaded, candidate, path.parent, ask, allow_public_key)
        if signer.public_key == wanted:
            return _recorded(signer, candidate, log).sign_digest(digest, name)
    raise SigningError(
        f"{public_key}: no {role or 'avb'} key of the signing profile {loaded.id} is this one",
        hint="give avbtool the public half of the key in the profile",
    )


def _candidates(
    loaded: SigningProfile, role: str | None, folder: Path, wanted: rsa.RSAPublicKey
) -> list[str]:
    """Return the roles that may have a key: where the profile says that it does, that one alone."""
    if role is not None:
        return [role]
    roles = [name for name in loaded.roles if role_of(name) == "avb"]
    known = {name: expected_key(loaded.roles[name], folder) for name in roles}
    if sure := [name for name, key in known.items() if key == wanted]:
        return sure[:1]
    return [name for name, key in known.items() if key is None]


def _opened(
    loaded: SigningProfile, role: str, folder: Path, ask: Ask, allow_public_key: bool
) -> CheckedSigner:
    return loaded.open(
        role,
        folder,
        prompt=PassphrasePrompt(lambda: ask(role)),
        allow_public_key=allow_public_key,
    )


def _recorded(signer: CheckedSigner, role: str, log: SigningLog | None) -> CheckedSigner:
    return signer if log is None else logged_key(role, signer, log)


def _algorithm_of(digest: bytes) -> SigningDigest:
    if len(digest) == 32:
        return "sha256"
    if len(digest) == 64:
        return "sha512"
    raise SigningError(
        f"{len(digest)} bytes to sign are no digest: SHA-256 has 32, SHA-512 has 64",
        hint="hash the file first; a signer never sees what was hashed",
    )
