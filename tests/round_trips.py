"""Every mechanism's way there and back: a base that fails, and what its plan can do on each platform.

A mechanism joins by a row here; ``tests/test_round_trips.py`` refuses one without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.make_apks import APKS
from tests.fixtures.make_carrier_config import PUBLISH
from tests.mechanisms.conftest import with_entry
from tests.roms import App, Content, axml, sign_v2

PLATFORMS = range(21, 37)
"""Android 5.0 to 16."""
NEVER = PLATFORMS.stop
PACKAGE = "com.example.messaging"
APP = "/system/app/M/M.apk"
PRIVILEGED_APP = "/system/priv-app/M/M.apk"
FRAMEWORK = "/system/framework/framework-res.apk"
CONTACTS = "android.permission.READ_CONTACTS"
PHONE_STATE = "android.permission.READ_PRIVILEGED_PHONE_STATE"
NEW_VERSION = "bring a new version of the app: --replace {}=FILE"

Files = Mapping[str, Content]


@dataclass(frozen=True)
class Refused:
    """Platforms on which no edit can do it.

    Attributes:
        below: First API level to which it does not apply.
        why: In the plan's reason.
        hint: In what the plan asks for.
        brought: What meets the demand then, by device path; None if nothing that a ROM shows can.
        removed: What goes then.
    """

    below: int
    why: str
    hint: str
    brought: Files | None = None
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trip:
    """One place that a policy's demand is met in.

    Attributes:
        files: What the base has beside its property files: the service is on, or open.
        profile: What a profile says of the place.
        demand: What the strict policy says of the service.
        lax: What a policy says that lets the base as it is.
        rule: Speaks of the demand.
        requirement: The demand's name.
        refused: Platforms on which the plan names what has to change instead, the lowest first.
        silent_below: First platform on which the ROM's configuration says anything of it.
    """

    files: Files
    profile: Mapping[str, Any]
    demand: Mapping[str, Any] = field(default_factory=lambda: {"consent": {"mode": "opt-in"}})
    lax: Mapping[str, Any] = field(default_factory=lambda: {"consent": {"mode": "opt-out"}})
    rule: str = "ROM101"
    requirement: str = "consent.default"
    refused: tuple[Refused, ...] = ()
    silent_below: int = 0

    def refused_on(self, sdk: int) -> Refused | None:
        """Return why no edit can do it on a platform; None where one can."""
        return next((each for each in self.refused if sdk < each.below), None)


def switch(mechanism: str, on: Any, off: Any, **options: Any) -> dict[str, Any]:
    """A profile with one switch."""
    return {
        "switches": [{"mechanism": mechanism, "value_on": on, "value_off": off, **options}],
        "packages": [options.get("package", PACKAGE)],
    }


def of_app(mechanism: str, on: Any, off: Any, **options: Any) -> dict[str, Any]:
    return switch(mechanism, on, off, package=PACKAGE, **options)


def app(**more: Any) -> App:
    return App(PACKAGE, target_sdk=29, **more)


def overlaid(files: Files, brought: Files | None = None) -> tuple[Refused, ...]:
    """What platforms without static overlays refuse: all before Android 8."""
    (path,) = [path for path in files if path.endswith(".apk")]
    why = "turns no overlay on by itself; the first is Android 8"
    return (Refused(26, why, NEW_VERSION.format(path), brought),)


CARRIER_APP = "/system/priv-app/CarrierConfig/CarrierConfig.apk"
CARRIER = (APKS / "carrier-config.apk").read_bytes()
CARRIER_OFF = with_entry(
    CARRIER,
    "res/xml/vendor.xml",
    axml(
        f'<carrier_config_list><carrier_config><boolean name="{PUBLISH}" value="false"/>'
        "</carrier_config></carrier_config_list>"
    ),
)
PRE_GRANT = f"""<exceptions><exception package="{PACKAGE}">
<permission name="{CONTACTS}" fixed="false"/></exception></exceptions>
"""
GIVEN: Files = {
    APP: app(permissions=(CONTACTS,)),
    "/system/etc/default-permissions/vendor.xml": PRE_GRANT,
}
AT_INSTALLATION = Refused(
    23,
    "gives an app all that it asks for when it is installed",
    f"that does not ask for it: --replace {APP}=FILE",
    {APP: app()},
)
EXEMPT: Files = {
    APP: app(),
    "/system/etc/sysconfig/vendor.xml": f'<config><allow-in-power-save package="{PACKAGE}"/></config>\n',
}
PRIVILEGED: Files = {
    PRIVILEGED_APP: app(permissions=(PHONE_STATE,)),
    "/system/etc/permissions/privapp-permissions-vendor.xml": f"""<permissions>
