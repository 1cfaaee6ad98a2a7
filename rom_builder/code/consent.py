"""Whether a path leads to a place that sends without a gate that said yes on its way.

The paths are followed backwards: from the place through its method, from that method to the code
that calls or creates it, until a gate stops every path or something is reached that the system
itself calls. What cannot be followed is recorded; it makes the answer unknown, never a pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rom_builder.code.gates import Gates
from rom_builder.code.programs import Body, Component
from rom_builder.code.scope import Scope
from rom_builder.code.uses import Site
from rom_builder.facts.code import Outcome, Step
from rom_builder.formats.dex_ids import dotted

MAX_METHODS = 3000
"""Methods that are walked for one sink."""
MAX_WAYS = 100_000
"""Calls that are followed back in one app; a real one takes some hundreds."""
MAX_STEPS = 40
"""Steps of one path."""

TASKS = (
    "Ljava/lang/Runnable;", "Ljava/lang/Thread;", "Landroid/os/AsyncTask;",
    "Ljava/util/concurrent/Callable;", "Ljava/util/TimerTask;", "Landroid/content/AsyncTaskLoader;",
)  # fmt: skip
"""What is created to be run."""
HANDLERS = ("Landroid/os/Handler;", "Landroid/os/Handler$Callback;")
SENDS = (
    "sendMessage", "sendEmptyMessage", "sendToTarget", "sendMessageDelayed", "sendMessageAtTime",
    "sendEmptyMessageDelayed", "sendEmptyMessageAtTime", "sendMessageAtFrontOfQueue",
)  # fmt: skip
STARTS = ("startService", "startForegroundService", "bindService", "sendBroadcast",
          "sendOrderedBroadcast", "startActivity", "startServiceAsUser", "sendBroadcastAsUser",
          "getService", "getBroadcast")  # fmt: skip
"""Calls that have the system start a component; the last two make a PendingIntent for it."""
BY_ITSELF = (
    "BOOT_COMPLETED", "SIM_STATE_CHANGED", "CONNECTIVITY_CHANGE", "SIM_FULL_LOADED",
    "SERVICE_STATE", "USER_PRESENT", "MY_PACKAGE_REPLACED", "NETWORK_STATE_CHANGED",
    "WIFI_STATE_CHANGED", "USER_UNLOCKED",
)  # fmt: skip
"""Ends of the names of broadcasts that come without the user doing anything."""


@dataclass
class Findings:
    """What following the paths to one place has shown so far."""

    path: tuple[Step, ...] | None = None
    unknown: dict[Step, None] = field(default_factory=dict)
    asked: dict[Step, int] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The worst of it."""
        if self.path is not None:
            return Outcome.NOT_ASKED
        if self.unknown:
            return Outcome.UNKNOWN
        return Outcome.ASKED if self.asked else Outcome.UNREACHED


class Way(NamedTuple):
    """A step of a path that is being followed, and the step after it; told only once it counts.

    Attributes:
        body: The method that the step is in.
        address: Where in it.
        what: What the method does there, to go on after its name.
        then: The next step towards the place that sends.
        length: Steps from here on.
    """

    body: Body
    address: int
    what: str
    then: Way | None
    length: int

    def steps(self) -> Iterator[Step]:
        """Yield the steps from here on."""
        way: Way | None = self
        while way is not None:
            yield Step(f"{way.body.title} {way.what}", way.body.place(way.address))
            way = way.then


@dataclass
class Effort:
    """What is left of the work that one app may take.

    Attributes:
        ways: Calls that may still be followed back.
    """

    ways: int = MAX_WAYS


