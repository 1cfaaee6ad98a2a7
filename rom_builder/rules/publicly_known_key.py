"""Rule ROM401: no key that anybody can have vouches for anything in the ROM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rom_builder.facts import Facts, SigningCertificate
from rom_builder.findings import Evidence, Finding, Severity, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule

USES = {
    "package": "signed this package",
    "otacert": "is accepted for updates by the device",
    "avb": "is trusted by verified boot",
    "apex": "signed this module",
    "apk": "signed this app",
}
COUNTED = {"apex": "module", "apk": "app"}


@rule(
    "ROM401",
    alias="publicly-known-key",
    title="Nothing is signed by, and no update accepted from, a publicly known key",
    requirement="rom.public_keys",
    scope="rom",
    severity=Severity.CRITICAL,
    fix="sign with a private release key and replace the certificate wherever it is trusted",
    references=(
        "CRA Annex I Part I (2)(f)",
        "ETSI EN 303 645 5.3-9",
        "ETSI EN 303 645 5.4-4",
        "CWE-1394",
    ),
    waivable=False,
)
def publicly_known_key(case: Case, facts: Facts) -> Iterator[Finding]:
    """Keys whose private half is published sign nothing in a released ROM.

    The certificate of the package, every certificate that the device accepts updates from
    (``otacerts.zip``), every key that verified boot trusts and the signers of every module and app are
    compared with a list of published keys, by public key and not by certificate: the same key goes
    round in several certificates.
    """
    if case.rom is None or case.rom.public_keys != "forbidden":
        return
    certificates = list(facts.of(SigningCertificate))
    public = sorted(
        (c for c in certificates if c.known_as),
        key=lambda c: (c.known_as or "", list(USES).index(c.use), c.location),
    )
    for name, group in groupby(public, key=lambda c: c.known_as):
        members = list(group)
        uses = dict.fromkeys(c.use for c in members)
        said = [USES[use] for use in uses if use not in COUNTED][:1]
        for use, what in COUNTED.items():
            if use in uses:
                said.append(f"signs {counted(sum(c.use == use for c in members), what)}")
        yield case.finding(
            Status.FAIL,
            f"the publicly known key {name} {' and '.join(said)}",
            tuple(
                Evidence(
                    c.location,
                    f"{USES[c.use]}: {c.subject}, SHA-1 {c.cert_sha1}",
                    Strength.EFFECTIVE,
                )
                for c in members
            ),
            selector=members[0].spki_sha256,
        )
    if not certificates:
        yield case.finding(Status.UNKNOWN, "no signing certificate was found in the image")
    elif not public:
        yield case.finding(
            Status.PASS,
            f"none of {len(certificates)} signatures and update certificates is by a known key",
            (Evidence(certificates[0].location, certificates[0].subject, Strength.EFFECTIVE),),
        )
