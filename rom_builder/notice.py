"""The plain-language text for users: what a service does with their data, and how that is known.

It is made of a policy's own demands and a catalogue of sentences, ``templates/notice/<language>.yaml``; a
translation is one file more. Given a report, each sentence says whether it holds in that ROM.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath
from typing import Any

import jinja2

from rom_builder.errors import PolicyError, Problem
from rom_builder.findings import Report, Status
from rom_builder.policy.load import Policies
from rom_builder.policy.models import ServicePolicy
from rom_builder.policy.profile import Profile, Words
from rom_builder.policy.yaml import load_yaml
from rom_builder.reports.text import printable
from rom_builder.resources import data_folder

STANDINGS = {
    Status.PASS: "holds",
    Status.FAIL: "fails",
    Status.UNKNOWN: "unknown",
    Status.NOT_APPLICABLE: "not-applicable",
    Status.ATTESTED: "promised",
}
"""What a catalogue's ``marks`` calls the status of a requirement."""
MODEL = "en"
"""Language whose catalogue the others must have the keys of."""

Catalogue = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence.

    Attributes:
        text: The sentence.
        standing: What was found in the ROM, a key of the catalogue's ``marks``; empty if none was checked.
        mark: That in words.
    """

    text: str
    standing: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences under one heading."""

    heading: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """The text about one service, in one language."""

    title: str
    purpose: str
    sections: tuple[Section, ...]

    @property
    def true(self) -> bool:
        """Whether no sentence was found not to hold."""
        return all(s.standing != "fails" for part in self.sections for s in part.statements)


def languages() -> dict[str, Path]:
    """Return the catalogues that there are, by language."""
    folder = data_folder("templates") / "notice"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_catalogue(path: Path) -> Catalogue:
    """Return a catalogue of sentences.

    Raises:
        PolicyError: It cannot be read, or has not the keys and ``{names}`` of the English one.
    """
    document = load_yaml(path)
    found = document.data
    wanted = load_yaml(languages()[MODEL]).data
    problems = [
        Problem(document.file, *document.position(loc), message)
        for loc, message in differing(wanted, found, ())
    ]
    if problems:
        raise PolicyError(problems)
    return found


