"""Signing profiles: which signer and certificate each role has.

YAML, without any secret::

    schema: rom-builder/signing/v1
    id: release
    title: Release keys of the example maker
    roles:
      ota:
        signer: "file:/run/keys/ota.pem"
        certificate: ota.x509.pem
        passphrase: {env: OTA_PASSPHRASE}
      avb: {signer: "kms:alias/avb", spki_sha256: 5e1c…}
      avb.vbmeta_system: {signer: "kms:alias/avb-system", spki_sha256: 90ab…}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from pydantic import AfterValidator, Field, StringConstraints
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.otacert import parse_certificates
from rom_builder.keys import ROLES, Role, known_keys, publicly_known, refuse_public_key
from rom_builder.keys.files import (
    PassphraseFile,
    PassphrasePrompt,
    PassphraseSource,
    PassphraseVariable,
    PublicKey,
    hide_variable,
)
from rom_builder.policy.values import Day, Id, Model, once
from rom_builder.policy.yaml import load_yaml, validate
from rom_builder.resources import data_folder
from rom_builder.signers import open_signer
from rom_builder.signers.absent import AbsentSigner
from rom_builder.signers.pkcs11_token import PIN_VARIABLE
from rom_builder.signers.signer import Allowance, CheckedSigner, checked, public_key_of

_LARGEST = 1 << 20

PARTS: dict[str, re.Pattern[str]] = {
    "avb": re.compile(r"[a-z0-9_]+"),
    "apk": re.compile("platform|shared|media|overlay|networkstack|sdk_sandbox|bluetooth|nfc"),
    "apex": re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*"),
}
"""Roles that may have a key of their own for a part: a partition, a kind of app as AOSP's
``apkcerts.txt`` names them, a module."""

ROLES_SHOWN = (
    f"the roles are {', '.join(ROLES)}, avb.PARTITION, apk.platform, apk.shared, apk.media, "
    "apk.overlay and apex.MODULE"
)

FALLBACK: dict[str, str] = {"payload": "ota"}
"""Whose key signs where a role has none."""


def role_of(name: str) -> Role:
    """Return the role that a name such as ``avb.vbmeta_system`` is of.

    Raises:
        ValueError: There is no such role, or it has no such part.
    """
    base, dot, part = name.partition(".")
    for role in ROLES:
        if role == base and (not dot or (role in PARTS and PARTS[role].fullmatch(part))):
            return role
    raise ValueError(name)


def _role_name(name: str) -> str:
    try:
        role_of(name)
    except ValueError:
        base = name.partition(".")[0]
        near = get_close_matches(base, ROLES, n=1)
        message = f"unknown role {name!r}; {ROLES_SHOWN}"
        if near and near[0] != base:
            message += f"; did you mean {near[0]!r}?"
        raise PydanticCustomError("role", "{message}", {"message": message}) from None
    return name


class Passphrase(Model):
    """Where a passphrase or PIN comes from: one of the two, never the passphrase itself."""

    env: str | None = None
    file: str | None = None

    @validator(mode="after")
    def _one(self) -> Passphrase:
        if (self.env is None) == (self.file is None):
            raise ValueError("give env or file")
        return self


class RoleKey(Model):
    """The key of one role."""

    signer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+:.+$")]
    certificate: str | None = None
    public_key: str | None = None
    spki_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    not_after: Day | None = None
    policies: Annotated[tuple[Id, ...], AfterValidator(once)] = ()
    passphrase: Passphrase | None = None
    allow: Annotated[tuple[Allowance, ...], AfterValidator(once)] = ()


class SigningProfile(Model):
    """A signing profile; relative paths in it start from the folder it lies in."""

    version: Annotated[Literal["rom-builder/signing/v1"], Field(alias="schema")]
    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Annotated[str, StringConstraints(min_length=1)]
    log: Annotated[str, StringConstraints(min_length=1)] | None = None
    roles: dict[Annotated[str, AfterValidator(_role_name)], RoleKey]

    @validator(mode="after")
    def _one_key_one_role(self) -> SigningProfile:
        # A program may have many keys and choose by the public key; what it signs with shows later.
        signers = [key.signer for key in self.roles.values() if not key.signer.startswith("exec")]
        if len(set(signers)) < len(signers):
            raise ValueError("two roles have the same signer; every role needs its own key")
        return self

    def holder(self, role: str) -> str | None:
        """Return the role whose key signs for a role: itself, what it is a part of, or its fallback.

        None if there is none, which is an error only where something has to be signed.
        """
        base = role_of(role)
        for name in (role, base, FALLBACK.get(base, "")):
            if name in self.roles:
                return name
        return None

    def open(
        self,
        role: str,
        folder: Path,
        *,
        prompt: PassphrasePrompt | None = None,
        policies: Iterable[str] | None = None,
        allow_public_key: bool = False,
        now: datetime | None = None,
        absent: bool = False,
    ) -> CheckedSigner:
        """Open the signer of a role.

        Args:
            role: What is to be signed.
            folder: Where the profile lies.
            prompt: Whom to ask where the profile names no source of a passphrase.
            policies: Ids of every policy that decided on what is to be signed, extended ones
                included; empty where none did; None where that is not known, as where another build
                signs through this one.
            allow_public_key: Open even a publicly known key.
            now: When it is, for the end of the key's life.
            absent: Ask no signer; the key signs elsewhere, later.

        Raises:
            SigningError: The role has no key here, its key or certificate cannot be used, is
                publicly known or at its end, or is not for these policies.
        """
        try:
            name = self.holder(role)
        except ValueError:
            raise SigningError(f"there is no role {role!r}", hint=ROLES_SHOWN) from None
        if name is None:
            raise SigningError(
                f"the signing profile {self.id} has no key for the role {role}",
                hint=f"add roles.{role} to it",
            )
        key = self.roles[name]
        where = f"role {name}"
        certificate = read_certificate(folder / key.certificate) if key.certificate else None
        given = read_public_key(folder / key.public_key) if key.public_key else None
        if key.spki_sha256 and publicly_known(key.spki_sha256) and not allow_public_key:
            names = ", ".join(known_keys()[key.spki_sha256].names)
            raise SigningError(f"{where}: publicly known: {names}")
        for known in (given, public_key_of(certificate) if certificate else None):
            if known is not None:  # before anything is asked of a signer
                refuse_public_key(known, allow_public_key=allow_public_key, name=where)
        _refuse_ended(where, key.not_after, certificate, now or datetime.now(UTC))
        if key.policies and policies is not None and not (policies := tuple(policies)):
            raise SigningError(
                f"{where}: this key signs only by the policies {', '.join(key.policies)}, and no "
                "policy decided on this",
                hint="name the policies with -p",
            )
        strange = sorted(set(policies or ()) - set(key.policies)) if key.policies else []
        if strange:
            raise SigningError(
                f"{where}: this key does not sign by the policy {strange[0]}, only by "
                f"{', '.join(key.policies)}",
                hint="sign with another key, or let its owner add the policy to the profile",
            )
        if absent:
            signer = absent_key(where, key, certificate, given)
        else:
            signer = open_key(key, folder, certificate, given, prompt)
        refuse_public_key(signer.public_key, allow_public_key=allow_public_key, name=where)
        _refuse_ended(where, key.not_after, signer.given, now or datetime.now(UTC))
        return signer


def absent_key(
    where: str, key: RoleKey, certificate: x509.Certificate | None, given: PublicKey | None
) -> CheckedSigner:
    """Return a key as a profile describes it, without its signer.

    Raises:
        SigningError: The profile has neither certificate nor public key, or they do not agree.
    """
    known = public_key_of(certificate) if certificate is not None else given
    if known is None:
        raise SigningError(
            f"{where}: the profile holds neither certificate nor public_key, and without the key "
            "nothing else says what it is",
            hint="add certificate: FILE, or public_key: FILE for roles avb and payload",
        )
    signer = checked(
        AbsentSigner(known, where),
        certificate,
        where,
        public_key=given,
        fingerprint=key.spki_sha256,
    )
    return replace(signer, absent=True)


def open_key(
    key: RoleKey,
    folder: Path,
    certificate: x509.Certificate | None,
    public_key: PublicKey | None,
    prompt: PassphrasePrompt | None,
) -> CheckedSigner:
    """Open the signer of a role whatever its key is fit for.

    Raises:
        SigningError: See :func:`rom_builder.signers.open_signer`.
    """
    return open_signer(
        key.signer,
        certificate,
        public_key=public_key,
        fingerprint=key.spki_sha256,
        passphrase=_passphrase(key.passphrase, folder) or prompt,
        folder=folder,
        allowed=frozenset(key.allow),
    )


def expected_key(key: RoleKey, folder: Path) -> PublicKey | None:
    """Return the key that a profile says a role has, without asking its signer.

    Raises:
        SigningError: The file that it names cannot be read, or holds none.
    """
    if key.public_key is not None:
        return read_public_key(folder / key.public_key)
    if key.certificate is not None:
        return public_key_of(read_certificate(folder / key.certificate))
    return None


def _passphrase(given: Passphrase | None, folder: Path) -> PassphraseSource | None:
    if given is not None and given.env is not None:
        return PassphraseVariable(given.env)
    if given is not None and given.file is not None:
        return PassphraseFile(folder / given.file)
    return None


def end_of(not_after: date | None, certificate: x509.Certificate | None) -> datetime | None:
    """Return when a key's life ends: at the end of the profile's day, else with its certificate.

    Devices never look, so this is where an old key stops signing.
    """
    if not_after is not None:
        return datetime.combine(not_after + timedelta(days=1), time(), UTC)
    return certificate.not_valid_after_utc if certificate is not None else None


def _refuse_ended(
    where: str, not_after: date | None, certificate: x509.Certificate | None, now: datetime
) -> None:
    end = end_of(not_after, certificate)
    if end is not None and now >= end:
        what = "not_after" if not_after is not None else "its certificate's end"
        raise SigningError(
            f"{where}: {what}, {end - timedelta(seconds=1):%Y-%m-%d}, has passed",
            hint="sign with the key that follows it; if this one must go on, set a later not_after",
        )


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a file.

    Raises:
        SigningError: It cannot be read, or is none.
    """
    try:
        return parse_certificates(_content(path))[0]
    except ImageError as error:
        raise SigningError(f"{path}: {error.message}") from None


