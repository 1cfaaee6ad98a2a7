"""The documentation is true: links lead somewhere, commands parse, excerpts are what is printed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import click
import pytest

from rom_builder.cli import cli, main
from rom_builder.config import ConfigFile, Values
from rom_builder.mechanisms import MECHANISMS, binding_models
from rom_builder.policy.load import shipped, validate_file
from rom_builder.policy.models import (
    Apps,
    Attestation,
    Authorities,
    Consent,
    Data,
    Pin,
    Policy,
    RomPolicy,
    ServicePolicy,
    Transport,
)
from rom_builder.policy.profile import Binding, Profile, Setting, Switch
from rom_builder.policy.values import Model
from rom_builder.policy.yaml import parse_yaml, validate
from rom_builder.policy_tests import TestFile, run_tests
from rom_builder.rules import RULES
from rom_builder.signers import REGISTRY
from rom_builder.signers.profile import load_signing_profile
from rom_builder.waivers.models import WaiverEntry, WaiverFile
from tests.cases import TODAY

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "signing" / "README.md",
    ]
)
OTHER_FILES = {
    "rom-builder/config/v1": ConfigFile,
    "rom-builder/policy-test/v1": TestFile,
    "rom-builder/waivers/v1": WaiverFile,
}
"""Kinds of file that are neither policy nor profile, and their models."""
DEMO_PAGES = ("README.md", "docs/tutorial.md")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command line of a page, in its console blocks and in its prose."""
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                yield words[: words.index(">")] if ">" in words else words
    for line in re.findall(r"`(rom-builder [^`]+)`", page.read_text()):
        yield shlex.split(line)


def output(block: str) -> Iterator[str]:
    """Yield the lines of a console block that are not what is typed."""
    typed = False
    for line in block.splitlines():
        was_typed, typed = typed, (line.startswith("$ ") or typed) and line.endswith("\\")
        if line and not was_typed and not line.startswith("$ "):
            yield line