def differing(
    wanted: Any, found: Any, loc: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield where a catalogue differs from the English one in more than words."""
    name = ".".join(loc)
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            yield loc, f"{name} must be keys with values"
            return
        for key in wanted.keys() - found.keys():
            yield loc, f"missing key {key!r}" + (f" in {name}" if name else "")
        for key in found.keys() - wanted.keys():
            yield (*loc, key), f"unknown key {key!r}"
        for key in wanted.keys() & found.keys():
            yield from differing(wanted[key], found[key], (*loc, key))
    elif not isinstance(found, str):
        yield loc, f"{name} must be text"
    elif placeholders(wanted) != placeholders(found):
        shown = ", ".join(f"{{{each}}}" for each in sorted(placeholders(wanted))) or "none"
        yield loc, f"{name} must have these placeholders and no others: {shown}"


def placeholders(text: str) -> set[str]:
    """Return the ``{names}`` in a sentence; a broken one is a name that no sentence has."""
    try:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    except ValueError:
        return {"?"}


def notices(
    policies: Policies, catalogue: Catalogue, language: str, report: Report | None, day: date
) -> list[Notice]:
    """Return the notice of each service that policies speak of.

    Args:
        policies: The demands.
        catalogue: Sentences, from :func:`load_catalogue`.
        language: Of the catalogue, for the words that profiles have.
        report: Of a check of these policies, None if no ROM was checked.
        day: Day of the check.
    """
    return [
        Writer(catalogue, language, service, profile, report, day).notice()
        for service, profile in policies.services
    ]


class Writer:
    """Puts the demands on one service in words."""

    def __init__(
        self,
        catalogue: Catalogue,
        language: str,
        service: ServicePolicy,
        profile: Profile,
        report: Report | None,
        day: date,
    ) -> None:
        self.words = catalogue
        self.service = service
        self.profile = profile
        self.report = report
        self.day = day
        self.own = profile.words.get(language, Words(name=profile.title, purpose=profile.title))

    def notice(self) -> Notice:
        """Return the whole notice."""
        own, headings = self.own, self.words["headings"]
        parts = {
            "consent": self.consent(),
            "control": self.control(),
            "data": self.data(),
            "recipients": self.recipients(),
            "protection": self.protection(),
            "promises": self.promises(),
            "basis": self.basis(),
        }
        sections = [Section(headings[name], tuple(part)) for name, part in parts.items()]
        return Notice(
            self.words["title"].format(name=own.name),
            self.words["purpose"].format(name=own.name, purpose=own.purpose.rstrip(".。")),
            tuple(section for section in sections if section.statements),
        )

    def say(self, requirement: str, sentence: str, **values: str) -> Statement:
        """Return a sentence with what the report says of its requirement."""
        text = sentence.format(**values)
        if self.report is None:
            return Statement(text)
        row = next(
            (
                row
                for row in self.report.requirements
                if (row.service, row.name) == (self.profile.id, requirement)
            ),
            None,
        )
        if row is None:
            return Statement(text)
        standing = STANDINGS[row.status]
        return Statement(text, standing, self.words["marks"][standing])

    def consent(self) -> Iterator[Statement]:
        """Yield when the service is on."""
        consent, words = self.service.consent, self.words["consent"]
        if consent is None:
            return
        if consent.mode is not None:
            yield self.say("consent.default", words[consent.mode])
        if consent.preselected == "forbidden":
            yield self.say("consent.preselected", words["preselected"])
        if consent.before:
            kinds = self.listed("kinds", consent.before)
            yield self.say("consent.before", words["before"], kinds=kinds)
        if consent.on_upgrade is not None:
            yield self.say("consent.on_upgrade", words["upgrade"][consent.on_upgrade])

    def control(self) -> Iterator[Statement]:
        """Yield how a user turns the service off."""
        consent = self.service.consent
        if consent is not None and consent.mode == "forbidden":
            return
        words = self.words["control"]
        if self.own.turn_off:
            yield Statement(words["known"].format(place=self.own.turn_off))
        else:
            yield Statement(words["unknown"])

    def data(self) -> Iterator[Statement]:
        """Yield what is sent."""
        data, words = self.service.data, self.words["data"]
        if data is None or not data.allowed:
            yield Statement(words["allowed_none"])
        else:
            categories = self.listed("categories", data.allowed)
            yield self.say("data.allowed", words["allowed"], categories=categories)
        if data is not None and data.forbidden:
            categories = self.listed("categories", data.forbidden)
            yield self.say("data.forbidden", words["forbidden"], categories=categories)

    def recipients(self) -> Iterator[Statement]:
        """Yield to whom it is sent."""
        transport, words = self.service.transport, self.words["recipients"]
        if transport is None or transport.hosts is None:
            yield Statement(words["any"])
        else:
            hosts = self.words["separator"].join(transport.hosts) or "-"
            yield self.say("transport.hosts", words["hosts"], hosts=hosts)

    def protection(self) -> Iterator[Statement]:
        """Yield how it is protected on its way."""
        transport, words = self.service.transport, self.words["protection"]
        said = False
        if transport is not None:
            if transport.cleartext == "forbidden":
                said = True
                yield self.say("transport.cleartext", words["cleartext"])
            if transport.min_tls is not None:
                said = True
                yield self.say("transport.min_tls", words["min_tls"], version=transport.min_tls)
            if transport.user_ca == "forbidden":
                said = True
                yield self.say("transport.user_ca", words["user_ca"])
            if transport.pins:
                said = True
                names = dict.fromkeys(pin.host for pin in transport.pins)
                hosts = self.words["separator"].join(names)
                yield self.say("transport.pins", words["pins"], hosts=hosts)
        if not said:
            yield Statement(words["none"])

    def promises(self) -> Iterator[Statement]:
        """Yield what somebody vouches for."""
        for name, promise in sorted(self.service.attested.items()):
            yield self.say(
                f"attested/{name}",
                self.words["promises"]["one"],
                subject=name,
                value=str(promise.value),
                by=promise.by,
                until=promise.until.isoformat(),
            )

    def basis(self) -> Iterator[Statement]:
        """Yield what all this rests on."""
        words = self.words["basis"]
        if self.report is None:
            yield Statement(words["none"])
            return
        image = self.report.image
        yield Statement(
            words["image"].format(
                image=image.description or PurePath(image.path).name,
                day=self.day.isoformat(),
                sha256=image.sha256,
                policies=", ".join(identifier for identifier, _ in self.report.policies),
            )
        )

    def listed(self, catalogue: str, keys: tuple[str, ...]) -> str:
        """Return the words for some keys as a list in a sentence."""
        separator: str = self.words["separator"]
        return separator.join(self.words[catalogue][key] for key in keys)


def as_markdown(made: list[Notice]) -> str:
    """Return notices as Markdown; what policies and images say in them cannot become markup."""
    environment = _environment(html=False)
    environment.filters["md"] = escaped
    template = environment.get_template("notice/notice.md.j2")
    text = "\n".join(template.render(notice=notice) for notice in made)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def as_html(made: list[Notice], language: str) -> str:
    """Return notices as one HTML page that loads nothing."""
    return (
        _environment(html=True)
        .get_template("notice/notice.html.j2")
        .render(notices=made, language=language)
    )


def escaped(text: str) -> str:
    r"""Escape what Markdown would read as its own.

    >>> print(escaped("a_b <i> *c*"))
    a\_b \<i\> \*c\*
    """
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", printable(text))


def _environment(*, html: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_folder("templates")),
        autoescape=html,  # noqa: S701 - Markdown has an escape of its own
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
