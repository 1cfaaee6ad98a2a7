"""Rules ROM204 and ROM205: whose certificates the service's connections accept."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from rom_builder.facts import Facts, NetworkSecurity, app_behind
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.formats.network_security_answers import pins, trust
from rom_builder.rules.readings import effective, evidence_of
from rom_builder.rules.rule import Case, rule
from rom_builder.rules.transport import concrete_hosts


@rule(
    "ROM204",
    alias="user-ca-trusted",
    title="The service does not trust certificates that a user installed",
    requirement="transport.user_ca",
    fix='name only <certificates src="system"/> in the trust-anchors of the base-config',
    references=("MASVS-NETWORK-1", "MASWE-0027", "Android CDD 9.8.4", "CWE-295"),
)
def user_ca_trusted(case: Case, facts: Facts) -> Iterator[Finding]:
    """A certificate authority that somebody added to the phone does not open the service's traffic.

    From API 24 an app that targets it trusts the system's authorities only, unless its config says
    more; below API 24 every app trusts the user's. A setting that the service obeys decides for
    connections that the service checks itself.
    """
    transport = case.demand.transport
    if transport is None or transport.user_ca != "forbidden":
        return
    stated = effective(facts.readings(case.name, "transport.user_ca"))
    if stated:
        good = all(r.values == ("forbidden",) for r in stated)
        yield case.finding(
            Status.PASS if good else Status.FAIL,
            f"the service is told {'not ' if good else ''}to trust the user's authorities",
            evidence_of(stated),
            selector="setting",
        )
    answered = False
    for fact in facts.of(NetworkSecurity, case.name):
        app = app_behind(fact, facts.platform.sdk)
        if app is None:
            continue
        answered = True
        name = fact.package.name if fact.package else fact.location.path
        answers = [trust(fact.config, app, host) for host in (None, *concrete_hosts(case))]
        trusting = [answer for answer in answers if answer.user]
        decisive = (trusting or answers)[0]
        yield case.finding(
            Status.FAIL if trusting else Status.PASS,
            f"{name} {'trusts' if trusting else 'does not trust'} the user's authorities",
            (Evidence(fact.location, decisive.because, Strength.EFFECTIVE),),
            selector=name,
        )
    if not stated and not answered:
        yield case.finding(Status.UNKNOWN, "whose certificates are trusted was not established")


@rule(
    "ROM205",
    alias="pin-missing",
    title="The policy's public-key pins are set and have not expired",
    requirement="transport.pins",
    fix="add the policy's pins to the config, with an expiry in the future",
    references=("MASVS-NETWORK-2", "MASWE-0028", "CWE-295"),
)
def pin_missing(case: Case, facts: Facts) -> Iterator[Finding]:
    """Every pin that the policy names holds for its host on the day of the check.

    A pin past its expiry is no pin: the platform then accepts any trusted certificate.
    """
    transport = case.demand.transport
    if transport is None or not transport.pins:
        return
    configs = [
        (fact, app)
        for fact in facts.of(NetworkSecurity, case.name)
        if (app := app_behind(fact, facts.platform.sdk)) is not None
    ]
    for pin in transport.pins:
        host, digest = pin.host.removeprefix("*."), base64.b64decode(pin.sha256)
        answers = [(fact, pins(fact.config, app, host, facts.today)) for fact, app in configs]
        good = [fact for fact, answer in answers if answer.enforced and digest in answer.digests]
        bad = [(fact, answer) for fact, answer in answers if fact not in good]
        if bad:
            evidence = tuple(
                Evidence(fact.location, answer.because, Strength.EFFECTIVE) for fact, answer in bad
            )
            yield case.finding(
                Status.FAIL, f"{pin.host} is not pinned as demanded", evidence, selector=pin.host
            )
        elif good:
            evidence = tuple(
                Evidence(fact.location, f"{pin.host} is pinned", Strength.EFFECTIVE)
                for fact in good
            )
            yield case.finding(Status.PASS, f"{pin.host} is pinned", evidence, selector=pin.host)
        else:
            yield case.finding(Status.UNKNOWN, f"no config pins {pin.host}", selector=pin.host)
