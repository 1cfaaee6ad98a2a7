"""What a check says: values only, no reading and no printing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, IntEnum
from typing import Literal

from rom_builder.formats.tree import Unread


class Severity(IntEnum):
    """How much a failed finding matters; ``--fail-on`` names the lowest that fails a run."""

    NOTE = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


class Status(Enum):
    """What is known about a requirement; nothing is ever guessed."""

    FAIL = "fail"
    UNKNOWN = "unknown"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    ATTESTED = "attested"
    NOT_APPLICABLE = "not-applicable"

    def __str__(self) -> str:
        return self.value


WORST_FIRST = tuple(Status)
"""Order in which statuses outrank each other when several speak of one requirement."""


class Layer(Enum):
    """Where evidence was found: what is demanded, set, programmed or really sent."""

    DECLARED = "declared"
    CONFIGURED = "configured"
    CODED = "coded"
    OBSERVED = "observed"

    def __str__(self) -> str:
        return self.value


class Strength(Enum):
    """How much a piece of evidence proves.

    ``EFFECTIVE``: the value the device acts on. ``CODE``: read from bytecode. ``UI_DEFAULT``: what a
    settings page shows before anything is stored; code may act otherwise, so it never makes a pass.
    ``PRESENCE``: something is there, its use is not known. ``ATTESTATION``: somebody vouches for it.
    """

    EFFECTIVE = "effective"
    CODE = "code"
    UI_DEFAULT = "ui-default"
    PRESENCE = "presence"
    ATTESTATION = "attestation"

    def __str__(self) -> str:
        return self.value


class Verdict(Enum):
    """The whole report in one word."""

    COMPLIANT = "compliant"
    NON_COMPLIANT = "non-compliant"
    INCOMPLETE = "incomplete"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in an image.

    Attributes:
        path: Nested name inside the image, ``system/app/X.apk!/res/xml/nsc.xml``; ``""`` is the
            image as a whole.
        offset: Byte offset inside that file, None if the place has none.
        line: Line of a text file, from 1; None for binary files.
    """

    path: str
    offset: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.path}:{self.line}"
        if self.offset is not None:
            return f"{self.path} @ {self.offset:#x}"
        return self.path or "the image"


@dataclass(frozen=True, slots=True)
class Link:
    """One step on the way to an effective value: a place, and what it says there."""

    location: Location
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation that a finding rests on.

    Attributes:
        location: Where it was made.
        text: What was seen, in words.
        strength: What it proves.
        chain: The places that led to the value, in the order in which the device applies them; the
            last one wins. Empty where a single place decides.
    """

    location: Location
    text: str
    strength: Strength
    chain: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why a failed finding does not count in one report.

    Attributes:
        kind: ``waiver``: somebody answers for it; ``baseline``: it was there before.
        reason: In words; never empty.
        approved_by: Who answers for it, empty for a baseline.
        ticket: Where it was decided, empty if nowhere.
        expires: Last day (UTC) on which it holds, None for a baseline.
        where: ``file:line:column`` of the entry.
    """

    kind: Literal["waiver", "baseline"]
    reason: str
    approved_by: str = ""
    ticket: str = ""
    expires: date | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one rule; incomplete ones cannot be made.

    Attributes:
        rule: Stable id, ``ROM101``.
        alias: Readable id, ``messaging-default-opt-in``.
        status: What is known.
        severity: How much it matters if it failed.
        service: Profile id of the service, None for what concerns the whole ROM.
        requirement: Dotted name in the policy, ``consent.default``.
        layer: Where the evidence comes from.
        message: One sentence.
        evidence: At least one observation; the first gives the location.
        fix: What would mend it; empty only when nothing is to be mended.
        selector: What tells apart two findings of one rule in one file (a key, a host).
        suppression: Why it does not count in this report, None if it counts.
        unlisted: Observations beyond those in ``evidence``.
    """

    rule: str
    alias: str
    status: Status
    severity: Severity
    service: str | None
    requirement: str
    layer: Layer
    message: str
    evidence: tuple[Evidence, ...]
    fix: str
    selector: str = ""
    suppression: Suppression | None = None
    unlisted: int = 0

    def __post_init__(self) -> None:
        if not (self.rule and self.alias and self.requirement and self.message and self.evidence):
            raise ValueError(f"incomplete finding of {self.rule or 'an unnamed rule'}")
        if self.status in (Status.FAIL, Status.UNKNOWN) and not self.fix:
            raise ValueError(f"{self.rule}: a finding that is not a pass says what would mend it")

    @property
    def failed(self) -> bool:
        """Whether it failed and counts."""
        return self.status is Status.FAIL and self.suppression is None

    @property
    def waived(self) -> bool:
        """Whether somebody answers for it."""
        return self.suppression is not None and self.suppression.kind == "waiver"

    @property
    def location(self) -> Location:
        """Where the first evidence lies."""
        return self.evidence[0].location

    @property
    def fingerprint(self) -> str:
        """16 hex digits that survive a rebuild: rule, service, file and selector; no line, no digest."""
        parts = (self.rule, self.service or "", self.location.path, self.selector)
        text = "\0".join(parts).encode(errors="surrogatepass")
        return hashlib.sha256(text).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand of the policy and what each layer says of it.

    Attributes:
        service: Profile id, None for the whole ROM.
        name: Dotted name in the policy.
        status: The answer over all layers.
        layers: The worst status that each layer with evidence gave.
        where: ``file:line:column`` of the demand.
        waived: It fails, and each of its failures is waived.
    """

    service: str | None
    name: str
    status: Status
    layers: dict[Layer, Status]
    where: str
    waived: bool = False

    @property
    def word(self) -> str:
        """What became of it in one word: its status, or ``waived``."""
        return "waived" if self.waived else str(self.status)

    @property
    def open(self) -> bool:
        """Whether it keeps a report from being compliant."""
        return self.status is Status.UNKNOWN or (self.status is Status.FAIL and not self.waived)


