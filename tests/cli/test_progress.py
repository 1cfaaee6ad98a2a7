from __future__ import annotations

import sys

import pytest

from rom_builder.cli import progress as module
from rom_builder.cli.progress import progress
from rom_builder.rom import silent


def test_nothing_is_shown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as step:
        assert step is silent
        step("reading", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_only_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress() as step:
        step("reading", 1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with progress() as step:
        step("reading [x]", 1, 2)
    shown = capsys.readouterr()
    assert "reading [x]" in shown.err
    assert shown.out == ""


def test_nothing_is_shown_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress() as step:
        assert step is silent
