"""The report as JSON, for programs; its schema is documented in docs/json-report.md."""

from __future__ import annotations

import json
from typing import Any

from rom_builder import __version__
from rom_builder.findings import (
    Evidence,
    Finding,
    Host,
    Location,
    Report,
    Requirement,
    Suppression,
)
from rom_builder.reports import PLAIN, REPORTS, Options

SCHEMA = "rom-builder/report/v1"


@REPORTS.register("json")
def as_json(report: Report, options: Options = PLAIN) -> str:
    """Return the report as indented JSON; the same report gives the same bytes.

    It is ASCII, other characters are escaped: names in an image cannot steer a terminal.
    """
    del options
    document = {
        "schema": SCHEMA,
        "tool": {"name": "rom-builder", "version": __version__},
        "policy": [{"id": identifier, "title": title} for identifier, title in report.policies],
        "image": {
            "path": report.image.path,
            "kind": report.image.kind,
            "sha256": report.image.sha256,
            "description": report.image.description,
        },
        "verdict": str(report.verdict),
        "notes": list(report.notes),
        "requirements": [requirement_of(each) for each in report.requirements],
        "findings": [finding_of(each) for each in report.findings],
        "unread": [{"path": part.path, "reason": part.reason} for part in report.unread],
        "hosts": [host_of(each) for each in report.hosts],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def requirement_of(requirement: Requirement) -> dict[str, Any]:
    """Return one requirement of the matrix."""
    return {
        "service": requirement.service,
        "name": requirement.name,
        "status": str(requirement.status),
        "waived": requirement.waived,
        "layers": {str(layer): str(status) for layer, status in requirement.layers.items()},
        "where": requirement.where,
    }


def finding_of(finding: Finding) -> dict[str, Any]:
    """Return one finding."""
    return {
        "rule": finding.rule,
        "alias": finding.alias,
        "status": str(finding.status),
        "severity": str(finding.severity),
        "service": finding.service,
        "requirement": finding.requirement,
        "layer": str(finding.layer),
        "location": location_of(finding.location),
        "message": finding.message,
        "evidence": [evidence_of(each) for each in finding.evidence],
        "fix": finding.fix,
        "fingerprint": finding.fingerprint,
        "suppression": suppression_of(finding.suppression),
    }


def evidence_of(evidence: Evidence) -> dict[str, Any]:
    """Return one observation."""
    return {
        "location": location_of(evidence.location),
        "text": evidence.text,
        "strength": str(evidence.strength),
        "chain": [
            {"location": location_of(link.location), "text": link.text} for link in evidence.chain
        ],
    }


def suppression_of(suppression: Suppression | None) -> dict[str, Any] | None:
    """Return why a finding does not count, None if it counts."""
    if suppression is None:
        return None
    return {
        "kind": suppression.kind,
        "reason": suppression.reason,
        "approved_by": suppression.approved_by,
        "ticket": suppression.ticket,
        "expires": suppression.expires and suppression.expires.isoformat(),
        "where": suppression.where,
    }


def host_of(host: Host) -> dict[str, Any]:
    """Return how the addresses of one host begin."""
    return {
        "service": host.service,
        "name": host.name,
        "expected": host.expected,
        "strength": str(host.strength),
        "encrypted": host.encrypted,
        "cleartext": host.cleartext,
        "unsure": host.unsure,
    }


def location_of(location: Location) -> dict[str, Any]:
    """Return a place: its path always, offset and line where there is one."""
    place: dict[str, Any] = {"path": location.path, "offset": location.offset}
    if location.line is not None:
        place["line"] = location.line
    return place
