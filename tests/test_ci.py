"""What CI systems are given: the GitHub action, the GitLab components and the recipes of the page.

Their servers are not here. Shapes are held to the schemas that check-jsonschema carries, and the scripts
are run as the servers would, with the variables that they set.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft7Validator

from tests.ci_systems import (
    ACTION,
    HOOKS,
    ROOT,
    component,
    environment,
    run_action,
    run_job,
    run_step,
    step_of,
)
from tests.file_based import FIXED_APP, write_package
from tests.test_docs import parse

COMPONENTS = ("check", "build")
PAGE = ROOT / "docs" / "ci.md"
PROP = "ro.build.version.sdk=34\nro.debuggable={}\n"
POLICY = """\
schema: rom-builder/policy/v1
id: house
title: What every build of this house owes its users
rom: {debuggable: forbidden}
"""
FIX = f"--replace\n/system/priv-app/Messaging/Messaging.apk={FIXED_APP}"


def faults(document: object, schema: str) -> list[str]:
    return [e.message for e in Draft7Validator(get_builtin_schema(schema)).iter_errors(document)]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout with two ROMs, one of which meets its policy."""
    folder = tmp_path / "workspace"
    for name, value in (("good", 0), ("bad", 1)):
        (folder / name / "system").mkdir(parents=True)
        (folder / name / "system" / "build.prop").write_text(PROP.format(value))
    (folder / "house.yaml").write_text(POLICY)
    return folder


# GitHub


def test_the_action_has_the_shape_that_github_demands() -> None:
    assert faults(ACTION, "vendor.github-actions") == []
    assert faults({**ACTION, "runs": {"using": "composite"}}, "vendor.github-actions") != []


def test_no_input_becomes_part_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
    used = set(re.findall(r"inputs\.([\w-]+)", str(ACTION["runs"])))
    assert used == ACTION["inputs"].keys()


def test_every_output_comes_from_the_script() -> None:
    script = step_of("Check or build")["run"]
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.rom-builder.outputs.{name} }}}}"
        assert f'"{name}=' in script


