"""Tests of policies: small ROMs, and what a policy must say of them.

YAML, one file or several in a folder (``*.test.yaml``)::

    schema: rom-builder/policy-test/v1
    policies: [../house.yaml]
    cases:
      - name: off by default
        files:
          system/build.prop: ro.build.version.sdk=34
          system/etc/service.xml: {from: fixtures/service.xml}
        expect:
          - {rule: ROM101, status: pass}
        verdict: compliant
      - name: on by default
        like: off by default
        files:
          system/etc/service.xml: {replace: {'default="off"': 'default="on"'}}
        expect:
          - {rule: ROM101, status: fail, message: on by default}

A case that is ``like`` an earlier one starts from its files and changes some: one known-good ROM, and one
change for each way to fail. ``image`` names a package or an image instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from lxml import etree
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from rom_builder.check import check
from rom_builder.errors import PolicyError, Problem, RomBuilderError
from rom_builder.findings import Finding, Report
from rom_builder.policy.load import Bindings, load_policies
from rom_builder.policy.values import Day, Model, Text, problem_at
from rom_builder.policy.yaml import Document, load_yaml, validate
from rom_builder.reports.junit import count
from rom_builder.reports.text import printable
from rom_builder.rules.rule import rule_names

SUFFIX = ".test.yaml"
"""End of the names of test files that are looked for in folders."""
MAX_FILES = 500
"""Test files that one run takes."""


def _rule(name: str) -> str:
    names = rule_names()
    if name not in names:
        raise PydanticCustomError("rule", "{name} is no rule", {"name": repr(name)})
    return names[name]


def _inside(path: str) -> str:
    pure = PurePosixPath(path.lstrip("/"))
    if not pure.parts or ".." in pure.parts or "\0" in path:
        message = f"{path!r} is not the path of a file in a ROM"
        raise PydanticCustomError("path", "{message}", {"message": message})
    return str(pure)


class FromFile(Model):
    """Content that is copied from a file beside the test."""

    source: Text = Field(alias="from")


class Replaced(Model):
    """Content of the case it is like, with texts replaced; each must occur."""

    replace: dict[str, str] = Field(min_length=1)


def _content(value: Any) -> Any:
    """Let one key decide which kind of content is meant, so that mistakes are told of that kind."""
    if isinstance(value, Mapping) and set(value) != {"from"}:
        return Replaced.model_validate(value)
    return FromFile.model_validate(value) if isinstance(value, Mapping) else value


Content = Annotated[
    str | Literal[False] | FromFile | Replaced,
    BeforeValidator(_content),
    Field(
        description="Text; {from: FILE}; {replace: {OLD: NEW}}; or false: the file is not there."
    ),
]


class Expectation(Model):
    """One finding that the report must have."""

    rule: Annotated[str, AfterValidator(_rule)] = Field(description="Id or alias.")
    status: Literal["pass", "fail", "unknown", "attested", "not-applicable", "silent"] = Field(
        description="Status of the finding; silent: the rule has nothing to say."
    )
    severity: Literal["note", "warning", "error", "critical"] | None = None
    service: Text | None = None
    message: Text | None = Field(default=None, description="Part of its message.")


class Case(Model):
    """One ROM and what must be said of it."""

    name: Text
    like: Text | None = Field(default=None, description="Name of an earlier case to start from.")
    image: Text | None = Field(default=None, description="A package, an image or a folder.")
    files: dict[Annotated[str, AfterValidator(_inside)], Content] = Field(
        default={}, description="Files of the ROM by path."
    )
    today: Day | None = Field(default=None, description="Day on which dates are judged.")
    expect: tuple[Expectation, ...] = Field(default=(), description="Findings, one each.")
    verdict: Literal["compliant", "non-compliant", "incomplete"] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Any:
        if not self.expect and self.verdict is None:
            raise PydanticCustomError("nothing", "expects nothing: give expect or verdict")
        if self.image is not None and (self.files or self.like):
            raise PydanticCustomError("both", "has an image, and files or like: give one")
        if self.image is None and not self.files and self.like is None:
            raise PydanticCustomError("none", "has no ROM: give files, like or image")
        return self


class TestFile(Model):
    """One file of tests."""

    __test__ = False

    version: Literal["rom-builder/policy-test/v1"] = Field(alias="schema")
    policies: tuple[Text, ...] = Field(min_length=1, description="Files, or ids of shipped ones.")
    cases: tuple[Case, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Any:
        known: set[str] = set()
        for index, case in enumerate(self.cases):
            if case.like is not None and case.like not in known:
                message = f"no earlier case is called {case.like!r}"
                raise problem_at(("cases", index, "like"), case.like, message)
            if case.name in known:
                message = f"two cases are called {case.name!r}"
                raise problem_at(("cases", index, "name"), case.name, message)
            known.add(case.name)
        return self


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case.

    Attributes:
        name: The case's.
        file: Its file, as the user gave it.
        line: Where it starts there.
        differences: What is not as expected; empty if all is.
        said: Rule and status of each finding of its report.
    """

    name: str
    file: str
    line: int
    differences: tuple[str, ...]
    said: frozenset[tuple[str, str]]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Coverage:
    """Rules that the policies ask, and whether a case shows each of them pass and fail."""

    never_passed: tuple[str, ...]
    never_failed: tuple[str, ...]


