from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rom_builder.errors import PolicyError
from rom_builder.policy.load import Policies, load_policies, shipped
from rom_builder.policy.merge import _DEMANDS, _ORDER, weaker
from rom_builder.policy.models import Notice, Pin, RomPolicy, Section, ServicePolicy
from rom_builder.policy.profile import Binding

from .conftest import BINDINGS, Write


def policy(name: str, rest: str) -> str:
    return f"schema: rom-builder/policy/v1\nid: {name}\ntitle: {name}\n{rest}\n"


def load(*refs: str | Path) -> Policies:
    return load_policies(refs, BINDINGS)


def problems(*refs: str) -> list[str]:
    with pytest.raises(PolicyError) as refused:
        load(*refs)
    return [str(problem) for problem in refused.value.problems]


BASE = """\
services:
  - profile: chat
    consent: {mode: opt-in, before: [push, upload]}
    transport: {hosts: ["*.example.com"], min_tls: "1.2"}
    data: {forbidden: [imei]}
rom: {debuggable: forbidden}"""


def test_a_policy_knows_its_files_services_and_places(write: Write) -> None:
    write("base.yaml", policy("base", BASE))
    policies = load("base.yaml")
    ((service, profile),) = policies.services
    assert service.consent is not None
    assert service.consent.mode == "opt-in"
    assert profile.switches[0].binding.mechanism == "toy"
    assert policies.rom == RomPolicy(debuggable="forbidden")
    (file,) = policies.policies
    assert (file.id, file.title, file.path, len(file.sha256)) == ("base", "base", "base.yaml", 64)
    assert [file.path for file in policies.profiles] == ["profiles/chat.yaml"]
    assert policies.where("chat", "consent.mode") == "base.yaml:6:15"
    assert policies.where("chat", "consent.default") == "base.yaml:6:15"
    assert policies.where("chat", "consent.preselected") == "base.yaml:6:5"
    assert policies.where("chat", "presence") == "base.yaml:5:5"
    assert policies.where("chat", "attested/retention") == "base.yaml:5:5"
    assert policies.where(None, "rom.debuggable") == "base.yaml:9:7"
    assert policies.where("rom", "debuggable") == "base.yaml:9:7"
    with pytest.raises(KeyError):
        policies.where("other")


def test_an_extending_policy_may_demand_more(write: Write) -> None:
    write("lib/base.yaml", policy("base", BASE))
    write("lib/profiles/chat.yaml", Path("profiles/chat.yaml").read_text())
    write(
        "top.yaml",
        policy(
            "top",
            "extends: [lib/base.yaml]\n"
            "services:\n"
            "  - profile: chat\n"
            "    consent: {mode: forbidden, before: [upload, analytics, push]}\n"
            '    transport: {hosts: [a.example.com], min_tls: "1.3"}\n'
            "    attested: {retention: {value: none, by: Jane, until: 2027-12-31}}",
        ),
    )
    policies = load("top.yaml")
    ((service, _),) = policies.services
    assert service.consent is not None
    assert service.consent.mode == "forbidden"
    assert service.transport is not None
    assert service.transport.hosts == ("a.example.com",)
    assert service.data is not None
    assert service.data.forbidden == ("imei",)
    assert policies.rom is not None
    assert [file.id for file in policies.policies] == ["base", "top"]
    assert policies.where("chat", "consent.mode") == "top.yaml:7:15"
    assert policies.where("chat", "data.forbidden") == "lib/base.yaml:8:12"
    assert policies.where("chat", "attested/retention") == "top.yaml:9:16"


@pytest.mark.parametrize(
    ("stated", "name", "column", "was", "now"),
    [
        ("presence: if-present", "presence", 15, "required", "if-present"),
        ("consent: {mode: opt-out}", "consent.mode", 21, "opt-in", "opt-out"),
        ("consent: {before: [push]}", "consent.before", 23, "[push, upload]", "[push]"),
        (
            "consent: {applies_to: [fresh-install]}",
            "consent.applies_to",
            27,
            "[fresh-install, factory-reset]",
            "[fresh-install]",
        ),
        ("data: {forbidden: [imsi]}", "data.forbidden", 23, "[imei]", "[imsi]"),
        (
            "transport: {hosts: [a.example.com, example.org]}",
            "transport.hosts",
            24,
            "[*.example.com]",
            "[a.example.com, example.org]",
        ),
    ],
)
def test_a_weaker_demand_needs_to_be_named(
    write: Write, stated: str, name: str, column: int, was: str, now: str
) -> None:
    write("base.yaml", policy("base", BASE))
    body = f"services:\n  - profile: chat\n    {stated}"
    write("top.yaml", policy("top", f"extends: [./base.yaml]\n{body}"))
    (problem,) = problems("top.yaml")
    assert problem.startswith(f"top.yaml:7:{column}: weakens chat.{name}: {was} in base.yaml:")
    assert problem.endswith(f", {now} here; if that is meant, name it in 'weakens'")
    weakens = f"weakens: [chat.{name}]"
    write("top.yaml", policy("top", f"extends: [./base.yaml]\n{weakens}\n{body}"))
    assert load("top.yaml").where("chat", name).startswith("top.yaml:8:")


