"""What one app can see: its own classes and those of libraries, who extends whom, who calls what.

A class that the files at hand do not define is foreign; what it calls is known only by convention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from rom_builder.code.blocks import Blocks
from rom_builder.code.dispatch import Dispatch
from rom_builder.code.programs import Body, Program
from rom_builder.code.reach import Reach
from rom_builder.code.uses import VIRTUALS, Site, Uses
from rom_builder.formats.dex_ids import MemberRef


class Scope(Dispatch):
    """One app with the libraries it can use.

    Raises:
        ImageError: A table or the code of the app is damaged.
    """

    def __init__(self, program: Program, libraries: Iterable[Program] = ()) -> None:
        super().__init__(program, libraries)
        self._known: dict[str, Body] = {}
        self._blocks: dict[Body, Blocks] = {}
        self._callers: dict[Body, list[tuple[int, Site]]] = {}

    @property
    def bodies(self) -> Mapping[str, Body]:
        """The app's methods that have code, by key."""
        return _Bodies(self, self._known)

    def blocks(self, body: Body) -> Blocks:
        """Return a method made ready for walks.

        Raises:
            ImageError: Its code is damaged or too complex.
        """
        found = self._blocks.get(body)
        if found is None:
            found = self._blocks[body] = Blocks(body)
        return found

    @cached_property
    def reachable(self) -> frozenset[Body]:
        """The methods that something the system starts can lead to; more rather than fewer.

        What a created object inherits from a foreign type counts as called, and so does every class
        whose name stands in a string (reflection) or that a layout may name (views, preferences,
        fragments).
        """
        return frozenset(self._led_to_by)

    @cached_property
    def _led_to_by(self) -> dict[Body, Body | None]:
        return Reach(self, self.uses).found

    def way_to(self, key: str) -> tuple[Body, ...]:
        """Return methods that lead to a reachable one, from what the system calls to itself."""
        way = [self.bodies[key]]
        while (before := self._led_to_by.get(way[-1])) is not None:
            way.append(before)
        return tuple(reversed(way))

    @cached_property
    def uses(self) -> Uses:
        """What every method of the app refers to."""
        return Uses(self.coded)

    def callers(self, body: Body) -> list[tuple[int, Site]]:
        """Return operation code and place of every call in the app that may run a method."""
        known = self._callers.get(body)
        if known is None:
            known = self._callers[body] = list(self._find_callers(body))
        return known

    def _find_callers(self, body: Body) -> Iterator[tuple[int, Site]]:
        ref = body.method.ref
        virtual = body.is_virtual
        owners = {ref.owner}
        if virtual and self.is_callback(body):
            # What a foreign type declares is called on whatever is created: see where it is.
            owners.update(each for each in self.supertypes(ref.owner) if each in self.own)
        elif virtual:
            owners.update(self.supertypes(ref.owner))
        below = self.subtypes(ref.owner)
        self.spend(len(below))
        owners.update(
            child
            for child in below
            if self.resolve(MemberRef(child, ref.name, ref.signature)) is body
        )
        for owner in sorted(owners):
            called = MemberRef(owner, ref.name, ref.signature)
            for code, site in self.uses.calls_of(called):
                if (virtual and code in VIRTUALS) or self.resolve(called) is body:
                    yield code, site


class _Bodies(Mapping[str, Body]):
    """The methods of one app, each found when it is asked for."""

    def __init__(self, scope: Scope, known: dict[str, Body]) -> None:
        self._scope = scope
        self._known = known

    def __getitem__(self, key: str) -> Body:
        found = self._known.get(key)
        if found is None:
            found = self._scope.body(key) if key.partition("->")[0] in self._scope.own else None
            if found is None:
                raise KeyError(key)
            self._known[key] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return (body.key for body in self._scope.coded)

    def __len__(self) -> int:
        return len(self._scope.coded)
