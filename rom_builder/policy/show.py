"""The merged policy as a YAML file that loads again, each line with the place it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel

from rom_builder.policy.load import Policies
from rom_builder.policy.merge import ROM, Statement
from rom_builder.policy.models import POLICY_SCHEMA, RomPolicy, ServicePolicy

_PLAIN = re.compile(r"(?!(true|false|null|yes|no|on|off|y|n)$)[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*")


def show(policies: Policies) -> str:
    """Return everything that is demanded as one policy without ``extends``."""
    names = ", ".join(policy.id for policy in policies.policies)
    lines = [
        f"schema: {POLICY_SCHEMA}",
        "id: effective",
        f"title: {_yaml(f'What is demanded by {names}')}",
    ]
    services = {name: f for name, f in policies.requirements.items() if name != ROM}
    if services:
        lines.append("services:")
    for name, fields in services.items():
        lines.append(f"  - profile: {name}  # {fields['']}")
        lines += _fields(fields, "    ")
    if ROM in policies.requirements:
        lines.append("rom:")
        lines += _fields(policies.requirements[ROM], "  ")
    return "\n".join(lines) + "\n"


def _fields(fields: dict[str, Statement], indent: str) -> Iterator[str]:
    order = [*ServicePolicy.model_fields, *RomPolicy.model_fields]
    opened = ""
    names = [name for name in fields if name]
    if "presence" in names or any("." in name for name in names):
        names.sort(key=lambda name: order.index(name.partition(".")[0]))
    for name in names:
        outer, _, inner = name.partition(".")
        if inner and outer != opened:
            yield f"{indent}{outer}:"
        opened = outer
        place = f"{indent}  {inner}" if inner else f"{indent}{outer}"
        yield f"{place}: {_yaml(fields[name].value)}  # {fields[name]}"


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        items = ", ".join(f"{key}: {_yaml(item)}" for key, item in value)
        return f"{{{items}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        items = ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
