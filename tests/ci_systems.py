"""Scripts that CI systems are given, run as their servers would, with the variables that they set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
"""How GitHub starts the script of a step with ``shell: bash``."""


def environment(**more: object) -> dict[str, str]:
    """The variables of a fresh job, with the programs of this environment on the path."""
    kept = {
        name: os.environ[name] for name in ("HOME", "XDG_DATA_HOME", "LANG") if name in os.environ
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "CI": "true"} | {name: str(value) for name, value in more.items()}


@dataclass(frozen=True)
class Run:
    """What a run of the action left."""

    code: int
    output: str
    summary: str
    outputs: Mapping[str, str] = field(default_factory=dict)


def step_of(name: str) -> dict[str, Any]:
    return next(step for step in ACTION["runs"]["steps"] if step["name"] == name)


def run_step(
    step: Mapping[str, Any],
    inputs: Mapping[str, str],
    workspace: Path,
    temporary: Path,
    **more: str,
) -> Run:
    """Run a step of the action as the runner does, in a checkout."""
    assert inputs.keys() <= ACTION["inputs"].keys()
    values = {
        name: inputs.get(name, said.get("default", "")) for name, said in ACTION["inputs"].items()
    }
    given = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)
        for name, text in step["env"].items()
    }
    temporary.mkdir(exist_ok=True)
    summary, outputs, script = (temporary / name for name in ("summary.md", "outputs", "step.sh"))
    summary.touch()
    outputs.touch()
    script.write_text(step["run"])
    done = subprocess.run(
        [*BASH, script],
        cwd=workspace,
        env=environment(
            GITHUB_ACTIONS="true",
            GITHUB_ACTION_PATH=ROOT,
            GITHUB_WORKSPACE=workspace,
            GITHUB_STEP_SUMMARY=summary,
            GITHUB_OUTPUT=outputs,
            RUNNER_TEMP=temporary,
            **given,
            **more,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    written = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return Run(done.returncode, done.stdout, summary.read_text(), written)


def run_action(workspace: Path, **inputs: str) -> Run:
    """Run the action's second step; this environment stands for the one that the first step makes."""
    temporary = workspace.parent / "runner"
    temporary.mkdir(exist_ok=True)
    if not (temporary / "rom-builder").exists():
        (temporary / "rom-builder").symlink_to(sys.prefix)
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    return run_step(step_of("Check or build"), given, workspace, temporary)


def component(name: str, **inputs: str) -> dict[str, Any]:
    """Return the jobs of a component as GitLab puts the inputs in, which it does before anything runs."""
    text = (ROOT / "templates" / f"{name}.yml").read_text()
    spec, jobs = yaml.safe_load_all(text)
    said = spec["spec"]["inputs"]
    assert inputs.keys() <= said.keys()
    values = {key: inputs.get(key, options.get("default")) for key, options in said.items()}
    assert None not in values.values(), "an input without a value"
    for key, options in said.items():
        assert values[key] in options.get("options", [values[key]])
        assert re.search(options.get("regex", ""), values[key])
    filled = put_in(jobs, values)
    assert isinstance(filled, dict)
    return filled


def put_in(value: object, values: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda match: values[match[1]], value)
    if isinstance(value, list):
        return [put_in(inner, values) for inner in value]
    if isinstance(value, dict):
        return {put_in(key, values): put_in(inner, values) for key, inner in value.items()}
    return value


def run_job(job: Mapping[str, Any], workspace: Path) -> subprocess.CompletedProcess[str]:
    """Run the script of a job as GitLab's runner does; pip finds rom-builder installed."""
    (workspace / "script.sh").write_text("\n".join(job["script"]))
    return subprocess.run(
        [*BASH, "script.sh"],
        cwd=workspace,
        env=environment(
            GITLAB_CI="true", CI_PROJECT_DIR=workspace, PIP_NO_INDEX="1", **job["variables"]
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