def read_public_key(path: Path) -> PublicKey:
    """Return the public key of a file, PEM or DER; a certificate will do.

    Raises:
        SigningError: It cannot be read, or is none that signs anything here.
    """
    data = _content(path)
    if b"-----BEGIN CERTIFICATE-----" in data:
        key = public_key_of(read_certificate(path))
        if key is None:
            raise SigningError(f"{path}: the key is neither RSA nor EC")
        return key
    load = load_pem_public_key if b"-----BEGIN" in data else load_der_public_key
    try:
        loaded = load(data)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(f"{path}: not a public key in PEM or DER") from None
    if not isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise SigningError(f"{path}: the key is neither RSA nor EC")
    return loaded


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None


def shipped_profile(name: str) -> Path:
    """Return the path of a signing profile that comes with the project, such as ``dev``."""
    return data_folder("signing") / f"{name}.yaml"


def load_signing_profile(path: Path) -> SigningProfile:
    """Return a signing profile.

    The secret variables that it names are taken out of the environment at once: the program that
    signs for one role has no business with the passphrase of another.

    Raises:
        PolicyError: It cannot be read or is wrong; every problem, with line and column.
    """
    loaded = validate(SigningProfile, load_yaml(path), {"secret": True})
    for key in loaded.roles.values():
        scheme, _, reference = key.signer.partition(":")
        if scheme == "env":
            hide_variable(reference)
        if key.passphrase is not None and key.passphrase.env is not None:
            hide_variable(key.passphrase.env)
    hide_variable(PIN_VARIABLE)
    return loaded


