"""The keys that one build signs with, each opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509

from rom_builder.errors import SigningError
from rom_builder.formats.payload.signing import PayloadKey
from rom_builder.keys import Role, spki_sha256
from rom_builder.keys.files import PassphrasePrompt
from rom_builder.signers.log import SigningLog
from rom_builder.signers.profile import load_signing_profile, profile_path, role_of
from rom_builder.signers.signer import AvbSigners, CheckedSigner


@dataclass(frozen=True, slots=True)
class PartitionSigners:
    """The keys of the role ``avb``.

    Attributes:
        default: For partitions without a key of their own.
        by_partition: The keys of those that have one.
    """

    default: CheckedSigner | None
    by_partition: Mapping[str, CheckedSigner] = field(default_factory=dict)

    @property
    def signers(self) -> tuple[CheckedSigner, ...]:
        """All of them."""
        default = () if self.default is None else (self.default,)
        return (*default, *self.by_partition.values())

    def for_partition(self, name: str) -> CheckedSigner | None:
        """Return the key that signs a partition's vbmeta image, None if there is none."""
        return self.by_partition.get(name, self.default)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key that a package may be signed with, no two of them the same.

    Attributes:
        ota: Signs the package.
        own_payload: Signs the payload in it, if not ``ota`` does.
        avb: Sign vbmeta images.
        apk: Signs apps that a build makes.
        attestation: Signs what is said of the package beside it.
    """

    ota: CheckedSigner
    own_payload: CheckedSigner | None = None
    avb: AvbSigners | None = None
    apk: CheckedSigner | None = None
    attestation: CheckedSigner | None = None

    @property
    def payload(self) -> CheckedSigner:
        """Signs the payload."""
        return self.own_payload or self.ota

    @property
    def payload_key(self) -> PayloadKey:
        """What signs the payload, as its writer takes it.

        Raises:
            SigningError: Devices cannot verify signatures of such a key.
        """
        key = self.payload
        return PayloadKey(key.public_key, None if key.absent else key.sign_digest)

    @property
    def signers(self) -> tuple[CheckedSigner, ...]:
        """All of them."""
        avb = self.avb.signers if self.avb else ()
        optional = (self.own_payload, *avb, self.apk, self.attestation)
        return (self.ota, *(signer for signer in optional if signer is not None))

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the SubjectPublicKeyInfo of each key of the package, by role."""
        keys = {"ota": self.ota, "payload": self.payload, "apk": self.apk}
        if isinstance(self.avb, PartitionSigners):
            keys["avb"] = self.avb.default
            keys |= {f"avb.{name}": key for name, key in self.avb.by_partition.items()}
        return {role: spki_sha256(key.public_key) for role, key in keys.items() if key is not None}

    @property
    def device_certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates whose keys a device must accept to install a package.

        Raises:
            SigningError: The key of the payload has none.
        """
        return tuple(dict.fromkeys((self.ota.certificate, self.payload.certificate)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the owners of these keys should mend."""
        return tuple(remark for signer in self.signers for remark in signer.remarks)


def logged(keys: Keyring, log: SigningLog) -> Keyring:
    """Return the same keys, every signature of which is recorded before it is used."""

    def recording(role: str, key: CheckedSigner | None) -> CheckedSigner | None:
        return None if key is None else logged_key(role, key, log)

    avb: AvbSigners | None = keys.avb
    if isinstance(avb, PartitionSigners):
        own = {name: logged_key(f"avb.{name}", key, log) for name, key in avb.by_partition.items()}
        avb = PartitionSigners(recording("avb", avb.default), own)
    elif isinstance(avb, CheckedSigner):
        avb = logged_key("avb", avb, log)
    return Keyring(
        logged_key("ota", keys.ota, log),
        recording("payload", keys.own_payload),
        avb,
        recording("apk", keys.apk),
        recording("attestation", keys.attestation),
    )


def logged_key(role: str, key: CheckedSigner, log: SigningLog) -> CheckedSigner:
    """Return the same key, every signature of which is recorded before it is used."""
    return replace(key, record=lambda digest, algorithm: log.record(role, key, digest, algorithm))


BUILD: tuple[Role, ...] = ("ota", "payload", "avb", "apk", "attestation")
"""The roles that a build may sign with."""
PACKAGE: tuple[Role, ...] = ("ota", "payload", "avb")
"""The roles that a finished package is signed with."""
ON_THE_DEVICE: tuple[Role, ...] = ("ota", "payload")
"""The roles whose certificates stand in a device's ``otacerts.zip``."""


def open_keyring(
    profile: str | Path,
    *,
    prompt: Callable[[str], str] | None = None,
    policies: Iterable[str] | None = None,
    allow_public_key: bool = False,
    roles: Iterable[Role] = BUILD,
    absent: bool = False,
) -> Keyring:
    """Open the keys of a profile that a build signs with.

    Args:
        profile: A file, or the id of a shipped profile.
        prompt: Asks for the passphrase of a role's key, where the profile names no source of it.
        policies: Ids of every policy that decides on the package, extended ones included.
        allow_public_key: Open even a publicly known key.
        roles: Those that will be needed, if the profile has them; ``ota`` always is.
        absent: Ask no signer: take what the profile says of each key; they sign elsewhere, later.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: It has no role ``ota``, a key cannot be used, or two roles have the same key.
    """
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    wanted, decided = set(roles), None if policies is None else tuple(policies)
    app = loaded.holder(OVERLAY)
    opened: dict[str, CheckedSigner] = {}
    for role in ("ota", *(name for name in loaded.roles if name != "ota")):
        base = role_of(role)
        if role != "ota" and (base not in wanted or (base == "apk" and role != app)):
            continue
        opened[role] = loaded.open(
            role,
            path.parent,
            prompt=None if prompt is None else PassphrasePrompt(asking(prompt, role)),
            policies=decided,
            allow_public_key=allow_public_key,
            absent=absent,
        )
    refuse_shared_keys(opened)
    avb = {role.partition(".")[2]: key for role, key in opened.items() if role_of(role) == "avb"}
    default = avb.pop("", None)
    return Keyring(
        opened["ota"],
        opened.get("payload"),
        PartitionSigners(default, avb) if default or avb else None,
        opened.get(app or ""),
        opened.get("attestation"),
    )


OVERLAY = "apk.overlay"
"""Whose key signs the overlays that a build makes; that of ``apk`` where it has none."""


def asking(prompt: Callable[[str], str], role: str) -> Callable[[], str]:
    """Return a prompt that says whose passphrase it wants."""
    return lambda: prompt(role)


def refuse_shared_keys(opened: Mapping[str, CheckedSigner]) -> None:
    """Refuse one key for two roles, wherever each of them says that it lies.

    Raises:
        SigningError: Two have the same.
    """
    seen: dict[str, str] = {}
    for role, signer in opened.items():
        fingerprint = spki_sha256(signer.public_key)
        if fingerprint in seen:
            raise SigningError(
                f"the roles {seen[fingerprint]} and {role} have the same key",
                hint="every role needs its own key: who gets one of them must not have both",
            )
        seen[fingerprint] = role
