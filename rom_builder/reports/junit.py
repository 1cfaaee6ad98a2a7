"""The report as JUnit XML, which GitLab, Jenkins and Azure show as tests.

One suite a service, one test case a finding; its name stays the same from build to build. What fails
the run is a ``failure``, what nobody can decide an ``error``, what does not apply or was waived is
``skipped``. A failure below ``--fail-on`` is a test that passed, with what was found as its output.
"""

from __future__ import annotations

from typing import TypeAlias

from lxml import etree

from rom_builder.findings import Finding, Report, Requirement, Status
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import (
    Place,
    demanded_at,
    excuse,
    image_name,
    inside,
    numbered,
    places,
    printable,
    sentence,
    unspoken,
    word,
)

ROM = "rom"
"""Suite of what concerns the ROM as a whole."""
COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}
Element: TypeAlias = etree._Element


@REPORTS.register("junit")
def as_junit(report: Report, options: Options = PLAIN) -> str:
    """Return the report as JUnit XML; a test case an answered demand, sorted by service."""
    root = etree.Element("testsuites", name=f"rom-builder {image_name(report)}")
    found = places(report, options)
    cases: dict[str | None, list[Element]] = {r.service: [] for r in report.requirements}
    for finding, number in numbered(report.findings):
        made = case(report, finding, number, demanded_at(finding, found), options)
        cases.setdefault(finding.service, []).append(made)
    for requirement in unspoken(report):
        cases[requirement.service].append(unanswered(requirement))
    for service, made_of in cases.items():
        if made_of:
            suite = etree.SubElement(root, "testsuite", name=printable(service or ROM))
            suite.extend(made_of)
            count(suite)
    count(root)
    data: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=True)
    return data.decode()


def case(
    report: Report, finding: Finding, number: int, place: Place | None, options: Options
) -> Element:
    """Return one finding, the ``number``-th of its fingerprint, as a test case."""
    service = printable(finding.service or ROM)
    again = f" ({number})" if number > 1 else ""
    about = " ".join(part for part in (finding.location.path, finding.selector) if part)
    made = etree.Element(
        "testcase",
        classname=f"{service}.{finding.requirement}",
        name=printable(f"{finding.rule} {finding.alias} {about}".rstrip()) + again,
        time="0",
    )
    if place is not None:
        made.set("file", place.path)
        made.set("line", str(place.line))
    message = sentence(finding)
    if finding.suppression is not None:
        reason = f"{word(finding)}: {excuse(finding.suppression)}"
        etree.SubElement(made, "skipped", message=reason)
    elif finding.status is Status.UNKNOWN:
        outcome(made, "error", message, "unknown", finding, report)
    elif finding.failed and finding.severity >= options.fail_on:
        outcome(made, "failure", message, str(finding.severity), finding, report)
    elif finding.status is Status.NOT_APPLICABLE:
        etree.SubElement(made, "skipped", message=message)
    output = etree.SubElement(made, "system-out")
    said = str(finding.severity) if finding.failed else word(finding)
    output.text = f"{said}: {message}\nfingerprint: {finding.fingerprint}"
    return made


def outcome(
    made: Element, tag: str, message: str, kind: str, finding: Finding, report: Report
) -> None:
    """Add why a test case did not pass, with evidence and remedy."""
    lines = [
        f"{inside(report, evidence.location)}: {printable(evidence.text)}"
        for evidence in finding.evidence
    ]
    body = "\n".join([*lines, f"fix: {printable(finding.fix)}"])
    etree.SubElement(made, tag, message=message, type=kind).text = body


def unanswered(requirement: Requirement) -> Element:
    """Return a demand that no rule answered as a test case."""
    service = printable(requirement.service or ROM)
    made = etree.Element(
        "testcase",
        classname=f"{service}.{requirement.name}",
        name=f"{requirement.name} is answered",
        time="0",
    )
    message = f"no rule answered {requirement.name}"
    etree.SubElement(made, "error", message=message, type="unknown").text = message
    return made


def count(parent: Element) -> None:
    """Set the numbers of tests below an element."""
    parent.set("tests", str(len(parent.findall(".//testcase"))))
    for attribute, tag in COUNTS.items():
        parent.set(attribute, str(len(parent.findall(f".//{tag}"))))
    parent.set("time", "0")
