"""Network Security Config: ``res/xml`` file that says which hosts an app may reach, and how.

Parsed as the platform does (AOSP ``android/security/net/config/XmlConfigSource.java``): what its
parser refuses stops the app at its first connection and is kept as a problem; elements and
attributes it does not know are skipped. :mod:`rom_builder.formats.network_security_answers` asks
the questions.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from rom_builder.formats.typed_xml import ConfigAttribute, ConfigElement

SHA256_SIZE = 32

EntryKind = Literal["base-config", "domain-config", "debug-overrides"]

_SPACE = "".join(map(chr, range(33)))
"""What Java's ``String.trim`` drops."""


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """Why the platform refuses the file; ``debug_only`` if only a debuggable app meets it."""

    line: int
    message: str
    debug_only: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """One ``<domain>``, lower-case and without outer white space."""

    name: str
    include_subdomains: bool
    line: int


@dataclass(frozen=True, slots=True)
class Certificates:
    """One ``<certificates>``: ``source`` is system, user, wfa or the text of a resource."""

    source: str
    overrides_pins: bool
    line: int


@dataclass(frozen=True, slots=True)
class PinSet:
    """One ``<pin-set>``: SHA-256 digests of public keys, and the day they stop counting."""

    digests: tuple[bytes, ...]
    expiration: date | None
    line: int


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One base-config, domain-config or debug-overrides; None where it says nothing itself.

    Attributes:
        kind: The element's name.
        line: Where it stands.
        cleartext: The attribute ``cleartextTrafficPermitted``, whatever its namespace.
        anchors: What its ``<trust-anchors>`` lists; an empty list trusts nothing.
        pin_set: Its ``<pin-set>``.
        domains: Its own domains.
        parent: The domain-config around it.
    """

    kind: EntryKind
    line: int
    cleartext: ConfigAttribute | None = None
    anchors: tuple[Certificates, ...] | None = None
    pin_set: PinSet | None = None
    domains: tuple[Domain, ...] = ()
    parent: ConfigEntry | None = None


@dataclass(frozen=True, slots=True)
class NetworkSecurityConfig:
    """A parsed file; ``entries`` are its domain-configs, outer before nested."""

    base: ConfigEntry | None
    entries: tuple[ConfigEntry, ...]
    debug: ConfigEntry | None
    problems: tuple[ConfigProblem, ...]

    def fatal(self, debuggable: bool = False) -> tuple[ConfigProblem, ...]:
        """Return the problems that stop this kind of app."""
        return tuple(item for item in self.problems if debuggable or not item.debug_only)


def parse_nsc(root: ConfigElement) -> NetworkSecurityConfig:
    """Return the configuration; it never raises, and problems say where the platform would."""
    return _Parser().parse(root)


def with_debug_file(config: NetworkSecurityConfig, root: ConfigElement) -> NetworkSecurityConfig:
    """Return what a debuggable app has of its file and of ``<name of the file>_debug``.

    The platform looks at the second only if the first has no debug-overrides, and then at nothing
    but its debug-overrides.
    """
    if config.debug is not None:
        return config
    overrides = tuple(child for child in root.children if child.name == "debug-overrides")
    found = parse_nsc(replace(root, children=overrides))
    problems = (replace(problem, debug_only=True) for problem in found.problems)
    return replace(config, debug=found.debug, problems=(*config.problems, *problems))


@dataclass
class _Parser:
    problems: set[ConfigProblem] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)
    in_debug: bool = False

    def refuse(self, element: ConfigElement, message: str) -> None:
        self.problems.add(ConfigProblem(element.line, message, self.in_debug))

    def parse(self, root: ConfigElement) -> NetworkSecurityConfig:
        base: ConfigEntry | None = None
        debug: ConfigEntry | None = None
        entries: list[ConfigEntry] = []
        if root.name != "network-security-config":
            self.refuse(root, f"the root is <{root.name}>, expected <network-security-config>")
            return NetworkSecurityConfig(None, (), None, tuple(self.problems))
        for child in root.children:
            match child.name:
                case "base-config":
                    if base is not None:
                        self.refuse(child, "a second <base-config>")
                    base = self.entry(child, "base-config", None)[0]
                case "domain-config":
                    entries += self.entry(child, "domain-config", None)
                case "debug-overrides":
                    if debug is not None:
                        self.refuse(child, "a second <debug-overrides>")
                    self.in_debug = True
                    debug = self.entry(child, "debug-overrides", None)[0]
                    self.in_debug = False
        return NetworkSecurityConfig(base, tuple(entries), debug, tuple(sorted(self.problems)))

    def entry(
        self, element: ConfigElement, kind: EntryKind, parent: ConfigEntry | None
    ) -> list[ConfigEntry]:
        cleartext = [a for a in element.attributes if a.name == "cleartextTrafficPermitted"]
        domains: list[Domain] = []
        anchors: list[tuple[Certificates, ...]] = []
        pin_sets: list[PinSet] = []
        nested: list[ConfigElement] = []
        for child in element.children:
            if child.name == "trust-anchors":
                if anchors:
                    self.refuse(child, "a second <trust-anchors>")
                anchors.append(self.anchors(child, kind))
            elif child.name not in ("domain", "pin-set", "domain-config"):
                continue
            elif kind != "domain-config":
                self.refuse(child, f"<{child.name}> in <{kind}>")
            elif child.name == "domain":
                domains += self.domain(child)
            elif child.name == "pin-set":
                if pin_sets:
                    self.refuse(child, "a second <pin-set>")
                pin_sets.append(self.pin_set(child))
            else:
                nested.append(child)
        if kind == "domain-config" and not any(c.name == "domain" for c in element.children):
            self.refuse(element, "<domain-config> without <domain>")
        made = ConfigEntry(
            kind=kind,
            line=element.line,
            cleartext=cleartext[-1] if cleartext else None,
            anchors=tuple(item for group in anchors for item in group) if anchors else None,
            pin_set=pin_sets[-1] if pin_sets else None,
            domains=tuple(domains),
            parent=parent,
        )
        return [made] + [item for inner in nested for item in self.entry(inner, kind, made)]

    def only_text(self, element: ConfigElement) -> str | None:
        if not element.texts:
            self.refuse(element, f"<{element.name}> is empty")
            return None
        if len(element.texts) > 1 or element.children:
            self.refuse(element, f"<{element.name}> holds more than one text")
            return None
        return element.texts[0].strip(_SPACE)

    def domain(self, element: ConfigElement) -> list[Domain]:
        text = self.only_text(element)
        if text is None:
            return []
        name = text.lower()
        if name in self.seen:
            self.refuse(element, f"the domain {name} stands in line {self.seen[name]} already")
        self.seen.setdefault(name, element.line)
        subdomains = element.attribute("includeSubdomains")
        return [Domain(name, subdomains is not None and subdomains.boolean(False), element.line)]

    def anchors(self, element: ConfigElement, kind: EntryKind) -> tuple[Certificates, ...]:
        default = kind == "debug-overrides"
        found = []
        for child in element.children:
            if child.name != "certificates":
                continue
            source = child.attribute("src")
            if source is None:
                self.refuse(child, "<certificates> without src")
                continue
            if source.kind != "reference" and source.text not in ("system", "user", "wfa"):
                self.refuse(child, f"certificates src is {source.text!r}, not system or user")
                continue
            overrides = child.attribute("overridePins")
            overriding = default if overrides is None else overrides.boolean(default)
            found.append(Certificates(source.text, overriding, child.line))
        return tuple(found)

    def pin_set(self, element: ConfigElement) -> PinSet:
        expiration = element.attribute("expiration")
        day = None
        if expiration is not None:
            day = _day(expiration.text)
            if day is None:
                self.refuse(element, f"expiration is {expiration.text!r}, expected yyyy-MM-dd")
        digests = []
        for child in element.children:
            if child.name != "pin":
                continue
            algorithm = child.attribute("digest")
            if algorithm is None or algorithm.text.upper() != "SHA-256":
                self.refuse(child, "the digest of a <pin> is not SHA-256")
                continue
            text = self.only_text(child)
            if text is None:
                continue
            digest = _base64(text)
            if digest is None or len(digest) != SHA256_SIZE:
                self.refuse(child, f"the <pin> is not the base64 of {SHA256_SIZE} bytes")
            else:
                digests.append(digest)
        return PinSet(tuple(digests), day, element.line)


def _day(text: str) -> date | None:
    """Read as a non-lenient ``SimpleDateFormat`` does: what follows the day is not looked at."""
    found = re.match(r"[ \t]*([0-9]{1,9})-[ \t]*([0-9]{1,9})-[ \t]*([0-9]{1,9})", text)
    if not found:
        return None
    year, month, day = map(int, found.groups())
    try:
        # A year past 9999 is far enough; 9996 was a leap year as well.
        return date(year if year <= date.max.year else 9996, month, day)
    except ValueError:
        return None


def _base64(text: str) -> bytes | None:
    """Decode as ``android.util.Base64`` does: foreign characters skipped, padding not needed."""
    letters = re.sub(r"[^A-Za-z0-9+/=]", "", text)
    digits, equals, rest = letters.partition("=")
    missing = -len(digits) % 4
    if missing == 3 or rest.strip("=") or (equals and len(equals + rest) != missing):
        return None
    return base64.b64decode(digits + "=" * missing)
