"""The hooks that pre-commit is given: what it takes, passes and stops."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ci_systems import HOOKS, ROOT, environment


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with every kind of file, whose hooks are ours with the programs of this environment."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "examples" / "policy-tests", folder / "policies")
    (folder / "waivers.yaml").write_text(
        "schema: rom-builder/waivers/v1\nwaivers:\n  - rule: ROM202\n    reason: it moves to https soon\n"
        "    expires: 2999-12-31\n    approved_by: privacy@example.com\n"
    )
    (folder / "rom-builder.yaml").write_text(
        "schema: rom-builder/config/v1\npolicies: [policies/house.yaml]\n"
    )
    hooks = [{**hook, "language": "system"} for hook in HOOKS]
    config = {"repos": [{"repo": "local", "hooks": hooks}]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *words], check=True, env=environment())


def pre_commit(folder: Path, *hook: str) -> tuple[int, str]:
    git(folder, "add", ".")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", *hook, "--all-files", "--color", "never"],
        cwd=folder,
        env=environment(PRE_COMMIT_HOME=folder.parent / "pre-commit"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_the_hooks_are_what_pre_commit_takes() -> None:
    command = [
        sys.executable,
        "-m",
        "pre_commit",
        "validate-manifest",
        ROOT / ".pre-commit-hooks.yaml",
    ]
    subprocess.run(command, check=True, env=environment())


def test_hooks_run_on_the_files_they_are_for_and_pass(repository: Path) -> None:
    code, output = pre_commit(repository)
    assert code == 0, output
    assert "Skipped" not in output
    assert output.count("Passed") == len(HOOKS)


@pytest.mark.parametrize(
    ("hook", "name", "old", "new", "said"),
    [
        ("policies", "policies/house.yaml", "title:", "titel:", "policies/house.yaml:3:1: unknown"),
        ("policy-tests", "policies/builds.test.yaml", "debuggable=1", "debuggable=0", "FAIL"),
        ("waivers", "waivers.yaml", "2999", "2001", "waivers.yaml:3:5: ROM202 ended on 2001-12-31"),
        ("config", "rom-builder.yaml", "policies:", "polices:", "rom-builder.yaml:2:1: unknown"),
    ],
)
def test_hooks_stop_each_kind_of_mistake(
    repository: Path, hook: str, name: str, old: str, new: str, said: str
) -> None:
    path = repository / name
    path.write_text(path.read_text().replace(old, new))
    code, output = pre_commit(repository, hook)
    assert code == 1
    assert said in output
