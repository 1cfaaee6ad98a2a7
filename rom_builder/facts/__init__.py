"""What mechanisms and code readers saw in a ROM: values only. Rules judge these, never bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeVar

from rom_builder.facts.code import CodeFact
from rom_builder.facts.hygiene import HygieneFact
from rom_builder.findings import Link, Location, Strength
from rom_builder.formats.network_security_answers import FILE_SINCE, App
from rom_builder.formats.network_security_config import NetworkSecurityConfig
from rom_builder.formats.tree import Unread

Value = str | bool | int
"""A setting's value with its type kept: the text ``"false"`` is not the boolean."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The Android build, as its properties say it.

    Attributes:
        sdk: API level, None if no ``ro.build.version.sdk`` was found.
        properties: Effective value of each property with the place it comes from.
    """

    sdk: int | None
    properties: dict[str, tuple[str, Location]]

    def get(self, key: str) -> str | None:
        """Return the effective value of a property, None if it is not set."""
        found = self.properties.get(key)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Package:
    """One installed app, from its manifest.

    Attributes:
        target_sdk: What the app declares, else its ``minSdkVersion``, else 1, as the platform does.
        cleartext: ``usesCleartextTraffic`` as the platform reads it, None if it is not set.
        has_network_security_config: The manifest names a config, whether or not it can be read.
        overlay_target: Package whose resources it changes, for a resource overlay; empty for others.
    """

    name: str
    location: Location
    target_sdk: int
    debuggable: bool
    cleartext: bool | None
    has_network_security_config: bool
    privileged: bool
    overlay_target: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """The value one place in the ROM gives for one setting of a service.

    Attributes:
        service: Profile id.
        requirement: Dotted name of the requirement it speaks of.
        mechanism: Registered name of the reader.
        label: The setting in words, ``preference enable_messaging``.
        values: What was read, in order; several where the place holds a list.
        on: For an on/off switch, which of the two; None if the value is neither.
        location: Where.
        strength: What the place proves.
        chain: The places that led to the value, in the order in which the device applies them.
        doubt: Why nobody can tell the value from the ROM; there are no values then.
    """

    service: str
    requirement: str
    mechanism: str
    label: str
    values: tuple[Value, ...]
    on: bool | None
    location: Location
    strength: Strength
    chain: tuple[Link, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A text that users are shown before they agree, in one language.

    Attributes:
        label: The text in words, ``string/consent_notice (zh-rCN)``.
        language: Two or three letters, ``en``.
    """

    service: str
    label: str
    language: str
    text: str
    location: Location


@dataclass(frozen=True, slots=True)
class NetworkSecurity:
    """What decides on the connections of one app, or of a service that applies a file itself.

    Attributes:
        package: The app; None for a file that the service applies itself.
        config: The parsed config, None if the app has none.
        location: The config, or the manifest if there is none.
    """

    service: str
    package: Package | None
    config: NetworkSecurityConfig | None
    location: Location


@dataclass(frozen=True, slots=True)
class OverlayFault:
    """A resource that an overlay does not change as it says, of an app of a service.

    Attributes:
        kind: ``missing``: the app has no such resource; ``type``: it has one of another type;
            ``refused``: the platform does not let it; ``outdone``: another overlay has the last word.
        overlay: Package name of the overlay.
        resource: Type and name; empty if all of the overlay is meant.
        text: What is wrong, in words.
    """

    service: str
    kind: Literal["missing", "type", "refused", "outdone"]
    overlay: str
    resource: str
    text: str
    location: Location


SELF_APPLIED = App(platform_sdk=FILE_SINCE + 4, target_sdk=FILE_SINCE + 4)
"""A service that applies a config file itself does so by the rules of current platforms."""


