"""What a Network Security Config means on a phone: cleartext, trust and pins, for one host.

The decision procedure of AOSP ``ApplicationConfig``, ``NetworkSecurityConfig`` and
``ManifestConfigSource``, by API level of the platform::

    ..22    nothing is enforced
    23      android:usesCleartextTraffic alone counts (default true); the file is not read
    24..27  a file replaces the attribute; without a value cleartext is permitted (API 26: not
            to instant apps)
    28..    the same, but without a value cleartext is permitted to apps for API 27 and below only

Host to entry: lower case, one final dot dropped; the domain that equals it, else the longest domain
with ``includeSubdomains`` that it ends in, else the base. A value an entry does not give comes from
the domain-config around it, then from base-config wherever that stands, then from the platform.

These answers speak for HTTP stacks that ask the platform. Sockets, native code and an app's own
HTTP stack do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from rom_builder.formats.network_security_config import (
    Certificates,
    ConfigEntry,
    ConfigProblem,
    NetworkSecurityConfig,
)

ATTRIBUTE_SINCE = 23
FILE_SINCE = 24
INSTANT_SINCE = 26
STRICT_SINCE = 28
USER_STORE_UNTIL = 23
"""Highest target API level at which an app trusts the user's certificates by default."""


@dataclass(frozen=True, slots=True)
class App:
    """What the platform knows of an app.

    Attributes:
        platform_sdk: API level of the ROM.
        target_sdk: ``android:targetSdkVersion``.
        uses_cleartext: ``android:usesCleartextTraffic`` with references resolved; None if absent.
        instant: It runs as an instant app.
        privileged: It lies in a ``priv-app`` folder.
        debuggable: ``android:debuggable``.
    """

    platform_sdk: int
    target_sdk: int
    uses_cleartext: bool | None = None
    instant: bool = False
    privileged: bool = False
    debuggable: bool = False


@dataclass(frozen=True, slots=True)
class CleartextAnswer:
    """May the app send unencrypted? ``enforced``: the platform decides, not the app alone."""

    permitted: bool
    enforced: bool
    because: str


@dataclass(frozen=True, slots=True)
class TrustAnswer:
    """Whose certificates a connection accepts; ``overrides_pins`` names those that unpin it."""

    system: bool
    user: bool
    wfa: bool
    resources: tuple[str, ...]
    overrides_pins: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class PinAnswer:
    """The SHA-256 public-key pins of a host; ``enforced`` on the day that was asked for."""

    digests: tuple[bytes, ...]
    expires: date | None
    expired: bool
    enforced: bool
    because: str


def evaluate_cleartext(
    config: NetworkSecurityConfig | None, app: App, host: str | None
) -> CleartextAnswer:
    """Return whether ``app`` may reach ``host`` without TLS; None asks for an unknown host.

    A file the platform refuses answers "permitted, not enforced": nothing may rely on it.

    Raises:
        ValueError: The host begins with a dot; the platform throws too.
    """
    answer = _without_file(config, app)
    if answer is not None:
        return answer
    assert config is not None  # noqa: S101 - _without_file answered otherwise
    entry, found = _entry_for(config, host)
    permitted, because = _cleartext(config, entry, app)
    return CleartextAnswer(permitted, True, f"{found}; {because}")


def app_wide(config: NetworkSecurityConfig | None, app: App) -> CleartextAnswer:
    """Return the answer for libraries that do not name a host: yes only if every entry permits."""
    answer = _without_file(config, app)
    if answer is not None:
        return answer
    assert config is not None  # noqa: S101 - _without_file answered otherwise
    for entry in (*config.entries, None):
        permitted, because = _cleartext(config, entry, app)
        if not permitted:
            break
    where = f"{entry.kind} (line {entry.line})" if entry else "the base"
    which = "every entry permits, last" if permitted else "it refuses in"
    return CleartextAnswer(permitted, True, f"{which} {where}; {because}")


def trust(config: NetworkSecurityConfig | None, app: App, host: str | None) -> TrustAnswer:
    """Return whose certificates ``app`` accepts from ``host``.

    Args:
        config: The app's file; None if it has none.
        app: What the platform knows of the app.
        host: None for an unknown host.

    Raises:
        ValueError: The host begins with a dot.
    """
    if app.platform_sdk < FILE_SINCE:
        because = f"below API {FILE_SINCE} every app trusts the system and the user"
        return TrustAnswer(True, True, False, (), (), because)
    problems = config.fatal(app.debuggable) if config else ()
    if problems:
        return TrustAnswer(True, True, False, (), (), _refused(problems))
    because = "no file"
    anchors: tuple[Certificates, ...] | None = None
    if config:
        entry, because = _entry_for(config, host)
        for giver in _chain(config, entry):
            if giver.anchors is not None:
                anchors = giver.anchors
                because += f"; trust-anchors of {giver.kind} (line {giver.line})"
                break
    if anchors is None:
        anchors, default = _default_anchors(app)
        because += f"; {default}"
    if config and app.debuggable:
        debug = config.debug
        if debug is not None and debug.anchors is not None:
            anchors += debug.anchors
            because += f"; and debug-overrides (line {debug.line}), the app is debuggable"
    sources = {item.source for item in anchors}
    return TrustAnswer(
        system="system" in sources,
        user="user" in sources,
        wfa="wfa" in sources,
        resources=tuple(sorted(sources - {"system", "user", "wfa"})),
        overrides_pins=tuple(sorted({item.source for item in anchors if item.overrides_pins})),
        because=because,
    )


