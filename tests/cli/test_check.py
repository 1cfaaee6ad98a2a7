from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rom_builder.cli import main
from tests.cases import files_of, load_case
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

COMMAND = [sys.executable, "-m", "rom_builder", "check"]
POLICY = ["-p", "messaging-opt-in"]


def rom(folder: Path, case: str, **files: Any) -> str:
    content = files_of(load_case(FOLDER / f"{case}.yaml"))
    return str(write_rom(folder / "rom", {**content, **files}))


@pytest.mark.parametrize(
    ("case", "options", "code"),
    [
        ("reference", [], 0),
        ("ROM101/bad", [], 1),
        ("ROM101/bad", ["--fail-on", "critical"], 0),
        ("ROM101/bad", ["--fail-on", "note"], 1),
        ("ROM101/absent-unset", [], 2),
        ("ROM101/absent-unset", ["--fail-on", "critical"], 2),
    ],
)
def test_exit_codes(
    case: str, options: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", rom(tmp_path, case), *POLICY, *options]) == code
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("verdict: ")
    assert captured.err == ""


def test_an_unread_part_is_never_exit_code_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = rom(tmp_path, "ROM101/bad", **{"/system/app/X.apk": "x"})
    assert main(["check", image, *POLICY, "--fail-on", "critical"]) == 2
    assert main(["check", image, *POLICY]) == 1
    assert "system/app/X.apk" in capsys.readouterr().out


def test_a_warning_fails_on_request_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = rom(tmp_path, "reference", **{"/system/x": "x"})
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "schema: rom-builder/policy/v1\nid: p\ntitle: t\nservices:\n"
        "  - {profile: reference-messaging, consent: {mode: opt-out}}\n"
    )
    service = Path(image) / "system/etc/reference-messaging/service.xml"
    service.write_text(service.read_text().replace('default="off"', 'default="on"'))
    assert main(["check", image, "-p", str(policy)]) == 0
    assert main(["check", image, "-p", str(policy), "--fail-on", "warning"]) == 1
    assert "ROM103" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{rom}"], "Missing option '-p'"),
        (["-p", "messaging-opt-in"], "Missing argument 'IMAGE'"),
        (["{rom}", "-p", "messaging-opt-in", "--nonsense"], "No such option"),
        (["{rom}", "-p", "messaging-opt-in", "--format", "pdf"], "'pdf' is not one of"),
        (["{rom}", "-p", "messaging-opt-in", "--fail-on", "fatal"], "'fatal' is not one of"),
        (["{rom}", "-p", "messaging-opt-in", "--output", "report.json"], "is not FORMAT=PATH"),
        (["{rom}", "-p", "messaging-opt-in", "--output", "json="], "is not FORMAT=PATH"),
        (["{rom}", "-p", "mesaging-opt-in"], "did you mean 'messaging-opt-in'"),
        (["{rom}", "-p", "/nowhere/p.yaml"], "/nowhere/p.yaml"),
        (["{rom}/none", "-p", "messaging-opt-in"], "No such file or directory"),
        (["/dev/null", "-p", "messaging-opt-in"], "neither a file nor a folder"),
        (["{rom}/system/build.prop", "-p", "messaging-opt-in"], "unknown kind"),
        (["{rom}", "-p", "messaging-opt-in", "--output", "json=/nowhere/r.json"], "/nowhere"),
    ],
)
def test_what_could_not_be_done_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = rom(tmp_path, "reference")
    assert main(["check", *(a.replace("{rom}", image) for a in arguments)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_every_problem_of_a_policy_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("schema: rom-builder/policy/v1\nid: P\ntitle: t\nrmo: {}\n")
    assert main(["check", rom(tmp_path, "reference"), "-p", str(policy)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert f"error: {policy}:2:5: " in lines[0]
    assert f"error: {policy}:4:1: " in lines[1]


def test_reports_are_written_beside_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "a=b.json", tmp_path / "report.txt"
    image = rom(tmp_path, "ROM101/bad")
    outputs = ["--output", f"json={one}", "--output", f"text={two}"]
    assert main(["check", image, *POLICY, "--format", "json", *outputs]) == 1
    printed = capsys.readouterr().out
    assert one.read_text() == printed
    assert json.loads(printed)["verdict"] == "non-compliant"
    assert two.read_text().startswith(image)
    assert "\x1b" not in two.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a=b.json", "report.txt", "rom"]


def test_the_day_is_that_of_source_date_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "schema: rom-builder/policy/v1\nid: p\ntitle: t\nservices:\n  - profile: reference-messaging\n"
        "    attested: {retention: {value: none, by: Jane, until: 2026-01-01}}\n"
    )
    image = rom(tmp_path, "reference")
    for epoch, code in (("1767225600", 0), ("1767312000", 2), ("tomorrow", 2)):  # 1, 2 January 2026
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        assert main(["check", image, "-p", str(policy)]) == code
    assert "'tomorrow', not a number of seconds" in capsys.readouterr().err


# What only a process shows


def test_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    image = rom(tmp_path, "ROM101/bad", **{f"/system/app/{i}.apk": "x" for i in range(5)})
    outputs = {
        subprocess.run(
            [*COMMAND, image, *POLICY, "-p", "rom-baseline", "--format", "json"],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1767225600"},
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().endswith(b"}\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    image = rom(tmp_path, "ROM101/bad")
    process = subprocess.Popen(
        [*COMMAND, image, *POLICY, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(30) == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_at_once_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    image = rom(tmp_path, "reference")
    with (Path(image) / "system/big.img").open("wb") as file:
        file.truncate(1 << 40)  # a hole: no space on disk, but hours to digest
    report = tmp_path / "report.json"
    process = subprocess.Popen(
        [*COMMAND, image, *POLICY, "--output", f"json={report}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Shells start background jobs with interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out, err.strip()) == (130, b"", b"error: interrupted")
    assert not report.exists()