class PathsTo:
    """Follows the paths to one sink.

    Args:
        scope: The app.
        gates: The gates of the app.
        only: Indexes of the gates that stand before this sink.
        automatic: Follow only paths that begin without a user.
        effort: Shared by all that is followed in the app.
    """

    def __init__(
        self, scope: Scope, gates: Gates, only: frozenset[int], automatic: bool, effort: Effort
    ) -> None:
        self._scope = scope
        self._gates = gates
        self._only = only
        self._automatic = automatic
        self._effort = effort
        self._seen: set[Site] = set()
        self._walks = 0
        self._queue: deque[tuple[list[int], Way]] = deque()

    def follow(self, body: Body, addresses: list[int]) -> Findings:
        """Follow the paths to places in one method back to their starts.

        Raises:
            ImageError: Code on the way is damaged.
        """
        found = Findings()
        if self._scope.uses.slots:
            what = "the code was optimised: what its calls lead to is not in the file"
            found.unknown[Step(what, body.place())] = None
            return found
        self._queue.append((addresses, Way(body, addresses[0], "gets here", None, 1)))
        self._work_off(found)
        for unclear in self._gates.unclear if found.path else ():
            found.path = None
            what = f"{unclear.title} may ask for consent: its paths are too many"
            found.unknown[Step(what, unclear.place())] = None
        return found

    def _work_off(self, found: Findings) -> None:
        """Walk what is queued, nearest first; the first path found is among the shortest."""
        while self._queue and found.path is None:
            addresses, way = self._queue.popleft()
            self._into(addresses, way, found)

    def _into(self, addresses: list[int], way: Way, found: Findings) -> None:
        """Walk a method to places in it; if they are reached without consent, queue its callers."""
        body = way.body
        fresh = [a for a in addresses if Site(body.key, a) not in self._seen]
        self._seen.update(Site(body.key, address) for address in fresh)
        if not fresh:
            return
        self._walks += 1
        if self._walks > MAX_METHODS or way.length > MAX_STEPS or self._effort.ways < 0:
            found.unknown[Step(f"{body.title}: the paths are too many", body.place())] = None
            return
        walk = self._gates.walk(body, self._only)
        for gate, address in sorted(walk.asked):
            found.asked[
                Step(f"{body.title} goes on only if it is allowed", body.place(address))
            ] = gate
        for _, address in sorted(walk.relied_on):
            what = f"{body.title} relies on an answer that was kept in a field"
            found.unknown[Step(what, body.place(address))] = None
        if not walk.complete:
            found.unknown[Step(f"{body.title}: its paths are too many", body.place())] = None
        elif walk.reached(fresh):
            self._ways_into(way, found)

    def _ways_into(self, way: Way, found: Findings) -> None:
        body = way.body
        callers = self._scope.callers(body)
        self._from((site for _, site in callers), f"calls {body.title}", way)
        if self._scope.is_callback(body):
            self._from_outside(way, found)
        elif body.method.ref.name == "<clinit>":
            what = f"{body.title} runs when the class is first used"
            found.unknown[Step(what, body.place())] = None
        elif not callers:
            above = ", ".join(map(dotted, self._scope.foreign(body.method.ref.owner)[:2]))
            what = f"nothing that was read calls {body.title}{above and f', of {above}'}"
            found.unknown[Step(what, body.place())] = None

    def _from(self, sites: Iterable[Site], what: str, way: Way) -> None:
        """Queue what leads to where a way begins."""
        bodies, length = self._scope.bodies, way.length + 1
        for site in sites:
            self._effort.ways -= 1
            caller = bodies[site.method]
            self._queue.append(([site.address], Way(caller, site.address, what, way, length)))

    def _from_outside(self, way: Way, found: Findings) -> None:
        """Follow a method that code outside the app calls."""
        body = way.body
        owner = body.method.ref.owner
        classes = [owner, *self._heirs(body)]
        components = [c for each in classes if (c := self._scope.program.by_class.get(each))]
        for component in components:
            self._from_component(component, way, found)
        if components:
            return
        above = self._scope.foreign(owner)
        name = body.method.ref.name
        creations = [site for each in classes for site in self._scope.uses.creations.get(each, ())]
        if not creations:
            what = (
                f"nothing that was read creates {dotted(owner)}: reflection, a layout, or dead code"
            )
            found.unknown[Step(what, body.place())] = None
        elif any(each in HANDLERS for each in above):
            self._from_messages(way, creations, found)
        else:
            self._from(creations, f"creates {dotted(owner)}, whose {name} then runs", way)

    def _heirs(self, body: Body) -> Iterator[str]:
        ref = body.method.ref
        for child in self._scope.subtypes(ref.owner):
            if self._scope.resolve(ref._replace(owner=child)) is body:
                yield child

    def _from_component(self, component: Component, way: Way, found: Findings) -> None:
        """Follow what the system calls: it begins a path, or something in the app has it start."""
        body = way.body
        kind = f"the {component.kind} {dotted(component.name)}"
        by_itself = [a for a in component.actions if a.endswith(BY_ITSELF)]
        if not self._automatic:
            what = f"the system calls {body.title} of {kind}"
        elif component.kind == "receiver" and by_itself:
            what = f"{by_itself[0]} makes the system call {body.title}"
        elif component.kind == "application" and component.persistent:
            what = f"{kind} runs from the start of the device"
        else:
            if component.kind in ("service", "receiver"):
                for site, why in self._starts(component):
                    self._from((site,), f"starts {dotted(component.name)} ({why})", way)
            return
        if found.path is None:
            found.path = (Step(what, body.place()), *way.steps())

    def _starts(self, component: Component) -> Iterator[tuple[Site, str]]:
        """Yield where the app has the system start a component of its own."""
        uses = self._scope.uses
        starting = uses.methods_calling(STARTS)
        for site in uses.classes.get(component.name, ()):
            if site.method in starting:
                yield site, "by its class"
        for action in component.actions:
            for site in uses.strings.get(action, ()):
                if site.method in starting:
                    yield site, f"by {action}"

    def _from_messages(self, way: Way, creations: list[Site], found: Findings) -> None:
        """Follow a handler: who creates it, and who in the same outer class sends messages."""
        body = way.body
        made, sent = Findings(), Findings()
        waiting, self._queue = self._queue, deque()
        seen = set(self._seen)
        what = f"creates {dotted(body.method.ref.owner)}, which handles messages"
        self._from(creations, what, way)
        self._work_off(made)
        found.asked.update(made.asked)
        self._queue = waiting
        if made.outcome in (Outcome.ASKED, Outcome.UNREACHED):
            return
        nest = body.method.ref.owner.partition("$")[0].rstrip(";")
        sends = [
            site
            for site in self._scope.uses.calls_named(*SENDS)
            if site.method.startswith((f"{nest};", f"{nest}$"))
        ]
        self._queue = deque()
        self._from(sends, f"sends a message that {body.title} handles", way)
        self._work_off(sent)
        self._queue = waiting
        found.asked.update(sent.asked)
        found.unknown.update(sent.unknown)
        if sent.path is not None:
            found.path = found.path or sent.path
        elif self._automatic and sent.outcome is Outcome.UNREACHED and sends:
            self._seen = seen  # what creates the handler may yet lead to the sink by another way
        else:
            what = f"which messages reach {body.title} is not known"
            found.unknown[Step(what, body.place())] = None
