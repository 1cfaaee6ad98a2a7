"""What the files in ``etc/sysconfig`` and ``etc/permissions`` tell the platform about apps.

Both folders hold one format, read at each start (AOSP ``com/android/server/SystemConfig.java``): a root
``permissions`` or ``config``, whose children each say one thing; what is nested in one that the
platform does not know is skipped::

    <config>
      <allow-in-power-save package="com.example"/>
      <initial-package-state package="com.example" stopped="false"/>
      <install-in-user-type package="com.example"><install-in user-type="SYSTEM"/></install-in-user-type>
    </config>
    <permissions>
      <privapp-permissions package="com.example">
        <permission name="android.permission.READ_PRIVILEGED_PHONE_STATE"/>
        <deny-permission name="android.permission.CALL_PRIVILEGED"/>
      </privapp-permissions>
    </permissions>

Not every partition may say everything: :data:`REFUSED` has what is ignored where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rom_builder.formats.typed_xml import ConfigElement, from_text_xml

ROOTS = ("permissions", "config")
PRIVILEGED = "privapp-permissions"
PRIVILEGED_SINCE = 26
"""First API level that reads such lists (source.android.com, Privileged permission allowlist)."""
ENFORCED = "ro.control_privapp_permissions"
"""Only where this property is ``enforce`` does a privileged app get no more than the lists say."""
INITIAL_STATE = "initial-package-state"
USER_TYPE = "install-in-user-type"

EXEMPTIONS = {
    "allow-in-power-save": "runs and uses the network while the phone sleeps",
    "allow-in-power-save-except-idle": "runs while the phone saves power",
    "allow-in-data-usage-save": "uses mobile data in the background while the data saver is on",
    "allow-unthrottled-location": "is told the location in the background as often as it asks",
    "allow-ignore-location-settings": "may be told the location while location is turned off",
    "bg-restriction-exemption": "cannot be restricted in the background",
    "prevent-disable": "cannot be disabled by the user",
    "camera-privacy-allowlisted-app": "may use the camera while it is blocked",
    "hidden-api-whitelisted-app": "may call every hidden interface of the platform",
    "bugreport-whitelisted": "may take bug reports",
}
"""Elements that free an app from a limit, and of which."""

_RESTRICTIONS = {
    "allow-in-power-save",
    "allow-in-power-save-except-idle",
    "allow-in-data-usage-save",
    "allow-unthrottled-location",
    "allow-ignore-location-settings",
    "bg-restriction-exemption",
    "camera-privacy-allowlisted-app",
    "hidden-api-whitelisted-app",
}
REFUSED: dict[str, frozenset[str]] = {
    "vendor": frozenset(_RESTRICTIONS),
    "odm": frozenset(_RESTRICTIONS),
    "oem": frozenset({*_RESTRICTIONS, PRIVILEGED}),
    "apex": frozenset({*EXEMPTIONS, INITIAL_STATE, USER_TYPE}),
}
"""Elements that the platform ignores in files of a partition; none in those of any other."""


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One element that speaks of an app.

    Attributes:
        tag: Name of the element.
        package: The app.
        line: In the file.
        stopped: Of ``initial-package-state``; None if the element does not say, which it then does
            not do at all.
        permissions: Of ``privapp-permissions``: each permission in file order, and whether it is
            given or denied.
        user_types: Of ``install-in-user-type``: each type of user, and whether the app is for it.
    """

    tag: str
    package: str
    line: int
    stopped: bool | None = None
    permissions: tuple[tuple[str, bool], ...] = ()
    user_types: tuple[tuple[str, bool], ...] = ()


def parse_system_config(data: bytes) -> tuple[ConfigEntry, ...]:
    """Return the entries of a file that name an app; none from one with another root, as it is skipped.

    >>> (entry,) = parse_system_config(b'<config><allow-in-power-save package="a.b"/></config>')
    >>> entry.tag, entry.package
    ('allow-in-power-save', 'a.b')

    Raises:
        ImageError: The file is no XML, too large or too deep, or has a DOCTYPE: the platform takes
            what stands before the fault, here nothing is believed of it.
    """
    root = from_text_xml(data)
    return tuple(_entries(root)) if root.name in ROOTS else ()


def _entries(root: ConfigElement) -> Iterator[ConfigEntry]:
    for element in root.children:
        package = value_of(element, "package")
        if not package:
            continue
        stopped = value_of(element, "stopped") if element.name == INITIAL_STATE else None
        yield ConfigEntry(
            tag=element.name,
            package=package,
            line=element.line,
            stopped=is_true(stopped) if stopped else None,
            permissions=_named(element, "name", "permission", "deny-permission")
            if element.name == PRIVILEGED
            else (),
            user_types=_named(element, "user-type", "install-in", "do-not-install-in")
            if element.name == USER_TYPE
            else (),
        )


def _named(
    element: ConfigElement, attribute: str, given: str, denied: str
) -> tuple[tuple[str, bool], ...]:
    return tuple(
        (name, child.name == given)
        for child in element.children
        if child.name in (given, denied) and (name := value_of(child, attribute))
    )


def value_of(element: ConfigElement, name: str) -> str | None:
    """Return an attribute's text whatever its namespace, as the platform's parser is asked for it."""
    return next((each.text for each in element.attributes if each.name == name), None)


def is_true(text: str | None) -> bool:
    """Say whether Java's ``Boolean.parseBoolean`` takes a text for true.

    >>> is_true("TRUE"), is_true("1"), is_true(None)
    (True, False, False)
    """
    return text is not None and text.lower() == "true"
