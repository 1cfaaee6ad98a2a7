"""From the programs of a service to facts about its code; one place that knows all the readers."""

from __future__ import annotations

import fnmatch
import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rom_builder.code.choices import read_constant_choices
from rom_builder.code.consent import Effort, PathsTo
from rom_builder.code.controls import read_ticks, read_writes
from rom_builder.code.gates import Gates, call_sites
from rom_builder.code.identifiers import SOURCES, Sources, read_identifiers
from rom_builder.code.programs import Body, Program, Unit, read_program
from rom_builder.code.scope import Scope
from rom_builder.code.trust_all import read_trust_all
from rom_builder.code.urls import Urls
from rom_builder.code.uses import CONST_STRING, Site
from rom_builder.errors import ImageError
from rom_builder.facts.code import AnchorFound, CodeFact, CodeRead, ConsentCheck, Outcome, Step
from rom_builder.findings import Location
from rom_builder.formats.dex_code import code_span
from rom_builder.formats.dex_instructions import positions
from rom_builder.policy.load import Policies
from rom_builder.policy.profile import Anchor, Profile, Sink
from rom_builder.readers.packages import Packages
from rom_builder.rom import Rom, RomFile


def read_code(rom: Rom, packages: Packages, policies: Policies) -> Iterator[CodeFact]:
    """Yield what the code of every service of the policies shows; what cannot be read is noted.

    Services whose profile has no sinks are not examined.
    """
    libraries: dict[str, Program | None] = {}
    for _, profile in policies.services:
        if profile.code.sinks:
            yield from read_service_code(rom, packages, profile, libraries)


def read_service_code(
    rom: Rom, packages: Packages, profile: Profile, libraries: dict[str, Program | None]
) -> Iterator[CodeFact]:
    """Yield what the code of one service shows.

    Args:
        rom: The ROM; what cannot be read is noted in its list of unread parts.
        packages: Its apps.
        profile: Where the service lives.
        libraries: Programs read before, by name; grows.
    """
    shared = []
    for file in _library_files(rom, profile):
        if file.name not in libraries:
            libraries[file.name] = read_program(rom, file, is_app=False)
        shared.append((file.name, libraries[file.name]))
    usable = [program for _, program in shared if program is not None]
    whole = {program.name for program in usable if _is_whole(rom, program)}
    unread = [name for name, _ in shared if name not in whole]
    read = [program.name for program in usable if program.name in whole]
    anchors = _Anchors(profile)
    for file, package in packages.described:
        if package.name not in profile.packages:
            continue
        with _collector_paused():
            found, complete = _facts_of(rom, file, package.name, profile, usable, anchors)
        (read if complete else unread).append(file.name)
        yield from found
    for library in usable:
        yield from _sinks_in_library(rom, profile, library)
    yield from anchors.found()
    yield CodeRead(profile.id, tuple(read), tuple(unread))


def _facts_of(
    rom: Rom,
    file: RomFile,
    package: str,
    profile: Profile,
    libraries: Sequence[Program],
    anchors: _Anchors,
) -> tuple[list[CodeFact], bool]:
    """Return what the code of one app shows, and whether that is all; if not, the ROM notes it.

    The app and all that was read of it are gone once this returns.
    """
    program = read_program(rom, file, is_app=True)
    if program is None:
        return [], False
    try:
        found = list(_App(profile, package, Scope(program, libraries), anchors).read())
        return found, _is_whole(rom, program)
    except ImageError as error:
        rom.note_unread(error, file.name)
        return [], False


def _is_whole(rom: Rom, program: Program) -> bool:
    """Say whether code names all that it calls, reads and writes; if not, note that as unread."""
    try:
        slot = next(_slots_in(program), None)
    except ImageError as error:
        rom.note_unread(error, program.name)
        return False
    if slot is not None:
        what = "was optimised: what some operations call, read or write is not in the file"
        rom.note_unread(ImageError(what, offset=slot.offset, path=slot.path), program.name)
    return slot is None


def _slots_in(program: Program) -> Iterator[Location]:
    """Yield the operations of a program that name a slot instead of a method or field."""
    for unit in program.units:
        if not unit.operations.slots:
            continue
        dex, steps = unit.dex, unit.operations.steps(unit.operations.slots)
        offsets = {method.code_offset for method in unit.classes.methods if method.code_offset}
        for offset in sorted(offsets):
            start, size = code_span(dex.data, offset, compact=dex.compact)
            unit.spend(size)
            for at in positions(dex.data, start, size, steps):
                yield Location(unit.name, dex.place + at)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector off for one app.

    Hundreds of thousands of values are made that live as long as the app is looked at. None of them
    are in circles, so all are freed without it; to look for circles again and again takes a fifth
    of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _library_files(rom: Rom, profile: Profile) -> Iterator[RomFile]:
    for path, file in sorted(rom.files.items()):
        if any(fnmatch.fnmatchcase(path, glob) for glob in profile.code_files):
            yield file


def _sinks_in_library(rom: Rom, profile: Profile, library: Program) -> Iterator[ConsentCheck]:
    """Yield an unknown for each sink that a library holds: who calls it there is not followed."""
    texts = frozenset(s.string for s in profile.code.sinks if s.string and s.package is None)
    for unit in library.units:
        try:
            for body, address, text in _strings_in(unit, texts):
                why = f"{body.title} is in a library, whose callers are not followed"
                step = Step(why, body.place(address))
                for sink in profile.code.sinks:
                    for automatic in (False, True) if sink.string == text else ():
                        yield ConsentCheck(
                            profile.id, sink.id, automatic, Outcome.UNKNOWN, (), (step,), (),
                            step.location,
                        )  # fmt: skip
        except ImageError as error:
            rom.note_unread(error, unit.name)


