"""Rule ROM404: every app and module has a signature that holds."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.hygiene import AppSignature
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM404",
    alias="app-signature-broken",
    title="Every app and module has a signature that the platform accepts",
    requirement="rom.app_signatures",
    scope="rom",
    fix="sign the app again, or bring the file that its maker signed",
    references=("CRA Annex I Part I (2)(f)", "ETSI EN 303 645 5.3-9", "CWE-347"),
)
def app_signature_broken(case: Case, facts: Facts) -> Iterator[Finding]:
    """Whoever changed an app after it was signed shows here, and so does an app without a signature.

    Judged is what the platform of this API level looks at: the latest scheme that it knows and the
    app has (JAR signature, v2, v3, v3.1), with every digest. An app that lost a later signature is
    refused, and so is one that targets API 30 with a JAR signature alone. Where the API level is
    unknown every platform from API 24 on has to accept the app.

    The platform does not repeat this for apps of a verified partition, so a broken one runs.
    """
    if case.rom is None or case.rom.app_signatures != "required":
        return
    judged = list(facts.of(AppSignature))
    broken = tuple(
        Evidence(each.location, "; ".join(each.faults), Strength.EFFECTIVE)
        for each in judged
        if each.faults
    )
    if broken:
        yield case.finding(
            Status.FAIL, f"{counted(len(broken), 'app')} of {len(judged)} would be refused", broken
        )
    elif judged:
        schemes = ", ".join(dict.fromkeys(each.schemes[-1] for each in judged))
        yield case.finding(
            Status.PASS,
            f"the signatures of {counted(len(judged), 'app')} hold ({schemes})",
            (Evidence(judged[0].location, "and all the others", Strength.EFFECTIVE),),
        )
    else:
        yield case.finding(Status.UNKNOWN, "the image holds no app")
