"""Rule ROM402: no signature rests on a broken digest or a short key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rom_builder.facts import Facts, SigningCertificate
from rom_builder.findings import Evidence, Finding, Severity, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule

WEAK_DIGESTS = ("MD5", "SHA-1")
ONLY_SHA1_UP_TO = 17
"""Last API level whose recovery certainly takes SHA-1 only: Android 4.2, of 2012 (SHA-256 came into
bootable/recovery, verifier.cpp, in April 2013)."""


@rule(
    "ROM402",
    alias="weak-signature",
    title="No package signature rests on MD5 or SHA-1",
    requirement="rom.weak_signatures",
    scope="rom",
    fix="sign again with SHA-256, and replace certificates that make recovery use SHA-1",
    references=("ETSI EN 303 645 5.3-7", "NIST SP 800-131A", "CWE-327", "CWE-328"),
)
def weak_signature(case: Case, facts: Facts) -> Iterator[Finding]:
    """MD5 and SHA-1 signatures can be forged by somebody with enough to gain.

    Recovery takes the digest of a package's signature from the signature algorithm of the trusted
    certificate, so an old certificate alone makes every update rest on SHA-1. Apps signed for
    Android before 4.3 commonly use SHA-1: they are reported together, as one warning, and do not
    fail the requirement. On Android up to 4.2 recovery itself takes nothing newer: there SHA-1 of a
    package is a warning as well, and the requirement unknown, as it cannot be met.
    """
    if case.rom is None or case.rom.weak_signatures != "forbidden":
        return
    certificates = list(facts.of(SigningCertificate))
    # An app may be signed in several ways with one key, which is one weakness.
    found = {(c.use, c.location, c.spki_sha256, c.digest): c for c in certificates}
    weak = sorted(
        (c for c in found.values() if c.digest in WEAK_DIGESTS), key=lambda c: (c.use, c.location)
    )
    sdk = facts.platform.sdk
    unavoidable = sdk is not None and sdk <= ONLY_SHA1_UP_TO
    for use, group in groupby(weak, key=lambda c: c.use):
        members = list(group)
        digests = " or ".join(sorted({c.digest for c in members}))
        app = use in ("apk", "apex")
        excused = unavoidable and digests == "SHA-1" and not app
        yield case.finding(
            Status.FAIL,
            {
                "package": f"the package is signed with {digests}",
                "otacert": f"updates are accepted with {digests} ({counted(len(members), 'certificate')})",
                "apk": f"{counted(len(members), 'app')} signed with {digests}",
                "apex": f"{counted(len(members), 'module')} signed with {digests}",
            }[use]
            + (f"; recovery of API level {sdk} knows nothing newer" if excused else ""),
            tuple(
                Evidence(c.location, f"{c.digest}, {c.key}, {c.subject}", Strength.EFFECTIVE)
                for c in members
            ),
            severity=Severity.WARNING if app or excused else Severity.ERROR,
            selector=use,
        )
    of_package = [c for c in certificates if c.use in ("package", "otacert")]
    if not of_package:
        yield case.finding(Status.UNKNOWN, "no package signature or update certificate was found")
    elif not any(c in weak for c in of_package):
        yield case.finding(
            Status.PASS,
            f"none of {len(of_package)} package signatures and update certificates is weak",
            (Evidence(of_package[0].location, of_package[0].digest, Strength.EFFECTIVE),),
        )