def _strings_in(unit: Unit, texts: frozenset[str]) -> Iterator[tuple[Body, int, str]]:
    """Yield where a file's code uses one of some texts; without them it is not looked at."""
    indexes = set(unit.ids.string_indexes(texts))
    if not indexes:
        return
    for method in unit.classes.methods:
        if method.code_offset:
            body = Body(unit, method.index, method.access, method.code_offset)
            for address, _, index in body.code.references(frozenset((CONST_STRING,))):
                if index in indexes:
                    yield body, address, unit.ids.string(index)


class _Anchors:
    """Collects where the anchors of a profile were found, over all of its programs."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._methods: dict[tuple[str, int], dict[Step, None]] = defaultdict(dict)

    def add(self, role: str, index: int, body: Body, address: int) -> None:
        """Note one place."""
        self._methods[role, index][Step(body.title, body.place(address))] = None

    def found(self) -> Iterator[AnchorFound]:
        """Yield one fact per anchor, also for those that were found nowhere."""
        code = self._profile.code
        labels = [
            *(("gate", i, gate.label, "") for i, gate in enumerate(code.gates)),
            *(("sink", i, sink.label, sink.id) for i, sink in enumerate(code.sinks)),
            *(("choice", i, f"string {c.string!r}", "") for i, c in enumerate(code.choices)),
            *(("box", i, f"string {b.string!r}", "") for i, b in enumerate(code.boxes)),
            *(("upgrade", i, f"string {u.string!r}", "") for i, u in enumerate(code.upgrades)),
        ]
        for role, index, label, sink in labels:
            methods = tuple(self._methods[role, index])
            yield AnchorFound(self._profile.id, role, label, sink, methods)


@dataclass
class _App:
    """One app of a service, examined."""

    profile: Profile
    package: str
    scope: Scope
    anchors: _Anchors
    effort: Effort = field(default_factory=Effort)

    def read(self) -> Iterator[CodeFact]:
        code = self.profile.code
        gates = Gates(self.scope, code.gates)
        for index, sites in gates.anchors.items():
            for site in sites:
                self.anchors.add("gate", index, self.scope.bodies[site.method], site.address)
        sinks: dict[str, tuple[str, ...]] = {}
        sources = Sources(
            {**SOURCES, **{source.call: source.reads for source in code.sources}},
            frozenset(code.hashes),
        )
        for number, sink in enumerate(code.sinks):
            for key, addresses in self._places(sink).items():
                body = self.scope.bodies[key]
                self.anchors.add("sink", number, body, addresses[0])
                sinks[key] = (*sinks.get(key, ()), sink.id)
                yield from self._consent(gates, sink, body, addresses)
                yield from read_identifiers(self.profile.id, sink.id, self.scope, body, sources)
        for number, choice in enumerate(code.choices):
            self._note("choice", number, choice.string)
            yield from read_constant_choices(self.profile.id, self.scope, choice.string)
        for number, box in enumerate(code.boxes):
            self._note("box", number, box.string)
            yield from read_ticks(self.profile.id, self.scope, box.string)
        for number, upgrade in enumerate(code.upgrades):
            self._note("upgrade", number, upgrade.string)
        for gate in code.gates:
            if gate.string:
                yield from read_writes(self.profile.id, self.scope, gate.string, gate.label)
        yield from Urls(self.profile.id, self.scope, code.encrypted_by, sinks).read()
        yield from read_trust_all(self.profile.id, self.scope)

    def _note(self, role: str, number: int, text: str) -> None:
        """Note where the code uses a text."""
        for site in self.scope.uses.strings.get(text, ()):
            self.anchors.add(role, number, self.scope.bodies[site.method], site.address)

    def _places(self, sink: Sink) -> Mapping[str, list[int]]:
        """Return the addresses of a sink by the method that holds it."""
        found: dict[str, list[int]] = defaultdict(list)
        if sink.package is None or sink.package == self.package:
            for site in anchor_sites(self.scope, sink):
                found[site.method].append(site.address)
        return found

    def _consent(
        self, gates: Gates, sink: Sink, body: Body, addresses: list[int]
    ) -> Iterator[ConsentCheck]:
        stated = self.profile.code.gates
        only = frozenset(i for i, g in enumerate(stated) if not g.sinks or sink.id in g.sinks)
        for automatic in (False, True):
            found = PathsTo(self.scope, gates, only, automatic, self.effort).follow(body, addresses)
            others = {stated[gate].agrees_to for gate in found.asked.values()}
            yield ConsentCheck(
                service=self.profile.id,
                sink=sink.id,
                automatic=automatic,
                outcome=found.outcome,
                steps=found.path if found.path is not None else tuple(found.asked),
                unknown=tuple(found.unknown),
                agrees_to=tuple(sorted(other for other in others if other)),
                location=body.place(addresses[0]),
            )


def anchor_sites(scope: Scope, anchor: Anchor) -> Iterator[Site]:
    """Yield where an anchor stands in an app."""
    if anchor.call is not None:
        yield from call_sites(scope, anchor.call)
    else:
        yield from scope.uses.strings.get(anchor.string or "", ())
