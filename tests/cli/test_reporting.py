from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rom_builder.cli import main
from rom_builder.cli.reporting import FORMATS, SUMMARY_SIZE
from tests.cases import files_of, load_case
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

POLICY = ["-p", "messaging-opt-in"]


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return str(write_rom(tmp_path / "rom", files_of(load_case(FOLDER / "ROM101" / "bad.yaml"))))


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def test_every_format_is_printed_and_written_alike(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [f"--output={name}={tmp_path / name}.out" for name in FORMATS]
    assert main(["check", bad, *POLICY, *outputs]) == 1
    capsys.readouterr()
    for name in FORMATS:
        assert main(["check", bad, *POLICY, "--format", name]) == 1
        captured = capsys.readouterr()
        assert captured.out == (tmp_path / f"{name}.out").read_text()
        assert captured.err == ""


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["pdf={folder}/a"], "is not FORMAT=PATH with FORMAT one of text, json, sarif"),
        (["json={folder}"], "is a folder"),
        (["json={folder}/none/a"], "there is no folder"),
        (["json={folder}/a", "sarif={folder}/a"], "is named twice"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    outputs: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--output={o.replace('{folder}', str(tmp_path))}" for o in outputs]
    assert main(["check", "/dev/null", *POLICY, *options]) == 2  # the image is worse
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_policies_are_named_from_the_top_of_the_repository(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "repo" / "privacy"
    inner.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    (inner / "p.yaml").write_text(
        "schema: rom-builder/policy/v1\nid: p\ntitle: t\nservices:\n"
        "  - profile: reference-messaging\n    consent:\n      mode: opt-in\n"
    )
    monkeypatch.chdir(inner)
    for policy in ("p.yaml", str(inner / "p.yaml")):
        main(["check", bad, "-p", policy, "--format", "gitlab"])
        paths = {i["location"]["path"] for i in json.loads(capsys.readouterr().out)}
        assert paths == {"privacy/p.yaml"}
    monkeypatch.setenv("CI_PROJECT_DIR", str(inner))
    main(["check", bad, "-p", "p.yaml", "--format", "gitlab"])
    assert {i["location"]["path"] for i in json.loads(capsys.readouterr().out)} == {"p.yaml"}


def test_annotations_come_with_a_summary_of_the_step(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main(["check", bad, *POLICY]) == 1
    assert summary.read_text() == "before\n"
    assert main(["check", bad, *POLICY, "--format", "github"]) == 1
    assert capsys.readouterr().out.count("::error ") > 0
    text = summary.read_text()
    assert text.startswith("before\n## ")
    assert "non-compliant" in text
    summary.write_text("x" * SUMMARY_SIZE)
    assert main(["check", bad, *POLICY, "--format", "github"]) == 1
    assert summary.read_text().endswith(
        "xThe report is too long for a step summary; see its other formats.\n"
    )


@pytest.mark.parametrize(
    ("options", "environment", "colored"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": ""}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--no-color"], {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    options: list[str], environment: dict[str, str], colored: bool, bad: str
) -> None:
    command = [sys.executable, "-m", "rom_builder", "check", bad, *POLICY, *options]
    plain = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        command,
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**plain, "TERM": "xterm", **environment},
    )
    os.close(writer)
    shown = b""
    while True:
        try:
            data = os.read(reader, 1 << 16)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(reader)
    assert process.communicate()[1] == b""
    assert process.returncode == 1
    assert (b"\x1b[" in shown) is colored
