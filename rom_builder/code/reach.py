"""Which of an app's methods can run: a walk forwards from what the system starts."""

from __future__ import annotations

from collections import defaultdict

from rom_builder.code.callbacks import LAID_OUT, is_called_by_name
from rom_builder.code.dispatch import Dispatch
from rom_builder.code.programs import Body, Unit
from rom_builder.code.uses import INVOKES, NEW_INSTANCE, VIRTUALS, Uses
from rom_builder.formats.dex_ids import dotted


class Reach:
    """The forward walk behind :attr:`Scope.reachable`.

    A virtual call reaches an implementation once an object of its class, or one below, is created.
    What the platform calls by convention is followed first, other methods of such classes last.

    What a method names leads to the same, whichever method names it: each such thing is followed
    from the first method that does, and from no other.

    Attributes:
        found: Each method, and the one that leads to it; None for what the system calls.
    """

    def __init__(self, methods: Dispatch, uses: Uses) -> None:
        self.found: dict[Body, Body | None] = {}
        self._methods = methods
        self._uses = uses
        self._starts = methods.having("<clinit>", "()V")
        self._created: set[str] = set()
        self._alive: dict[str, bool] = {}  # whether a foreign type stands above the object
        self._started: set[str] = set()
        self._followed: dict[Unit, set[int]] = defaultdict(set)
        self._waiting: dict[str, dict[Body, Body]] = defaultdict(dict)
        self._queue: list[Body] = []
        self._later: list[tuple[Body, Body | None]] = []
        self._at: Body | None = None
        self._begin()
        self._work_off()
        for body, creator in self._later:
            if body not in self.found:
                self._call(body, body.owner, creator)
                self._work_off()

    def _begin(self) -> None:
        """Create what the system creates: components, views, and classes that a string names."""
        methods, named = self._methods, self._uses.strings
        for name in methods.own:
            if name in methods.program.by_class or any(
                above.startswith(LAID_OUT) for above in methods.foreign(name)
            ):
                self._create(name)
            elif dotted(name) in named:
                self._create(name)
                for body in methods.bodies_of(name):
                    self._call(body, name, None)

    def _work_off(self) -> None:
        queue, named_by = self._queue, self._uses.named_by
        while queue:
            for body in queue:
                self._at = body
                followed = self._followed[body.unit]
                for named in named_by(body):
                    if named not in followed:
                        followed.add(named)
                        self._follow(body, named)
            queue.clear()

    def _follow(self, body: Body, named: int) -> None:
        """Follow what a method names: a method that is called, or a class that is created."""
        code, index = named & 0xFF, named >> 8
        if code == NEW_INSTANCE:
            self._create(body.unit.ids.type(index))
        elif code in INVOKES:
            virtual = code in VIRTUALS
            for target, owner in self._methods.own_targets(body.unit, index, virtual=virtual):
                if target in self.found:
                    continue
                if virtual and owner not in self._alive:
                    self._waiting[owner].setdefault(target, body)
                else:
                    self._call(target, owner, body)

    def _call(self, body: Body, owner: str, caller: Body | None) -> None:
        if body not in self.found:
            self.found[body] = caller
            self._queue.append(body)
            if owner not in self._started:
                self._started.add(owner)
                start = self._starts.get(owner)
                if start is not None and start is not body:
                    self._call(start, owner, body)

    def _create(self, name: str) -> None:
        if name in self._created or name not in self._methods.own:
            return
        self._created.add(name)
        foreign = bool(self._methods.foreign(name))
        for owner in (name, *self._methods.supertypes(name)):
            known = self._alive.get(owner)
            if owner in self._methods.own and (known is None or known < foreign):
                self._enliven(owner, foreign)

    def _enliven(self, owner: str, foreign: bool) -> None:
        """Note that an object of a class is created, and call what that makes callable.

        Args:
            owner: Class of the app.
            foreign: A foreign type stands above the object's class.
        """
        self._alive[owner] = foreign
        waiting = self._waiting.pop(owner, {})
        for body in sorted(waiting, key=lambda each: each.key):
            self._call(body, owner, waiting[body])
        for body in self._methods.bodies_of(owner):
            if body in self.found:
                continue
            name = body.name
            if name in ("<init>", "<clinit>"):
                self._call(body, owner, self._at)
            elif foreign and body.is_virtual:
                if is_called_by_name(name):
                    self._call(body, owner, self._at)
                else:  # only after what is certain, so that ways begin with that
                    self._later.append((body, self._at))