def profile_path(profile: str | Path) -> Path:
    """Return the file of a profile: a path as given, or that of a shipped profile's id."""
    path = Path(profile)
    if not path.exists() and path.name == str(profile) and shipped_profile(path.name).is_file():
        return shipped_profile(path.name)
    if not path.exists() and path.name == str(profile) and "." not in path.name:
        known = ", ".join(sorted(file.stem for file in data_folder("signing").glob("*.yaml")))
        raise SigningError(f"no signing profile {profile}; shipped: {known}")
    return path


def open_role(
    profile: str | Path,
    role: str,
    *,
    prompt: PassphrasePrompt | None = None,
    policies: Iterable[str] | None = None,
    allow_public_key: bool = False,
) -> CheckedSigner:
    """Open the signer of a role of a profile; see :meth:`SigningProfile.open`.

    Args:
        profile: A file, or the id of a shipped profile.
        role: What is to be signed.
        prompt: Whom to ask where the profile names no source of a passphrase.
        policies: Ids of the policies that decided on what is to be signed.
        allow_public_key: Open even a publicly known key.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: The role has no key there, or its key or certificate cannot be used.
    """
    path = profile_path(profile)
    return load_signing_profile(path).open(
        role, path.parent, prompt=prompt, policies=policies, allow_public_key=allow_public_key
    )
