"""What the bytecode of a service shows: values only. Rules judge these, never bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rom_builder.findings import Location


class Outcome(Enum):
    """What was found out about paths to a place in the code."""

    ASKED = "asked"
    """Every path passes a gate that said yes."""
    NOT_ASKED = "not-asked"
    """There is a path without one."""
    UNREACHED = "unreached"
    """No path of the kind in question leads there."""
    UNKNOWN = "unknown"
    """Paths were found that could not be followed to their start."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path, readable."""

    text: str
    location: Location


@dataclass(frozen=True, slots=True)
class ConsentCheck:
    """Whether consent is asked for before one place of the code that sends.

    Attributes:
        service: Profile id.
        sink: Name of what is sent, from the profile.
        automatic: Only paths that begin without a user were looked at: the start of the device, a
            SIM, a connection, the start of a persistent app.
        outcome: What was found.
        steps: The path without consent, from its start to the place; otherwise where consent is
            asked.
        unknown: What could not be followed.
        agrees_to: What the user agrees to where consent is asked, if it is something else.
        location: The place.
    """

    service: str
    sink: str
    automatic: bool
    outcome: Outcome
    steps: tuple[Step, ...]
    unknown: tuple[Step, ...]
    agrees_to: tuple[str, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class AnchorFound:
    """How often an anchor of a profile was found in the code of a service.

    Attributes:
        role: ``gate``, ``sink``, ``choice``, ``box`` or ``upgrade``.
        anchor: The anchor in words.
        sink: Id of a sink, empty for others.
        methods: Title of each method that has it, and where.
    """

    service: str
    role: str
    anchor: str
    sink: str
    methods: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class ConstantChoice:
    """A constant yes that is passed on where a choice of the user should be.

    Attributes:
        by_user: It is passed in an activity, where it may stand for what the user just did.
    """

    service: str
    choice: str
    by_user: bool
    step: Step


@dataclass(frozen=True, slots=True)
class BoxTicked:
    """Code that ticks a consent control before the user touched it.

    Attributes:
        box: Key of the control, or name under which its state is kept.
    """

    service: str
    box: str
    step: Step


@dataclass(frozen=True, slots=True)
class GateWritten:
    """Code that stores the setting behind a gate.

    Attributes:
        gate: The gate in words.
        only_yes: What is stored is the constant yes, so that this place cannot turn anything off.
    """

    service: str
    gate: str
    only_yes: bool
    step: Step


@dataclass(frozen=True, slots=True)
class CodeUrl:
    """A URL as the code of a service puts it together.

    Attributes:
        url: What is known of it from its start; what is filled in at run time is ``{}``.
        parts: Where its parts stand; more than one file if the code joins them.
        reachable: Something that the system starts can lead there.
        encrypted: Whether a class of the profile encrypts the request before it is sent: ``always``,
            ``sometimes`` (an argument decides) or ``never``.
        sinks: Ids of the profile's sinks in the same method.
        location: Where it is handed to a call.
        method: Title of the method that does so.
    """

    service: str
    scheme: str
    host: str
    url: str
    parts: tuple[Location, ...]
    reachable: bool
    encrypted: str
    sinks: tuple[str, ...]
    location: Location
    method: str


@dataclass(frozen=True, slots=True)
class UnresolvedUrls:
    """URLs of a service whose host is known only at run time; counted, not guessed."""

    service: str
    count: int
    example: Step


@dataclass(frozen=True, slots=True)
class DataRead:
    """A call on the way to a sink that returns data about the user or the device.

    Attributes:
        category: Kind of data, in the policy's words.
        api: The method called.
        hashed: ``""`` as it is, else what it is passed through, ``an unsalted hash (...)``.
    """

    service: str
    sink: str
    category: str
    api: str
    hashed: str
    steps: tuple[Step, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class TrustAll:
    """Code that accepts any certificate or any host name.

    Attributes:
        what: What it is, in words.
        reachable: Something that the system starts can lead there.
        way: One way there, from what the system starts; empty if it is not reachable.
    """

    service: str
    what: str
    reachable: bool
    way: tuple[Step, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class CodeRead:
    """That the code of a service was examined.

    Attributes:
        programs: Names of the files whose code was read.
        unread: Names of files of the service whose code was not.
    """

    service: str
    programs: tuple[str, ...]
    unread: tuple[str, ...]


CodeFact = (
    ConsentCheck | AnchorFound | ConstantChoice | BoxTicked | GateWritten | CodeUrl |
    UnresolvedUrls | DataRead | TrustAll | CodeRead
)  # fmt: skip
