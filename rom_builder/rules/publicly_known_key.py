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
    round in several certificates. The CTS shims, which every build since Android 7 has and AOSP signs
    with its test key, are told of in a note: they have no code, and the platform takes no update of them
    but the one whose hash they name.
    """
    if case.rom is None or case.rom.public_keys != "forbidden":
        return
    certificates = list(
        {(c.use, c.location, c.spki_sha256): c for c in facts.of(SigningCertificate)}.values()
    )
    public = sorted(
        (c for c in certificates if c.known_as),
        key=lambda c: (c.frozen, c.known_as or "", list(USES).index(c.use), c.location),
    )
    for (frozen, name), group in groupby(public, key=lambda c: (c.frozen, c.known_as)):
        yield _finding(case, name or "", list(group), frozen=frozen)
    others = [c for c in certificates if not c.frozen]
    if not others:
        yield case.finding(Status.UNKNOWN, "no signing certificate was found in the image")
    elif not any(c.known_as for c in others):
        yield case.finding(
            Status.PASS,
            f"none of {len(others)} signatures and update certificates is by a known key",
            (Evidence(others[0].location, others[0].subject, Strength.EFFECTIVE),),
        )


def _finding(case: Case, name: str, members: list[SigningCertificate], *, frozen: bool) -> Finding:
    """Tell of everything that one publicly known key vouches for."""
    uses = dict.fromkeys(c.use for c in members)
    said = [USES[use] for use in uses if use not in COUNTED][:1]
    for use, what in COUNTED.items():
        if use in uses:
            number = sum(c.use == use for c in members)
            has = ("has", "takes") if number == 1 else ("have", "take")
            why = f" that {has[0]} no code and {has[1]} no update" if frozen else ""
            said.append(f"signs {counted(number, what)}{why}")
    return case.finding(
        Status.FAIL,
        f"the publicly known key {name} {' and '.join(said)}",
        tuple(
            Evidence(
                c.location, f"{USES[c.use]}: {c.subject}, SHA-1 {c.cert_sha1}", Strength.EFFECTIVE
            )
            for c in members
        ),
        severity=Severity.NOTE if frozen else None,
        fix="leave it: CTS asks for it as AOSP ships it" if frozen else None,
        selector=f"{members[0].spki_sha256}{'/frozen' if frozen else ''}",
    )
