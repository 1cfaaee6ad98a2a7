"""Whatever joins a room brings its documentation, its cases and its tests along."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from rom_builder.mechanisms import MECHANISMS
from rom_builder.reports import REPORTS
from rom_builder.rules import RULES
from rom_builder.signers import REGISTRY as SIGNERS
from tests.cases import load_case

TESTS = Path(__file__).parent
FORMATS = TESTS.parent / "rom_builder" / "formats"
NEVER_FAIL = {"ROM901", "ROM902"}
"""Rules that answer unknown where others fail."""
CLEAN = {"pass", "silent", "attested", "not-applicable"}
PLAIN_VALUES = {"source", "tree"}
"""Modules of ``formats`` that read no format."""


def cases_of(rule: str, kind: str) -> dict[str, set[str]]:
    """Statuses that each case of a rule expects of it, by file name."""
    return {
        path.name: {e["status"] for e in load_case(path)["expect"] if e["rule"] == rule}
        for path in sorted((TESTS / "rules" / rule).glob(f"{kind}*.yaml"))
    }


@pytest.mark.parametrize("name", RULES)
def test_a_rule_explains_itself(name: str) -> None:
    rule = RULES[name]
    assert rule.id == name
    assert re.fullmatch(r"ROM[1-59]\d\d", name)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.alias)
    assert len(rule.explanation) > 60
    assert rule.explanation.splitlines()[0].endswith(".")
    assert not rule.title.endswith(".")
    assert rule.fix
    assert rule.references
    assert all(rule.references)


def test_no_two_rules_share_an_alias() -> None:
    assert len({rule.alias for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_a_good_a_bad_and_an_absent_case(name: str) -> None:
    good, bad, absent = (cases_of(name, kind) for kind in ("good", "bad", "absent"))
    assert good
    assert bad
    assert absent
    for file, statuses in good.items():
        assert statuses <= CLEAN, file
    for file, statuses in bad.items():
        assert "fail" in statuses or (name in NEVER_FAIL and "unknown" in statuses), file
    for file, statuses in absent.items():
        assert statuses & {"unknown", "not-applicable", "silent"}, file


def test_every_case_belongs_to_a_rule() -> None:
    folders = {path.parent.name for path in (TESTS / "rules").glob("*/*.yaml")}
    assert folders == set(RULES)
    kinds = {path.stem.partition("-")[0] for path in (TESTS / "rules").glob("*/*.yaml")}
    assert kinds == {"good", "bad", "absent"}


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_is_documented_and_tested_both_ways(name: str) -> None:
    mechanism = MECHANISMS[name]
    assert inspect.getdoc(type(mechanism))
    assert inspect.getdoc(mechanism.options)
    for option, field in mechanism.options.model_fields.items():
        assert field.description or option == "attribute", option
    text = (TESTS / "mechanisms" / f"test_{name.replace('-', '_')}.py").read_text()
    assert ".found()" in text or ".read()" in text
    assert ".render(" in text
    assert "what_is_rendered" in text
    assert "APKS" in text or "SAMPLE" in text, "no sample that our writers did not make"


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_documented_and_tested(name: str) -> None:
    assert inspect.getdoc(REPORTS[name])
    assert (TESTS / "reports" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", SIGNERS)
def test_a_signer_is_documented_and_tested(name: str) -> None:
    assert inspect.getdoc(SIGNERS[name])
    texts = [path.read_text() for path in (TESTS / "signers").glob("test_*.py")]
    assert any(f"{name}:" in text for text in texts)


def imports(path: Path) -> set[str]:
    """Modules of ``formats`` that a file imports, ``axml`` or ``erofs.inode``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {node.module, *named}
    prefix = "rom_builder.formats."
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}


def modules() -> dict[str, Path]:
    """Every module of ``formats`` by its dotted name there; a package is its ``__init__``."""
    found = {}
    for path in sorted(FORMATS.rglob("*.py")):
        parts = path.relative_to(FORMATS).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and name not in PLAIN_VALUES:
            found[name] = path
    return found


MODULES = modules()


@pytest.fixture(scope="module")
def tested() -> set[str]:
    """Modules that a test imports, and those that these are made of."""
    todo = {name for path in TESTS.rglob("*.py") for name in imports(path)}
    done: set[str] = set()
    while todo:
        name = todo.pop()
        done.add(name)
        place = FORMATS / name.replace(".", "/")
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            todo |= (imports(path) if path.is_file() else set()) - done
    return done


@pytest.mark.parametrize("module", MODULES)
def test_a_format_is_documented_and_tested(module: str, tested: set[str]) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert module in tested
