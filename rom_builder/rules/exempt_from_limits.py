"""Rule ROM112: the service lives under the limits that the platform sets to apps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts, PlatformGrant
from rom_builder.findings import Finding, Severity, Status
from rom_builder.formats.system_config import EXEMPTIONS
from rom_builder.rules.platform_evidence import evidence, unless_unread
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM112",
    alias="exempt-from-limits",
    title="The service is under the limits that the platform sets to apps",
    requirement="permissions.exemptions",
    fix="take the element out of etc/sysconfig; users can still exempt the app in the settings",
    references=("GDPR Art. 25(2)", "CRA Annex I Part I (2)(b)", "MASWE-0066", "CWE-250"),
)
def exempt_from_limits(case: Case, facts: Facts) -> Iterator[Finding]:
    """No file in ``etc/sysconfig`` frees the service from what limits other apps.

    Such files free an app from the battery saver, the data saver, limits on background location or on
    hidden interfaces, or take away the user's means to disable it.

    The user sees none of it. It is an error where the policy forbids ``permissions.exemptions``, and a
    note where it demands consent only: a service that is off by default and still in these lists
    was meant to run unseen. An element that the platform does not take from that partition does not
    count.
    """
    demand = case.demand
    demanded = demand.permissions is not None and demand.permissions.exemptions == "forbidden"
    consent = demand.consent is not None and demand.consent.mode in ("opt-in", "forbidden")
    if not (demanded or consent):
        return
    grants: dict[tuple[str, str], list[PlatformGrant]] = defaultdict(list)
    for grant in facts.of(PlatformGrant, case.name):
        if grant.kind == "exemption" and not grant.ignored:
            grants[grant.package, grant.name].append(grant)
    for (package, tag), found in sorted(grants.items()):
        yield case.finding(
            Status.FAIL,
            f"{package} {EXEMPTIONS[tag]} ({tag})",
            evidence(found),
            severity=Severity.ERROR if demanded else Severity.NOTE,
            selector=f"{package} {tag}",
        )
    if demanded and not grants:
        yield unless_unread(case, facts, "the platform's limits hold for the service")
