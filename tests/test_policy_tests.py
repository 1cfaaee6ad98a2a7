"""``policy test``: cases that pass, cases that do not, what is refused before any is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lxml import etree

from rom_builder.cli import main
from tests.cases import TODAY
from tests.fixtures.make_apks import APKS

POLICY = """
schema: rom-builder/policy/v1
id: house
title: The house's policy
rom: {debuggable: forbidden}
"""
TESTS = """
schema: rom-builder/policy-test/v1
policies: [house.yaml]
cases:
  - name: a user build
    files:
      system/build.prop: "ro.build.version.sdk=29\\nro.debuggable=0\\n"
      /system/app/Messaging/Messaging.apk: {from: messaging.apk}
    expect:
      - {rule: debuggable-build, status: pass}
      - {rule: ROM401, status: silent}
    verdict: compliant
  - name: a debuggable build
    like: a user build
    files:
      system/build.prop: {replace: {debuggable=0: debuggable=1}}
    expect:
      - {rule: ROM501, status: fail, severity: error, message: is debuggable}
    verdict: non-compliant
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "house.yaml").write_text(POLICY)
    (tmp_path / "a.test.yaml").write_text(TESTS)
    shutil.copy(APKS / "messaging.apk", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cases_as_expected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", "."]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["ok   a user build", "ok   a debuggable build"]
    assert out[-1] == "2 cases, 0 failed"
    assert main(["policy", "test", ".", "--require-coverage"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("status: pass", "status: fail", "a.test.yaml:5: expected ROM501 fail; ROM501 says pass ("),
        (
            "message: is debuggable",
            "message: adb",
            "expected ROM501 fail error adb; ROM501 says fail",
        ),
        ("rule: ROM401, status: silent", "rule: ROM401, status: fail", "ROM401 says nothing"),
        ("verdict: compliant", "verdict: incomplete", "the verdict is compliant, not incomplete"),
        ("from: messaging.apk", "from: gone.apk", "it could not be checked: "),
        ("debuggable=0: ", "debuggable=7: ", "'debuggable=7' is not in it"),
    ],
)
def test_a_case_that_differs_says_how(
    old: str, new: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.test.yaml").write_text(TESTS.replace(old, new, 1))
    assert main(["policy", "test", "a.test.yaml", "--junit", "out.xml"]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert said in out
    root = etree.parse("out.xml").getroot()
    failures = [element for element in root.iter("failure") if said[:20] in (element.text or "")]
    assert failures or said.startswith("a.test")
    assert root.get("tests") == "2"
    assert int(root.get("failures", "0")) >= 1


def test_rules_without_a_passing_or_failing_case_are_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.test.yaml").write_text(TESTS.partition("  - name: a debuggable build")[0])
    assert main(["policy", "test", "."]) == 0
    assert "never seen to fail: ROM501" in capsys.readouterr().out
    assert main(["policy", "test", ".", "--require-coverage"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("like: a user build", "like: a users build", "no earlier case is called 'a users build'"),
        ("name: a debuggable build", "name: a user build", "two cases are called 'a user build'"),
        ("rule: ROM501", "rule: ROM999", "'ROM999' is no rule"),
        ('system/build.prop: "', '../x: "', "'../x' is not the path of a file in a ROM"),
        ("{from: messaging.apk}", "{form: messaging.apk}", "unknown key 'form'"),
        ("like: a user build", "image: x.zip", "has an image, and files or like"),
    ],
)
def test_a_wrong_file_is_refused_before_any_case_runs(
    old: str, new: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.test.yaml").write_text(TESTS.replace(old, new, 1))
    assert main(["policy", "test", "."]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_folder_without_tests_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", str(tmp_path)]) == 2
    assert "holds no file named *.test.yaml" in capsys.readouterr().err


def test_an_image_and_a_day(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rom = folder / "rom" / "system"
    rom.mkdir(parents=True)
    (rom / "build.prop").write_text("ro.debuggable=1\n")
    (folder / "c.test.yaml").write_text(
        "schema: rom-builder/policy-test/v1\npolicies: [house.yaml]\ncases:\n"
        f"  - {{name: a folder, image: rom, today: {TODAY}, verdict: non-compliant}}\n"
    )
    assert main(["policy", "test", "c.test.yaml"]) == 0
