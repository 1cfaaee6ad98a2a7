"""What one app can see: its own classes and those of libraries, who extends whom, who calls what.

Calls are resolved by class hierarchy: a call on a type may reach every implementation that the app
has below it. A class that the files at hand do not define is foreign; what it calls is known only
by convention.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from rom_builder.code.programs import Body, Program, Unit
from rom_builder.code.reach import Reach, is_called_by_name
from rom_builder.code.uses import VIRTUALS, Site, Uses
from rom_builder.formats.dex_class import ClassDef
from rom_builder.formats.dex_ids import MemberRef

OBJECT = "Ljava/lang/Object;"
MAX_DEPTH = 64
"""Superclasses that are followed; a longer chain is a circle."""

MAX_ABOVE = 1000
"""Classes and interfaces above one class that are looked at."""


class Scope:
    """One app with the libraries it can use.

    Raises:
        ImageError: A table or the code of the app is damaged.
    """

    def __init__(self, program: Program, libraries: Iterable[Program] = ()) -> None:
        self.program = program
        self.libraries = tuple(libraries)
        self.defined: dict[str, tuple[Unit, ClassDef]] = {}
        for each in (program, *self.libraries):
            for unit in each.units:
                for name, definition in unit.classes.by_name.items():
                    self.defined.setdefault(name, (unit, definition))
        self._targets: dict[tuple[MemberRef, bool], list[Body]] = {}
        self._in_class: dict[str, list[Body]] = {}
        self._named: dict[str, dict[tuple[str, str], Body]] = {}
        self._indexed: dict[str, dict[int, Body]] = {}
        self._above: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        own = {id(unit) for unit in program.units}
        self.own = {name: None for name, (unit, _) in self.defined.items() if id(unit) in own}

    def _spend(self, work: int) -> None:
        """Count work on the app's hierarchy of classes."""
        self.program.units[0].spend(work)

    @cached_property
    def coded(self) -> list[Body]:
        """The app's methods that have code, class by class.

        Raises:
            ImageError: A class is damaged.
        """
        return [body for owner in self.own for body in self.bodies_of(owner)]

    @cached_property
    def bodies(self) -> Mapping[str, Body]:
        """The app's methods that have code, by key."""
        return _Bodies(self)

    def body(self, key: str) -> Body | None:
        """Return a method with code, of the app or of a library."""
        owner, _, rest = key.partition("->")
        name, _, signature = rest.partition("(")
        return self.member(owner, name, f"({signature}")

    def member(self, owner: str, name: str, signature: str) -> Body | None:
        """Return a method with code that a class itself has; None if it has none of that name."""
        named = self._named.get(owner)
        if named is None:
            named = {}
            for body in self.bodies_of(owner) if owner in self.defined else ():
                ref = body.unit.ids.method(body.index)
                named.setdefault((ref.name, ref.signature), body)
            self._named[owner] = named
        return named.get((name, signature))

    def bodies_of(self, owner: str) -> list[Body]:
        """Return the methods with code of one class."""
        found = self._in_class.get(owner)
        if found is None:
            unit, definition = self.defined[owner]
            found = self._in_class[owner] = [
                Body(unit, *row) for row in unit.classes.rows_of(definition) if row[2]
            ]
        return found

    def supertypes(self, name: str) -> list[str]:
        """Return every class and interface above a class, foreign ones included, nearest first."""
        known = self._above.get(name)
        if known is None:
            found: dict[str, None] = {}
            queue = [name]
            for each in queue:
                entry = self.defined.get(each)
                if entry is None or len(queue) > MAX_ABOVE:
                    continue
                for parent in (entry[1].superclass, *entry[1].interfaces):
                    if parent and parent not in found and parent != name:
                        found[parent] = None
                        queue.append(parent)
            self._spend(len(queue))
            known = self._above[name] = list(found)
        return known

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = defaultdict(list)
        for name in self.own:
            definition = self.defined[name][1]
            for parent in (definition.superclass, *definition.interfaces):
                if parent:
                    children[parent].append(name)
        return children

    def subtypes(self, name: str) -> list[str]:
        """Return every class of the app below a class or interface."""
        if name not in self._children:
            return []
        known = self._below.get(name)
        if known is not None:
            return known
        found = [name]
        seen = {name}
        for each in found:
            new = [child for child in self._children.get(each, ()) if child not in seen]
            seen.update(new)
            found += new
        self._below[name] = found[1:]
        return found[1:]

    def resolve(self, ref: MemberRef) -> Body | None:
        """Return the code that a call finds going up from the class it names."""
        owner: str | None = ref.owner
        for _ in range(MAX_DEPTH):
            entry = self.defined.get(owner) if owner is not None else None
            if owner is None or entry is None:
                return None
            found = self.member(owner, ref.name, ref.signature)
            if found is not None:
                return found
            owner = entry[1].superclass
        return None

    def own_targets(self, unit: Unit, index: int, *, virtual: bool) -> list[tuple[Body, str]]:
        """Return the app's code that a call may run, as :meth:`targets` does, with its class.

        The method called is told by its index, and names by theirs wherever both stand in one
        file: that takes a fraction of the time.
        """
        owner_index, proto, name = unit.ids.method_row(index)
        owner = unit.ids.type(owner_index)
        if owner not in self.defined and owner not in self._children:
            return []
        named = name << 16 | proto
        found = []
        above: str | None = owner
        for _ in range(MAX_DEPTH):
            entry = self.defined.get(above) if above is not None else None
            if above is None or entry is None:
                break
            if above not in self.own and self._is_foreign(above):
                break
            body = self._member_at(above, unit, index, named)
            if body is not None:
                if above in self.own:
                    found.append((body, above))
                break
            above = entry[1].superclass
        if virtual:
            below = self.subtypes(owner)
            self._spend(len(below))
            for child in below:
                body = self._member_at(child, unit, index, named)
                if body is not None:
                    found.append((body, child))
        return found

    def _is_foreign(self, name: str) -> bool:
        """Say whether neither a class nor any above it is the app's."""
        return not any(each in self.own for each in (name, *self.supertypes(name)))

    def _member_at(self, owner: str, unit: Unit, index: int, named: int) -> Body | None:
        if self.defined[owner][0] is not unit:
            ref = unit.ids.method(index)
            return self.member(owner, ref.name, ref.signature)
        members = self._indexed.get(owner)
        if members is None:
            row_of = unit.ids.method_row
            members = self._indexed[owner] = {}
            for body in self.bodies_of(owner):
                _, proto, name = row_of(body.index)
                members.setdefault(name << 16 | proto, body)
        return members.get(named)

    def targets(self, code: int, ref: MemberRef) -> list[Body]:
        """Return all code that a call may run."""
        virtual = code in VIRTUALS
        known = self._targets.get((ref, virtual))
        if known is None:
            found = self.resolve(ref)
            known = [found] if found else []
            if virtual:
                below = self.subtypes(ref.owner)
                self._spend(len(below))
                for child in below:
                    own = self.member(child, ref.name, ref.signature)
                    if own is not None:
                        known.append(own)
            self._targets[ref, virtual] = known
        return known

    def foreign(self, name: str) -> list[str]:
        """Return the foreign classes and interfaces above a class, without ``java.lang.Object``."""
        return [each for each in self.supertypes(name) if each not in self.own and each != OBJECT]

    def is_callback(self, body: Body) -> bool:
        """Say whether code outside the app calls a method.

        That is so if a foreign type stands above its class and either a library declares the method
        there, or its name is one that the platform calls by convention.
        """
        ref = body.method.ref
        if not body.is_virtual or ref.owner not in self.own:
            return False
        above = self.foreign(ref.owner)
        return bool(above) and (is_called_by_name(ref.name) or self.declared_above(body))

    def declared_above(self, body: Body) -> bool:
        """Say whether a library's type above the class of a method declares it."""
        ref = body.method.ref
        for parent in self.foreign(ref.owner):
            if parent in self.defined:
                unit, definition = self.defined[parent]
                if any(
                    method.ref.name == ref.name and method.ref.signature == ref.signature
                    for method in unit.classes.methods_of(definition)
                ):
                    return True
        return False

    @cached_property
    def reachable(self) -> frozenset[Body]:
        """The methods that something the system starts can lead to; more rather than fewer.

        What a created object inherits from a foreign type counts as called, and so does every class
        whose name stands in a string (reflection) or that a layout may name (views, preferences,
        fragments).
        """
        return frozenset(self._reach.found)

    @cached_property
    def _reach(self) -> Reach:
        return Reach(self)

    def way_to(self, key: str) -> tuple[Body, ...]:
        """Return methods that lead to a reachable one, from what the system calls to itself."""
        way = [self.bodies[key]]
        while (before := self._reach.found.get(way[-1])) is not None:
            way.append(before)
        return tuple(reversed(way))

    @cached_property
    def uses(self) -> Uses:
        """What every method of the app refers to."""
        return Uses(self.coded)

    def callers(self, body: Body) -> Iterator[tuple[int, Site]]:
        """Yield operation code and place of every call in the app that may run a method."""
        ref = body.method.ref
        virtual = body.is_virtual
        owners = {ref.owner}
        if virtual and self.is_callback(body):
            # What a foreign type declares is called on whatever is created: see where it is.
            owners.update(each for each in self.supertypes(ref.owner) if each in self.own)
        elif virtual:
            owners.update(self.supertypes(ref.owner))
        below = self.subtypes(ref.owner)
        self._spend(len(below))
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
    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __getitem__(self, key: str) -> Body:
        found = self._scope.body(key) if key.partition("->")[0] in self._scope.own else None
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return (body.key for body in self._scope.coded)

    def __len__(self) -> int:
        return len(self._scope.coded)
