"""What one app can see: its own classes and those of libraries, who extends whom, who calls what.

Calls are resolved by class hierarchy: a call on a type may reach every implementation that the app
has below it. A class that the files at hand do not define is foreign; what it calls is known only
by convention.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from rom_builder.code.programs import Body, Program, Unit
from rom_builder.formats.dex_class import ClassDef
from rom_builder.formats.dex_code import code_size, scan_code
from rom_builder.formats.dex_ids import MemberRef, dotted

CONST_STRING, CONST_STRING_JUMBO, CONST_CLASS, NEW_INSTANCE = 0x1A, 0x1B, 0x1C, 0x22
SGET_OBJECT, SPUT_OBJECT = 0x62, 0x69
INVOKES = frozenset((*range(0x6E, 0x73), *range(0x74, 0x79)))
VIRTUAL, SUPER, DIRECT, STATIC, INTERFACE = 0x6E, 0x6F, 0x70, 0x71, 0x72
SLOT_CALLS = frozenset(range(0xEE, 0xFC)) - frozenset((0xF0, 0xF1, *range(0xF2, 0xF8)))
"""Calls of optimised code that name a slot, not a method (only in odex files)."""
OBJECT = "Ljava/lang/Object;"
CALLBACKS = frozenset((
    "run", "call", "doInBackground", "loadInBackground", "handleMessage", "query", "insert",
    "update", "delete", "openFile", "attachBaseContext", "beforeTextChanged", "afterTextChanged",
    "getView", "getItem", "bindView", "newView", "instantiateItem", "getCount", "compare",
    "accept", "checkServerTrusted", "verify", "uncaughtException",
))  # fmt: skip
"""Methods that the platform calls by convention, besides those that begin with ``on``."""
MAX_DEPTH = 64
"""Superclasses that are followed; a longer chain is a circle."""

MAX_ABOVE = 1000
"""Classes and interfaces above one class that are looked at."""


class Site(NamedTuple):
    """An instruction: the method that holds it and its address there."""

    method: str
    address: int


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
        self._targets: dict[tuple[MemberRef, bool], list[str]] = {}
        self._above: dict[str, list[str]] = {}
        own = {id(unit) for unit in program.units}
        self.own = frozenset(name for name, (unit, _) in self.defined.items() if id(unit) in own)

    def _spend(self, work: int) -> None:
        """Count work on the app's hierarchy of classes."""
        self.program.units[0].spend(work)

    @cached_property
    def bodies(self) -> dict[str, Body]:
        """The app's methods that have code, by key."""
        found: dict[str, Body] = {}
        for unit in self.program.units:
            for method in unit.classes.methods:
                if method.code_offset and self.defined[method.ref.owner][0] is unit:
                    found.setdefault(method.ref.key, Body(unit, method))
        return found

    def body(self, key: str) -> Body | None:
        """Return a method with code, of the app or of a library."""
        found = self.bodies.get(key)
        if found is None:
            owner = key.partition("->")[0]
            found = self.bodies_of(owner).get(key) if owner in self.defined else None
        return found

    def bodies_of(self, owner: str) -> dict[str, Body]:
        """Return the methods with code of one class, by key."""
        if owner not in self._by_class:
            unit, definition = self.defined[owner]
            self._by_class[owner] = {
                method.ref.key: Body(unit, method)
                for method in unit.classes.methods_of(definition)
                if method.code_offset
            }
        return self._by_class[owner]

    @cached_property
    def _by_class(self) -> dict[str, dict[str, Body]]:
        """Methods by class and key: those of the app, and of libraries as they are asked for."""
        found: dict[str, dict[str, Body]] = {owner: {} for owner in self.own}
        for key, body in self.bodies.items():
            found[body.method.ref.owner][key] = body
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
        found = [name]
        seen = {name}
        for each in found:
            new = [child for child in self._children.get(each, ()) if child not in seen]
            seen.update(new)
            found += new
        return found[1:]

    def defines(self, owner: str, name: str, signature: str) -> bool:
        """Say whether a class itself has code for a method."""
        return owner in self.defined and f"{owner}->{name}{signature}" in self.bodies_of(owner)

    def resolve(self, ref: MemberRef) -> str | None:
        """Return the key of the code that a call finds going up from the class it names."""
        owner: str | None = ref.owner
        for _ in range(MAX_DEPTH):
            if owner is None or owner not in self.defined:
                return None
            if self.defines(owner, ref.name, ref.signature):
                return f"{owner}->{ref.name}{ref.signature}"
            owner = self.defined[owner][1].superclass
        return None

    def targets(self, code: int, ref: MemberRef) -> list[str]:
        """Return the keys of all code that a call may run."""
        virtual = code in (VIRTUAL, INTERFACE, VIRTUAL + 6, INTERFACE + 6)
        known = self._targets.get((ref, virtual))
        if known is None:
            found = self.resolve(ref)
            known = [found] if found else []
            if virtual:
                below = self.subtypes(ref.owner)
                self._spend(len(below))
                known += [
                    f"{child}->{ref.name}{ref.signature}"
                    for child in below
                    if self.defines(child, ref.name, ref.signature)
                ]
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
        if (
            body.method.access & 0x1000A or ref.owner not in self.own
        ):  # constructor, static, private
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
    def reachable(self) -> frozenset[str]:
        """The methods that something the system starts can lead to; more rather than fewer.

        What a created object inherits from a foreign type counts as called, and so does every class
        whose name stands in a string (reflection) or that a layout may name (views, preferences,
        fragments).
        """
        return frozenset(self._reach.found)

    @cached_property
    def _reach(self) -> _Reach:
        return _Reach(self)

    def way_to(self, key: str) -> tuple[str, ...]:
        """Return methods that lead to a reachable one, from what the system calls to itself."""
        way = [key]
        while (before := self._reach.found.get(way[-1])) is not None:
            way.append(before)
        return tuple(reversed(way))

    @cached_property
    def uses(self) -> Uses:
        """What every method of the app refers to."""
        return Uses(self)

    def callers(self, body: Body) -> Iterator[tuple[int, Site]]:
        """Yield operation code and place of every call in the app that may run a method."""
        ref = body.method.ref
        virtual = not body.method.access & 0x1000A
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
            if self.resolve(MemberRef(child, ref.name, ref.signature)) == body.key
        )
        for owner in sorted(owners):
            called = MemberRef(owner, ref.name, ref.signature)
            for code, site in self.uses.calls.get(called.key, ()):
                is_virtual = code in (VIRTUAL, INTERFACE, VIRTUAL + 6, INTERFACE + 6)
                if self.resolve(called) == body.key or (is_virtual and virtual):
                    yield code, site


