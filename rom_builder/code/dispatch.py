"""Which methods a call may run.

Calls are resolved by class hierarchy: a call on a type may reach every implementation that the app
has below it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from rom_builder.code.callbacks import is_called_by_name
from rom_builder.code.hierarchy import Hierarchy
from rom_builder.code.programs import Body, Program, Unit
from rom_builder.code.uses import VIRTUALS
from rom_builder.formats.dex_ids import MemberRef

MAX_DEPTH = 64
"""Superclasses that are followed; a longer chain is a circle."""


class Dispatch(Hierarchy):
    """The methods with code of an app and of its libraries, and what calls them.

    Raises:
        ImageError: On access, a class is damaged.
    """

    def __init__(self, program: Program, libraries: Iterable[Program] = ()) -> None:
        super().__init__(program, libraries)
        self._targets: dict[tuple[MemberRef, bool], list[Body]] = {}
        self._in_class: dict[str, list[Body]] = {}
        self._by_index: dict[Unit, dict[int, Body]] = defaultdict(dict)
        self._in_library: dict[str, dict[tuple[str, str], Body]] = {}
        self._having: dict[str, dict[str, dict[str, Body]]] = {}

    def bodies_of(self, owner: str) -> list[Body]:
        """Return the methods with code of one class."""
        found = self._in_class.get(owner)
        if found is None:
            unit, definition = self.defined[owner]
            found = self._in_class[owner] = [
                Body(unit, *row) for row in unit.classes.rows_of(definition) if row[2]
            ]
            self._by_index[unit].update([(body.index, body) for body in found])
        return found

    @cached_property
    def coded(self) -> list[Body]:
        """The app's methods that have code, class by class."""
        return [body for owner in self.own for body in self.bodies_of(owner)]

    @cached_property
    def _by_name(self) -> dict[str, list[Body]]:
        """The app's methods that have code, by bare name."""
        found: dict[str, list[Body]] = defaultdict(list)
        for body in self.coded:
            found[body.name].append(body)
        return dict(found)

    def having(self, name: str, signature: str) -> dict[str, Body]:
        """Return the app's methods with code of some name and signature, by class."""
        by_signature = self._having.get(name)
        if by_signature is None:
            by_signature = self._having[name] = {}
            for body in self._by_name.get(name, ()):
                ids = body.unit.ids
                owner, proto, _ = ids.method_row(body.index)
                having = by_signature.setdefault(ids.signature(proto), {})
                having.setdefault(ids.type(owner), body)
        return by_signature.get(signature, {})

    def member(self, owner: str, name: str, signature: str) -> Body | None:
        """Return a method with code that a class itself has; None if it has none of that name."""
        if owner in self.own:
            return self.having(name, signature).get(owner)
        members = self._in_library.get(owner)
        if members is None:
            members = self._in_library[owner] = {}
            for body in self.bodies_of(owner) if owner in self.defined else ():
                members.setdefault((body.name, body.signature), body)
        return members.get((name, signature))

    def body(self, key: str) -> Body | None:
        """Return a method with code, of the app or of a library."""
        owner, _, rest = key.partition("->")
        name, _, signature = rest.partition("(")
        return self.member(owner, name, f"({signature}")

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

    def targets(self, code: int, ref: MemberRef) -> list[Body]:
        """Return all code that a call may run."""
        virtual = code in VIRTUALS
        known = self._targets.get((ref, virtual))
        if known is None:
            found = self.resolve(ref)
            known = [found] if found else []
            if virtual:
                known += [body for body, _ in self._overridden(ref.owner, ref.name, ref.signature)]
            self._targets[ref, virtual] = known
        return known

    def own_targets(self, unit: Unit, index: int, *, virtual: bool) -> list[tuple[Body, str]]:
        """Return the app's code that a call may run, as :meth:`targets` does, with its class.

        The method called is told by its index, which the file must have; its name is read only if
        the class it is named with does not have it itself.
        """
        owner = unit.ids.type(unit.ids.method_owners[index])
        if owner in self.own:
            self.bodies_of(owner)
        elif owner not in self.defined and owner not in self.children:
            return []
        body = self._by_index[unit].get(index)
        if body is not None and owner in self.own:
            found = [(body, owner)]
        else:
            found = self._inherited(unit, index, owner)
        if virtual and owner in self.children:
            ref = unit.ids.method(index)
            found += self._overridden(owner, ref.name, ref.signature)
        return found

    def _overridden(self, owner: str, name: str, signature: str) -> list[tuple[Body, str]]:
        """Return the app's methods that stand in for one of a class, with their class."""
        below = self.subtypes(owner)
        having = self.having(name, signature)
        self.spend(len(below))
        return [(having[child], child) for child in below if child in having] if having else []

    def _inherited(self, unit: Unit, index: int, owner: str) -> list[tuple[Body, str]]:
        """Return the app's code that a call finds above the class it names, with its class."""
        ref = unit.ids.method(index)
        above: str | None = owner
        for _ in range(MAX_DEPTH):
            entry = self.defined.get(above) if above is not None else None
            if above is None or entry is None or self._has_nothing_own(above):
                break
            body = self.member(above, ref.name, ref.signature)
            if body is not None:
                return [(body, above)] if above in self.own else []
            above = entry[1].superclass
        return []

    def _has_nothing_own(self, name: str) -> bool:
        """Say whether neither a class nor any above it is the app's."""
        return not any(each in self.own for each in (name, *self.supertypes(name)))

    def is_callback(self, body: Body) -> bool:
        """Say whether code outside the app calls a method.

        That is so if a foreign type stands above its class and either a library declares the method
        there, or its name is one that the platform calls by convention.
        """
        ref = body.method.ref
        if not body.is_virtual or ref.owner not in self.own:
            return False
        above = self.foreign(ref.owner)
        return bool(above) and (is_called_by_name(ref.name) or self.is_declared_above(body))

    def is_declared_above(self, body: Body) -> bool:
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