def test_a_name_in_weakens_that_weakens_nothing_is_refused(write: Write) -> None:
    write("base.yaml", policy("base", BASE))
    body = "extends: [./base.yaml]\nweakens: [chat.consent.mdoe, rom.debuggable]"
    write("top.yaml", policy("top", body))
    assert problems("top.yaml") == [
        "top.yaml:5:11: 'chat.consent.mdoe' weakens nothing; did you mean 'chat.consent.mode'?",
        "top.yaml:5:30: 'rom.debuggable' weakens nothing; remove it",
    ]


def test_what_contradicts_itself_after_merging_is_refused(write: Write) -> None:
    write("base.yaml", policy("base", BASE))
    body = "extends: [./base.yaml]\nservices:\n  - {profile: chat, data: {allowed: [mac, imei]}}"
    write("top.yaml", policy("top", body))
    assert problems("top.yaml") == ["top.yaml:6:43: 'imei' is both allowed and forbidden"]


def test_policies_side_by_side_must_agree(write: Write) -> None:
    write("a.yaml", policy("a", BASE))
    write("b.yaml", policy("b", BASE.replace("[push, upload]", "[upload, push]")))
    assert len(load("a.yaml", "b.yaml", "a.yaml").policies) == 2
    write("c.yaml", policy("c", BASE.replace("opt-in", "forbidden")))
    conflict = "chat.consent.mode is forbidden here but opt-in in a.yaml:6:21; "
    advice = "write a policy that extends both and states it"
    assert problems("a.yaml", "c.yaml") == [f"c.yaml:6:21: {conflict}{advice}"]
    both = "extends: [./a.yaml, ./c.yaml]\nservices: [{profile: chat, consent: {mode: %s}}]"
    write("both.yaml", policy("both", both % "forbidden"))
    assert load("both.yaml").where("chat", "consent.mode") == "both.yaml:5:38"
    write("both.yaml", policy("both", both % "opt-in"))
    (problem,) = problems("both.yaml")
    assert problem.startswith("both.yaml:5:44: weakens chat.consent.mode: forbidden in c.yaml:")


def test_a_common_ancestor_is_no_conflict(write: Write) -> None:
    write("base.yaml", policy("base", BASE))
    write("a.yaml", policy("a", "extends: [./base.yaml]\nrom: {public_keys: forbidden}"))
    write("b.yaml", policy("b", "extends: [./base.yaml]\nrom: {verified_boot: required}"))
    policies = load("a.yaml", "b.yaml")
    assert [file.id for file in policies.policies] == ["base", "a", "b"]
    assert policies.rom == RomPolicy(
        public_keys="forbidden", verified_boot="required", debuggable="forbidden"
    )


def test_circles_and_unknown_names_are_refused_where_they_are_written(write: Write) -> None:
    write("a.yaml", policy("a", "extends: [./b.yaml]"))
    write("b.yaml", policy("b", "extends: [rom-baselin, ./a.yaml, ./no.yaml]"))
    assert problems("a.yaml") == [
        "b.yaml:4:11: no shipped policy has the id 'rom-baselin'; did you mean 'rom-baseline'?",
        "b.yaml:4:24: policies extend one another: a.yaml -> b.yaml -> a.yaml",
        "b.yaml:4:34: no such file: no.yaml",
    ]
    write("self.yaml", policy("self", "extends: [./self.yaml]"))
    assert problems("self.yaml") == [
        "self.yaml:4:11: policies extend one another: self.yaml -> self.yaml"
    ]
    Path("loop.yaml").symlink_to("loop.yaml")
    assert problems("loop.yaml") == [
        "loop.yaml:1:1: cannot be read: Too many levels of symbolic links"
    ]
    for n in range(30):
        write(f"c{n}.yaml", policy(f"c{n}", f"extends: [./c{n + 1}.yaml]"))
    assert problems("c0.yaml") == ["c19.yaml:4:11: more than 20 policies in a row"]


def test_names_given_by_the_user_are_refused_by_name(write: Write) -> None:
    assert problems("absent.yaml", "absent") == [
        "absent:1:1: no shipped policy has the id 'absent'; a file needs its suffix .yaml",
        "absent.yaml:1:1: cannot be read: No such file or directory",
    ]


def test_no_policy_at_all_is_no_policy() -> None:
    with pytest.raises(ValueError, match="no policy"):
        load()


