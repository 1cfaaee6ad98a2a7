from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.findings import (
    Evidence,
    Finding,
    Layer,
    Location,
    Report,
    Severity,
    Status,
    Strength,
    Verdict,
)
from rom_builder.judge import summed
from rom_builder.policy.load import shipped
from rom_builder.policy.requirements import demanded, demanded_of_rom
from rom_builder.rules import RULES
from tests.cases import check_case, load_case

REFERENCE = Path(__file__).parent / "rules" / "reference.yaml"


def finding(
    requirement: str,
    status: Status,
    *,
    severity: Severity = Severity.ERROR,
    layer: Layer = Layer.CONFIGURED,
    selector: str = "",
) -> Finding:
    evidence = (Evidence(Location("x"), "seen", Strength.EFFECTIVE),)
    return Finding(
        "ROM000",
        "test",
        status,
        severity,
        "s",
        requirement,
        layer,
        "said",
        evidence,
        "fix",
        selector,
    )


def test_a_requirement_no_rule_spoke_of_is_unknown() -> None:
    row = summed("s", "consent.default", [finding("transport.hosts", Status.PASS)], "p.yaml:1:1")
    assert (row.status, row.layers, row.where) == (Status.UNKNOWN, {}, "p.yaml:1:1")


def test_the_worst_of_all_layers_counts() -> None:
    said = [
        finding("x", Status.PASS),
        finding("x", Status.NOT_APPLICABLE, layer=Layer.CODED),
        finding("x", Status.UNKNOWN, layer=Layer.CODED),
        finding("y", Status.FAIL),
    ]
    row = summed("s", "x", said, "")
    assert row.status is Status.UNKNOWN
    assert row.layers == {Layer.CONFIGURED: Status.PASS, Layer.CODED: Status.UNKNOWN}


def test_a_failure_below_an_error_neither_fails_nor_passes() -> None:
    warning = finding("x", Status.FAIL, severity=Severity.WARNING)
    assert summed("s", "x", [warning, finding("x", Status.PASS)], "").status is Status.PASS
    assert summed("s", "x", [warning], "").status is Status.UNKNOWN


def test_each_statement_is_a_requirement_of_its_own() -> None:
    said = [
        finding("attested", Status.ATTESTED, selector="a", layer=Layer.DECLARED),
        finding("attested", Status.UNKNOWN, selector="b", layer=Layer.DECLARED),
    ]
    assert summed("s", "attested/a", said, "").status is Status.ATTESTED
    assert summed("s", "attested/b", said, "").status is Status.UNKNOWN


def test_every_demand_of_a_full_policy_is_a_row_that_says_where_it_stands(tmp_path: Path) -> None:
    report = check_case(load_case(REFERENCE), tmp_path)
    rows = [(row.name, str(row.status)) for row in report.requirements]
    assert rows == [
        (name, "pass")
        for name in (
            "presence", "consent.default", "consent.preselected", "consent.before",
            "consent.on_upgrade", "transport.cleartext", "transport.min_tls", "transport.user_ca",
            "transport.hosts", "data.forbidden", "data.allowed",
        )
    ]  # fmt: skip
    policy = shipped("policies")["messaging-opt-in"]
    lines = policy.read_text().splitlines()
    for row in report.requirements:
        file, line, column = row.where.rsplit(":", 2)
        assert file == "policies/messaging-opt-in.yaml"
        word = {"consent.default": "mode", "presence": "presence"}.get(row.name)
        word = word or row.name.partition(".")[2]
        assert lines[int(line) - 1][int(column) - 1 :].startswith(f"{word}:")


def test_every_requirement_has_a_rule_that_judges_it(tmp_path: Path) -> None:
    judged = {rule.requirement for rule in RULES.values()}
    case = load_case(REFERENCE)
    case["policy"] = {
        "services": [
            {
                "profile": "reference-messaging",
                "consent": {"mode": "opt-in", "preselected": "forbidden", "before": ["push"],
                            "on_upgrade": "ask"},
                "transport": {"cleartext": "forbidden", "min_tls": "1.2", "user_ca": "forbidden",
                              "hosts": ["a.example"],
                              "pins": [{"host": "a.example", "sha256": "A" * 43 + "=",
                                        "expires": "2030-01-01"}]},
                "data": {"allowed": ["mac"], "forbidden": ["imei"]},
                "attested": {"x": {"value": "v", "by": "b", "until": "2030-01-01"}},
            }
        ],
        "rom": {"public_keys": "forbidden", "weak_signatures": "forbidden",
                "verified_boot": "required", "debuggable": "forbidden"},
    }  # fmt: skip
    from tests.cases import policies_of

    policies = policies_of(case, tmp_path)
    names = [*demanded(policies.services[0][0]), *demanded_of_rom(policies.rom)]
    assert {name.partition("/")[0] for name in names} <= judged
    assert len(names) == 17


