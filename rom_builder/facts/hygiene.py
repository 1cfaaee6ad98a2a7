"""What only some policies ask of a ROM: signatures, authorities, what apps leave open. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from rom_builder.findings import Location


@dataclass(frozen=True, slots=True)
class AppSignature:
    """What the platform makes of the signatures of one app or module.

    Attributes:
        schemes: Signature schemes that it looks at, earliest first; empty if there is none.
        faults: Why it refuses the app; empty if it does not.
    """

    schemes: tuple[str, ...]
    faults: tuple[str, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that every app of the ROM trusts.

    Attributes:
        subject: Its name.
        sha256: SHA-256 of the certificate, hexadecimal.
        expires: Last day of its validity.
    """

    subject: str
    sha256: str
    expires: date
    location: Location


@dataclass(frozen=True, slots=True)
class AuthorityReference:
    """The authorities that the policy has a ROM's compared with.

    Attributes:
        source: Where the set comes from, in words; empty if there is none for this ROM.
        missing: Why there is none.
        names: Subject of each certificate that belongs there, by SHA-256.
        also: SHA-256 of those that may be there as well.
        elsewhere: Subject of those that another release of AOSP had, by SHA-256; empty if the set is
            not AOSP's.
    """

    source: str
    missing: str
    names: Mapping[str, str]
    also: frozenset[str]
    elsewhere: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenComponent:
    """A component of a service's app that other apps reach without a permission.

    Attributes:
        kind: ``service``, ``receiver`` or ``provider``.
        name: Its class.
        why: What makes it reachable, in words.
        refused: The platform refuses the app for leaving out ``android:exported``.
    """

    service: str
    package: str
    kind: str
    name: str
    why: str
    refused: bool
    location: Location


@dataclass(frozen=True, slots=True)
class PrivacyLink:
    """A link to a privacy policy or to terms in the texts of an app."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one app of a service leaves open.

    Attributes:
        components: Number of services, receivers and providers looked at.
        backup: ``android:allowBackup`` as the platform reads it.
        backup_stated: The manifest sets it.
        backup_rules: Attributes that limit what is backed up.
        links: Texts looked at for links to privacy policies and terms.
    """

    service: str
    package: str
    components: int
    backup: bool
    backup_stated: bool
    backup_rules: tuple[str, ...]
    links: tuple[PrivacyLink, ...]
    location: Location


HygieneFact = AppSignature | Authority | AuthorityReference | OpenComponent | Exposure
