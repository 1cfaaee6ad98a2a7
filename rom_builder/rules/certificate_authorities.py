"""Rule ROM406: the ROM trusts the certificate authorities of a known set and no others."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.hygiene import Authority, AuthorityReference
from rom_builder.findings import Evidence, Finding, Location, Severity, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM406",
    alias="certificate-authorities",
    title="Apps trust the certificate authorities of the reference set and no others",
    requirement="rom.certificate_authorities",
    scope="rom",
    severity=Severity.CRITICAL,
    fix="take the certificate out of the store, or name its SHA-256 in certificate_authorities.also "
    "and say why",
    references=("Android CDD 9.8.4 [C-0-1]", "MASWE-0027", "CWE-295"),
)
def certificate_authorities(case: Case, facts: Facts) -> Iterator[Finding]:
    """Whoever has a certificate in this store can read the traffic of every app that pins nothing.

    Every certificate in ``/system/etc/security/cacerts``, and in the Conscrypt module that takes its
    place from Android 14 on, is compared by its SHA-256 with the policy's reference: AOSP's own set
    of the same release, or a set that the policy brings. One that is not in it is critical, unless the
    reference is AOSP's and another release of AOSP had it, which takes authorities out with security
    updates. Such ones, those that the reference has and the ROM lacks, and expired ones are warnings.
    """
    if case.rom is None or case.rom.certificate_authorities is None:
        return
    here = list(facts.of(Authority))
    reference = next(facts.of(AuthorityReference), None)
    if not here:
        yield case.finding(Status.UNKNOWN, "the image holds no store of certificate authorities")
        return
    if reference is None or not reference.source:
        why = reference.missing if reference else "none was named"
        yield case.finding(Status.UNKNOWN, f"there is no set to compare with: {why}")
        return
    added = [a for a in here if a.sha256 not in reference.names and a.sha256 not in reference.also]
    foreign = [a for a in added if a.sha256 not in reference.elsewhere]
    if foreign:
        yield case.finding(
            Status.FAIL,
            f"{counted(len(foreign), 'authority', 'authorities')} not in {reference.source}"
            f"{' nor in any known AOSP release' if reference.elsewhere else ''}: "
            f"{foreign[0].subject}",
            tuple(map(shown, foreign)),
            selector="foreign",
        )
    else:
        yield case.finding(
            Status.PASS,
            f"{counted(len(here), 'authority', 'authorities')}, none unknown "
            f"(compared with {reference.source})",
            (shown(here[0]),),
        )
    yield from warnings(case, here, [a for a in added if a not in foreign], reference, facts)


def warnings(
    case: Case,
    here: list[Authority],
    older: list[Authority],
    reference: AuthorityReference,
    facts: Facts,
) -> Iterator[Finding]:
    """Yield what differs from the reference without letting a stranger in."""
    if older:
        yield case.finding(
            Status.FAIL,
            f"{counted(len(older), 'authority', 'authorities')} of another AOSP release, "
            f"not of {reference.source}",
            tuple(map(shown, older)),
            severity=Severity.WARNING,
            selector="other-release",
        )
    known = {authority.sha256 for authority in here}
    lacking = sorted(
        (name, digest) for digest, name in reference.names.items() if digest not in known
    )
    if lacking:
        yield case.finding(
            Status.FAIL,
            f"{counted(len(lacking), 'authority', 'authorities')} of {reference.source} "
            f"{'is' if len(lacking) == 1 else 'are'} missing",
            tuple(
                Evidence(Location(""), f"{name}, SHA-256 {digest}", Strength.EFFECTIVE)
                for name, digest in lacking
            ),
            severity=Severity.WARNING,
            fix="connections to sites under these authorities fail; take the set of the release",
            selector="missing",
        )
    expired = [a for a in here if a.expires < facts.today]
    if expired:
        yield case.finding(
            Status.FAIL,
            f"{counted(len(expired), 'expired authority', 'expired authorities')}",
            tuple(map(shown, expired)),
            severity=Severity.WARNING,
            fix="take them out: they serve nobody",
            selector="expired",
        )


def shown(authority: Authority) -> Evidence:
    """Name an authority, its certificate and its end."""
    return Evidence(
        authority.location,
        f"{authority.subject}, until {authority.expires}, SHA-256 {authority.sha256}",
        Strength.EFFECTIVE,
    )
