"""Rule ROM402: no signature rests on a broken digest or a short key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rom_builder.facts import Facts, SigningCertificate
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.rule import Case, rule

WEAK_DIGESTS = ("MD5", "SHA-1")


@rule(
    "ROM402",
    alias="weak-signature",
    title="No signature rests on MD5 or SHA-1",
    requirement="rom.weak_signatures",
    scope="rom",
    fix="sign again with SHA-256, and replace certificates that make recovery use SHA-1",
    references=("ETSI EN 303 645 5.3-7", "NIST SP 800-131A", "CWE-327", "CWE-328"),
)
def weak_signature(case: Case, facts: Facts) -> Iterator[Finding]:
    """MD5 and SHA-1 signatures can be forged by somebody with enough to gain.

    Recovery takes the digest of a package's signature from the signature algorithm of the trusted
    certificate, so an old certificate alone makes every update rest on SHA-1. Apps signed for
    Android before 4.3 commonly use SHA-1: they are reported together, as one finding.
    """
    if case.rom is None or case.rom.weak_signatures != "forbidden":
        return
    certificates = list(facts.of(SigningCertificate))
    weak = sorted(
        (c for c in certificates if c.digest in WEAK_DIGESTS), key=lambda c: (c.use, c.location)
    )
    for use, group in groupby(weak, key=lambda c: c.use):
        members = list(group)
        what = {"package": "the package", "otacert": "update certificates", "apk": "apps"}[use]
        yield case.finding(
            Status.FAIL,
            f"{what} signed with {' or '.join(sorted({c.digest for c in members}))}"
            f" ({len(members)})",
            tuple(
                Evidence(c.location, f"{c.digest}, {c.key}, {c.subject}", Strength.EFFECTIVE)
                for c in members
            ),
            selector=use,
        )
    if not certificates:
        yield case.finding(Status.UNKNOWN, "no signature was found in the image")
    elif not weak:
        first = next((c for c in certificates if c.digest), certificates[0])
        yield case.finding(
            Status.PASS,
            f"none of {len(certificates)} signatures rests on MD5 or SHA-1",
            (Evidence(first.location, first.digest or "signed nothing here", Strength.EFFECTIVE),),
        )
