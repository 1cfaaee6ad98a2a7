"""Where a package came from and which policy it met: in-toto statements, signed.

Beside a package lies ``<package>.intoto.jsonl``, one DSSE envelope a line, each an in-toto Statement v1:

- SLSA provenance v1: the base, the policies, the files that were brought, by digest; and what was written
  beside the package.
- A SLSA verification summary v1: this package met these policies.

``policies`` in the summary, by id and digest, is ours: the format has room for one policy only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rom_builder import __version__
from rom_builder.errors import ImageError, SigningError
from rom_builder.findings import Report, Verdict
from rom_builder.formats.dsse import (
    IN_TOTO,
    MAX_SIZE,
    Envelope,
    PublicKey,
    Signature,
    key_id,
    parse_dsse,
)
from rom_builder.policy.load import Policies, SourceFile
from rom_builder.signers.signer import CheckedSigner

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SUMMARY = "https://slsa.dev/verification_summary/v1"
BUILD_TYPE = "urn:rom-builder:build:v1"
SUFFIX = ".intoto.jsonl"
MAX_ENVELOPES = 16

Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file, by name and SHA-256 in hexadecimal digits."""

    name: str
    sha256: str

    @property
    def descriptor(self) -> dict[str, Any]:
        """As an in-toto resource descriptor."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a package was made from.

    Attributes:
        base: The ROM it was made from.
        policies: What it had to meet.
        brought: Files that the user brought, by device path.
        signed_by: Role and SPKI SHA-256 of each key that signed something in it.
        builder: URI of who built it.
        moment: When.
        log_head: SHA-256 of the last line of the signing log once the package was signed; None if
            there is no log.
    """

    base: Artifact
    policies: Policies
    brought: tuple[Artifact, ...]
    signed_by: Mapping[str, str]
    builder: str
    moment: datetime
    log_head: str | None = None


def provenance(
    package: Artifact, origin: Origin, beside: Iterable[Artifact] = ()
) -> dict[str, Any]:
    """Return the statement of where a package came from.

    Args:
        package: The package.
        origin: What it was made from.
        beside: Files written with it, such as its bill of materials.
    """
    internal: dict[str, Any] = {"signedBy": dict(sorted(origin.signed_by.items()))}
    if origin.log_head is not None:
        internal["signingLog"] = {"head": origin.log_head}
    sources = [*origin.policies.policies, *origin.policies.profiles]
    return statement(
        package,
        PROVENANCE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "base": origin.base.name,
                    "policies": [policy.id for policy in origin.policies.policies],
                    "brought": [each.name for each in origin.brought],
                },
                "internalParameters": internal,
                "resolvedDependencies": [
                    origin.base.descriptor,
                    *(source_of(each).descriptor for each in sources),
                    *(each.descriptor for each in origin.brought),
                ],
            },
            "runDetails": {
                "builder": {"id": origin.builder, "version": {"rom-builder": __version__}},
                "metadata": {"finishedOn": stamp(origin.moment)},
                "byproducts": [each.descriptor for each in beside],
            },
        },
    )


def summary(
    package: Artifact, report: Report, policies: Policies, moment: datetime, verifier: str
) -> dict[str, Any]:
    """Return the statement that a package was held to policies, and with what result.

    Args:
        package: The package.
        report: Of the check.
        policies: What it was held to.
        moment: When.
        verifier: URI of who checked.
    """
    passed = report.verdict is Verdict.COMPLIANT
    waived = sorted({f.rule for f in report.findings if f.waived})
    return statement(
        package,
        SUMMARY,
        {
            "verifier": {"id": verifier, "version": {"rom-builder": __version__}},
            "timeVerified": stamp(moment),
            "resourceUri": package.name,
            "policy": source_of(policies.policies[-1]).policy_descriptor,
            "policies": [
                {"id": each.id, "digest": {"sha256": each.sha256}} for each in policies.policies
            ],
            "verificationResult": "PASSED" if passed else "FAILED",
            "verifiedLevels": [
                f"ROM_BUILDER_{each.id.upper().replace('-', '_')}" for each in policies.policies
            ]
            if passed
            else [],
            "waivedRules": waived,
        },
    )


