"""Rules ROM511, ROM512 and ROM513: what the apps of a service leave open on the phone."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.hygiene import Exposure, OpenComponent
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM511",
    alias="unguarded-component",
    title="No service, receiver or provider of the service is open to every app",
    requirement="apps.unguarded_components",
    fix='set android:exported="false", or a permission of protection level signature',
    references=("CRA Annex I Part I (2)(j)", "MASVS-PLATFORM-1", "CWE-926"),
)
def unguarded_component(case: Case, facts: Facts) -> Iterator[Finding]:
    """An exported component without a permission takes orders, or gives data, to any app.

    Exported is what says so; what says nothing and has an intent filter; and a provider that says
    nothing in an app that targets API 16 or less. A permission of the component, or of the application
    element, guards it; a provider needs one for reading and one for writing. Activities are left out:
    they are there to be opened. From Android 12 on the platform refuses an app that targets it and
    leaves out ``android:exported`` beside an intent filter; that is unknown.

    What a receiver does with an intent, and who holds the permission, is not looked at.
    """
    apps = case.demand.apps
    if apps is None or apps.unguarded_components != "forbidden":
        return
    seen = list(facts.of(Exposure, case.name))
    found = list(facts.of(OpenComponent, case.name))
    for refused in (False, True):
        these = [each for each in found if each.refused is refused]
        if these:
            yield case.finding(
                Status.UNKNOWN if refused else Status.FAIL,
                f"{counted(len(these), 'component')} without android:exported, which the platform "
                "refuses"
                if refused
                else f"{counted(len(these), 'component')} open to every app",
                tuple(
                    Evidence(e.location, f"{e.kind} {e.name}: {e.why}", Strength.EFFECTIVE)
                    for e in these
                ),
                selector="refused" if refused else "open",
            )
    if not found:
        yield passed_or_unknown(
            case, seen, f"none of {sum(e.components for e in seen)} components is open to every app"
        )


@rule(
    "ROM512",
    alias="backup-allowed",
    title="The data of the service's apps is not backed up",
    requirement="apps.backup",
    fix='set android:allowBackup="false" in the application element',
    references=("GDPR Art. 32(1)(a)", "MASVS-STORAGE-2", "CWE-530"),
)
def backup_allowed(case: Case, facts: Facts) -> Iterator[Finding]:
    """A backup carries the service's data to another place and, years later, to another phone.

    ``android:allowBackup`` is true unless the manifest says otherwise. Rules that limit what is backed
    up (``fullBackupContent``, ``dataExtractionRules``) are named and not weighed. Some makers' transfer
    from phone to phone does not ask this attribute.
    """
    apps = case.demand.apps
    if apps is None or apps.backup != "forbidden":
        return
    seen = list(facts.of(Exposure, case.name))
    allowed = [each for each in seen if each.backup]
    if allowed:
        yield case.finding(
            Status.FAIL,
            f"the data of {', '.join(each.package for each in allowed)} is backed up",
            tuple(
                Evidence(each.location, backup_text(each), Strength.EFFECTIVE) for each in allowed
            ),
        )
    else:
        yield passed_or_unknown(case, seen, "no app of the service lets its data be backed up")


def backup_text(app: Exposure) -> str:
    """Say what a manifest says of backups."""
    stated = "is true" if app.backup_stated else "is not set, so it is true"
    limits = f"; limited by {' and '.join(app.backup_rules)}" if app.backup_rules else ""
    return f"allowBackup {stated}{limits}"


@rule(
    "ROM513",
    alias="privacy-link-over-http",
    title="Links to the service's privacy policy and terms are https",
    requirement="apps.cleartext_links",
    fix="write https in the text",
    references=("GDPR Art. 12(1)", "CRA Annex I Part I (2)(f)", "CWE-319"),
)
def privacy_link_over_http(case: Case, facts: Facts) -> Iterator[Finding]:
    """Who reads what they consent to must read what the maker wrote, not what the network put there.

    Every text of the service's apps, in every language, is searched for links; those count that speak,
    or whose name speaks, of privacy, policies, terms, agreements or licences.
    """
    apps = case.demand.apps
    if apps is None or apps.cleartext_links != "forbidden":
        return
    seen = list(facts.of(Exposure, case.name))
    links = [(app, link) for app in seen for link in app.links]
    clear = [(app, link) for app, link in links if link.url.lower().startswith("http:")]
    if clear:
        yield case.finding(
            Status.FAIL,
            f"{counted(len(clear), 'link')} over http: {clear[0][1].url}",
            tuple(
                Evidence(app.location, f"{link.label}: {link.url}", Strength.EFFECTIVE)
                for app, link in clear
            ),
        )
    elif seen and not links:
        yield case.finding(
            Status.NOT_APPLICABLE,
            "no text of the service's apps links to a privacy policy or to terms",
            (Evidence(seen[0].location, "no such link", Strength.PRESENCE),),
        )
    else:
        yield passed_or_unknown(
            case, seen, f"{counted(len(links), 'link')} to policies and terms, all https"
        )


def passed_or_unknown(case: Case, seen: list[Exposure], message: str) -> Finding:
    """Return the pass of the apps that were seen; without any, nothing is known."""
    if not seen:
        return case.finding(Status.UNKNOWN, "no app of the service was found")
    return case.finding(
        Status.PASS,
        message,
        tuple(Evidence(each.location, each.package, Strength.EFFECTIVE) for each in seen),
    )
