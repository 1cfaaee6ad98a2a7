"""Settings that a project keeps in a file or its CI in the environment, and where each one comes from.

An option on the command line outranks the environment, which outranks the file, which outranks the
default. The file is the first of these, from the working folder up to the root of its repository::

    rom-builder.yaml     schema: rom-builder/config/v1, then the keys of :class:`Values`
    pyproject.toml       the same keys in a table [tool.rom-builder]

Paths in a file start from its folder, those in the environment from the working folder.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from rom_builder.errors import PolicyError, Problem
from rom_builder.policy.values import Model
from rom_builder.policy.yaml import MAX_SIZE, load_yaml, validate

YAML_NAME = "rom-builder.yaml"
TOML_NAME = "pyproject.toml"
TABLE = "[tool.rom-builder]"
VARIABLE = "ROM_BUILDER_"

Named = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Value = str | bool | tuple[str, ...]


class Values(Model):
    """What can be set; each key is an option of the commands that have it."""

    policies: tuple[Named, ...] = Field(default=(), description="-p: files or ids of shipped ones.")
    waivers: tuple[Named, ...] = Field(default=(), description="--waivers: waiver files.")
    baseline: Named | None = Field(default=None, description="--baseline: earlier failures.")
    strict_waivers: bool = Field(default=False, description="--strict-waivers.")
    fail_on: Literal["note", "warning", "error", "critical"] = Field(
        default="error", description="--fail-on: lowest severity that makes the exit code 1."
    )
    format: Named = Field(default="text", description="--format on standard output.")
    outputs: tuple[Named, ...] = Field(
        default=(), description="--output FORMAT=PATH: reports to write as well."
    )
    signing: Named | None = Field(
        default=None, description="--signing: signing profile, a file or the id of a shipped one."
    )


class ConfigFile(Values):
    """The file ``rom-builder.yaml``."""

    version: Literal["rom-builder/config/v1"] = Field(alias="schema")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its value, and ``default``, a variable or ``file:line:column`` as its source."""

    key: str
    value: Value | None
    source: str


def discover(start: Path) -> Path | None:
    """Return the configuration file that holds for a folder, None if there is none.

    Outside a repository only the folder itself is looked at: a file of somebody else further up must
    not decide on a verdict.
    """
    folders = [start, *start.parents]
    roots = [index for index, folder in enumerate(folders) if (folder / ".git").exists()]
    for folder in folders[: roots[0] + 1 if roots else 1]:
        if (folder / YAML_NAME).is_file():
            return folder / YAML_NAME
        if _has_table(folder / TOML_NAME):
            return folder / TOML_NAME
    return None


def settings(file: Path | None, environment: Mapping[str, str]) -> dict[str, Setting]:
    """Return every setting, set or not.

    Args:
        file: The configuration file, None for none.
        environment: Variables; an empty one is not set.

    Raises:
        PolicyError: The file or a variable is wrong; every problem.
    """
    defaults = Values()
    found = {key: Setting(key, getattr(defaults, key), "default") for key in Values.model_fields}
    if file is not None:
        for setting in _of_toml(file) if file.suffix == ".toml" else _of_yaml(file):
            found[setting.key] = setting
    for setting in _of_environment(environment):
        found[setting.key] = setting
    return found


def _of_yaml(file: Path) -> Iterator[Setting]:
    document = load_yaml(file)
    values = validate(ConfigFile, document)
    for key in sorted(values.model_fields_set & set(Values.model_fields)):
        line, column = document.position((key,), key=True)
        yield Setting(
            key, _rooted(key, getattr(values, key), file.parent), f"{file}:{line}:{column}"
        )


def _of_toml(file: Path) -> Iterator[Setting]:
    text = _text(file)
    try:
        table = tomllib.loads(text).get("tool", {}).get("rom-builder", {})
    except tomllib.TOMLDecodeError as error:
        raise PolicyError([Problem(str(file), 1, 1, f"not valid TOML: {error}")]) from None
    problems = []
    try:
        values = Values.model_validate(_tuples(table))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            key = str(details["loc"][0]) if details["loc"] else ""
            message = (
                f"unknown key {key!r}; known here: {', '.join(Values.model_fields)}"
                if details["type"] == "extra_forbidden"
                else f"{key}: {details['msg']}"
            )
            problems.append(Problem(str(file), *_place(text, key), message))
        raise PolicyError(problems) from None
    for key in sorted(values.model_fields_set):
        line, column = _place(text, key)
        yield Setting(
            key, _rooted(key, getattr(values, key), file.parent), f"{file}:{line}:{column}"
        )


def _of_environment(environment: Mapping[str, str]) -> Iterator[Setting]:
    for key, field in Values.model_fields.items():
        name = VARIABLE + key.upper()
        text = environment.get(name, "")
        if not text:
            continue
        value: object = text
        if field.annotation is bool:
            value = {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)
        elif isinstance(field.default, tuple):
            value = tuple(part for part in text.split(os.pathsep) if part)
        try:
            checked = Values.model_validate({key: value})
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise PolicyError([Problem(f"${name}", 1, 1, message)]) from None
        yield Setting(key, getattr(checked, key), f"${name}")


def _rooted(key: str, value: Value, folder: Path) -> Value:
    """Let the paths of a file start from its folder."""
    if isinstance(value, tuple):
        return tuple(str(_rooted(key, each, folder)) for each in value)
    if isinstance(value, bool) or key in ("fail_on", "format"):
        return value
    head, separator, path = value.rpartition("=") if key == "outputs" else ("", "", value)
    if key in ("policies", "signing") and "/" not in path and "." not in path:
        return value  # the id of a shipped one
    return f"{head}{separator}{folder / path}"


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise PolicyError([Problem(str(file), 1, 1, f"is larger than {MAX_SIZE} bytes")])
        return content.decode()
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise PolicyError([Problem(str(file), 1, 1, message)]) from None
    except UnicodeDecodeError:
        raise PolicyError([Problem(str(file), 1, 1, "is not UTF-8")]) from None


def _has_table(file: Path) -> bool:
    return file.is_file() and any(line.strip() == TABLE for line in _text(file).splitlines())


def _place(text: str, key: str) -> tuple[int, int]:
    """Return line and column of a key of the table, as tomllib keeps no places."""
    inside = False
    header = 1
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith("["):
            inside = line.strip() == TABLE
            header = number if inside else header
        elif inside and (match := re.match(rf"\s*(?P<key>\"?{re.escape(key)}\"?)\s*=", line)):
            return number, match.start("key") + 1
    return header, 1


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
