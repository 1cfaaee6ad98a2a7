"""Rule ROM111: the service has no privileged permission but those that the policy lists."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts, Package, PlatformGrant
from rom_builder.findings import Evidence, Finding, Location, Status, Strength
from rom_builder.formats.system_config import ENFORCED, PRIVILEGED_SINCE
from rom_builder.rules.platform_evidence import evidence, unless_unread
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM111",
    alias="privileged-permission",
    title="The service's apps have no privileged permission but those that the policy lists",
    requirement="permissions.privileged",
    fix="name the permission in a deny-permission of etc/permissions/privapp-permissions*.xml, "
    "or list it in the policy",
    references=("GDPR Art. 25(1)", "CRA Annex I Part I (2)(j)", "MASWE-0066", "CWE-250"),
)
def privileged_permission(case: Case, facts: Facts) -> Iterator[Finding]:
    """Every privileged permission that the service is given stands in the policy.

    Such permissions, to read the IMEI or to place calls unseen, are never asked for: a
    ``privapp-permissions`` list gives them to an app below ``priv-app``.

    The list binds from Android 8 on, where ``ro.control_privapp_permissions`` is ``enforce``. Elsewhere
    the platform gives a privileged app all that it asks for, so the answer about one is unknown.
    Permissions that come with a platform signature are not in the list and not judged here.
    """
    permissions = case.demand.permissions
    if permissions is None or permissions.privileged is None:
        return
    listed = set(permissions.privileged)
    grants = [g for g in facts.of(PlatformGrant, case.name) if g.kind == "privileged"]
    extra = tuple(g for g in grants if g.name not in listed and not g.ignored)
    if extra:
        names = sorted({g.name.removeprefix("android.permission.") for g in extra})
        yield case.finding(
            Status.FAIL,
            f"privileged permissions that the policy does not list: {', '.join(names)}",
            evidence(extra),
            selector=",".join(names),
        )
        return
    apps = tuple(
        Evidence(app.location, "a privileged app of the service", Strength.PRESENCE)
        for app in facts.of(Package)
        if app.name in case.anatomy.packages and app.privileged
    )
    if apps and (facts.platform.sdk or PRIVILEGED_SINCE) < PRIVILEGED_SINCE:
        yield case.finding(
            Status.UNKNOWN,
            f"Android of API level {facts.platform.sdk} gives privileged apps all they ask for: "
            "it has no list",
            apps,
            fix="move the apps out of priv-app, or ask for no privileged permission",
        )
        return
    if apps and facts.platform.get(ENFORCED) != "enforce":
        found = facts.platform.properties.get(ENFORCED)
        place = found[1] if found else Location("")
        said = f"{ENFORCED} is {found[0] if found else 'not set'}"
        yield case.finding(
            Status.UNKNOWN,
            "the platform gives privileged apps all they ask for: the list is not enforced",
            (Evidence(place, said, Strength.EFFECTIVE), *apps),
            fix=f"set {ENFORCED}=enforce, and list what every privileged app needs",
        )
        return
    yield unless_unread(case, facts, "no privileged permission but those that the policy lists")