def test_nothing_demanded_is_no_requirement(tmp_path: Path) -> None:
    case = load_case(REFERENCE)
    case["policy"] = {"services": [{"profile": "reference-messaging"}]}
    report = check_case(case, tmp_path)
    assert [row.name for row in report.requirements] == ["presence"]
    assert [f.rule for f in report.findings] == ["ROM105"]
    assert report.verdict is Verdict.COMPLIANT


# What holds whatever the ROM and the policy


SERVICE = "/system/etc/reference-messaging/service.xml"
CHANGES = (
    ('default="off"', 'default="on"'),
    ('preselected="forbidden"', 'preselected="allowed"'),
    ('on-upgrade="ask"', 'on-upgrade="keep"'),
    ("<before>upload</before>", ""),
    ('cleartext="forbidden"', 'cleartext="allowed"'),
    ('min-tls="1.2"', 'min-tls="1.0"'),
    ("<host>messaging.example.com</host>", "<host>other.example.org</host>"),
    ("<forbidden>imei</forbidden>", ""),
    ("<allowed>recipient-number</allowed>", "<allowed>imei</allowed>"),
)
STRICT = {
    "consent": {
        "mode": "opt-in",
        "preselected": "forbidden",
        "on_upgrade": "ask",
        "before": ["registration", "upload"],
    },
    "transport": {
        "cleartext": "forbidden",
        "min_tls": "1.2",
        "user_ca": "forbidden",
        "hosts": ["messaging.example.com"],
    },
    "data": {"allowed": ["recipient-number"], "forbidden": ["imei", "imsi"]},
}
FIELDS = [(section, field) for section, fields in STRICT.items() for field in fields]
LAXER = {
    "mode": "opt-out",
    "preselected": "allowed",
    "before": ["registration"],
    "cleartext": "allowed",
    "user_ca": "allowed",
    "hosts": ["messaging.example.com", "*.example.org"],
    "allowed": ["recipient-number", "imei"],
    "forbidden": ["imsi"],
}
BROKEN = st.sampled_from([b"", b"PK\3\4", b"\0" * 99, "text"])
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def checked(folder: Path, policy: dict[str, object], changes: set[int], **files: object) -> Report:
    case = load_case(REFERENCE)
    case["policy"] = {"services": [{"profile": "reference-messaging", **policy}]}
    text = case["files"][SERVICE]
    for number in changes:
        text = text.replace(*CHANGES[number])
    case["files"][SERVICE] = text
    from rom_builder.check import check
    from tests.cases import TODAY, files_of, policies_of
    from tests.roms import write_rom

    rom = write_rom(folder / "rom", {**files_of(case), **files})  # type: ignore[arg-type]
    return check(rom, policies_of(case, folder / "policy"), today=TODAY)


def laxer(keep: set[int], weaken: set[int]) -> dict[str, dict[str, object]]:
    policy: dict[str, dict[str, object]] = {}
    for number, (section, field) in enumerate(FIELDS):
        if number in keep:
            value: object = STRICT[section][field]
            if number in weaken:
                value = LAXER.get(field, value)
            policy.setdefault(section, {})[field] = value
    allowed, forbidden = (policy.get("data", {}).get(k, ()) for k in ("allowed", "forbidden"))
    if set(allowed) & set(forbidden):  # type: ignore[call-overload]
        del policy["data"]["forbidden"]
    return policy


NUMBERS = st.sets(st.integers(0, len(FIELDS) - 1))


@QUICK
@given(NUMBERS, NUMBERS, st.sets(st.integers(0, len(CHANGES) - 1)))
def test_a_lax_policy_never_fails_more_than_a_strict_one(
    tmp_path_factory: pytest.TempPathFactory, keep: set[int], weaken: set[int], changes: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("lax")
    strict = checked(folder / "strict", STRICT, changes)
    lax = checked(folder / "lax", laxer(keep, weaken), changes)
    failed = {(f.rule, f.requirement) for f in strict.failures(Severity.NOTE)}
    assert {(f.rule, f.requirement) for f in lax.failures(Severity.NOTE)} <= failed
    if strict.verdict is Verdict.COMPLIANT:
        assert lax.verdict is Verdict.COMPLIANT


@QUICK
@given(NUMBERS, st.sets(st.integers(0, len(CHANGES) - 1), max_size=2), BROKEN)
def test_an_unread_part_never_makes_a_verdict_compliant(
    tmp_path_factory: pytest.TempPathFactory, keep: set[int], changes: set[int], broken: bytes
) -> None:
    folder = tmp_path_factory.mktemp("unread")
    whole = checked(folder / "whole", laxer(keep, set()), changes)
    part = checked(
        folder / "part", laxer(keep, set()), changes, **{"/system/app/Broken.apk": broken}
    )
    assert part.verdict is not Verdict.COMPLIANT
    if whole.verdict is Verdict.NON_COMPLIANT:
        assert part.verdict is Verdict.NON_COMPLIANT
    assert [p.path for p in part.unread] == ["system/app/Broken.apk"]
