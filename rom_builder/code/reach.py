"""Which of an app's methods can run: a walk forwards from what the system starts."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rom_builder.code.programs import Body, Unit
from rom_builder.code.uses import INVOKES, NEW_INSTANCE, VIRTUALS
from rom_builder.formats.dex_ids import dotted

if TYPE_CHECKING:
    from rom_builder.code.scope import Scope

CALLBACKS = frozenset((
    "run", "call", "doInBackground", "loadInBackground", "handleMessage", "query", "insert",
    "update", "delete", "openFile", "attachBaseContext", "beforeTextChanged", "afterTextChanged",
    "getView", "getItem", "bindView", "newView", "instantiateItem", "getCount", "compare",
    "accept", "checkServerTrusted", "verify", "uncaughtException",
))  # fmt: skip
"""Methods that the platform calls by convention, besides those that begin with ``on``."""
LAID_OUT = (
    "Landroid/view/",
    "Landroid/widget/",
    "Landroid/preference/",
    "Landroid/app/Fragment;",
)
"""Beginnings of the names of types that a layout or a preference page may create."""


def is_called_by_name(name: str) -> bool:
    """Say whether the platform calls methods of that name by convention."""
    return name in CALLBACKS or (name.startswith("on") and name[2:3].isupper())


class Reach:
    """The forward walk behind :attr:`Scope.reachable`.

    A virtual call reaches an implementation once an object of its class, or one below, is created.
    What the platform calls by convention is followed first, other methods of such classes last.

    Attributes:
        found: Each method, and the one that leads to it; None for what the system calls.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._uses = scope.uses
        self.found: dict[Body, Body | None] = {}
        self._created: set[str] = set()
        self._alive: set[str] = set()
        self._started: set[str] = set()
        self._waiting: dict[str, dict[Body, Body]] = defaultdict(dict)
        self._queue: list[Body] = []
        self._later: list[tuple[Body, Body | None]] = []
        self._at: Body | None = None
        self._calls: dict[tuple[Unit, bool], dict[int, list[tuple[Body, str]]]] = defaultdict(dict)
        used = scope.uses.strings
        for name in scope.own:
            if name in scope.program.by_class or any(
                above.startswith(LAID_OUT) for above in scope.foreign(name)
            ):
                self._create(name)
            elif dotted(name) in used:
                self._create(name)
                for body in scope.bodies_of(name):
                    self._call(body, name, None)
        self._work_off()
        for body, creator in self._later:
            if body not in self.found:
                self._call(body, body.owner, creator)
                self._work_off()

    def _work_off(self) -> None:
        queue = self._queue
        while queue:
            for body in queue:
                self._at = body
                self._follow(body)
            queue.clear()

    def _follow(self, body: Body) -> None:
        unit, found, alive = body.unit, self.found, self._alive
        data, scope = unit.dex.data, self._scope
        plain, virtual = self._calls[unit, False], self._calls[unit, True]
        for at in self._uses.hits(body):
            code, index = data[at], data[at + 2] | data[at + 3] << 8
            if code in VIRTUALS:
                known = virtual
            elif code in INVOKES:
                known = plain
            else:
                if code == NEW_INSTANCE:
                    self._create(unit.ids.type(index))
                continue
            calls = known.get(index)
            if calls is None:
                calls = scope.own_targets(unit, index, virtual=known is virtual)
                known[index] = calls
            for target, owner in calls:
                if target in found:
                    continue
                if known is virtual and owner not in alive:
                    self._waiting[owner].setdefault(target, body)
                else:
                    self._call(target, owner, body)

    def _call(self, body: Body, owner: str, caller: Body | None) -> None:
        if body not in self.found:
            self.found[body] = caller
            self._queue.append(body)
            if owner not in self._started:
                self._started.add(owner)
                start = self._scope.member(owner, "<clinit>", "()V")
                if start is not None and start is not body:
                    self._call(start, owner, body)

    def _create(self, name: str) -> None:
        if name in self._created or name not in self._scope.own:
            return
        self._created.add(name)
        foreign = bool(self._scope.foreign(name))
        for owner in (name, *self._scope.supertypes(name)):
            if owner not in self._scope.own:
                continue
            self._alive.add(owner)
            waiting = self._waiting.pop(owner, {})
            for body in sorted(waiting, key=lambda each: each.key):
                self._call(body, owner, waiting[body])
            for body in self._scope.bodies_of(owner):
                if body in self.found:
                    continue
                name_of = body.name
                if name_of in ("<init>", "<clinit>"):
                    self._call(body, owner, self._at)
                elif foreign and body.is_virtual:
                    if is_called_by_name(name_of):
                        self._call(body, owner, self._at)
                    else:  # only after what is certain, so that ways begin with that
                        self._later.append((body, self._at))
