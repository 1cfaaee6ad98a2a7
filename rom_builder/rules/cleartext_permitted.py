"""Rules ROM201 and ROM206: the platform refuses cleartext, and the config that says so works."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts, NetworkSecurity, app_behind
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.formats.network_security_answers import (
    FILE_SINCE,
    App,
    evaluate_cleartext,
)
from rom_builder.rules.readings import effective, judge_setting
from rom_builder.rules.rule import Case, rule
from rom_builder.rules.transport import hosts_of, named, platform_unknown

LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
"""What is sent there does not leave the phone."""
SHOWN = 3
"""Hosts that a message names; the evidence has more."""
REFERENCES = (
    "GDPR Art. 32(1)(a)",
    "CRA Annex I Part I (2)(e)",
    "ETSI EN 303 645 5.5-1",
    "ETSI EN 303 645 5.8-1",
    "EN 18031-2 SCM",
    "MASVS-NETWORK-1",
    "MASWE-0026",
    "CWE-319",
)


@rule(
    "ROM201",
    alias="cleartext-permitted",
    title="The service cannot send anything unencrypted",
    requirement="transport.cleartext",
    fix='set cleartextTrafficPermitted="false" in the base-config of the network security config; '
    "one inside an app needs a new version of the app",
    references=REFERENCES,
)
def cleartext_permitted(case: Case, facts: Facts) -> Iterator[Finding]:
    """Every app of the service is refused cleartext by the platform, for each host and by default.

    Asked are the default, the service's hosts and every domain that the config singles out, except
    the phone itself (``localhost``). The answer is what Android computes, not what the text looks
    like: from API 24 an app's network security config replaces ``usesCleartextTraffic``; without a
    value cleartext is permitted to apps that target API 27 or less; a value such as ``no`` or
    ``@bool/x`` counts as true. At API 23 only the manifest flag counts. Below, the platform refuses
    nothing, and the rule does not apply; what the code spells out (ROM202) then has to speak.

    A pass says that the platform's HTTP stacks refuse cleartext; raw sockets and native code do not
    ask them.
    """
    transport = case.demand.transport
    if transport is None or transport.cleartext != "forbidden":
        return
    stated = effective(facts.readings(case.name, "transport.cleartext"))
    yield from judge_setting(
        case,
        stated,
        "forbidden",
        "the service is told to refuse cleartext",
        "the service is told to permit cleartext",
        "setting",
    )
    apps = list(facts.of(NetworkSecurity, case.name))
    for fact in apps:
        yield from judged(case, facts, fact)
    if not apps and not stated:
        yield case.finding(
            Status.UNKNOWN, "no app and no setting of the service was found that decides it"
        )


def judged(case: Case, facts: Facts, fact: NetworkSecurity) -> Iterator[Finding]:
    """Yield the answer for one app or file."""
    app, name = app_behind(fact, facts.platform.sdk), named(fact)
    if app is None:
        yield platform_unknown(case, fact)
        return
    answers = [("by default", evaluate_cleartext(fact.config, app, None))]
    answers += [
        (f"to {host}", evaluate_cleartext(fact.config, app, host))
        for host in hosts_of(case, fact.config)
        if host not in LOOPBACK
    ]
    permitted = [(what, answer) for what, answer in answers if answer.permitted]
    if permitted and not permitted[0][1].enforced and app.platform_sdk < FILE_SINCE - 1:
        yield case.finding(
            Status.NOT_APPLICABLE,
            f"{name}: Android below API {FILE_SINCE} does not restrict cleartext",
            (Evidence(fact.location, permitted[0][1].because, Strength.PRESENCE),),
            selector=name,
        )
    elif permitted:
        yield case.finding(
            Status.FAIL,
            f"{name} may send unencrypted ({first_few([what for what, _ in permitted])})",
            tuple(
                Evidence(fact.location, f"{what}: {answer.because}", Strength.EFFECTIVE)
                for what, answer in permitted
            ),
            selector=name,
        )
    else:
        yield case.finding(
            Status.PASS,
            f"{name}: the platform's HTTP stacks refuse cleartext",
            tuple(
                Evidence(fact.location, f"{what}: {answer.because}", Strength.EFFECTIVE)
                for what, answer in answers
            ),
            selector=name,
        )


def first_few(texts: list[str]) -> str:
    """Join texts; the fourth and later ones are counted."""
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return ", ".join([*texts[:SHOWN], *more])


@rule(
    "ROM206",
    alias="network-config-broken",
    title="The network security config is one that the platform accepts",
    requirement="transport.cleartext",
    fix="mend the config; an app with a broken one crashes when it opens a connection",
    references=REFERENCES,
)
def network_config_broken(case: Case, facts: Facts) -> Iterator[Finding]:
    """A config that the platform's parser refuses stops the app at its first connection.

    Two base-configs, a domain twice, a pin of the wrong length, an unknown certificate source: the
    platform throws. Nothing may rely on such a config.
    """
    transport = case.demand.transport
    if transport is None or transport.cleartext != "forbidden":
        return
    for fact in facts.of(NetworkSecurity, case.name):
        app = app_behind(fact, facts.platform.sdk) or App(FILE_SINCE, FILE_SINCE)
        fatal = fact.config.fatal(app.debuggable) if fact.config else ()
        if fatal and app.platform_sdk >= FILE_SINCE:
            yield case.finding(
                Status.FAIL,
                f"the platform refuses this config: {fatal[0].message}",
                tuple(
                    Evidence(fact.location, f"line {p.line}: {p.message}", Strength.EFFECTIVE)
                    for p in fatal
                ),
                selector=fact.location.path,
            )