def pins(config: NetworkSecurityConfig | None, app: App, host: str | None, on: date) -> PinAnswer:
    """Return the pins of ``host`` and whether they hold on a day; they end as that day begins.

    Raises:
        ValueError: The host begins with a dot.
    """
    if config is None or app.platform_sdk < FILE_SINCE:
        return PinAnswer((), None, False, False, "no file is read")
    problems = config.fatal(app.debuggable)
    if problems:
        return PinAnswer((), None, False, False, _refused(problems))
    entry, because = _entry_for(config, host)
    for giver in _chain(config, entry):
        pin_set = giver.pin_set
        if pin_set is None:
            continue
        expired = pin_set.expiration is not None and on >= pin_set.expiration
        enforced = bool(pin_set.digests) and not expired
        because += f"; pin-set (line {pin_set.line})"
        because += f" expired on {pin_set.expiration}" if expired else ""
        return PinAnswer(pin_set.digests, pin_set.expiration, expired, enforced, because)
    return PinAnswer((), None, False, False, f"{because}; no pin-set")


def _without_file(config: NetworkSecurityConfig | None, app: App) -> CleartextAnswer | None:
    """Answer where no file decides; None where one does."""
    level = app.platform_sdk
    if level < ATTRIBUTE_SINCE:
        because = f"platform {level}: nothing is enforced below API {ATTRIBUTE_SINCE}"
        return CleartextAnswer(True, False, because)
    if config is not None and level >= FILE_SINCE:
        problems = config.fatal(app.debuggable)
        return CleartextAnswer(True, False, _refused(problems)) if problems else None
    ignored = "the file is not read, " if config is not None else "no file, "
    if app.instant and level >= INSTANT_SINCE:
        return CleartextAnswer(False, True, f"{ignored}an instant app")
    if app.uses_cleartext is not None:
        value = str(app.uses_cleartext).lower()
        because = f'{ignored}manifest says usesCleartextTraffic="{value}"'
        return CleartextAnswer(app.uses_cleartext, True, because)
    permitted, because = _platform_default(app)
    return CleartextAnswer(permitted, True, f"{ignored}no usesCleartextTraffic; {because}")


def _platform_default(app: App) -> tuple[bool, str]:
    if app.instant and app.platform_sdk >= INSTANT_SINCE:
        return False, "platform default for instant apps"
    if app.platform_sdk < STRICT_SINCE:
        return True, f"platform default below API {STRICT_SINCE}"
    return app.target_sdk < STRICT_SINCE, f"platform default for target {app.target_sdk}"


def _default_anchors(app: App) -> tuple[tuple[Certificates, ...], str]:
    because = f"platform default for target {app.target_sdk}"
    anchors = [Certificates("system", False, 0)]
    refused = app.privileged and app.platform_sdk >= STRICT_SINCE
    if app.target_sdk <= USER_STORE_UNTIL and not refused:
        anchors.append(Certificates("user", False, 0))
    return tuple(anchors), because + (", a privileged app" if refused else "")


def _entry_for(config: NetworkSecurityConfig, host: str | None) -> tuple[ConfigEntry | None, str]:
    """Return the domain-config that speaks for a host, or None for the base, and why."""
    if not host:
        return None, "no host named: the base"
    if host.startswith("."):
        raise ValueError(f"host {host!r} begins with a dot")
    host = host.lower().removesuffix(".")
    best: ConfigEntry | None = None
    length = -1
    because = f"{host} matches no domain: the base"
    for entry in config.entries:
        for domain in entry.domains:
            if domain.name == host:
                return entry, f"{host} is a domain (line {domain.line})"
            inside = domain.include_subdomains and host.endswith("." + domain.name)
            if inside and len(domain.name) > length:
                best, length = entry, len(domain.name)
                because = f"{host} is inside the domain {domain.name} (line {domain.line})"
    return best, because


def _chain(config: NetworkSecurityConfig, entry: ConfigEntry | None) -> Iterator[ConfigEntry]:
    """Yield the entries that may give a value, nearest first."""
    while entry is not None:
        yield entry
        entry = entry.parent
    if config.base is not None:
        yield config.base


def _cleartext(
    config: NetworkSecurityConfig, entry: ConfigEntry | None, app: App
) -> tuple[bool, str]:
    for giver in _chain(config, entry):
        value = giver.cleartext
        if value is not None:
            because = f'{giver.kind} (line {giver.line}) says "{value.text}"'
            permitted = value.boolean(True)
            if value.kind not in ("boolean", "integer"):
                because += f", a {value.kind} value, which the platform reads as true"
            return permitted, because
    return _platform_default(app)


def _refused(problems: tuple[ConfigProblem, ...]) -> str:
    first = problems[0]
    return f"the platform refuses the file and stops the app: {first.message} (line {first.line})"
