from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rom_builder.cli.policy import policy
from rom_builder.errors import PolicyError
from rom_builder.policy.load import shipped


def run(*arguments: str) -> Result:
    return CliRunner().invoke(policy, arguments, catch_exceptions=True)


def test_validate_names_good_files_and_raises_the_problems_of_all_others(tmp_path: Path) -> None:
    good = str(shipped("policies")["rom-baseline"])
    assert run("validate", good).output == f"{good}: ok\n"
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("schema: rom-builder/policy/v2\n")
    two.write_text("schema: rom-builder/policy/v1\nid: two\ntitle: Two\nrmo: {}\n")
    result = run("validate", str(one), good, str(two))
    assert result.output == f"{good}: ok\n"
    assert isinstance(result.exception, PolicyError)
    assert [(p.file, p.line, p.column) for p in result.exception.problems] == [
        (str(one), 1, 9),
        (str(two), 4, 1),
    ]


def test_show_prints_a_policy_with_its_places() -> None:
    path = shipped("policies")["rom-baseline"]
    output = run("show", "-p", "rom-baseline").output
    assert "rom:\n  public_keys: forbidden  # " in output
    assert f"# {path}:" in output


def test_list_names_what_is_shipped() -> None:
    lines = run("list").output.splitlines()
    assert lines[0] == "policies:"
    assert any(line.split()[0] == "messaging-opt-in" for line in lines[1:])


@pytest.mark.parametrize("kind", ["policy", "profile"])
def test_schema_prints_json(kind: str) -> None:
    schema = json.loads(run("schema", kind).output)
    assert schema["title"] == f"A rom-builder {kind}"
