"""The report as SARIF 2.1.0 (OASIS), for code scanning; within the limits of GitHub's.

Results are the findings to act on. A failed one is of kind ``fail``; one that nobody can decide is
of kind ``open``, whose level the standard fixes as ``none``. What passed is in no result: services
such as GitHub's show every result as an alert.

The physical location of a result is the line of the policy that demands it, since that is the file a
reviewer can open and edit; the place in the image is the logical location and in the message. A
policy outside the repository gives way to the name of the file in the image.

Limits (docs.github.com, SARIF support for code scanning): 5,000 results of a run are shown, 20 tags
a rule, 1,000 locations a result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from rom_builder import __version__
from rom_builder.findings import Evidence, Finding, Link, Location, Report, Severity, Status
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.words import (
    Place,
    demanded_at,
    excuse,
    image_name,
    inside,
    is_open,
    numbered,
    places,
    printable,
    sentence,
    unspoken,
)
from rom_builder.rules import RULES, Rule

HOME = "https://pypi.org/project/rom-builder/"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {
    Severity.CRITICAL: "error",
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "note",
}
SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.ERROR: "8.0",
    Severity.WARNING: "5.0",
    Severity.NOTE: "2.0",
}
"""``security-severity``; GitHub: above 9.0 critical, from 7.0 high, from 4.0 medium."""
MAX_RESULTS = 5000
MAX_NOTICES = 100


@REPORTS.register("sarif")
def as_sarif(report: Report, options: Options = PLAIN) -> str:
    """Return the report as indented SARIF in ASCII, one run; findings beyond 5,000 are counted."""
    run = Run(report, options)
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run.document()]}
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


class Run:
    """One run: the check of one image."""

    def __init__(self, report: Report, options: Options) -> None:
        self.report = report
        self.places = places(report, options)
        self.all = [
            (finding, number)
            for finding, number in numbered(report.findings)
            if is_open(finding) or (options.suppressed and finding.suppression)
        ]
        self.shown = self.all[:MAX_RESULTS]
        known = list(RULES)
        unknown = sorted({f.rule: f for f, _ in self.shown}.keys() - set(known))
        self.rules = {name: index for index, name in enumerate([*known, *unknown])}

    def document(self) -> dict[str, Any]:
        """Return the run."""
        return {
            "tool": {"driver": self.driver()},
            "automationDetails": {"id": category(self.report)},
            "originalUriBaseIds": {
                "ROOT": {"description": {"text": "The repository that holds the policies."}}
            },
            "columnKind": "unicodeCodePoints",
            "artifacts": list(self.artifacts()),
            "invocations": [
                {"executionSuccessful": True, "toolExecutionNotifications": list(self.notices())}
            ],
            "properties": {
                "verdict": str(self.report.verdict),
                "policies": [identifier for identifier, _ in self.report.policies],
            },
            "results": [self.result(finding, number) for finding, number in self.shown],
        }

    def driver(self) -> dict[str, Any]:
        """Return the tool with all its rules, those without a result included: alerts then close."""
        return {
            "name": "rom-builder",
            "version": __version__,
            "semanticVersion": __version__,
            "informationUri": HOME,
            "rules": [
                described(RULES[name]) if name in RULES else {"id": name} for name in self.rules
            ],
        }

    def artifacts(self) -> Iterator[dict[str, Any]]:
        """Yield the image, then each file of it that a result speaks of."""
        image = self.report.image
        found: dict[str, Any] = {
            "location": {"uri": quoted(image_name(self.report))},
            "roles": ["analysisTarget"],
            "description": {"text": braced(printable(f"{image.kind} {image.description}".strip()))},
        }
        if not image.kind.startswith(("folder", "unpacked")):
            found["hashes"] = {"sha-256": image.sha256}
        yield found
        for path in sorted({f.location.path for f, _ in self.shown} - {""}):
            yield {"location": {"uri": self.uri(path)}, "parentIndex": 0}

    def notices(self) -> Iterator[dict[str, Any]]:
        """Yield what the results leave out: parts not read, demands without an answer, the rest."""
        texts = [f"not read: {part.path}: {part.reason}" for part in self.report.unread]
        texts += [
            f"{requirement.service or 'the ROM'}: no rule answered {requirement.name}"
            for requirement in unspoken(self.report)
        ]
        if len(texts) > MAX_NOTICES:
            texts[MAX_NOTICES:] = [f"and {len(texts) - MAX_NOTICES} more like these"]
        if len(self.all) > len(self.shown):
            left = len(self.all) - len(self.shown)
            texts.insert(0, f"{left} findings of the lowest severity were left out")
        for text in texts:
            yield {"level": "warning", "message": message(text)}

    def result(self, finding: Finding, number: int) -> dict[str, Any]:
        """Return one finding, the ``number``-th of its fingerprint."""
        failed = finding.status is Status.FAIL
        place = demanded_at(finding, self.places)
        where = inside(self.report, finding.location)
        found: dict[str, Any] = {
            "ruleId": finding.rule,
            "ruleIndex": self.rules[finding.rule],
            "kind": "fail" if failed else "open",
            "level": LEVELS[finding.severity] if failed else "none",
            "message": message(f"{sentence(finding)} ({where}). Fix: {finding.fix}."),
            "locations": [
                {
                    "physicalLocation": self.physical(finding.location, place),
                    "logicalLocations": [{"fullyQualifiedName": where, "kind": "resource"}],
                }
            ],
            "relatedLocations": [
                self.related(index, evidence.location, evidence.text)
                for index, evidence in enumerate(finding.evidence, 1)
            ],
            "partialFingerprints": {
                "romFinding/v1": finding.fingerprint,
                "primaryLocationLineHash": f"{finding.fingerprint}:{number}",
            },
            "properties": {
                "service": finding.service,
                "requirement": finding.requirement,
                "layer": str(finding.layer),
                "status": str(finding.status),
            },
        }
        flows = [self.flow(evidence) for evidence in finding.evidence if evidence.chain]
        if flows:
            found["codeFlows"] = flows
        if finding.suppression is not None:
            found["suppressions"] = [
                {
                    "kind": "external",
                    "status": "accepted",
                    "justification": excuse(finding.suppression),
                }
            ]
        return found

    def related(self, index: int, location: Location, text: str) -> dict[str, Any]:
        """Return one observation."""
        return {
            "id": index,
            "physicalLocation": self.inner(location),
            "message": message(text),
        }

    def flow(self, evidence: Evidence) -> dict[str, Any]:
        """Return the places that led to a value, in the order in which the device applies them."""
        steps: Iterable[Link] = evidence.chain
        return {
            "message": message(evidence.text),
            "threadFlows": [
                {
                    "locations": [
                        {
                            "location": {
                                "physicalLocation": self.inner(step.location),
                                "message": message(step.text),
                            }
                        }
                        for step in steps
                    ]
                }
            ],
        }

    def physical(self, location: Location, place: Place | None = None) -> dict[str, Any]:
        """Return where a result is shown: in the repository, or in the image; always with a line."""
        if place is None:
            found = self.inner(location)
            return {**found, "region": {"startLine": location.line or 1}}
        return {
            "artifactLocation": {"uri": quoted(place.path), "uriBaseId": "ROOT"},
            "region": {"startLine": place.line, "startColumn": place.column},
        }

    def inner(self, location: Location) -> dict[str, Any]:
        """Return a place in the image."""
        found: dict[str, Any] = {"artifactLocation": {"uri": self.uri(location.path)}}
        if location.line is not None:
            found["region"] = {"startLine": location.line}
        elif location.offset is not None:
            found["region"] = {"byteOffset": location.offset}
        return found

    def uri(self, path: str) -> str:
        """Name a file of the image, relative: GitHub refuses a result without such a name."""
        name = image_name(self.report)
        return quoted(f"{name}/{path}" if path else name)


def described(rule: Rule) -> dict[str, Any]:
    """Return a rule with all that SARIF viewers show of it."""
    name = "".join(part.capitalize() for part in rule.alias.split("-"))
    references = "; ".join(rule.references)
    return {
        "id": rule.id,
        "name": name,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": " ".join(rule.explanation.split("\n\n")[0].split())},
        "help": {
            "text": f"{rule.explanation}\n\nFix: {rule.fix}.\n\nReferences: {references}",
            "markdown": f"{rule.explanation}\n\n**Fix:** {rule.fix}.\n\n**References:** {references}",
        },
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {
            "tags": ["security", "privacy", rule.requirement.partition(".")[0]],
            "precision": "very-high",
            "problem.severity": {"note": "recommendation"}.get(
                LEVELS[rule.severity], LEVELS[rule.severity]
            ),
            "security-severity": SCORES[rule.severity],
        },
    }


def category(report: Report) -> str:
    """Return what tells this run from those on other images and policies.

    GitHub closes the alerts of a category that its newest run does not repeat.
    """
    fingerprint = re.fullmatch(r"[^/]+/[^/]+/([^/:]+)[:/].*", report.image.description)
    device = fingerprint[1] if fingerprint else image_name(report)
    policies = "+".join(identifier for identifier, _ in report.policies)
    parts = (re.sub(r"[^A-Za-z0-9._+-]", "-", part) or "-" for part in (device, policies))
    return f"rom-builder/{'/'.join(parts)}/"


def message(text: str) -> dict[str, str]:
    """Return a message without what SARIF would read as a link or a placeholder."""
    return {"text": braced(printable(text)).replace("[", "\\[").replace("]", "\\]")}


def braced(text: str) -> str:
    """Double braces: a single one begins a placeholder (SARIF 2.1.0, 3.11.5)."""
    return text.replace("{", "{{").replace("}", "}}")


def quoted(path: str) -> str:
    """Return a name as a relative URI.

    >>> quoted("ota.zip/system/app/X.apk!/a b")
    'ota.zip/system/app/X.apk%21/a%20b'
    """
    return quote(path.encode(errors="surrogatepass"), safe="/")
