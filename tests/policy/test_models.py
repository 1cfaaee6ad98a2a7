from __future__ import annotations

import pytest

from rom_builder.errors import PolicyError
from rom_builder.policy.models import Category, Policy
from rom_builder.policy.yaml import parse_yaml, validate

HEAD = "schema: rom-builder/policy/v1\nid: p\ntitle: P\n"  # three lines
PIN = "sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, expires: 2027-12-31"


def read(text: str) -> Policy:
    return validate(Policy, parse_yaml(text.encode(), "p.yaml"))


def service(text: str) -> Policy:
    return read(f"{HEAD}services:\n  - profile: chat\n    {text}\n")  # text starts at 6:5


def test_a_full_policy_reads_as_written() -> None:
    policy = service(
        "presence: if-present\n"
        "    consent: {mode: opt-in, applies_to: [factory-reset], on_upgrade: ask,"
        " preselected: forbidden, before: [push]}\n"
        '    transport: {cleartext: forbidden, min_tls: "1.3", user_ca: allowed,'
        f' hosts: ["*.example.com"], pins: [{{host: a.example.com, {PIN}}}]}}\n'
        "    data: {allowed: [mac], forbidden: [imei]}\n"
        "    attested: {retention: {value: none, by: Jane, until: 2027-12-31}}"
    )
    (chat,) = policy.services
    assert chat.presence == "if-present"
    assert chat.consent is not None
    assert chat.consent.before == ("push",)
    assert chat.transport is not None
    assert chat.transport.hosts == ("*.example.com",)
    assert chat.transport.pins[0].expires.year == 2027
    assert chat.attested["retention"].by == "Jane"
    assert policy.rom is None


def test_what_is_absent_demands_nothing_but_presence() -> None:
    (chat,) = read(f"{HEAD}services: [{{profile: chat}}]").services
    assert chat.presence == "required"
    assert (chat.consent, chat.transport, chat.data, chat.attested) == (None, None, None, {})
    consent = service("consent: {mode: opt-in}").services[0].consent
    assert consent is not None
    assert consent.applies_to == ("fresh-install", "factory-reset")
    assert (consent.on_upgrade, consent.preselected, consent.before) == (None, None, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("consnet: {}", "6:5: unknown key 'consnet'; did you mean 'consent'?"),
        ("precense: required", "6:5: unknown key 'precense'; did you mean 'presence'?"),
        (
            "consent: {mode: opt_in}",
            "6:21: 'opt_in' is not one of opt-in, opt-out, forbidden; did you mean 'opt-in'?",
        ),
        ("consent: {mode: true}", "6:21: true is not one of opt-in, opt-out, forbidden"),
        ("consent: {}", "6:14: states no requirement; remove it or fill it"),
        (
            "consent: {before: [push, upload, push]}",
            "6:38: 'push' is listed twice",
        ),
        (
            "consent:\n      before:\n        - lookup",
            "8:11: 'lookup' is not one of registration, contact-lookup, upload, analytics, push; "
            "did you mean 'contact-lookup'?",
        ),
        (
            "transport: {min_tls: 1.2}",
            '6:26: 1.2 is not one of 1.2, 1.3; it is a number here, write it in quotes: "1.2"',
        ),
        ('transport: {min_tls: "1.1"}', "6:26: '1.1' is not one of 1.2, 1.3"),
        ("transport: {cleartext: no}", "6:28: 'no' is not one of forbidden, allowed"),
        (
            "transport: {hosts: [API.example.com]}",
            "6:25: 'API.example.com' has capital letters; write 'api.example.com'",
        ),
        (
            'transport: {hosts: ["https://a.example.com/"]}',
            "6:25: 'https://a.example.com/' is not a host name; leave out scheme, port and path",
        ),
        (
            "transport: {hosts: [10.0.0.1]}",
            "6:25: '10.0.0.1' is not a host name such as 'api.example.com' or '*.example.com'",
        ),
        (
            'transport: {hosts: ["a.*.com"]}',
            "6:25: 'a.*.com' is not a host name such as 'api.example.com' or '*.example.com'",
        ),
        ("transport: {hosts: [a.com, a.com]}", "6:32: 'a.com' is listed twice"),
        (
            "transport: {pins: [{host: a.com, sha256: AAAA, expires: 2027-12-31}]}",
            "6:46: must be 32 bytes in base64 (44 characters)",
        ),
        (
            f"transport: {{hosts: [b.com], pins: [{{host: a.com, {PIN}}}]}}",
            "6:47: 'a.com' is pinned but not in transport.hosts",
        ),
        (
            "data: {allowed: [mac, imei], forbidden: [imei]}",
            "6:27: 'imei' is both allowed and forbidden",
        ),
        (
            "data: {allowed: []}",
            "6:21: an empty list sets no limit; leave the key out, or forbid the service",
        ),
        (
            "attested: {retention: {value: none, by: Jane}}",
            "6:27: missing key 'until' in services[0].attested.retention",
        ),
        (
            "attested: {retention: {value: 30, by: J, until: 2027-12-31}}",
            '6:35: must be text, not 30; write it in quotes: "30"',
        ),
        (
            "attested: {retention: {value: none, by: J, untill: 2027-12-31}}",
            "6:27: missing key 'until' in services[0].attested.retention\n"
            "p.yaml:6:48: unknown key 'untill'; did you mean 'until'?",
        ),
    ],
)
def test_mistakes_in_a_service_are_named_with_their_place(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as refused:
        service(text)
    assert str(refused.value) == f"p.yaml:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD, "1:1: demands nothing: no services, rom or extends"),
        (HEAD + "rom: {}", "4:6: states no requirement; remove it or fill it"),
        ("schema: v2\nid: p\ntitle: P\nrom: {debuggable: forbidden}",
         "1:9: must be 'rom-builder/policy/v1', not 'v2'"),
        ("id: p\ntitle: P\nrom: {debuggable: forbidden}", "1:1: missing key 'schema'"),
        (HEAD.replace("id: p", "id: My_Policy") + "extends: [a]",
         "2:5: 'My_Policy' is not an id such as 'messaging-opt-in'"),
        (HEAD + "services: [{profile: a}, {profile: b}, {profile: a}]",
         "4:50: service 'a' is listed twice"),
        (HEAD + "services: [{profile: rom}]",
         "4:22: 'rom' is the name of the section on the whole ROM"),
        (HEAD + "services: {profile: chat}", "4:11: must be a list, not keys with values"),
        (HEAD + "extends: messaging-opt-in", "4:10: must be a list, not 'messaging-opt-in'"),
        (HEAD + "rom: {verified_boot: true}", "4:22: true is not one of required, optional"),
    ],
)  # fmt: skip
def test_mistakes_in_a_policy_are_named_with_their_place(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read(text)
    assert str(refused.value) == f"p.yaml:{expected}"


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(PolicyError) as refused:
        read("id: P\ntitle: 3\nservices:\n  - presence: maybe\nrmo: {}\n")
    places = [(p.line, p.column) for p in refused.value.problems]
    assert places == [(1, 1), (1, 5), (2, 8), (4, 5), (4, 15), (5, 1)]


def test_every_category_can_be_forbidden() -> None:
    names = Category.__args__  # type: ignore[attr-defined]
    policy = service(f"data: {{forbidden: [{', '.join(names)}]}}")
    data = policy.services[0].data
    assert data is not None
    assert data.forbidden == names
