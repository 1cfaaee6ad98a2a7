"""Whether a path leads to a place that sends without a gate that said yes on its way.

The paths are followed backwards: from the place through its method, from that method to the code
that calls or creates it, until a gate stops every path or something is reached that the system
itself calls. What cannot be followed is recorded; it makes the answer unknown, never a pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from rom_builder.code.gates import Gates
from rom_builder.code.programs import Body, Component
from rom_builder.code.scope import Scope
from rom_builder.code.uses import Site
from rom_builder.facts.code import Outcome, Step
from rom_builder.formats.dex_ids import dotted

MAX_METHODS = 3000
"""Methods that are walked for one sink."""
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


class PathsTo:
    """Follows the paths to one sink.

    Args:
        gates: The gates of the app.
        only: Indexes of the gates that stand before this sink.
        automatic: Follow only paths that begin without a user.
    """

    def __init__(self, scope: Scope, gates: Gates, only: frozenset[int], automatic: bool) -> None:
        self._scope = scope
        self._gates = gates
        self._only = only
        self._automatic = automatic
        self._seen: set[Site] = set()
        self._walks = 0
        self._queue: deque[tuple[Body, list[int], tuple[Step, ...]]] = deque()

    def follow(self, body: Body, addresses: list[int]) -> Findings:
        """Follow the paths to places in one method back to their starts.

        Raises:
            ImageError: Code on the way is damaged.
        """
        found = Findings()
        if self._scope.uses.slots:
            what = "the code was optimised on a device: what its calls lead to is not in the file"
            found.unknown[Step(what, body.place())] = None
            return found
        here = Step(f"{body.title} gets here", body.place(addresses[0]))
        self._queue.append((body, addresses, (here,)))
        self._work_off(found)
        for unclear in self._gates.unclear if found.path else ():
            found.path = None
            what = f"{unclear.title} may ask for consent: its paths are too many"
            found.unknown[Step(what, unclear.place())] = None
        return found

    def _work_off(self, found: Findings) -> None:
        """Walk what is queued, nearest first; the first path found is among the shortest."""
        while self._queue and found.path is None:
            body, addresses, trail = self._queue.popleft()
            self._into(body, addresses, trail, found)

    def _into(
        self, body: Body, addresses: list[int], trail: tuple[Step, ...], found: Findings
    ) -> None:
        """Walk a method to places in it; if they are reached without consent, queue its callers."""
        fresh = [a for a in addresses if Site(body.key, a) not in self._seen]
        self._seen.update(Site(body.key, address) for address in fresh)
        if not fresh:
            return
        self._walks += 1
        if self._walks > MAX_METHODS or len(trail) > MAX_STEPS:
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
            self._ways_into(body, trail, found)

    def _ways_into(self, body: Body, trail: tuple[Step, ...], found: Findings) -> None:
        known = False
        for _, site in self._scope.callers(body):
            known = True
            self._from(site, f"calls {body.title}", trail)
        if self._scope.is_callback(body):
            self._from_outside(body, trail, found)
        elif body.method.ref.name == "<clinit>":
            what = f"{body.title} runs when the class is first used"
            found.unknown[Step(what, body.place())] = None
        elif not known:
            above = ", ".join(map(dotted, self._scope.foreign(body.method.ref.owner)[:2]))
            what = f"nothing that was read calls {body.title}{above and f', of {above}'}"
            found.unknown[Step(what, body.place())] = None

    def _from(self, site: Site, what: str, trail: tuple[Step, ...]) -> None:
        caller = self._scope.bodies[site.method]
        step = Step(f"{caller.title} {what}", caller.place(site.address))
        self._queue.append((caller, [site.address], (step, *trail)))

    def _from_outside(self, body: Body, trail: tuple[Step, ...], found: Findings) -> None:
        """Follow a method that code outside the app calls."""
        owner = body.method.ref.owner
        classes = [owner, *self._heirs(body)]
        components = [c for each in classes if (c := self._scope.program.by_class.get(each))]
        for component in components:
            self._from_component(component, body, trail, found)
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
            self._from_messages(body, creations, trail, found)
        else:
            for site in creations:
                self._from(site, f"creates {dotted(owner)}, whose {name} then runs", trail)

    def _heirs(self, body: Body) -> Iterator[str]:
        ref = body.method.ref
        for child in self._scope.subtypes(ref.owner):
            if self._scope.resolve(ref._replace(owner=child)) is body:
                yield child

    def _from_component(
        self, component: Component, body: Body, trail: tuple[Step, ...], found: Findings
    ) -> None:
        kind = f"the {component.kind} {dotted(component.name)}"
        if not self._automatic:
            step = Step(f"the system calls {body.title} of {kind}", body.place())
            found.path = found.path or (step, *trail)
            return
        if component.kind == "receiver":
            by_itself = [a for a in component.actions if a.endswith(BY_ITSELF)]
            if by_itself:
                what = f"{by_itself[0]} makes the system call {body.title}"
                found.path = found.path or (Step(what, body.place()), *trail)
                return
        if component.kind == "application" and component.persistent:
            step = Step(f"{kind} runs from the start of the device", body.place())
            found.path = found.path or (step, *trail)
        elif component.kind in ("service", "receiver"):
            for site, why in self._starts(component):
                self._from(site, f"starts {dotted(component.name)} ({why})", trail)

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

    def _from_messages(
        self, body: Body, creations: list[Site], trail: tuple[Step, ...], found: Findings
    ) -> None:
        """Follow a handler: who creates it, and who in the same outer class sends messages."""
        made, sent = Findings(), Findings()
        waiting, self._queue = self._queue, deque()
        for site in creations:
            what = f"creates {dotted(body.method.ref.owner)}, which handles messages"
            self._from(site, what, trail)
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
        for site in sends:
            self._from(site, f"sends a message that {body.title} handles", trail)
        self._work_off(sent)
        self._queue = waiting
        found.asked.update(sent.asked)
        found.unknown.update(sent.unknown)
        if sent.path is not None:
            found.path = found.path or sent.path
        elif not (self._automatic and sent.outcome is Outcome.UNREACHED and sends):
            what = f"which messages reach {body.title} is not known"
            found.unknown[Step(what, body.place())] = None