@dataclass(frozen=True, slots=True)
class Host:
    """How the addresses of one host begin in the programs of a service.

    Attributes:
        service: Profile id.
        name: Host name, as it is written.
        expected: The policy or the profile names it as the service's own.
        strength: ``CODE``: addresses that code uses, and that something the system starts can
            lead to. ``PRESENCE``: no code was followed, the addresses are spelled out.
        encrypted: Addresses with TLS, or whose requests are encrypted before they are sent.
        cleartext: Addresses without either.
        unsure: Addresses without TLS where an argument decides on encryption.
    """

    service: str
    name: str
    expected: bool
    strength: Strength
    encrypted: int
    cleartext: int
    unsure: int


@dataclass(frozen=True, slots=True)
class Image:
    """What was checked.

    Attributes:
        path: As the user named it.
        kind: ``folder``, ``file-based OTA``, ...
        sha256: Of the file; for a folder, of its list of paths, kinds and content digests.
        description: Build fingerprint or device, empty if unknown.
    """

    path: str
    kind: str
    sha256: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one check."""

    image: Image
    policies: tuple[tuple[str, str], ...]
    requirements: tuple[Requirement, ...]
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    notes: tuple[str, ...] = field(default=())
    hosts: tuple[Host, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Non-compliant on any failed error; incomplete on anything unknown or unread.

        What is waived does not count; what a baseline covers does, as nobody answers for it.
        """
        if any(
            f.status is Status.FAIL and not f.waived and f.severity >= Severity.ERROR
            for f in self.findings
        ):
            return Verdict.NON_COMPLIANT
        if self.unread or any(r.open for r in self.requirements):
            return Verdict.INCOMPLETE
        return Verdict.COMPLIANT

    def failures(self, at_least: Severity) -> tuple[Finding, ...]:
        """Return the failed findings of at least that severity that count."""
        return tuple(f for f in self.findings if f.failed and f.severity >= at_least)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the status that outranks the others.

    >>> worst([Status.PASS, Status.UNKNOWN])
    <Status.UNKNOWN: 'unknown'>
    >>> worst([])
    <Status.UNKNOWN: 'unknown'>
    """
    given = set(statuses)
    return next((status for status in WORST_FIRST if status in given), Status.UNKNOWN)


def sorted_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Order findings for people: failures first, the gravest first, then by rule and place."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                WORST_FIRST.index(f.status),
                -f.severity,
                f.rule,
                f.service or "",
                f.location.path,
                f.selector,
            ),
        )
    )
