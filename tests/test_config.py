"""Settings from a file and the environment: what wins, where it says it comes from, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rom_builder.cli import main
from rom_builder.config import Values
from tests.cases import files_of, load_case
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

HEAD = "schema: rom-builder/config/v1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a ROM that fails, and a working folder in it."""
    (tmp_path / ".git").mkdir()
    write_rom(tmp_path / "work" / "rom", files_of(load_case(FOLDER / "ROM101/bad.yaml")))
    monkeypatch.chdir(tmp_path / "work")
    for key in Values.model_fields:
        monkeypatch.delenv(f"ROM_BUILDER_{key.upper()}", raising=False)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "config", "show", "--format", "json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_file_gives_options_their_default(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "rom-builder.yaml").write_text(
        HEAD + "policies: [messaging-opt-in]\nformat: json\noutputs: [json=out.json]\n"
    )
    assert main(["check", "rom"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "non-compliant"
    assert (here / "out.json").is_file()
    assert main(["check", "rom", "--fail-on", "critical"]) == 0


def test_the_command_line_beats_the_environment_beats_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rom-builder.yaml").write_text(
        HEAD + "policies: [messaging-opt-in]\nfail_on: critical\n"
    )
    assert main(["check", "rom"]) == 0
    monkeypatch.setenv("ROM_BUILDER_FAIL_ON", "error")
    assert main(["check", "rom"]) == 1
    monkeypatch.setenv("ROM_BUILDER_CHECK_FAIL_ON", "critical")
    assert main(["check", "rom"]) == 0
    assert main(["check", "rom", "--fail-on", "error"]) == 1


def test_show_names_the_source_of_every_value(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rom-builder.yaml").write_text(HEAD + "waivers:\n  - w.yaml\nfail_on: note\n")
    monkeypatch.setenv("ROM_BUILDER_FAIL_ON", "warning")
    found = shown(capsys)
    assert set(found) == set(Values.model_fields)
    assert found["waivers"] == {
        "value": [str(here / "w.yaml")],
        "source": f"{here}/rom-builder.yaml:2:1",
    }
    assert found["fail_on"] == {"value": "warning", "source": "$ROM_BUILDER_FAIL_ON"}
    assert found["format"] == {"value": "text", "source": "default"}
    assert main(["config", "show"]) == 0
    assert "fail_on         warning  ($ROM_BUILDER_FAIL_ON)" in capsys.readouterr().out


def test_pyproject_has_the_same_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.rom-builder]\npolicies = ["messaging-opt-in", "p/own.yaml"]\n'
    )
    found = shown(capsys)
    assert found["policies"] == {
        "value": ["messaging-opt-in", str(here / "p/own.yaml")],
        "source": f"{here}/pyproject.toml:4:1",
    }


def test_a_file_outside_the_repository_does_not_count(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rom-builder.yaml").write_text(HEAD + "fail_on: critical\n")
    (here / ".git").rmdir()
    assert shown(capsys)["fail_on"]["source"] == "default"
    (here / "work" / ".git").mkdir()
    assert shown(capsys)["fail_on"]["source"] == "default"


def test_a_named_file_and_none_at_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "rom-builder.yaml").write_text(HEAD + "fail_on: critical\n")
    (here / "other.yaml").write_text(HEAD + "fail_on: note\n")
    assert shown(capsys, "--config", "../other.yaml")["fail_on"]["value"] == "note"
    assert shown(capsys, "--isolated")["fail_on"]["source"] == "default"
    assert main(["--isolated", "--config", "x", "config", "show"]) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rom-builder.yaml", HEAD + "fail-on: note\n", "2:1: unknown key 'fail-on'; did you mean"),
        ("rom-builder.yaml", HEAD + "fail_on: high\n", "2:10: 'high' is not one of note"),
        ("rom-builder.yaml", "fail_on: note\n", "missing key 'schema'"),
        ("pyproject.toml", "[tool.rom-builder]\n\nfail-on = 'x'\n", "3:1: unknown key 'fail-on'"),
        ("pyproject.toml", "[tool.rom-builder]\npolicies = 1\n", "2:1: policies: "),
        ("pyproject.toml", "[tool.rom-builder]\npolicies = [\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_read(
    name: str, text: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).write_text(text)
    assert main(["check", "no-such-image", "-p", "messaging-opt-in"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "no-such-image" not in error
    assert main(["check", "--help"]) == 0


def test_a_wrong_variable_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROM_BUILDER_FAIL_ON", "high")
    assert main(["check", "rom", "-p", "messaging-opt-in"]) == 2
    assert "$ROM_BUILDER_FAIL_ON" in capsys.readouterr().err


def test_a_format_another_command_has_does_not_hurt(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rom-builder.yaml").write_text(HEAD + "format: sarif\n")
    assert main(["config", "show"]) == 0
    assert main(["explain", "ROM101"]) == 0
