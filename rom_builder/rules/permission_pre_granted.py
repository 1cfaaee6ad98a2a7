"""Rule ROM110: the platform gives the service no permission before its user is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts, PlatformGrant
from rom_builder.findings import Finding, Severity, Status
from rom_builder.formats.runtime_permissions import RUNTIME_SINCE, SENSITIVE
from rom_builder.rules.platform_evidence import evidence, unless_unread
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM110",
    alias="permission-pre-granted",
    title="No permission for personal data is given to the service before the user is asked",
    requirement="permissions.pre_granted",
    fix="take the permission out of etc/default-permissions; the app then asks when it needs it",
    references=(
        "GDPR Art. 7",
        "GDPR Art. 25(2)",
        "Android CDD 9.8.2 [C-0-1]",
        "MASWE-0066",
        "CWE-250",
    ),
)
def permission_pre_granted(case: Case, facts: Facts) -> Iterator[Finding]:
    """No file in ``etc/default-permissions`` gives an app of the service what Android would ask for.

    Contacts, messages, calls, phone numbers, phone state, location, camera, microphone and the like
    that are given beforehand go round the user's consent.

    With ``fixed="true"`` the user cannot even take the permission back: that is an error under every
    policy that demands consent. Without it, it is an error where the policy forbids
    ``permissions.pre_granted``, and a warning where it demands opt-in only. A grant that the platform
    does not act on, because there is no such app or the app does not ask for the permission, is a
    note.

    Before Android 6, and to an app that is made for it, the platform gives all that the manifest asks
    for when the app is installed: where the policy forbids ``permissions.pre_granted``, that is the
    same error, whatever the files say. What the platform gives to whoever the user made the default
    messaging app is no pre-grant.
    """
    demand = case.demand
    demanded = demand.permissions is not None and demand.permissions.pre_granted == "forbidden"
    consent = demand.consent is not None and demand.consent.mode in ("opt-in", "forbidden")
    if not (demanded or consent):
        return
    grants: dict[tuple[str, bool, str], list[PlatformGrant]] = defaultdict(list)
    for grant in facts.of(PlatformGrant, case.name):
        if grant.kind == "pre-grant" and grant.name in SENSITIVE:
            grants[grant.package, grant.fixed, grant.ignored].append(grant)
    for (package, fixed, ignored), found in sorted(grants.items()):
        what = ", ".join(sorted({SENSITIVE[grant.name] for grant in found}))
        after = ", and the user cannot take it back" if fixed and not ignored else ""
        said = f"{package} is given {what} before the user is asked{after}"
        severity = Severity.ERROR if demanded or fixed else Severity.WARNING
        yield case.finding(
            Status.FAIL,
            f"{said}; without effect, as {ignored}" if ignored else said,
            evidence(found),
            severity=Severity.NOTE if ignored else severity,
            selector=f"{package}{' fixed' if fixed else ''}{' ignored' if ignored else ''}",
        )
    installed: dict[str, list[PlatformGrant]] = defaultdict(list)
    for grant in facts.of(PlatformGrant, case.name):
        if demanded and grant.kind == "at-installation":
            installed[grant.package].append(grant)
    for package, found in sorted(installed.items()):
        what = ", ".join(sorted({SENSITIVE[grant.name] for grant in found}))
        yield case.finding(
            Status.FAIL,
            f"{package} is given {what} when it is installed; no user of "
            f"{asks_nobody(facts.platform.sdk)} is asked",
            evidence(found),
            fix="install a version of the app that does not ask for it, or one for API level "
            f"{RUNTIME_SINCE} or later on Android 6 or later",
            selector=f"{package} at installation",
        )
    if demanded and not installed and all(ignored for _, _, ignored in grants):
        yield unless_unread(case, facts, "no permission is given before the user is asked")


def asks_nobody(sdk: int | None) -> str:
    """Say whose users are not asked: those of the platform, or else of the app."""
    if sdk is not None and sdk < RUNTIME_SINCE:
        return f"Android of API level {sdk}"
    return f"an app for API level {RUNTIME_SINCE - 1} or lower"