def test_problems_of_all_files_come_together(write: Write) -> None:
    write("profiles/bad.yaml", "schema: rom-builder/profile/v1\nid: bad\ntitle: 1\n")
    write("profiles/alias.yaml", "schema: rom-builder/profile/v1\nid: other\ntitle: a\n")
    write("a.yaml", policy("a", "services: [{profile: caht}, {profile: bad}, {profile: alias}]"))
    write("b.yaml", policy("b", "rom: {debugable: forbidden}"))
    found = problems("a.yaml", "b.yaml")
    assert found[0].startswith("a.yaml:4:22: unknown profile 'caht'; ")
    assert found[1:] == [
        "b.yaml:4:7: unknown key 'debugable'; did you mean 'debuggable'?",
        "profiles/alias.yaml:2:5: the id must equal the file name 'alias'",
        'profiles/bad.yaml:3:8: must be text, not 1; write it in quotes: "1"',
    ]


def test_a_shipped_policy_is_found_by_its_id(bindings: dict[str, type[Binding]]) -> None:
    policies = load_policies(["rom-baseline"], bindings)
    assert policies.rom == RomPolicy(
        public_keys="forbidden", debuggable="forbidden", weak_signatures="forbidden"
    )
    assert policies.policies[0].path == str(shipped("policies")["rom-baseline"])


def _pin(host: str, key: str, year: int) -> Pin:
    return Pin(host=host, sha256=key * 43 + "=", expires=date(year, 1, 1))


def _notice(*languages: str, **words: tuple[str, ...]) -> Notice:
    spoken = languages or ("en",)
    return Notice.model_validate(
        {"languages": spoken, "names": {t: dict.fromkeys(spoken, w) for t, w in words.items()}}
    )


@pytest.mark.parametrize(
    ("field", "old", "new", "is_weaker"),
    [
        ("transport.min_tls", "1.3", "1.2", True),
        ("transport.min_tls", "1.2", "1.3", False),
        ("consent.on_upgrade", "reset", "ask", True),
        ("consent.on_upgrade", "keep", "ask", False),
        ("verified_boot", "required", "optional", True),
        ("transport.cleartext", "allowed", "forbidden", False),
        ("transport.hosts", ("*.a.com",), ("b.a.com", "*.c.a.com"), False),
        ("transport.hosts", ("*.a.com",), ("a.com",), True),
        ("transport.hosts", ("b.a.com",), ("*.a.com",), True),
        ("transport.hosts", ("a.com",), (), False),
        ("data.allowed", ("imei",), ("imei", "mac"), True),
        ("data.allowed", ("imei", "mac"), ("mac",), False),
        ("permissions.privileged", ("a", "b"), ("b",), False),
        ("permissions.privileged", (), ("b",), True),
        ("transport.pins", (_pin("a.com", "A", 2027),), (), True),
        ("transport.pins", (_pin("a.com", "A", 2027),), (_pin("a.com", "A", 2028),), False),
        ("transport.pins", (_pin("a.com", "A", 2027),), (_pin("a.com", "A", 2026),), True),
        ("transport.pins", (_pin("a.com", "A", 2027),), (_pin("a.com", "E", 2027),), True),
        ("transport.pins", (), (_pin("a.com", "A", 2027),), False),
        ("consent.notice", _notice(data=("a", "b")), _notice(data=("a",)), False),
        ("consent.notice", _notice(data=("a",)), _notice(data=("a", "b")), True),
        ("consent.notice", _notice(data=("a",)), _notice(data=("a",), recipient=("x",)), False),
        ("consent.notice", _notice(data=("a",)), _notice(), True),
        ("consent.notice", _notice("en", "zh"), _notice("en"), True),
        ("consent.notice", _notice("en"), _notice("en", "zh"), False),
        ("attested.retention", "a", "b", False),
    ],
)
def test_weaker(field: str, old: Any, new: Any, is_weaker: bool) -> None:
    assert weaker(field, old, new) is is_weaker


def _fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        section = next((a for a in getattr(field.annotation, "__args__", ())
                        if isinstance(a, type) and issubclass(a, Section)), None)  # fmt: skip
        names |= _fields(section, f"{name}.") if section else {prefix + name}
    return names


def test_every_requirement_has_a_strength() -> None:
    lists = {"transport.hosts", "transport.pins", "data.allowed", "permissions.privileged"}
    lists.add("consent.notice")
    known = set(_ORDER) | _DEMANDS | lists
    known |= {"certificate_authorities.reference", "certificate_authorities.also"}
    assert _fields(ServicePolicy) | _fields(RomPolicy) == known | {"profile", "attested"}
    for field, words in _ORDER.items():
        assert [weaker(field, a, b) for a in words for b in words].count(True) == (
            len(words) * (len(words) - 1) // 2
        )
