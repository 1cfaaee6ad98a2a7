"""Try every key of a signing profile before a build needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from rom_builder.errors import ImageError, SigningError
from rom_builder.keys import KeyFacts, certificate_facts, key_facts, publicly_known
from rom_builder.keys.files import PassphrasePrompt, PublicKey
from rom_builder.signers import without_secret
from rom_builder.signers.profile import (
    RoleKey,
    end_of,
    load_signing_profile,
    open_key,
    profile_path,
    read_certificate,
    read_public_key,
    role_of,
)
from rom_builder.signers.signer import CheckedSigner, public_key_of


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What became of one role's key.

    Attributes:
        role: The role, with its part.
        uri: Where the key is.
        key: Kind and size, such as ``RSA-4096 e=65537``; empty if it could not be seen.
        spki_sha256: Its fingerprint.
        ends: The last day on which it signs, and why that day; empty if it has none.
        faults: Why nothing should be signed with it, or nothing can.
        remarks: What its owner should know.
    """

    role: str
    uri: str
    key: str = ""
    spki_sha256: str = ""
    ends: str = ""
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


@dataclass(slots=True)
class _Seen:
    """What a role's files and signer show, and what goes wrong on the way."""

    certificate: x509.Certificate | None = None
    public_key: PublicKey | None = None
    signer: CheckedSigner | None = None
    faults: list[str] = field(default_factory=list)


def check_profile(
    profile: str | Path,
    *,
    now: datetime,
    days: int = 90,
    ask: Callable[[str], str] | None = None,
    only: Iterable[str] = (),
) -> list[KeyCheck]:
    """Return what became of the key of every role, in the profile's order.

    Args:
        profile: A file, or the id of a shipped profile.
        now: When it is.
        days: A key that ends within so many days is remarked.
        ask: Asks for the passphrase of a role's key, where the profile names no source of it.
        only: The roles to check; all if there are none.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: There is no such profile, or it has not one of the roles.
    """
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    wanted = tuple(only) or tuple(loaded.roles)
    for role in wanted:
        if role not in loaded.roles:
            raise SigningError(
                f"the signing profile {loaded.id} has no role {role}",
                hint=f"it has {', '.join(loaded.roles)}",
            )
    found = [
        _check(role, loaded.roles[role], path.parent, now, days, ask)
        for role in loaded.roles
        if role in wanted
    ]
    return _shared(found)


def _check(
    role: str,
    key: RoleKey,
    folder: Path,
    now: datetime,
    days: int,
    ask: Callable[[str], str] | None,
) -> KeyCheck:
    seen = _look(role, key, folder, ask)
    facts = _facts(role, seen)
    end = end_of(key.not_after, seen.certificate)
    remarks = list(seen.signer.signer.remarks) if seen.signer else []
    if seen.signer and seen.signer.development:
        remarks.append("a development key: never for a release")
    ends = ""
    if end is not None:
        left = (end - now).days
        why = "not_after" if key.not_after else "its certificate; devices do not look at it"
        ends = f"{end:%Y-%m-%d} ({why})"
        if now >= end:
            seen.faults.append(f"ended on {end:%Y-%m-%d}")
        elif left <= days:
            remarks.append(f"ends in {left} days: plan what follows it")
    for fingerprint in {facts.spki_sha256 if facts else "", key.spki_sha256 or ""}:
        known = publicly_known(fingerprint)
        if known is not None:
            seen.faults.append(f"publicly known: {', '.join(known.names)}")
    if facts is not None:
        seen.faults += [*facts.unfit[role_of(role)], *facts.weaknesses]
    return KeyCheck(
        role,
        without_secret(key.signer),
        key=facts.key if facts else "",
        spki_sha256=facts.spki_sha256 if facts else "",
        ends=ends,
        faults=tuple(dict.fromkeys(seen.faults)),
        remarks=tuple(remarks),
    )


def _look(role: str, key: RoleKey, folder: Path, ask: Callable[[str], str] | None) -> _Seen:
    """Read the files of a role and let its signer sign; every step shows what it can."""
    seen = _Seen()
    try:
        if key.certificate is not None:
            seen.certificate = read_certificate(folder / key.certificate)
            seen.public_key = public_key_of(seen.certificate)
        if key.public_key is not None:
            seen.public_key = read_public_key(folder / key.public_key)
    except SigningError as error:
        seen.faults.append(str(error))
        return seen
    prompt = None if ask is None else PassphrasePrompt(lambda: ask(role))
    try:
        given = seen.public_key if key.public_key is not None else None
        seen.signer = open_key(key, folder, seen.certificate, given, prompt)
        seen.certificate, seen.public_key = seen.signer.given, seen.signer.public_key
        seen.signer.probe()
        if role_of(role) in NEED_CERTIFICATE and seen.certificate is None:
            seen.faults.append(
                "only its public key is given, and what it signs needs a certificate"
            )
    except SigningError as error:
        seen.faults.append(str(error))
    return seen


NEED_CERTIFICATE = ("ota", "apk", "apex")
"""Roles whose signatures carry the certificate."""


def _facts(role: str, seen: _Seen) -> KeyFacts | None:
    try:
        if seen.certificate is not None:
            return certificate_facts(seen.certificate, role)
        if seen.public_key is not None:
            return key_facts(seen.public_key, role)
    except (SigningError, ImageError) as error:
        seen.faults.append(str(error))
    return None


def _shared(found: list[KeyCheck]) -> list[KeyCheck]:
    """Add the fault that two roles have one key."""
    result = []
    for item in found:
        others = [
            other.role
            for other in found
            if other.role != item.role
            and item.spki_sha256
            and other.spki_sha256 == item.spki_sha256
        ]
        if others:
            fault = f"the same key as {', '.join(others)}: every role needs its own"
            result.append(replace(item, faults=(*item.faults, fault)))
        else:
            result.append(item)
    return result