def anchors(page: Path) -> set[str]:
    """Return the addresses of a page's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parse(words: list[str]) -> None:
    """Parse a command line as click does, without looking for its files.

    Raises:
        click.UsageError: There is no such command, option or choice.
    """
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group):
        context = click.Context(command)
        rest = command.make_parser(context).parse_args(rest)[1] + context.args
        if not rest:
            return
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None  # click has refused what is no command
        command = found
    context = click.Context(command, info_name=words[0])
    values, unused, _ = command.make_parser(context).parse_args(list(rest))
    if unused:
        raise click.UsageError(f"nothing takes {unused}")
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)
        if parameter.required and not value:
            raise click.UsageError(f"{parameter.name} is missing")


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\((\w[\w-]*\.md)\)", index))


@each_page
def test_every_command_is_one_that_click_understands(page: Path) -> None:
    for words in commands(page):
        if words[0] == "make":
            makefile = (ROOT / "Makefile").read_text()
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
        elif words[0] == "rom-builder":
            parse(words[1:])


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate",
        "check rom.zip -p x --formt json",
        "check rom.zip",
        "check rom.zip -p x --fail-on fatal",
        "explain ROM101 ROM102",
        "policy schema rules",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(shlex.split(line))


@each_page
def test_every_rule_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"\bROM\d{3}\b", page.read_text())) <= set(RULES)


@pytest.fixture(scope="module")
def make_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "docs" / "make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_rules_and_mechanisms_are_as_these_are(make_rules: ModuleType) -> None:
    docs = ROOT / "docs"
    fresh = make_rules.pages()
    assert {f"rules/{name}.md" for name in RULES} <= fresh.keys()
    assert {f"mechanisms/{name}.md" for name in MECHANISMS} <= fresh.keys()
    for name, text in fresh.items():
        assert (docs / name).is_file(), "run python docs/make_rules.py"
        assert (docs / name).read_text() == text, f"{name}: run python docs/make_rules.py"
    there = {
        f"{folder}/{p.name}"
        for folder in ("rules", "mechanisms")
        for p in (docs / folder).iterdir()
    }
    assert there <= fresh.keys(), "run python docs/make_rules.py"


def test_docstrings_become_markdown(make_rules: ModuleType) -> None:
    text = "A ``word`` of :class:`~x.Y`::\n\n    as it ``is``\n\n==  ==\na   b\n==  =="
    assert make_rules.markdown(text) == (
        "A `word` of `x.Y`:\n\n    as it ``is``\n\n```text\n==  ==\na   b\n==  ==\n```"
    )


def test_the_page_of_policies_names_every_field() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    models = (Policy, ServicePolicy, Consent, Transport, Data, Apps, RomPolicy, Authorities)
    fields = {field.alias or name for m in models for name, field in m.model_fields.items()}
    assert {field for field in fields if f"`{field}`" not in text} == set()
    inline = {name for model in (Pin, Attestation) for name in model.model_fields}
    assert {field for field in inline if not re.search(rf"\b{field}\b", text)} == set()


def test_the_page_of_profiles_names_every_field_and_every_option_of_every_mechanism() -> None:
    text = (ROOT / "docs" / "profiles.md").read_text()
    fields = {field.alias or name for name, field in Profile.model_fields.items()}
    fields |= (Switch.model_fields.keys() | Setting.model_fields.keys()) - {"binding"}
    assert {field for field in fields if f"`{field}`" not in text} == set()
    for name, mechanism in MECHANISMS.items():
        row = re.search(rf"^\| `{name}` \|(.*)$", text, re.MULTILINE)
        assert row is not None, name
        options = mechanism.options.model_fields.keys() - Binding.model_fields.keys()
        assert {option for option in options if f"`{option}`" not in row[1]} == set(), name


@pytest.mark.parametrize(
    ("page", "model"), [("waivers.md", WaiverEntry), ("configuration.md", Values)]
)
def test_pages_of_files_name_every_key(page: str, model: type[Model]) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert {key for key in model.model_fields if f"| `{key}` |" not in text} == set()


def test_the_pages_of_keys_name_every_signer() -> None:
    for page in ("docs/keys.md", "signing/README.md"):
        text = (ROOT / page).read_text()
        assert {scheme for scheme in REGISTRY if f"| `{scheme}:" not in text} == set()


@each_page
def test_every_example_of_a_file_is_valid(page: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    written: list[Path] = []
    for block in blocks(page, "yaml"):
        kind, name = (re.search(rf"^{key}: (.+)$", block, re.MULTILINE) for key in ("schema", "id"))
        assert kind is not None, block
        if kind[1] in OTHER_FILES:
            validate(OTHER_FILES[kind[1]], parse_yaml(block.encode(), name_of(page)))
            continue
        assert name is not None, block
        folder = tmp_path / "profiles" if "/profile/" in kind[1] else tmp_path
        written.append(folder / f"{name[1]}.yaml")
        written[-1].write_text(block)
    for file in written:
        if "/signing/" in file.read_text():
            assert "ota" in load_signing_profile(file).roles
        else:
            validate_file(file, binding_models())


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that the commands of the demo print, with the baseline asked for as well."""
    folder = tmp_path_factory.mktemp("printed")
    again = ["check", "demo/pine-4118-opt-in.zip", "-p", "messaging-opt-in", "-p", "rom-baseline"]
    text = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(text),
    ):
        patch.chdir(folder)
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        assert main(["demo", "demo"]) == 0
        assert main(again) == 0
    return text.getvalue()


@pytest.mark.parametrize("name", DEMO_PAGES)
def test_excerpts_of_the_demo_are_what_it_prints(name: str, printed: str) -> None:
    lines = set(printed.splitlines())
    for block in blocks(ROOT / name, "console"):
        for line in output(block):
            if "…" in line:
                pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
                assert any(map(pattern.fullmatch, lines)), line
            else:
                assert line in lines, line


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_policies_that_are_named_are_shipped() -> None:
    for page in PAGES:
        for words in commands(page):
            for flag, value in pairwise(words):
                if flag == "-p" and not value.endswith(".yaml"):
                    assert value in {*shipped("policies"), "POLICY"}, (page.name, value)


def test_the_example_of_policy_tests_holds() -> None:
    outcomes, _ = run_tests([ROOT / "examples" / "policy-tests"], binding_models(), TODAY)
    assert [outcome.differences for outcome in outcomes] == [(), ()]