<privapp-permissions package="{PACKAGE}"><permission name="{PHONE_STATE}"/></privapp-permissions>
</permissions>
""",
}
UNLISTED = Refused(
    26,
    "gives a privileged app all that it asks for",
    "move the app out of priv-app",
    {APP: app(permissions=(PHONE_STATE,))},
    (PRIVILEGED_APP,),
)
ICON = {"activity": {".Inbox": {"category": "android.intent.category.LAUNCHER"}}}
STARTED: Files = {
    APP: app(components=ICON),
    FRAMEWORK: App("android", bools={"config_stopSystemPackagesByDefault": True}),
    "/system/etc/sysconfig/stopped-states.xml": f"""<config>
<initial-package-state package="{PACKAGE}" stopped="false"/></config>
""",
}
INSTALLED: Files = {
    APP: app(),
    FRAMEWORK: App("android", integers={"config_userTypePackageWhitelistMode": 29}),
}


def receiver(*, enabled: bool) -> App:
    return app(components={"receiver": {".Boot": {"enabled": enabled}}})


def network_config(*, permitted: bool) -> str:
    value = str(permitted).lower()
    return f'<network-security-config><base-config cleartextTrafficPermitted="{value}"/></network-security-config>'


OPEN: Files = {
    APP: app(network_security_config=network_config(permitted=True), cleartext=True),
}
CLOSED: Files = {
    APP: app(network_security_config=network_config(permitted=False), cleartext=False),
}
ENCRYPTED = {"transport": {"cleartext": "forbidden"}}
UNENCRYPTED = {"transport": {"cleartext": "allowed"}}
OF_THE_CODE = Refused(
    23,
    "lets every app send unencrypted: its code decides",
    f"bring a version of the app that uses https only, unless this one does: --replace {APP}=FILE",
)
CONFIG_FILE = "/system/etc/messaging/network_security_config.xml"
SERVICE_FILE = "/system/etc/messaging/service.xml"
SERVICE: Files = {APP: app(), SERVICE_FILE: '<service><consent default="on"/></service>\n'}
OF_SERVICE = switch(
    "service-config", "on", "off", file=SERVICE_FILE, select="/service/consent/@default"
)
SETTINGS = "com.android.providers.settings"
SETTINGS_APP = "/system/priv-app/SettingsProvider/SettingsProvider.apk"


def resources(value: bool | int | str) -> App:
    """An app with one resource that says so, for the networks of one country as well."""
    both = {"": value, "mcc310": value}
    kind = {bool: "bools", int: "integers", str: "strings"}[type(value)]
    return app(**{kind: {"messaging": both}})


def resource(kind: str, on: bool | int | str, off: bool | int | str) -> Trip:
    files: Files = {APP: resources(on)}
    place = of_app("resource-overlay", on, off, resource=f"{kind}/messaging")
    return Trip(files, place, refused=overlaid(files, {APP: resources(off)}))


TRIPS: dict[str, Trip] = {
    "carrier-config": Trip(
        {CARRIER_APP: sign_v2(CARRIER)},
        switch(
            "carrier-config",
            True,
            False,
            key=PUBLISH,
            package="com.android.carrierconfig",
            platform_default=False,
        ),
        refused=overlaid({CARRIER_APP: b""}, {CARRIER_APP: sign_v2(CARRIER_OFF)}),
    ),
    "default-permissions": Trip(
        GIVEN,
        of_app("default-permissions", "given", "asked", permission=CONTACTS),
        refused=(AT_INSTALLATION,),
    ),
    "default-permissions/by-policy": Trip(
        GIVEN,
        {"packages": [PACKAGE]},
        {"permissions": {"pre_granted": "forbidden"}},
        {"permissions": {"pre_granted": "allowed"}},
        "ROM110",
        "permissions.pre_granted",
        (AT_INSTALLATION,),
    ),
    "initial-package-state": Trip(
        STARTED,
        of_app("initial-package-state", "started", "stopped"),
        refused=(
            Refused(
                34,
                "stops no app",
                f"a version of the app that starts nothing by itself: --replace {APP}=FILE",
            ),
        ),
    ),
    "manifest-flag": Trip(
        {APP: receiver(enabled=True)},
        of_app("manifest-flag", True, False, component=".Boot", attribute="enabled"),
        refused=(
            Refused(
                NEVER,
                "no overlay reaches the manifest",
                NEW_VERSION.format(APP),
                {APP: receiver(enabled=False)},
            ),
        ),
    ),
    "network-security-config/app": Trip(
        OPEN,
        {
            "packages": [PACKAGE],
            "transport": [{"mechanism": "network-security-config", "package": PACKAGE}],
        },
        ENCRYPTED,
        UNENCRYPTED,
        "ROM201",
        "transport.cleartext",
        (
            OF_THE_CODE,
            Refused(
                24,
                "reads usesCleartextTraffic of the manifest only",
                NEW_VERSION.format(APP),
                CLOSED,
            ),
            *overlaid(OPEN, CLOSED),
        ),
        silent_below=23,
    ),
    "network-security-config/file": Trip(
        {APP: app(cleartext=False), CONFIG_FILE: network_config(permitted=True)},
        {
            "packages": [PACKAGE],
            "transport": [{"mechanism": "network-security-config", "file": CONFIG_FILE}],
        },
        ENCRYPTED,
        UNENCRYPTED,
        "ROM201",
        "transport.cleartext",
        (OF_THE_CODE,),
    ),
    "platform-exemption": Trip(
        EXEMPT,
        of_app("platform-exemption", "exempt", "limited", element="allow-in-power-save"),
    ),
    "platform-exemption/by-policy": Trip(
        EXEMPT,
        {"packages": [PACKAGE]},
        {"permissions": {"exemptions": "forbidden"}},
        {"permissions": {"exemptions": "allowed"}},
        "ROM112",
        "permissions.exemptions",
    ),
    # What a page shows proves nothing by itself: the service obeys a file.
    "preference-xml": Trip(
        {
            APP: app(preferences={"messaging": True}),
            SERVICE_FILE: '<service><consent preselected="forbidden"/></service>',
        },
        {
            **of_app("preference-xml", True, False, key="messaging"),
            "settings": [
                {
                    "requirement": "consent.preselected",
                    "mechanism": "service-config",
                    "file": SERVICE_FILE,
                    "select": "/service/consent/@preselected",
                }
            ],
        },
        {"consent": {"preselected": "forbidden"}},
        {"consent": {"preselected": "allowed"}},
        "ROM102",
        "consent.preselected",
        (
            Refused(
                NEVER,
                "preference messaging is to show false; the app's signature covers it",
                NEW_VERSION.format(APP),
                {APP: app(preferences={"messaging": False})},
            ),
        ),
    ),
    "preinstalled-package": Trip(
        INSTALLED,
        of_app("preinstalled-package", "installed", "left-out"),
        refused=(
            Refused(30, "has no such files", f"leave the app out of the ROM: --remove {APP}"),
        ),
    ),
    "privileged-permission": Trip(
        PRIVILEGED,
        of_app("privileged-permission", "given", "denied", permission=PHONE_STATE),
        refused=(UNLISTED,),
    ),
    "privileged-permission/by-policy": Trip(
        PRIVILEGED,
        {"packages": [PACKAGE]},
        {"permissions": {"privileged": []}},
        {"permissions": {"exemptions": "allowed"}},
        "ROM111",
        "permissions.privileged",
        (UNLISTED,),
    ),
    "resource-bool": Trip(
        {APP: resources(True)},
        of_app("resource-bool", True, False, resource="messaging", read_by=PACKAGE),
        refused=overlaid({APP: b""}, {APP: resources(False)}),
    ),
    "resource-bool/settings": Trip(
        {SETTINGS_APP: App(SETTINGS, bools={"def_messaging": True})},
        switch("resource-bool", True, False, package=SETTINGS, resource="def_messaging"),
        refused=overlaid(
            {SETTINGS_APP: b""}, {SETTINGS_APP: App(SETTINGS, bools={"def_messaging": False})}
        ),
    ),
    "resource-overlay/bool": resource("bool", True, False),
    "resource-overlay/integer": resource("integer", 2, 0),
    "resource-overlay/string": resource("string", "on", "off"),
    "service-config": Trip(SERVICE, OF_SERVICE),
    "system-property": Trip(
        {APP: app(), "/system/etc/prop.default": "persist.messaging=on\n"},
        switch("system-property", "on", "off", key="persist.messaging", read_by=PACKAGE),
    ),
}
