"""What facts say of a ROM, one thing at a time, so that two ROMs can be laid side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain

from rom_builder.diff.changes import Aspect
from rom_builder.facts import Facts, PlatformGrant, Reading, SigningCertificate, VerifiedBoot
from rom_builder.facts.code import (
    BoxTicked,
    CodeUrl,
    ConsentCheck,
    ConstantChoice,
    DataRead,
    Outcome,
    TrustAll,
)
from rom_builder.facts.hygiene import OpenComponent
from rom_builder.findings import Strength
from rom_builder.policy.models import ServicePolicy
from rom_builder.policy.profile import Profile
from rom_builder.policy.values import host_matches
from rom_builder.rules.readings import counted

Key = tuple[str | None, str, str]
"""Service, kind and subject; see :class:`rom_builder.diff.changes.Change`."""
SHOWN = 4
"""Things that one aspect names before it counts the rest."""
CONSENT = {
    Outcome.NOT_ASKED: ("sent without asking", 3),
    Outcome.UNKNOWN: ("could not be followed", 1),
    Outcome.ASKED: ("the user is asked first", 0),
    Outcome.UNREACHED: ("nothing leads there", 0),
}
CONSENT_DEFAULT = "consent.default"


def aspects(facts: Facts, services: Iterable[tuple[ServicePolicy, Profile]]) -> dict[Key, Aspect]:
    """Return everything that can be said of a ROM under some policies."""
    found: dict[Key, Aspect] = {}
    for service, profile in services:
        name = service.profile
        said = [addresses(facts, service, profile)]
        said += [
            part(facts, service)
            for part in (switches, consent, choices, boxes, data, trust, grants, exposed)
        ]
        for kind, subject, aspect in chain.from_iterable(said):
            found[name, kind, subject] = aspect
    for kind, subject, aspect in keys(facts):
        found[None, kind, subject] = aspect
    return found


Said = Iterator[tuple[str, str, Aspect]]


def switches(facts: Facts, service: ServicePolicy) -> Said:
    """Yield every place that sets the default, and every other setting."""
    by_label: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for reading in facts.of(Reading, service.profile):
        by_label[reading.requirement, reading.label].append(reading)
    mode = service.consent.mode if service.consent else None
    for (requirement, label), readings in by_label.items():
        words = listed(shown(reading) for reading in readings)
        harm = None
        counts = any(reading.strength is not Strength.PRESENCE for reading in readings)
        if requirement == CONSENT_DEFAULT and counts and mode in ("opt-in", "forbidden"):
            on = [reading.on for reading in readings]
            harm = 2 if True in on else 1 if None in on else 0
        kind = "switch" if requirement == CONSENT_DEFAULT else "setting"
        yield kind, label, Aspect(words, harm, readings[0].location)


def shown(reading: Reading) -> str:
    """Return what one place says."""
    if reading.on is not None:
        return "on" if reading.on else "off"
    return ", ".join(str(value) for value in reading.values) or "not set"


def consent(facts: Facts, service: ServicePolicy) -> Said:
    """Yield, for each thing that is sent, whether the user is asked first."""
    worst: dict[tuple[str, bool], ConsentCheck] = {}
    for check in facts.of(ConsentCheck, service.profile):
        known = worst.get((check.sink, check.automatic))
        if known is None or CONSENT[check.outcome][1] > CONSENT[known.outcome][1]:
            worst[check.sink, check.automatic] = check
    demanded = service.consent.before if service.consent else ()
    for (sink, automatic), check in sorted(worst.items()):
        words, grade = CONSENT[check.outcome]
        harm = grade if sink in demanded else None
        if check.agrees_to and check.outcome is Outcome.ASKED:
            words += f", though for {listed(check.agrees_to)}"
        subject = f"{sink}, started by the device" if automatic else sink
        place = check.steps[0].location if check.steps else check.location
        yield "consent", subject, Aspect(words, harm, place)


def choices(facts: Facts, service: ServicePolicy) -> Said:
    """Yield constants that stand where a user's choice should be."""
    by_choice: dict[str, list[ConstantChoice]] = defaultdict(list)
    for constant in facts.of(ConstantChoice, service.profile):
        if not constant.by_user:
            by_choice[constant.choice].append(constant)
    for choice, constants in sorted(by_choice.items()):
        words = f"a constant yes in {counted(len(constants), 'place')}"
        yield "choice", choice, Aspect(words, 2, constants[0].step.location)


def boxes(facts: Facts, service: ServicePolicy) -> Said:
    """Yield consent boxes that code ticks."""
    for box in facts.of(BoxTicked, service.profile):
        yield "box", box.box, Aspect("ticked by the code", 2, box.step.location)