def find_tests(paths: Sequence[Path]) -> list[Path]:
    """Return the test files among paths and in folders.

    Raises:
        PolicyError: A folder holds none, or there are too many.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not inside:
            raise PolicyError([Problem(str(path), 1, 1, f"holds no file named *{SUFFIX}")])
        found += inside
    if len(found) > MAX_FILES:
        raise PolicyError([Problem(str(paths[0]), 1, 1, f"more than {MAX_FILES} test files")])
    return list(dict.fromkeys(found))


def run_tests(
    paths: Sequence[Path], bindings: Bindings, today: date
) -> tuple[list[Outcome], Coverage]:
    """Run test files.

    Args:
        paths: Files and folders.
        bindings: What mechanisms of profiles take.
        today: Day on which dates are judged where a case names none.

    Raises:
        PolicyError: A file is wrong: every problem of every file, before any case is run.
    """
    loaded: list[tuple[Path, Document, TestFile]] = []
    problems: list[Problem] = []
    for path in find_tests(paths):
        try:
            document = load_yaml(path)
            loaded.append((path, document, validate(TestFile, document)))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    outcomes = [
        outcome for path, document, tests in loaded
        for outcome in run_file(path, document, tests, bindings, today)
    ]  # fmt: skip
    return outcomes, coverage(outcomes)


def run_file(
    path: Path, document: Document, tests: TestFile, bindings: Bindings, today: date
) -> Iterator[Outcome]:
    """Run the cases of one file."""
    refs = [ref if is_id(ref) else str(path.parent / ref) for ref in tests.policies]
    policies = load_policies(refs, bindings)
    known: dict[str, dict[str, bytes]] = {}
    for index, case in enumerate(tests.cases):
        line, _ = document.position(("cases", index))
        said: frozenset[tuple[str, str]] = frozenset()
        with tempfile.TemporaryDirectory(prefix="rom-builder-test-") as folder:
            try:
                if case.image is None:
                    image = Path(folder)
                    known[case.name] = files_of(case, known.get(case.like or "", {}), path.parent)
                    write_files(image, known[case.name])
                else:
                    image = path.parent / case.image
                report = check(image, policies, today=case.today or today)
            except (RomBuilderError, OSError) as error:
                differences: tuple[str, ...] = (f"it could not be checked: {error}",)
                known.setdefault(case.name, {})
            else:
                differences = tuple(differing(case, report))
                said = frozenset((f.rule, str(f.status)) for f in report.findings)
        yield Outcome(case.name, document.file, line, differences, said)


def is_id(ref: str) -> bool:
    """Say whether a policy is named by its id, not by a file."""
    return "/" not in ref and "." not in ref


def files_of(case: Case, before: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """Return the files of a case.

    Raises:
        RomBuilderError: A text that is to be replaced is not there.
        OSError: A file beside the test cannot be read.
    """
    files = dict(before)
    for name, content in case.files.items():
        match content:
            case str():
                files[name] = content.encode()
            case False:
                files.pop(name, None)
            case FromFile():
                files[name] = (folder / content.source).read_bytes()
            case Replaced():
                files[name] = replaced(name, files.get(name), content.replace)
    return files


def replaced(name: str, data: bytes | None, texts: Mapping[str, str]) -> bytes:
    """Replace texts in a file of the case before."""
    if data is None:
        raise RomBuilderError(f"{name}: there is no such file to replace a text in")
    for old, new in texts.items():
        if old.encode() not in data:
            raise RomBuilderError(f"{name}: {old!r} is not in it")
        data = data.replace(old.encode(), new.encode())
    return data


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a case below a folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def differing(case: Case, report: Report) -> Iterator[str]:
    """Yield what a report says otherwise than a case expects."""
    left = list(report.findings)
    for wanted in case.expect:
        about = [f for f in report.findings if f.rule == wanted.rule]
        if wanted.status == "silent":
            for finding in about:
                yield f"{wanted.rule} should be silent, but says {told(finding)}"
            continue
        match = next((f for f in left if fits(wanted, f)), None)
        if match is not None:
            left.remove(match)
            continue
        said = "; ".join(map(told, about)) or "nothing"
        details = (wanted.severity, wanted.service, wanted.message)
        shown = " ".join(filter(None, (wanted.rule, wanted.status, *details)))
        yield f"expected {shown}; {wanted.rule} says {said}"
    if case.verdict is not None and str(report.verdict) != case.verdict:
        grave = (
            "; ".join(f"{f.rule} {told(f)}" for f in report.findings if f.failed) or "no failure"
        )
        unread = "".join(f"; not read: {part.path}: {part.reason}" for part in report.unread[:3])
        yield f"the verdict is {report.verdict}, not {case.verdict} ({grave}{unread})"


def fits(wanted: Expectation, finding: Finding) -> bool:
    """Return whether a finding is the one that is expected."""
    return (
        finding.rule == wanted.rule
        and str(finding.status) == wanted.status
        and wanted.severity in (None, str(finding.severity))
        and wanted.service in (None, finding.service)
        and (wanted.message is None or wanted.message in finding.message)
    )


def told(finding: Finding) -> str:
    """Say a finding in a few words."""
    return f"{finding.status} ({finding.message})"


def coverage(outcomes: Sequence[Outcome]) -> Coverage:
    """Return which rules that spoke at all were never seen to pass, or to fail, in a case that passed."""
    said = {pair for outcome in outcomes if outcome.passed for pair in outcome.said}
    spoke = sorted({rule for outcome in outcomes for rule, _ in outcome.said})
    return Coverage(
        tuple(r for r in spoke if not {(r, "pass"), (r, "attested")} & said),
        tuple(r for r in spoke if not {(r, "fail"), (r, "unknown")} & said),
    )


def as_junit(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as JUnit XML, a suite for each file."""
    root = etree.Element("testsuites", name="rom-builder policy test")
    suites: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.file not in suites:
            suites[outcome.file] = etree.SubElement(root, "testsuite", name=printable(outcome.file))
        case = etree.SubElement(
            suites[outcome.file],
            "testcase",
            classname=printable(outcome.file),
            name=printable(outcome.name),
            file=printable(outcome.file),
            line=str(outcome.line),
            time="0",
        )
        if outcome.differences:
            text = printable_lines(outcome.differences)
            etree.SubElement(case, "failure", message=text.partition("\n")[0]).text = text
    for element in (*suites.values(), root):
        count(element)
    data: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=True)
    return data.decode()


def printable_lines(lines: Sequence[str]) -> str:
    """Join lines, each without control characters."""
    return "\n".join(map(printable, lines))