def test_the_action_installs_its_own_checkout(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rom_builder", tmp_path / "checkout" / "rom_builder")
    runner = tmp_path / "runner"
    venv.create(runner / "rom-builder")
    (site,) = (runner / "rom-builder").glob("lib/python3*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "shared.pth").write_text(
        here + "\n"
    )  # pip, and the libraries that it would have to fetch
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_FORCE_REINSTALL": "1",
        "PIP_NO_DEPS": "1",
    }
    done = run_step(step_of("Install rom-builder"), {}, tmp_path, runner, **offline)
    assert done.code == 0, done.output
    asked = [runner / "rom-builder" / "bin" / "rom-builder", "policy", "list"]
    said = subprocess.run(asked, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "messaging-opt-in" in said.stdout, said.stderr
    assert (site / "rom_builder" / "_data" / "policies").is_dir()


def test_a_check_that_fails_has_annotations_summary_reports_and_outputs(workspace: Path) -> None:
    run = run_action(workspace, image="bad", policies="house.yaml", html="out.html")
    assert run.code == 1
    assert "::error file=house.yaml,line=4," in run.output
    assert "ROM501" in run.summary
    assert run.outputs == {
        "exit-code": "1",
        "verdict": "non-compliant",
        "findings": "1",
        "sarif": "rom-builder.sarif",
        "html": "out.html",
    }
    sarif = json.loads((workspace / "rom-builder.sarif").read_text())
    assert [result["ruleId"] for result in sarif["runs"][0]["results"]] == ["ROM501"]
    assert "ROM501" in (workspace / "out.html").read_text()


def test_a_check_that_passes_says_so(workspace: Path) -> None:
    run = run_action(workspace, image="good", policies="house.yaml", sarif="", html="")
    assert (run.code, run.outputs) == (
        0,
        {"exit-code": "0", "verdict": "compliant", "findings": "0"},
    )
    assert sorted(path.name for path in workspace.iterdir()) == ["bad", "good", "house.yaml"]


def test_a_check_that_cannot_be_done_leaves_no_verdict_and_no_old_report(workspace: Path) -> None:
    run_action(workspace, image="good", policies="house.yaml")
    (workspace / "runner").unlink(missing_ok=True)
    (workspace.parent / "runner" / "outputs").unlink()
    (workspace / "house.yaml").write_text(POLICY.replace("forbidden", "forbiden"))
    run = run_action(workspace, image="good", policies="house.yaml")
    assert (run.code, run.outputs) == (2, {"exit-code": "2"})
    assert "house.yaml:4:" in run.output
    assert not (workspace / "rom-builder.sarif").exists()


def test_lists_and_the_configuration_of_the_repository_count(workspace: Path) -> None:
    waived = "schema: rom-builder/waivers/v1\nwaivers:\n- {rule: ROM501, reason: a build for the laboratory, "
    (workspace / "w.yaml").write_text(
        waived + "expires: 2999-12-31, approved_by: me@example.com}\n"
    )
    (workspace / "rom-builder.yaml").write_text(
        "schema: rom-builder/config/v1\npolicies: [house.yaml]\n"
    )
    run = run_action(workspace, image="bad", waivers="w.yaml\n", arguments="--show-waived\n")
    assert (run.code, run.outputs["findings"]) == (0, "0")
    sarif = json.loads((workspace / "rom-builder.sarif").read_text())
    assert sarif["runs"][0]["results"][0]["suppressions"]
    run = run_action(
        workspace, image="bad", policies="house.yaml\n\nrom-baseline", fail_on="critical"
    )
    assert run.code == 2  # nothing critical failed, but this ROM shows no signature
    assert run.outputs["verdict"] == "non-compliant"


def test_names_are_names_and_no_commands(workspace: Path) -> None:
    name = "$(touch made); touch made #"
    (workspace / "bad").rename(workspace / name)
    run = run_action(workspace, image=name, policies="house.yaml", html="`touch made`.html")
    assert (run.code, run.outputs["html"]) == (1, "`touch made`.html")
    assert run_action(workspace, image="--help", policies="house.yaml").code == 2
    assert not (workspace / "made").exists()


def test_the_action_tries_the_keys_and_builds(workspace: Path) -> None:
    write_package(workspace / "base.zip")
    asked = {"image": "base.zip", "policies": "messaging-opt-in", "package": "ota.zip"}
    run = run_action(workspace, **asked, signing="dev", arguments=FIX)
    assert run.code == 0, run.output
    assert "ota: ready" in run.output
    assert (run.outputs["verdict"], run.outputs["package"]) == ("compliant", "ota.zip")
    assert (workspace / "ota.zip").exists()


def test_the_action_shows_no_package_that_was_not_written(workspace: Path) -> None:
    write_package(workspace / "base.zip")
    asked = {"image": "base.zip", "policies": "messaging-opt-in", "package": "ota.zip"}
    refused = run_action(workspace, **asked, signing="dev")
    assert (refused.code, refused.outputs["verdict"]) == (1, "non-compliant")
    keyless = run_action(workspace, **asked, signing="missing.yaml", arguments=FIX)
    assert keyless.code == 2
    assert "missing.yaml" in keyless.output
    assert "package" not in refused.outputs.keys() | keyless.outputs.keys()
    assert not (workspace / "ota.zip").exists()


@pytest.mark.judge("shellcheck")
def test_shellcheck_finds_no_fault_in_our_scripts(tmp_path: Path) -> None:
    scripts = [ROOT / ".ci" / name for name in ("run", "venv", "judges")]
    for number, step in enumerate(ACTION["runs"]["steps"]):
        scripts.append(tmp_path / f"step{number}.sh")
        names = "".join(f"export {name}\n" for name in step["env"])
        scripts[-1].write_text(f"#!/usr/bin/env bash\nset -e\n{names}{step['run']}")
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        scripts.append(tmp_path / f"recipe{len(scripts)}.sh")
        scripts[-1].write_text(block)
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# GitLab


@pytest.mark.parametrize("name", COMPONENTS)
def test_components_have_the_shape_that_gitlab_demands(name: str) -> None:
    text = (ROOT / "templates" / f"{name}.yml").read_text()
    spec, jobs = yaml.safe_load_all(text)
    assert faults(spec, "vendor.gitlab-ci") == []
    filled = component(name, image="x.zip", **({"signing": "dev"} if name == "build" else {}))
    assert faults(filled, "vendor.gitlab-ci") == []
    assert faults({"job": {**next(iter(filled.values())), "script": 1}}, "vendor.gitlab-ci") != []
    assert set(re.findall(r"inputs\.(\w+)", str(jobs))) == spec["spec"]["inputs"].keys()
    for line in jobs[next(iter(jobs))]["script"]:
        assert "$[[" not in line  # inputs reach scripts as variables only


def test_the_component_check_leaves_its_reports(workspace: Path) -> None:
    (job,) = component("check", image="bad", policies="house.yaml", job="rom").values()
    done = run_job(job, workspace)
    assert done.returncode == 1, done.stdout
    assert job["artifacts"]["paths"] == ["rom/"]
    quality = json.loads((workspace / job["artifacts"]["reports"]["codequality"]).read_text())
    assert [(issue["check_name"], issue["location"]["path"]) for issue in quality] == [
        ("ROM501", "house.yaml")
    ]
    assert "<failure" in (workspace / job["artifacts"]["reports"]["junit"]).read_text()
    assert (workspace / "rom" / "report.html").exists()


def test_the_component_check_passes_what_passes(workspace: Path) -> None:
    (job,) = component("check", image="good", policies="house.yaml").values()
    assert run_job(job, workspace).returncode == 0


def test_the_component_build_tries_the_keys_and_builds(workspace: Path) -> None:
    write_package(workspace / "base.zip")
    asked = {"image": "base.zip", "policies": "house.yaml", "signing": "dev"}
    (job,) = component("build", **asked).values()
    done = run_job(job, workspace)
    assert done.returncode == 0, done.stdout
    assert "ota: ready" in done.stdout
    assert "<testcase" in (workspace / job["artifacts"]["reports"]["junit"]).read_text()
    assert (workspace / "rom-build" / "ota.zip").exists()


# The page


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def recipe(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    return {"on" if key is True else key: value for key, value in document.items()}  # YAML 1.1


def test_the_recipes_of_the_page_have_the_shape_that_each_system_demands() -> None:
    documents = [recipe(block) for block in blocks("yml")]
    workflows = [document for document in documents if "jobs" in document]
    pipelines = [document for document in documents if {"include", "rom-check"} & document.keys()]
    (azure,) = (document for document in documents if "steps" in document)
    (hooks,) = (document for document in documents if "repos" in document)
    assert len(documents) == len(workflows) + len(pipelines) + 2
    assert len(workflows) == len(pipelines) == 2
    for workflow in workflows:
        assert faults(workflow, "vendor.github-workflows") == []
        (job,) = workflow["jobs"].values()
        (ours,) = (step for step in job["steps"] if "rom-builder@" in step.get("uses", ""))
        assert ours["with"].keys() <= ACTION["inputs"].keys()
        used = set(re.findall(r"steps\.rom\.outputs\.([\w-]+)", str(job)))
        assert used <= ACTION["outputs"].keys()
    for pipeline in pipelines:
        assert faults(pipeline, "vendor.gitlab-ci") == []
        for included in pipeline.get("include", []):
            name = re.fullmatch(r".*/rom-builder/(\w+)@v[\d.]+", included["component"])
            assert name is not None
            component(name[1], **included["inputs"])
    assert faults(azure, "vendor.azure-pipelines") == []
    assert [hook["id"] for hook in hooks["repos"][0]["hooks"]] == [hook["id"] for hook in HOOKS]


def test_the_page_names_every_input_output_and_hook() -> None:
    rows = set(
        re.findall(r"`([\w-]+)`", " ".join(re.findall(r"^\| (.*?) \|", PAGE.read_text(), re.M)))
    )
    named = {*ACTION["inputs"], *ACTION["outputs"], *(hook["id"] for hook in HOOKS)}
    assert named <= rows


@pytest.mark.parametrize(
    ("rom", "code", "said"), [("good", 0, "compliant\n"), ("bad", 1, "findings")]
)
def test_the_recipe_for_any_other_system_runs(
    workspace: Path, rom: str, code: int, said: str
) -> None:
    (script,) = blocks("sh")
    (workspace / ".rom-builder").symlink_to(sys.prefix)
    script = script.replace(
        "python3 -m venv .rom-builder\n", ""
    )  # it is there, with rom-builder in it
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=workspace,
        env=environment(ROM_IMAGE=rom, ROM_BUILDER_POLICIES="house.yaml", PIP_NO_INDEX="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].startswith(said.strip())
    assert (workspace / "report.html").exists()


def test_the_commands_of_the_recipes_are_ones_that_click_understands() -> None:
    lines = [line for text in blocks("yml") for line in strings(yaml.safe_load(text))]
    lines += [line for block in blocks("groovy") for line in re.findall("sh '(.*)'", block)]
    found = [shlex.split(line) for line in lines if line.startswith("rom-builder check ")]
    assert len(found) == 3
    for words in found:
        parse(words[1:])


def strings(value: object) -> Iterator[str]:
    """Yield every text in what a YAML file says."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)
