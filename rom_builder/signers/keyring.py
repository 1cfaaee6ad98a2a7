"""The keys that one build signs with, each opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rom_builder.errors import SigningError
from rom_builder.key_files import PassphrasePrompt
from rom_builder.keys import spki_sha256
from rom_builder.signers.profile import load_signing_profile, profile_path
from rom_builder.signers.signer import CheckedSigner


@dataclass(frozen=True, slots=True)
class PartitionSigners:
    """The keys of the role ``avb``.

    Attributes:
        default: For partitions without a key of their own.
        by_partition: The keys of those that have one.
    """

    default: CheckedSigner | None
    by_partition: Mapping[str, CheckedSigner] = field(default_factory=dict)

    def for_partition(self, name: str) -> CheckedSigner | None:
        """Return the key that signs a partition's vbmeta image, None if there is none."""
        return self.by_partition.get(name, self.default)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key that a package may be signed with, no two of them the same.

    Attributes:
        ota: Signs the package.
        payload: Signs the payload in it; ``ota`` where the profile has no other.
        avb: Signs vbmeta images.
    """

    ota: CheckedSigner
    payload: CheckedSigner
    avb: PartitionSigners

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the owners of these keys should mend."""
        signers = (self.ota, self.payload, self.avb.default, *self.avb.by_partition.values())
        return tuple(
            dict.fromkeys(remark for signer in signers if signer for remark in signer.remarks)
        )


def open_keyring(
    profile: str | Path,
    *,
    prompt: Callable[[str], str] | None = None,
    policies: Iterable[str] | None = None,
    allow_public_key: bool = False,
) -> Keyring:
    """Open the keys of a profile that a build signs with.

    Args:
        profile: A file, or the id of a shipped profile.
        prompt: Asks for the passphrase of a role's key, where the profile names no source of it.
        policies: Ids of the policies that the package will meet.
        allow_public_key: Open even a publicly known key.

    Raises:
        PolicyError: The profile cannot be read or is wrong.
        SigningError: It has no role ``ota``, a key cannot be used, or two roles have the same key.
    """
    path = profile_path(profile)
    loaded = load_signing_profile(path)
    wanted = ["ota", *(name for name in loaded.roles if name == "payload" or is_avb(name))]
    claimed = None if policies is None else tuple(policies)
    opened: dict[str, CheckedSigner] = {}
    for role in wanted:
        opened[role] = loaded.open(
            role,
            path.parent,
            prompt=None if prompt is None else PassphrasePrompt(asking(prompt, role)),
            policies=claimed,
            allow_public_key=allow_public_key,
        )
    refuse_shared_keys(opened)
    own = {role.partition(".")[2]: key for role, key in opened.items() if is_avb(role)}
    default = own.pop("", None)
    return Keyring(
        opened["ota"], opened.get("payload", opened["ota"]), PartitionSigners(default, own)
    )


def asking(prompt: Callable[[str], str], role: str) -> Callable[[], str]:
    """Return a prompt that says whose passphrase it wants."""
    return lambda: prompt(role)


def is_avb(role: str) -> bool:
    """Say whether a role signs vbmeta images."""
    return role.partition(".")[0] == "avb"


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