def statement(package: Artifact, kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    """Return an in-toto statement about a package."""
    return {
        "_type": STATEMENT,
        "subject": [package.descriptor],
        "predicateType": kind,
        "predicate": predicate,
    }


@dataclass(frozen=True, slots=True)
class _Source(Artifact):
    @property
    def policy_descriptor(self) -> dict[str, Any]:
        return {"uri": self.name, "digest": {"sha256": self.sha256}}


def source_of(file: SourceFile) -> _Source:
    """Return a policy or profile as an artifact; its path on this machine is nobody's business."""
    return _Source(PurePath(file.path).name, file.sha256)


def stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def attest(document: Mapping[str, Any], signer: CheckedSigner) -> bytes:
    """Return a statement in a signed envelope, one line.

    Raises:
        SigningError: The key fails.
    """
    payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    unsigned = Envelope(IN_TOTO, payload, ())
    signature = signer.sign_digest(unsigned.signed_digest)
    signed = Envelope(IN_TOTO, payload, (Signature(key_id(signer.public_key), signature),))
    signed.verify(signer.public_key)
    return signed.encode()


class _Open(BaseModel):
    """Statements may hold more than is asked of them."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Digests(_Open):
    sha256: Digest


class _Subject(_Open):
    name: str = ""
    digest: _Digests


class _Policy(_Open):
    id: str
    digest: _Digests


class _Summary(_Open):
    verification_result: Annotated[Literal["PASSED", "FAILED"], Field(alias="verificationResult")]
    policies: list[_Policy] = []
    time_verified: Annotated[str, Field(alias="timeVerified")] = ""


class _Details(_Open):
    byproducts: list[_Subject] = []


class _Provenance(_Open):
    run_details: Annotated[_Details, Field(alias="runDetails")]


class _Statement(_Open):
    kind: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=64)]
    predicate_type: Annotated[str, Field(alias="predicateType")]
    predicate: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attested:
    """What the statements beside a package say of it, each signed by the key that was asked for.

    Attributes:
        kinds: Predicate types of the statements that name the package.
        policies: Ids of the policies that it met.
        beside: Digest of each file that was written with it, by name.
    """

    kinds: tuple[str, ...]
    policies: tuple[str, ...]
    beside: Mapping[str, str]


def verify_attestations(data: bytes, package_sha256: str, key: PublicKey) -> Attested:
    """Check the statements beside a package.

    Args:
        data: Envelopes, one a line.
        package_sha256: Digest of the package, in hexadecimal digits.
        key: Whose signature each must have.

    Raises:
        ImageError: A line is no envelope, is not signed by the key, or speaks of another file; or
            no summary says that the package passed.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    if not lines or len(lines) > MAX_ENVELOPES:
        raise ImageError(f"holds {len(lines)} attestations, not 1 to {MAX_ENVELOPES}")
    if len(data) > MAX_SIZE:
        raise ImageError(f"has {len(data)} bytes, more than {MAX_SIZE}")
    kinds: list[str] = []
    policies: list[str] = []
    beside: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            envelope = parse_dsse(line)
            envelope.verify(key)
            said = parsed_statement(envelope)
            if package_sha256 not in {subject.digest.sha256 for subject in said.subject}:
                names = ", ".join(subject.name for subject in said.subject)
                raise ImageError(f"speaks of another file ({names[:200]}), not of this package")
            if said.predicate_type == SUMMARY:
                result = _Summary.model_validate(said.predicate)
                if result.verification_result != "PASSED":
                    raise ImageError("says that the package did not meet its policies")
                policies += [policy.id for policy in result.policies]
            elif said.predicate_type == PROVENANCE:
                details = _Provenance.model_validate(said.predicate).run_details
                beside |= {each.name: each.digest.sha256 for each in details.byproducts}
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ImageError(f"attestation {number}: {where}: {first['msg']}") from None
        except ImageError as error:
            raise ImageError(f"attestation {number}: {error.message}") from None
        kinds.append(said.predicate_type)
    if SUMMARY not in kinds:
        raise ImageError("no attestation says which policies the package met")
    return Attested(tuple(kinds), tuple(dict.fromkeys(policies)), beside)


def parsed_statement(envelope: Envelope) -> _Statement:
    """Return the statement in an envelope.

    Raises:
        ImageError: It holds none.
    """
    if envelope.payload_type != IN_TOTO:
        raise ImageError(f"holds {envelope.payload_type[:80]!r}, no in-toto statement")
    return _Statement.model_validate_json(envelope.payload)


def attestations(
    statements: Sequence[Mapping[str, Any]], signer: CheckedSigner, package_sha256: str
) -> bytes:
    """Return the envelopes of some statements, one a line, read again as a stranger would.

    Raises:
        SigningError: The key fails, or what came out does not verify.
    """
    data = b"".join(attest(each, signer) for each in statements)
    try:
        verify_attestations(data, package_sha256, signer.public_key)
    except ImageError as error:
        raise SigningError(f"the attestations do not hold: {error.message}") from error
    return data