def addresses(facts: Facts, service: ServicePolicy, profile: Profile) -> Said:
    """Yield what each thing that is sent goes to, and how each host is addressed that is known.

    Hosts that neither policy nor profile names come with the programs around a service: an app may be
    full of them, and none says anything about the service.
    """
    named_hosts = (
        *profile.hosts,
        *((service.transport.hosts if service.transport else None) or ()),
    )
    used = [url for url in facts.of(CodeUrl, service.profile) if url.reachable]
    for sink in sorted({sink for url in used for sink in url.sinks}):
        yield "address", sink, address([url for url in used if sink in url.sinks], whole=True)
    for host in sorted({url.host for url in used}):
        if any(host_matches(known, host) for known in named_hosts):
            yield "address", host, address([url for url in used if url.host == host], whole=False)


def address(urls: list[CodeUrl], *, whole: bool) -> Aspect:
    """Return how some addresses are used."""
    plain = [url for url in urls if url.scheme == "http" and url.encrypted == "never"]
    first = (plain or urls)[0]
    if whole:
        words = listed(sorted({url.url for url in urls}))
    else:
        schemes = sorted({url.scheme for url in urls})
        words = " and ".join(
            f"{scheme} in {counted(sum(u.scheme == scheme for u in urls), 'place')}"
            for scheme in schemes
        )
        if len(plain) < sum(url.scheme == "http" for url in urls):
            words += f", {len(plain)} of them in the clear"
    return Aspect(words, 2 if plain else 0, first.location)


def data(facts: Facts, service: ServicePolicy) -> Said:
    """Yield what is read on the way to each thing that is sent."""
    forbidden = set(service.data.forbidden if service.data else ())
    by_pair: dict[tuple[str, str], list[DataRead]] = defaultdict(list)
    for read in facts.of(DataRead, service.profile):
        by_pair[read.sink, read.category].append(read)
    for (sink, category), reads in sorted(by_pair.items()):
        hashed = {read.hashed for read in reads}
        words = "read on the way" if "" in hashed else f"read, then {listed(sorted(hashed))}"
        harm = 2 if category in forbidden else None
        yield "data", f"{category} for {sink}", Aspect(words, harm, reads[0].location)


def trust(facts: Facts, service: ServicePolicy) -> Said:
    """Yield code that accepts any certificate or host name."""
    for found in facts.of(TrustAll, service.profile):
        words = "used" if found.reachable else "there, but nothing leads to it"
        yield "trust", found.what, Aspect(words, 2 if found.reachable else 1, found.location)


def grants(facts: Facts, service: ServicePolicy) -> Said:
    """Yield what the platform's configuration gives the apps unasked."""
    for grant in facts.of(PlatformGrant, service.profile):
        if not grant.ignored:
            words = "given, for good" if grant.fixed else "given"
            subject = f"{grant.name} to {grant.package}"
            yield "grant", subject, Aspect(words, 2 if grant.fixed else 1, grant.location)


def exposed(facts: Facts, service: ServicePolicy) -> Said:
    """Yield components that other apps reach without a permission."""
    for found in facts.of(OpenComponent, service.profile):
        yield "component", found.name, Aspect("open to other apps", 1, found.location)


def keys(facts: Facts) -> Said:
    """Yield whose signatures count: of the package, of updates, of verified boot, and public keys."""
    by_use: dict[str, list[SigningCertificate]] = defaultdict(list)
    for certificate in facts.of(SigningCertificate):
        by_use[certificate.use].append(certificate)
    for use, words in (("package", "key of the package"), ("otacert", "keys of updates")):
        found = {c.spki_sha256: c for c in by_use.get(use, ())}
        if found:
            names = listed(sorted(named(c) for c in found.values()))
            public = any(c.known_as for c in found.values())
            yield "key", words, Aspect(names, 2 if public else 0, by_use[use][0].location)
    for use, things in (("apk", "apps"), ("apex", "modules")):
        public_keys = [c for c in by_use.get(use, ()) if c.known_as]
        if public_keys:
            words = f"{things} signed with publicly known keys"
            yield "key", words, Aspect(str(len(public_keys)), 2, public_keys[0].location)
    for boot in facts.of(VerifiedBoot):
        if boot.role == "partition":
            words = f"{boot.algorithm}, key {boot.key_sha1[:16] or 'none'}"
            words += f", flags {boot.flags}" if boot.flags else ""
            harm = 2 if boot.known_as or boot.flags or boot.trust != "signed" else 0
            yield "key", f"verified boot of {boot.image}", Aspect(words, harm, boot.location)


def named(certificate: SigningCertificate) -> str:
    """Return a key in words."""
    known = f" (publicly known: {certificate.known_as})" if certificate.known_as else ""
    return f"{certificate.key} {certificate.spki_sha256[:16]}{known}"


def listed(words: Iterable[str]) -> str:
    """Return some words, each once, the first few of them."""
    each = list(dict.fromkeys(words))
    more = f" and {len(each) - SHOWN} more" if len(each) > SHOWN else ""
    return ", ".join(each[:SHOWN]) + more
