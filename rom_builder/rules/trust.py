"""Rules ROM204 and ROM205: whose certificates the service's connections accept."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date
from itertools import groupby

from rom_builder.facts import Facts, NetworkSecurity, app_behind
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.formats.network_security_answers import App, pins, trust
from rom_builder.rules.readings import counted, effective, judge_setting
from rom_builder.rules.rule import Case, rule
from rom_builder.rules.transport import hosts_of, named, platform_unknown


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
    yield from judge_setting(
        case,
        stated,
        "forbidden",
        "the service is told not to trust the user's authorities",
        "the service is told to trust the user's authorities",
        "setting",
    )
    answered = False
    for fact in facts.of(NetworkSecurity, case.name):
        app = app_behind(fact, facts.platform.sdk)
        answered = True
        if app is None:
            yield platform_unknown(case, fact)
            continue
        name = named(fact)
        answers = [trust(fact.config, app, host) for host in (None, *hosts_of(case, fact.config))]
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
    """A host has to prove one of the keys that the policy names for it, and no other will do.

    A pin past its expiry is no pin: the platform then accepts any trusted certificate.
    """
    transport = case.demand.transport
    if transport is None or not transport.pins:
        return
    known = list(facts.of(NetworkSecurity, case.name))
    configs = []
    for fact in known:
        app = app_behind(fact, facts.platform.sdk)
        if app is None:
            yield platform_unknown(case, fact)
        else:
            configs.append((fact, app))
    for host, group in groupby(sorted(transport.pins, key=lambda p: p.host), lambda p: p.host):
        wanted = {base64.b64decode(pin.sha256) for pin in group}
        faults = [(fact, pin_fault(fact, app, host, wanted, facts.today)) for fact, app in configs]
        bad = tuple(Evidence(f.location, fault, Strength.EFFECTIVE) for f, fault in faults if fault)
        if bad:
            yield case.finding(Status.FAIL, f"{host} is not pinned as demanded", bad, selector=host)
        elif faults:
            evidence = tuple(
                Evidence(fact.location, f"{host} is pinned", Strength.EFFECTIVE)
                for fact, _ in faults
            )
            yield case.finding(Status.PASS, f"{host} is pinned", evidence, selector=host)
        elif not known:
            yield case.finding(Status.UNKNOWN, f"no config pins {host}", selector=host)


def pin_fault(fact: NetworkSecurity, app: App, host: str, wanted: set[bytes], today: date) -> str:
    """Say why the keys that a config accepts of a host are not the wanted ones; empty if they are."""
    answer = pins(fact.config, app, host, today)
    if not answer.enforced:
        return answer.because
    around = trust(fact.config, app, host).overrides_pins
    if around:
        return f"certificates of {', '.join(around)} need not match the pins ({answer.because})"
    if missing := len(wanted - set(answer.digests)):
        return f"{counted(missing, 'pin')} of the policy not set ({answer.because})"
    if more := len(set(answer.digests) - wanted):
        return f"{counted(more, 'pin')} set that the policy does not name ({answer.because})"
    return ""
