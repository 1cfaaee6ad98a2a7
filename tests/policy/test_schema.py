from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rom_builder.policy.load import shipped
from rom_builder.policy.models import Policy
from rom_builder.policy.profile import Profile
from rom_builder.policy.schema import encode_schema, policy_schema, profile_schema
from rom_builder.policy.yaml import load_yaml, validate
from rom_builder.resources import data_folder
from rom_builder.waivers.models import waiver_schema

from .conftest import BINDINGS


def properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for value in schema.values():
            yield from properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from properties(value)


def test_the_stored_policy_schema_is_current() -> None:
    stored = (data_folder("policies") / "policy.schema.json").read_text(encoding="utf-8")
    assert stored == encode_schema(policy_schema()), "run: rom-builder policy schema policy"


def test_schemas_name_their_dialect_and_id() -> None:
    for kind, schema in (("policy", policy_schema()), ("profile", profile_schema(BINDINGS))):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["$id"] == f"urn:rom-builder:schema:{kind}:v1"


def test_every_key_is_described_and_none_may_be_null() -> None:
    for schema in (policy_schema(), profile_schema(BINDINGS)):
        found = list(properties(schema))
        assert len(found) > 20
        assert [name for name, field in found if not field.get("description")] == []
        assert '"null"' not in json.dumps(schema)


def test_keys_are_those_of_the_file() -> None:
    assert set(policy_schema()["properties"]) == set(Policy.keys({}, {}))
    assert set(profile_schema(BINDINGS)["properties"]) == set(Profile.keys({}, {}))


def test_a_mechanism_brings_its_options_to_every_place() -> None:
    definitions = profile_schema(BINDINGS)["$defs"]
    for place, own in (
        ("Switch", {"value_on", "value_off", "read_by"}),
        ("Setting", {"requirement"}),
        ("Binding", set()),
    ):
        (choice,) = definitions[place]["oneOf"]
        assert set(choice["properties"]) == {"mechanism", "key", "slot"} | own
        assert choice["properties"]["mechanism"]["const"] == "toy"
        assert choice["additionalProperties"] is False


def test_shipped_policies_are_valid_and_named_after_their_file() -> None:
    assert set(shipped("policies")) == {
        "aosp-rcs",
        "messaging-opt-in",
        "miui-cloud-messaging",
        "rom-baseline",
    }
    for name, path in shipped("policies").items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=policy.schema.json"
        assert validate(Policy, load_yaml(path)).id == name


def test_the_profile_schema_in_the_tree_is_fresh() -> None:
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy.schema import encode_schema, profile_schema
    from rom_builder.resources import data_folder

    path = data_folder("policies") / "profile.schema.json"
    assert path.read_text() == encode_schema(profile_schema(binding_models())), "make schema"


def test_the_stored_waiver_schema_is_current() -> None:
    stored = (data_folder("policies") / "waivers.schema.json").read_text(encoding="utf-8")
    assert stored == encode_schema(waiver_schema()), "run: rom-builder policy schema waivers"
