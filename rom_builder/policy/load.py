"""Policies and their profiles from files: what was asked for, all it extends, merged into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import realpath  # unlike Path.resolve it bears links that run in circles
from pathlib import Path
from typing import Literal

from rom_builder.errors import PolicyError, Problem
from rom_builder.policy.merge import ROM, Merge, Requirements, Statement, built, stated
from rom_builder.policy.messages import nearest
from rom_builder.policy.models import POLICY_SCHEMA, Policy, RomPolicy, ServicePolicy
from rom_builder.policy.profile import PROFILE_SCHEMA, Binding, Profile, read_profile
from rom_builder.policy.yaml import MAX_PROBLEMS, Document, load_yaml, validate
from rom_builder.resources import data_folder

MAX_CHAIN = 20
"""Policies that may extend one another in a row."""

_ALSO_KNOWN_AS = {"consent.default": "consent.mode"}

Bindings = Mapping[str, type[Binding]]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that took part in the judgement."""

    id: str
    title: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything that is demanded, merged, and where each demand is written.

    Attributes:
        policies: Every policy file read; extended ones stand before those that extend them.
        profiles: Every profile file read.
        services: What is demanded of each service, and where that service lives.
        rom: What is demanded of the ROM as a whole.
        requirements: Each demand with its statement, by section and dotted field.
    """

    policies: tuple[SourceFile, ...]
    profiles: tuple[SourceFile, ...]
    services: tuple[tuple[ServicePolicy, Profile], ...]
    rom: RomPolicy | None
    requirements: Requirements = field(repr=False)

    def where(self, service: str | None, name: str = "presence") -> str:
        """Return the ``file:line:column`` at which a requirement is written.

        Where it is not written, that is the place of the section that would hold it.

        Args:
            service: Id of the service's profile; None or ``rom`` for the whole ROM.
            name: Dotted field, such as ``consent.mode`` (also known as ``consent.default``),
                ``attested/retention`` or ``rom.debuggable``.

        Raises:
            KeyError: Nothing is demanded of that service, or of the ROM.
        """
        fields = self.requirements[service or ROM]
        name = name.replace("/", ".").removeprefix(f"{ROM}.")
        name = _ALSO_KNOWN_AS.get(name, name)
        if name in fields:
            return fields[name].key
        outer = name.partition(".")[0] + "."
        for known, statement in fields.items():
            if known.startswith(outer):
                return replace(statement, loc=statement.loc[:-1]).key
        return fields[""].key


def shipped(kind: Literal["policies", "profiles"]) -> dict[str, Path]:
    """Return the files that come with rom-builder, by id."""
    folder = data_folder("policies")
    if kind == "profiles":
        folder = folder / "profiles"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_policies(refs: Sequence[str | Path], bindings: Bindings) -> Policies:
    """Return what several policies demand together.

    Args:
        refs: Files (a :class:`~pathlib.Path`, or text with a slash or a YAML suffix) and ids of
            shipped policies.
        bindings: Model of the options by name of mechanism, for the profiles.

    Raises:
        PolicyError: All that is wrong with the policies, all they extend and their profiles.
        ValueError: There are no ``refs``; a ROM of which nothing is demanded would always comply.
    """
    if not refs:
        raise ValueError("no policy to load")
    loader = _Loader(bindings)
    layers = [
        loader.policy(path, ())
        for ref in refs
        if (path := loader.find(ref, Path(), None)) is not None
    ]
    merge = Merge(_distinct(layers), {})
    loader.problems += merge.problems
    result = loader.finish(merge.requirements)
    if loader.problems or result is None:
        raise PolicyError(sorted(set(loader.problems))[:MAX_PROBLEMS])
    return result


def validate_file(path: str | Path, bindings: Bindings) -> Policies | Profile:
    """Return what one file holds, be it a policy or a profile; its ``schema`` key decides.

    Raises:
        PolicyError: All that is wrong with it.
    """
    document = load_yaml(path)
    if document._data.get("schema") == PROFILE_SCHEMA:
        return read_profile(document, bindings)
    if document._data.get("schema") == POLICY_SCHEMA:
        return load_policies([Path(path)], bindings)
    known = f"schema must be {POLICY_SCHEMA} or {PROFILE_SCHEMA}"
    raise PolicyError([*document.problems, document.problem(("schema",), known)])


def _distinct(layers: Sequence[Requirements]) -> list[Requirements]:
    return list({id(layer): layer for layer in layers}.values())


class _Loader:
    """Reads each file once and gathers the problems of all."""

    def __init__(self, bindings: Bindings) -> None:
        self.problems: list[Problem] = []
        self._bindings = bindings
        self._layers: dict[str, Requirements] = {}
        self._sources: list[SourceFile] = []

    def find(self, ref: str | Path, folder: Path, at: Statement | None) -> Path | None:
        """Return the file ``ref`` stands for; ``at`` is where it is written, None: by the user."""
        text = str(ref)
        if isinstance(ref, Path) or "/" in text or text.endswith((".yaml", ".yml")):
            path = folder / text
            if at is None or path.is_file():
                return path
            message = f"no such file: {path}"
        else:
            known = shipped("policies")
            if text in known:
                return known[text]
            hint = nearest(text, known) or "; a file needs its suffix .yaml"
            message = f"no shipped policy has the id {text!r}{hint}"
        self.problems.append(at.problem(message) if at else Problem(text, 1, 1, message))
        return None

    def policy(self, path: Path, chain: tuple[Path, ...]) -> Requirements:
        """Return what one policy file and all it extends demand; ``chain`` is who asked for it."""
        key = realpath(path)
        if key in self._layers:
            return self._layers[key]
        try:
            document = load_yaml(path)
            policy = validate(Policy, document)
        except PolicyError as error:
            self.problems += error.problems
            self._layers[key] = {}
            return {}
        parents = self._parents(policy, document, (*chain, path))
        merge = Merge(_distinct(parents), stated(policy, document), policy.weakens)
        if not self.problems:
            self.problems += merge.unused(policy, document)
        self.problems += merge.problems
        self._layers[key] = merge.requirements
        self._sources.append(SourceFile(policy.id, policy.title, document.file, document.sha256))
        return merge.requirements

    def _parents(
        self, policy: Policy, document: Document, chain: tuple[Path, ...]
    ) -> list[Requirements]:
        parents = []
        resolved = [realpath(path) for path in chain]
        for index, ref in enumerate(policy.extends):
            at = Statement(ref, document, ("extends", index))
            path = self.find(ref, Path(document.file).parent, at)
            if path is None:
                continue
            if realpath(path) in resolved:
                circle = [*chain[resolved.index(realpath(path)) :], path]
                text = " -> ".join(map(str, circle))
                self.problems.append(at.problem(f"policies extend one another: {text}"))
            elif len(chain) >= MAX_CHAIN:
                self.problems.append(at.problem(f"more than {MAX_CHAIN} policies in a row"))
            else:
                parents.append(self.policy(path, chain))
        return parents

    def finish(self, requirements: Requirements) -> Policies | None:
        """Return the merged policies with their profiles; None if a problem was found."""
        services = []
        profiles = []
        rom = None
        for section, fields in requirements.items():
            if section == ROM:
                rom, found = built(RomPolicy, section, fields)
                self.problems += found
                continue
            service, found = built(ServicePolicy, section, fields)
            self.problems += found
            loaded = self._profile(section, fields)
            if service and loaded:
                services.append((service, loaded[0]))
                profiles.append(loaded[1])
        if self.problems:
            return None
        return Policies(tuple(self._sources), tuple(profiles), tuple(services), rom, requirements)

    def _profile(
        self, name: str, fields: Mapping[str, Statement]
    ) -> tuple[Profile, SourceFile] | None:
        known = shipped("profiles")
        own = [
            Path(statement.document.file).parent / "profiles" / f"{name}.yaml"
            for statement in fields.values()
        ]
        path = next((file for file in own if file.is_file()), known.get(name))
        if path is None:
            at = Statement(name, fields[""].document, (*fields[""].loc, "profile"))
            hint = nearest(name, known) or f"; a profile of your own belongs to {own[0]}"
            self.problems.append(at.problem(f"unknown profile {name!r}{hint}"))
            return None
        try:
            document = load_yaml(path)
            profile = read_profile(document, self._bindings)
        except PolicyError as error:
            self.problems += error.problems
            return None
        if profile.id != name:
            message = f"the id must equal the file name {name!r}"
            self.problems.append(document.problem(("id",), message))
            return None
        return profile, SourceFile(profile.id, profile.title, document.file, document.sha256)
