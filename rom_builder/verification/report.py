"""A verification as JSON, for programs; docs/verification.schema.json describes it field by field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from rom_builder import __version__
from rom_builder.keys import DEVELOPMENT, certificate_facts, spki_sha256
from rom_builder.readers.verified_boot import sha1_of
from rom_builder.verification.checks import Check, Verification

SCHEMA = "rom-builder/verification/v1"
VERDICTS = {True: "holds", False: "fails", None: "not-checked"}


@dataclass(frozen=True, slots=True)
class Attestation:
    """What became of the attestations beside a package.

    Attributes:
        key: The key that must have signed them, by the SHA-256 of its SubjectPublicKeyInfo.
        policies: What the package met, by their word.
        faults: What does not hold; empty if all does.
        read: Whether their signatures hold, so that ``policies`` is their word.
    """

    key: str
    policies: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    read: bool = False


@dataclass(frozen=True, slots=True)
class Demands:
    """What a package was held to.

    Attributes:
        certificates: What the device trusts; none if the package's own word was taken.
        avb_keys: Key blobs of which the top vbmeta image must have one; none for any.
        quick: Whether digests and trees of partitions were left out.
    """

    certificates: Sequence[x509.Certificate] = ()
    avb_keys: Sequence[bytes] = ()
    quick: bool = False


def as_json(
    path: str, size: int, found: Verification, demands: Demands, attestation: Attestation | None
) -> str:
    """Return the verification as indented JSON in ASCII; the same one gives the same bytes."""
    document = {
        "schema": SCHEMA,
        "tool": {"name": "rom-builder", "version": __version__},
        "package": {"path": path, "size": size, "sha256": found.sha256},
        "verdict": _verdict(found, attestation),
        "demanded": {
            "certificates": [spki_sha256(each.public_key()) for each in demands.certificates],
            "avb_keys": [sha1_of(each) for each in demands.avb_keys],
            "quick": demands.quick,
        },
        "signer": _signer(found),
        "checks": [_check(each) for each in found.checks],
        "attestation": _attestation(attestation),
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _verdict(found: Verification, attestation: Attestation | None) -> str:
    if found.failed or (attestation is not None and attestation.faults):
        return "invalid"
    return "unknown" if found.unknown else "valid"


def _signer(found: Verification) -> dict[str, object] | None:
    if found.signature is None:
        return None
    facts = certificate_facts(found.signature.certificate, "")
    return {
        "subject": facts.subject,
        "certificate_sha256": facts.cert_sha256,
        "spki_sha256": facts.spki_sha256,
        "weaknesses": list(facts.weaknesses),
        "known_as": list(facts.known.names) if facts.known else [],
        "development": DEVELOPMENT in (facts.subject or ""),
    }


def _check(check: Check) -> dict[str, object]:
    signature = None if check.signature is None else dataclasses.asdict(check.signature)
    return {
        "name": check.name,
        "kind": check.kind,
        "verdict": VERDICTS[check.ok],
        "detail": check.detail,
        "signature": signature,
        "digests": [dataclasses.asdict(each) for each in check.digests],
    }


def _attestation(attestation: Attestation | None) -> dict[str, object] | None:
    if attestation is None:
        return None
    return {
        "key_sha256": attestation.key,
        "policies": list(attestation.policies),
        "verdict": VERDICTS[not attestation.faults],
        "faults": list(attestation.faults),
    }
