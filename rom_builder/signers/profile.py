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
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic import model_validator as validator

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.otacert import parse_certificates
from rom_builder.key_files import (
    PassphraseFile,
    PassphrasePrompt,
    PassphraseSource,
    PassphraseVariable,
)
from rom_builder.keys import Role
from rom_builder.policy.models import Model
from rom_builder.policy.yaml import load_yaml, validate
from rom_builder.resources import data_folder
from rom_builder.signers import open_signer
from rom_builder.signers.signer import CheckedSigner

_LARGEST = 1 << 20


class Passphrase(Model):
    """Where a passphrase comes from: one of the two, never the passphrase itself."""

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
    passphrase: Passphrase | None = None


class Roles(Model):
    """What is signed with which key; a role is needed only where it is used."""

    ota: RoleKey | None = None
    avb: RoleKey | None = None
    apk: RoleKey | None = None

    @validator(mode="after")
    def _one_key_one_role(self) -> Roles:
        signers = [key.signer for key in (self.ota, self.avb, self.apk) if key is not None]
        if len(set(signers)) < len(signers):
            raise ValueError("two roles have the same signer; every role needs its own key")
        return self


class SigningProfile(Model):
    """A signing profile; relative paths in it start from the folder it lies in."""

    version: Annotated[Literal["rom-builder/signing/v1"], Field(alias="schema")]
    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Annotated[str, StringConstraints(min_length=1)]
    roles: Roles

    def open(
        self, role: Role, folder: Path, *, prompt: PassphrasePrompt | None = None
    ) -> CheckedSigner:
        """Open the signer of a role.

        Args:
            role: What is to be signed.
            folder: Where the profile lies.
            prompt: Whom to ask where the profile names no source of a passphrase.

        Raises:
            SigningError: The role has no key here, or its key or certificate cannot be used.
        """
        key: RoleKey | None = getattr(self.roles, role)
        if key is None:
            raise SigningError(
                f"the signing profile {self.id} has no key for the role {role}",
                hint=f"add roles.{role} to it",
            )
        source: PassphraseSource | None = prompt
        if key.passphrase is not None and key.passphrase.env is not None:
            source = PassphraseVariable(key.passphrase.env)
        elif key.passphrase is not None and key.passphrase.file is not None:
            source = PassphraseFile(folder / key.passphrase.file)
        certificate = None
        if key.certificate is not None:
            path = folder / key.certificate
            try:
                with path.open("rb") as file:
                    certificate = parse_certificates(file.read(_LARGEST))[0]
            except OSError as error:
                raise SigningError(f"{path}: {error.strerror}") from None
            except ImageError as error:
                raise SigningError(f"{path}: {error.message}") from None
        return open_signer(key.signer, certificate, passphrase=source, folder=folder)


def shipped_profile(name: str) -> Path:
    """Return the path of a signing profile that comes with the project, such as ``dev``."""
    return data_folder("signing") / f"{name}.yaml"


def load_signing_profile(path: Path) -> SigningProfile:
    """Return a signing profile.

    Raises:
        PolicyError: It cannot be read or is wrong; every problem, with line and column.
    """
    return validate(SigningProfile, load_yaml(path), {"secret": True})


def open_role(
    profile: str | Path, role: Role, *, prompt: PassphrasePrompt | None = None
) -> CheckedSigner:
    """Open the signer of a role of a profile.

    Args:
        profile: A file, or the id of a shipped profile.
        role: What is to be signed.
        prompt: Whom to ask where the profile names no source of a passphrase.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: The role has no key there, or its key or certificate cannot be used.
    """
    path = profile_path(profile)
    return load_signing_profile(path).open(role, path.parent, prompt=prompt)


def profile_path(profile: str | Path) -> Path:
    """Return the file of a profile: a path as given, or that of a shipped profile's id."""
    path = Path(profile)
    if not path.exists() and path.name == str(profile) and shipped_profile(path.name).is_file():
        return shipped_profile(path.name)
    if not path.exists() and path.name == str(profile) and "." not in path.name:
        known = ", ".join(sorted(file.stem for file in data_folder("signing").glob("*.yaml")))
        raise SigningError(f"no signing profile {profile}; shipped: {known}")
    return path


def open_optional_role(
    profile: str | Path, role: Role, *, prompt: PassphrasePrompt | None = None
) -> CheckedSigner | None:
    """Open the signer of a role as :func:`open_role` does; None if the profile has no such role."""
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    if getattr(loaded.roles, role) is None:
        return None
    return loaded.open(role, path.parent, prompt=prompt)
