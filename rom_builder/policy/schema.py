"""JSON schemas of policy and profile files, for editors and other validators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rom_builder.policy.models import Policy
from rom_builder.policy.profile import Binding, Profile, Setting, Switch

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = "urn:rom-builder:schema:{}:v1"


class _Generator(GenerateJsonSchema):
    """Leaves out what the reader of YAML refuses: null, and defaults that only mean "absent"."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") in (None, (), {}) or isinstance(schema["default"], BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def policy_schema() -> dict[str, Any]:
    """Return the JSON schema of a policy file (dialect 2020-12)."""
    return file_schema(Policy, "policy", "A rom-builder policy")


def profile_schema(bindings: Mapping[str, type[Binding]]) -> dict[str, Any]:
    """Return the JSON schema of a profile file.

    Args:
        bindings: Model of the options by name of mechanism; each becomes one alternative of every
            place that can be configured.
    """
    schema = _schema(Profile)
    definitions = schema["$defs"]
    for place in (Switch, Setting, Binding):
        definitions[place.__name__] = _alternatives(place, bindings, definitions)
    return _published("profile", schema, "A rom-builder profile")


def file_schema(model: type[BaseModel], name: str, title: str) -> dict[str, Any]:
    """Return the JSON schema of a kind of file, from its model."""
    return _published(name, _schema(model), title)


def encode_schema(schema: Mapping[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=_Generator)


def _published(kind: str, schema: dict[str, Any], title: str) -> dict[str, Any]:
    head = {"$schema": DIALECT, "$id": _ID.format(kind), "title": title}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}}


def _alternatives(
    place: type[Binding | Switch | Setting],
    bindings: Mapping[str, type[Binding]],
    definitions: dict[str, Any],
) -> dict[str, Any]:
    """Return the schema of ``place`` with each mechanism's options beside its own keys."""
    own: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in place.model_fields.items()
        if name not in ("binding", "mechanism")
    }
    choices = []
    for name in sorted(bindings):
        joined = create_model(f"{place.__name__}-{name}", __base__=bindings[name], **own)
        schema = _schema(joined)
        definitions.update(schema.pop("$defs", {}))
        described = schema["properties"]["mechanism"].get("description", "")
        schema["properties"]["mechanism"] = {"const": name, "description": described}
        schema.pop("title", None)
        choices.append(schema)
    return {"description": (place.__doc__ or "").partition("\n")[0], "oneOf": choices}