def is_called_by_name(name: str) -> bool:
    """Say whether the platform calls methods of that name by convention."""
    return name in CALLBACKS or (name.startswith("on") and name[2:3].isupper())


class _Reach:
    """The forward walk behind :attr:`Scope.reachable`.

    A virtual call reaches an implementation once an object of its class, or one below, is created.
    What the platform calls by convention is followed first, other methods of such classes last.

    Attributes:
        found: Each method, and the one that leads to it; None for what the system calls.
    """

    LAID_OUT = (
        "Landroid/view/",
        "Landroid/widget/",
        "Landroid/preference/",
        "Landroid/app/Fragment;",
    )

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.found: dict[str, str | None] = {}
        self._created: set[str] = set()
        self._alive: set[str] = set()
        self._waiting: dict[str, dict[str, str]] = defaultdict(dict)
        self._queue: list[str] = []
        self._done = 0
        self._later: list[tuple[str, str | None]] = []
        self._at: str | None = None
        named = {dotted(name) for name in scope.own} & set(scope.uses.strings)
        for name in scope.own:
            above = scope.foreign(name)
            if name in scope.program.by_class or any(a.startswith(self.LAID_OUT) for a in above):
                self._create(name)
            elif dotted(name) in named:
                self._create(name)
                for body in scope.bodies_of(name).values():
                    self._call(body.key, None)
        self._work_off()
        for key, creator in self._later:
            self._call(key, creator)
            self._work_off()

    def _work_off(self) -> None:
        while self._done < len(self._queue):
            self._at = self._queue[self._done]
            self._done += 1
            self._follow(self._at)

    def _follow(self, key: str) -> None:
        for code, used in self._scope.uses.by_method.get(key, ()):
            if isinstance(used, str):
                self._create(used)
                continue
            virtual = code in (VIRTUAL, INTERFACE, VIRTUAL + 6, INTERFACE + 6)
            for target in self._scope.targets(code, used):
                owner = target.partition("->")[0]
                if virtual and owner in self._scope.own and owner not in self._alive:
                    self._waiting[owner].setdefault(target, key)
                else:
                    self._call(target, key)

    def _call(self, key: str, caller: str | None) -> None:
        if key not in self.found:
            self.found[key] = caller
            self._queue.append(key)
            start = f"{key.partition('->')[0]}-><clinit>()V"
            if start != key and start in self._scope.bodies:
                self._call(start, key)

    def _create(self, name: str) -> None:
        if name in self._created or name not in self._scope.own:
            return
        self._created.add(name)
        for owner in (name, *self._scope.supertypes(name)):
            if owner in self._scope.own:
                self._alive.add(owner)
                for key, caller in sorted(self._waiting.pop(owner, {}).items()):
                    self._call(key, caller)
                for body in self._scope.bodies_of(owner).values():
                    name_of = body.method.ref.name
                    if name_of in ("<init>", "<clinit>"):
                        self._call(body.key, self._at)
                    elif self._scope.foreign(name) and not body.method.access & 0x1000A:
                        if is_called_by_name(name_of):
                            self._call(body.key, self._at)
                        else:  # only after what is certain, so that ways begin with that
                            self._later.append((body.key, self._at))


