"""The classes that one app can see, its own and those of libraries, and who extends whom.

A class that the files at hand do not define is foreign. Foreign types are known by name only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from rom_builder.code.programs import Program, Unit
from rom_builder.formats.dex_class import ClassDef

OBJECT = "Ljava/lang/Object;"
MAX_ABOVE = 1000
"""Classes and interfaces above one class that are looked at."""


class Hierarchy:
    """The classes of one app and of the libraries it can use, by descriptor.

    Attributes:
        defined: Every class, with the DEX file whose definition of it counts.
        own: The app's classes, in the order of its files; the values mean nothing.

    Raises:
        ImageError: A table of classes is damaged; on access, the hierarchy takes too long.
    """

    def __init__(self, program: Program, libraries: Iterable[Program] = ()) -> None:
        self.program = program
        self.defined: dict[str, tuple[Unit, ClassDef]] = {}
        self._define(program)
        self.own = dict.fromkeys(self.defined)
        for library in libraries:
            self._define(library)
        self._above: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        self._foreign: dict[str, list[str]] = {}

    def _define(self, program: Program) -> None:
        for unit in program.units:
            for name, definition in unit.classes.by_name.items():
                self.defined.setdefault(name, (unit, definition))

    def spend(self, work: int) -> None:
        """Count work on the hierarchy.

        Raises:
            ImageError: It is more than any honest app takes.
        """
        self.program.units[0].spend(work)

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
            self.spend(len(queue))
            known = self._above[name] = list(found)
        return known

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The app's classes that name a class or interface as theirs; of those that have some."""
        children: dict[str, list[str]] = defaultdict(list)
        for name in self.own:
            definition = self.defined[name][1]
            for parent in (definition.superclass, *definition.interfaces):
                if parent:
                    children[parent].append(name)
        return dict(children)

    def subtypes(self, name: str) -> list[str]:
        """Return every class of the app below a class or interface."""
        if name not in self.children:
            return []
        known = self._below.get(name)
        if known is None:
            found = [name]
            seen = {name}
            for each in found:
                new = [child for child in self.children.get(each, ()) if child not in seen]
                seen.update(new)
                found += new
            known = self._below[name] = found[1:]
        return known

    def foreign(self, name: str) -> list[str]:
        """Return what is above a class and not the app's own, without ``java.lang.Object``."""
        known = self._foreign.get(name)
        if known is None:
            above = self.supertypes(name)
            known = [each for each in above if each not in self.own and each != OBJECT]
            self._foreign[name] = known
        return known