def app_behind(fact: NetworkSecurity, sdk: int | None) -> App | None:
    """Return what a platform of API level ``sdk`` knows of the app behind a fact; None if unknown."""
    package = fact.package
    if package is None:
        return SELF_APPLIED
    if sdk is None:
        return None
    return App(
        platform_sdk=sdk,
        target_sdk=package.target_sdk,
        uses_cleartext=package.cleartext,
        privileged=package.privileged,
        debuggable=package.debuggable,
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL literal in a program.

    Attributes:
        own: It stands in a file of the service itself or in one its profile names; elsewhere it
            says only that another program knows the host.
    """

    service: str
    scheme: str
    host: str
    url: str
    location: Location
    own: bool


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A certificate that vouches for something in the ROM.

    Attributes:
        use: ``package`` (signed this OTA), ``otacert`` (the device accepts updates signed by it),
            ``apk``, ``apex`` (signed a module) or ``avb`` (verified boot trusts it; a bare key, whose
            fingerprint stands for the certificate's).
        known_as: Name under which the key is publicly known, None if it is not.
        digest: Digest of the signature made with it, ``SHA-1`` ...; empty if it made none here.
        frozen: Whether it signs what has no code and takes no update, so that its key opens nothing.
    """

    use: str
    subject: str
    key: str
    spki_sha256: str
    cert_sha1: str
    known_as: str | None
    digest: str
    location: Location
    frozen: bool = False


Trust = Literal["signed", "unsigned", "invalid", "unverified"]
"""What became of a signature: it holds, there is none, it does not hold, or it cannot be verified here."""


@dataclass(frozen=True, slots=True)
class VerifiedBoot:
    """What one vbmeta image says: of a vbmeta partition, behind another partition, or of a module.

    Attributes:
        image: Partition that carries it, without slot; the module's name for an APEX.
        slot: ``a``, ``b`` or empty.
        role: ``partition``, or ``module`` for an APEX, which no other image has to reach.
        algorithm: ``SHA256_RSA4096`` ..., ``NONE`` if it is not signed.
        flags: 1 hashtrees off, 2 verification off.
        rollback_index: Its index, and the location at which a device keeps it.
        key_sha1: SHA-1 of its key blob, empty if it has none.
        known_as: Name under which that key is publicly known, None if it is not.
        trust: What became of its signature.
        fault: Why the signature does not hold, empty if it does.
        covered: Partitions whose content it gives a ``hash`` or ``hashtree`` of.
        chained: Partitions whose own vbmeta it trusts, and the SHA-1 of the key each must have.
    """

    image: str
    slot: str
    role: Literal["partition", "module"]
    algorithm: str
    flags: int
    rollback_index: int
    rollback_index_location: int
    key_sha1: str
    known_as: str | None
    trust: Trust
    fault: str
    covered: dict[str, str]
    chained: dict[str, str]
    location: Location


@dataclass(frozen=True, slots=True)
class PlatformGrant:
    """Something that the platform gives an app of a service unasked, mostly by a configuration file.

    Attributes:
        kind: ``pre-grant``: a permission that users are else asked for; ``at-installation``: one that
            no user of this platform or app is asked for; ``privileged``: one that only privileged apps
            can have; ``exemption``: freedom from a limit.
        name: The permission, or the element that frees the app.
        fixed: The user cannot take it back.
        ignored: Why the platform does not act on it, empty if it does.
    """

    service: str
    package: str
    kind: Literal["pre-grant", "at-installation", "privileged", "exemption"]
    name: str
    fixed: bool
    ignored: str
    location: Location


Fact = (
    Package
    | Reading
    | Notice
    | NetworkSecurity
    | OverlayFault
    | Endpoint
    | SigningCertificate
    | VerifiedBoot
    | PlatformGrant
    | CodeFact
    | HygieneFact
)
F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything read from one ROM for one set of policies.

    Attributes:
        present: For each service, what shows that it is in the ROM; empty if nothing does.
        searched: In words, what was searched for services (``96 packages, 2070 files``).
        unread: What could not be read.
        today: The day on which expiry dates are judged (UTC).
        partitions: Name and slot of every partition that the input holds, as an image or as files.
    """

    platform: Platform
    facts: tuple[Fact, ...]
    present: dict[str, tuple[Location, ...]]
    searched: str
    unread: tuple[Unread, ...]
    today: date
    partitions: tuple[tuple[str, str], ...] = ()

    def of(self, kind: type[F], service: str | None = None) -> Iterator[F]:
        """Yield the facts of one kind, of one service if named."""
        for fact in self.facts:
            if isinstance(fact, kind) and (
                service is None or getattr(fact, "service", None) == service
            ):
                yield fact

    def readings(self, service: str, requirement: str) -> tuple[Reading, ...]:
        """Return what the ROM's settings say of one requirement of one service."""
        return tuple(r for r in self.of(Reading, service) if r.requirement == requirement)