class Uses:
    """Where the app's methods call, create and name things; made in one pass over its code.

    Attributes:
        calls: Operation and site of each call, by the key it names.
        creations: Sites of ``new-instance`` by type.
        classes: Sites of ``const-class`` by type.
        strings: Sites of ``const-string`` by text.
        fields: Sites that read a static object field, by key.
        by_method: For each method what it calls or creates, as (operation, key or type).
        slots: Methods that call through a slot: what they call is not known.
    """

    def __init__(self, scope: Scope) -> None:
        self.calls: dict[str, list[tuple[int, Site]]] = defaultdict(list)
        self.creations: dict[str, list[Site]] = defaultdict(list)
        self.classes: dict[str, list[Site]] = defaultdict(list)
        self.strings: dict[str, list[Site]] = defaultdict(list)
        self.fields: dict[str, list[Site]] = defaultdict(list)
        self.by_method: dict[str, list[tuple[int, MemberRef | str]]] = {}
        self.slots: set[str] = set()
        self._calling: dict[tuple[str, ...], frozenset[str]] = {}
        codes = INVOKES | {
            CONST_STRING, CONST_STRING_JUMBO, CONST_CLASS, NEW_INSTANCE, SGET_OBJECT,
        }  # fmt: skip
        self._of_ref: dict[MemberRef, list[tuple[int, Site]]] = defaultdict(list)
        for body in scope.bodies.values():
            self._read(body, codes | SLOT_CALLS if body.unit.dex.optimised else codes)
        for ref, sites in self._of_ref.items():
            self.calls[ref.key] += sites

    def methods_calling(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the methods that call any method of these names, whoever's it is."""
        if names not in self._calling:
            self._calling[names] = frozenset(
                site.method
                for key, sites in self.calls.items()
                if key.partition("->")[2].partition("(")[0] in names
                for _, site in sites
            )
        return self._calling[names]

    def _read(self, body: Body, codes: frozenset[int]) -> None:
        unit, key = body.unit, body.key
        ids, data, offset = unit.ids, unit.dex.data, body.method.code_offset
        made: list[tuple[int, MemberRef | str]] = []
        unit.spend(code_size(data, offset))
        for address, code, operand in scan_code(data, offset, codes, unit.operations):
            site = Site(key, address)
            if code in INVOKES:
                ref = ids.method(operand)
                self._of_ref[ref].append((code, site))
                made.append((code, ref))
            elif code == CONST_STRING:
                self.strings[ids.string(operand)].append(site)
            elif code == CONST_STRING_JUMBO:
                high = body.code.units[address + 2]
                self.strings[ids.string(operand | high << 16)].append(site)
            elif code == NEW_INSTANCE:
                kind = ids.type(operand)
                self.creations[kind].append(site)
                made.append((code, kind))
            elif code == CONST_CLASS:
                self.classes[ids.type(operand)].append(site)
            elif code == SGET_OBJECT:
                self.fields[ids.field(operand).key].append(site)
            else:
                self.slots.add(key)
        self.by_method[key] = made
