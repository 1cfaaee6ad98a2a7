"""Several policies as one, without a requirement getting lost on the way.

A policy that extends others inherits all they state. What it states itself wins, value by value
and list by list (lists are replaced, not joined), but it must demand as much or more: see
:func:`weaker`. A requirement may be lowered only where ``weakens`` names it, and every name in
``weakens`` must lower something. Policies that stand side by side (``extends: [a, b]``, several
``-p``) must agree wherever the policy that brings them together says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from rom_builder.errors import Problem
from rom_builder.policy.messages import nearest
from rom_builder.policy.models import (
    Attestation,
    Consent,
    Notice,
    Pin,
    Policy,
    RomPolicy,
    Section,
    ServicePolicy,
)
from rom_builder.policy.values import Model, host_matches
from rom_builder.policy.yaml import Document, Part

ROM = "rom"
"""Name of the section about the whole ROM; the others have the id of their profile."""

S = TypeVar("S", ServicePolicy, RomPolicy)

_FORBIDDEN = ("allowed", "forbidden")
# From the weakest to the strongest.
_ORDER: dict[str, tuple[str, ...]] = {
    "presence": ("if-present", "required"),
    "consent.mode": ("opt-out", "opt-in", "forbidden"),
    "consent.on_upgrade": ("keep", "ask", "reset"),
    "consent.preselected": _FORBIDDEN,
    "consent.off_switch": ("required",),
    "transport.cleartext": _FORBIDDEN,
    "transport.min_tls": ("1.2", "1.3"),
    "transport.user_ca": _FORBIDDEN,
    "permissions.pre_granted": _FORBIDDEN,
    "permissions.exemptions": _FORBIDDEN,
    "public_keys": _FORBIDDEN,
    "weak_signatures": _FORBIDDEN,
    "verified_boot": ("optional", "required"),
    "debuggable": _FORBIDDEN,
    "app_signatures": ("optional", "required"),
    "build_tags": ("any", "truthful"),
    "apps.unguarded_components": _FORBIDDEN,
    "apps.backup": _FORBIDDEN,
    "apps.cleartext_links": _FORBIDDEN,
}
# Each item of these lists demands something.
_DEMANDS = {"consent.applies_to", "consent.before", "data.forbidden"}
# Demanded of a section even where no policy writes it.
_PRESENCE = ServicePolicy.model_fields["presence"].default
_APPLIES_TO = Consent.model_fields["applies_to"].default


@dataclass(frozen=True, slots=True)
class Statement:
    """One requirement as one policy states it."""

    value: Any
    document: Document
    loc: tuple[Part, ...]

    def __str__(self) -> str:
        line, column = self.document.position(self.loc)
        return f"{self.document.file}:{line}:{column}"

    @property
    def key(self) -> str:
        """Place of the key rather than of the value."""
        line, column = self.document.position(self.loc, key=True)
        return f"{self.document.file}:{line}:{column}"

    def problem(self, message: str, *below: Part) -> Problem:
        """Return a problem that stands at the statement or at a part of it."""
        return self.document.problem((*self.loc, *below), message)


Requirements = dict[str, dict[str, Statement]]
"""Section, then dotted field, then who states it. Field ``""`` is the section itself."""


def weaker(field: str, old: Any, new: Any) -> bool:
    """Return whether ``new`` demands less than ``old``.

    Words have an order (``allowed`` < ``forbidden``, ``opt-out`` < ``opt-in`` < ``forbidden``,
    ``keep`` < ``ask`` < ``reset``, ``if-present`` < ``required``, TLS 1.2 < 1.3). Lists of demands
    must keep every item; lists of what is allowed (hosts, data, permissions) must not gain one; a
    pinned host must stay pinned to the same keys or fewer and as long; a notice must keep its
    languages and topics and gain no words that would do. Another set of certificate authorities may
    be a larger one. Attestations have no order.

    >>> weaker("consent.mode", "forbidden", "opt-in")
    True
    """
    if field in _ORDER:
        return _ORDER[field].index(new) < _ORDER[field].index(old)
    if field in _DEMANDS:
        return not set(old) <= set(new)
    if field == "consent.notice":
        return _says_less(old, new)
    if field == "certificate_authorities.reference":
        return bool(old != new)
    if field in ("data.allowed", "permissions.privileged", "certificate_authorities.also"):
        return not set(new) <= set(old)
    if field == "transport.hosts":
        return not all(any(host_matches(pattern, host) for pattern in old) for host in new)
    if field == "transport.pins":
        return not all(_still_pinned(host, old, new) for host in {pin.host for pin in old})
    return False


def _says_less(old: Notice, new: Notice) -> bool:
    if not set(old.languages) <= set(new.languages):
        return True
    return any(
        not set(new.names.get(topic, {}).get(language, ("",))) <= set(words)
        for topic, by_language in old.names.items()
        for language, words in by_language.items()
    )


def _still_pinned(host: str, old: Sequence[Pin], new: Sequence[Pin]) -> bool:
    until = {pin.sha256: pin.expires for pin in old if pin.host == host}
    kept = [pin for pin in new if pin.host == host]
    return bool(kept) and all(
        pin.sha256 in until and pin.expires >= until[pin.sha256] for pin in kept
    )


def stated(policy: Policy, document: Document) -> Requirements:
    """Return what one policy file itself states."""
    requirements: Requirements = {}
    for index, service in enumerate(policy.services):
        loc = ("services", index)
        requirements[service.profile] = _stated_in(service, document, loc)
    if policy.rom:
        requirements[ROM] = _stated_in(policy.rom, document, (ROM,))
    return requirements


def _stated_in(section: Model, document: Document, loc: tuple[Part, ...]) -> dict[str, Statement]:
    found = {"": Statement(None, document, loc)}
    for name in type(section).model_fields:  # in the order of the model
        if name not in section.model_fields_set or name == "profile":
            continue
        value = getattr(section, name)
        if isinstance(value, Section):
            inner = {key: getattr(value, key) for key in type(value).model_fields}
            inner = {key: inner[key] for key in inner if key in value.model_fields_set}
        elif isinstance(value, dict):
            inner = value
        else:
            found[name] = Statement(value, document, (*loc, name))
            continue
        for key, item in inner.items():
            found[f"{name}.{key}"] = Statement(item, document, (*loc, name, key))
    return found


class Merge:
    """Requirements of one policy on top of those it extends.

    Args:
        parents: What each extended policy demands, itself merged.
        own: What the policy states.
        weakens: Dotted names of the requirements it may lower.
    """

    def __init__(
        self, parents: Sequence[Requirements], own: Requirements, weakens: Iterable[str] = ()
    ) -> None:
        self.problems: list[Problem] = []
        self.lowered: set[str] = set()
        self._weakens = set(weakens)
        self.requirements: Requirements = {}
        for section in dict.fromkeys(name for layer in (*parents, own) for name in layer):
            above = [parent[section] for parent in parents if section in parent]
            self.requirements[section] = self._section(section, above, own.get(section, {}))

    def _section(
        self, section: str, above: Sequence[dict[str, Statement]], own: dict[str, Statement]
    ) -> dict[str, Statement]:
        merged: dict[str, Statement] = {}
        for field in dict.fromkeys(name for layer in (*above, own) for name in layer):
            inherited = [found for layer in above if (found := _demanded(section, layer, field))]
            if field in own:
                merged[field] = own[field]
                for old in inherited:
                    self._compare(section, field, old, own[field])
            else:
                merged[field] = inherited[0]
                for other in inherited[1:]:
                    self._agree(section, field, inherited[0], other)
        return merged

    def _compare(self, section: str, field: str, old: Statement, new: Statement) -> None:
        name = f"{section}.{field}"
        if not field or not weaker(field, old.value, new.value):
            return
        if name in self._weakens:
            self.lowered.add(name)
            return
        message = f"weakens {name}: {spoken(old.value)} in {old}, {spoken(new.value)} here"
        self.problems.append(new.problem(f"{message}; if that is meant, name it in 'weakens'"))

    def _agree(self, section: str, field: str, one: Statement, other: Statement) -> None:
        if not field or _same(one.value, other.value):
            return
        message = (
            f"{section}.{field} is {spoken(other.value)} here but {spoken(one.value)} in {one}; "
            "write a policy that extends both and states it"
        )
        self.problems.append(other.problem(message))

    def unused(self, policy: Policy, document: Document) -> list[Problem]:
        """Return a problem for every name in ``weakens`` that lowers nothing."""
        names = [f"{s}.{field}" for s, fields in self.requirements.items() for field in fields]
        return [
            document.problem(
                ("weakens", index), f"{name!r} weakens nothing{_unless_known(name, names)}"
            )
            for index, name in enumerate(policy.weakens)
            if name not in self.lowered
        ]


def _unless_known(name: str, names: Sequence[str]) -> str:
    return "; remove it" if name in names else nearest(name, names) or "; remove it"


def _demanded(section: str, layer: dict[str, Statement], field: str) -> Statement | None:
    """Return the statement of ``field`` in ``layer``, or what the layer demands by silence."""
    if field in layer:
        return layer[field]
    whole = layer[""]
    if field == "presence" and section != ROM:
        return Statement(_PRESENCE, whole.document, whole.loc)
    if field == "consent.applies_to" and any(name.startswith("consent.") for name in layer):
        return Statement(_APPLIES_TO, whole.document, (*whole.loc, "consent"))
    if field == "certificate_authorities.also" and "certificate_authorities.reference" in layer:
        return Statement((), whole.document, (*whole.loc, "certificate_authorities"))
    return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(item in other for item in one) and all(item in one for item in other)
    return bool(one == other)


def spoken(value: Any) -> str:
    """Return a value of a policy as its author writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(spoken, value))}]"
    if isinstance(value, Pin):
        return value.host
    return str(value.value if isinstance(value, Attestation) else value)


def built(kind: type[S], name: str, fields: dict[str, Statement]) -> tuple[S | None, list[Problem]]:
    """Return the model of one merged section, or why its parts contradict one another."""
    nested: dict[str, Any] = {} if name == ROM else {"profile": name}
    for field, statement in fields.items():
        outer, _, inner = field.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = statement.value
        elif outer:
            nested[outer] = statement.value
    try:
        return kind.model_validate(nested), []
    except ValidationError as error:
        problems = []
        for details in error.errors(include_url=False):
            top, *rest = details["loc"]
            field = f"{top}.{rest[0]}" if rest else str(top)
            statement = fields.get(field, fields[""])
            problems.append(statement.problem(details["msg"], *rest[1:]))
        return None, problems
