"""Rule ROM405: what the build says of its keys is true."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rom_builder.facts import Facts, SigningCertificate
from rom_builder.findings import Evidence, Finding, Severity, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule

TAGS = re.compile(r"ro\.(?:\w+\.)*build\.tags")
PUBLIC_TAGS = {"test-keys", "dev-keys"}


@rule(
    "ROM405",
    alias="build-tags-untrue",
    title="ro.build.tags says release-keys if, and only if, no publicly known key was used",
    requirement="rom.build_tags",
    scope="rom",
    fix="sign the release with private keys (sign_target_files_apks does both), or name the keys "
    "as they are",
    references=("ETSI EN 303 645 5.4-4", "Android CDD 3.2.2", "CWE-1394"),
)
def build_tags_untrue(case: Case, facts: Facts) -> Iterator[Finding]:
    """``release-keys`` is a claim that apps and services rely on; the signatures show whether it holds.

    A build that claims ``release-keys`` while an app, a module or an accepted update certificate has
    a publicly known key fails; the CTS shims that AOSP signs so in every build do not count. One that
    says ``test-keys`` or ``dev-keys`` without any such key is a warning: nobody is at risk, but services
    that look at the tag refuse the phone.
    """
    if case.rom is None or case.rom.build_tags != "truthful":
        return
    claims = {
        key: (text, place)
        for key, (text, place) in sorted(facts.platform.properties.items())
        if TAGS.fullmatch(key) and text
    }
    certificates = [c for c in facts.of(SigningCertificate) if c.use != "avb" and not c.frozen]
    if not claims or not certificates:
        missing = "build.tags property" if not claims else "signature"
        yield case.finding(Status.UNKNOWN, f"the image holds no {missing} to compare")
        return
    signed = {(c.use, c.location) for c in certificates}
    public = list({(c.use, c.location): c for c in certificates if c.known_as}.values())
    seen = tuple(
        Evidence(c.location, f"has the publicly known key {c.known_as}", Strength.EFFECTIVE)
        for c in public
    )
    for key, (text, place) in claims.items():
        tags = set(text.split(","))
        claim = Evidence(place, f"{key}={text}", Strength.EFFECTIVE)
        if "release-keys" in tags and public:
            yield case.finding(
                Status.FAIL,
                f"{key} claims release-keys, but {counted(len(public), 'signature')} "
                f"of {len(signed)} {'is' if len(public) == 1 else 'are'} by known keys",
                (claim, *seen),
                selector=key,
            )
        elif tags & PUBLIC_TAGS and not public:
            yield case.finding(
                Status.FAIL,
                f"{key} says {text}, but no signature is by a publicly known key",
                (claim,),
                severity=Severity.WARNING,
                selector=key,
            )
        else:
            yield case.finding(Status.PASS, f"{key} is true: {text}", (claim,), selector=key)
