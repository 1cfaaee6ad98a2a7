"""What the apps of a service leave open on the phone: components, backups, links in their texts.

Attributes and their defaults: AOSP ``ParsedActivityUtils``, ``ParsedServiceUtils``,
``ParsedProviderUtils`` and ``ParsingPackageUtils``; resource ids: ``core/res/res/values/public.xml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.facts.hygiene import Exposure, OpenComponent, PrivacyLink
from rom_builder.findings import Location
from rom_builder.formats.axml import Element
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import MANIFEST, RESOURCES, Apk, Packages
from rom_builder.rom import Rom

NAME, PERMISSION, READ_PERMISSION, WRITE_PERMISSION = 0x01010003, 0x01010006, 0x01010007, 0x01010008
ENABLED, EXPORTED, ALLOW_BACKUP = 0x0101000E, 0x01010010, 0x01010280
BACKUP_RULES = {"fullBackupContent": 0x010104EB, "dataExtractionRules": 0x0101063E}
"""Attributes that limit a backup: up to Android 11, and from Android 12 on."""

KINDS = ("service", "receiver", "provider")
"""Components that work without being seen; activities are there to be opened by others."""
PROVIDER_CLOSED_SINCE = 17
"""Target API level from which a provider is not exported unless it says so."""
EXPLICIT_SINCE = 31
"""An app that targets this level is refused, by platforms from it on, if a component with an intent
filter does not say whether it is exported."""

_LINK = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)
_ABOUT = re.compile(
    r"privacy|polic|terms|agreement|legal|eula|licen[cs]e|yinsi|xieyi", re.IGNORECASE
)


def read_exposure(
    rom: Rom, packages: Packages, profile: Profile, sdk: int | None
) -> Iterator[Exposure | OpenComponent]:
    """Yield what each app of a service leaves open; an app that cannot be read is noted as unread."""
    for package in profile.packages:
        for apk in packages.named(package):
            try:
                found = list(_components(apk, sdk))
                yield _exposure(apk, profile.id, len(found))
            except ImageError as error:
                rom.note_unread(error, apk.file.name)
                continue
            yield from (
                OpenComponent(
                    profile.id, package, element.name, name, why, refused,
                    Location(apk.inner(MANIFEST), element.offset),
                )
                for element, name, why, refused in found
                if why
            )  # fmt: skip


def _exposure(apk: Apk, service: str, components: int) -> Exposure:
    application = apk.application
    stated = apk.flag(ALLOW_BACKUP)
    rules = tuple(
        name
        for name, resource_id in BACKUP_RULES.items()
        if application is not None
        and (attribute := application.attribute(resource_id)) is not None
        and attribute.reference is not None
    )
    return Exposure(
        service=service,
        package=apk.package,
        components=components,
        backup=stated is not False,
        backup_stated=stated is not None,
        backup_rules=rules,
        links=tuple(dict.fromkeys(privacy_links(apk))),
        location=Location(apk.inner(MANIFEST)),
    )


def privacy_links(apk: Apk) -> Iterator[PrivacyLink]:
    """Yield links to privacy policies and terms among an app's texts, in every language.

    A link counts if it, or the name of its text, speaks of one.

    Raises:
        ImageError: The resource table is damaged.
    """
    table = apk.resources
    if table is None:
        return
    for name, _, value in table.all_values("string"):
        for url in _LINK.findall(value.string or ""):
            if _ABOUT.search(name) or _ABOUT.search(url):
                where = f"string/{name}" + (f" ({value.config})" if value.config else "")
                yield PrivacyLink(f"{where} in {RESOURCES}", url)


def _components(apk: Apk, sdk: int | None) -> Iterator[tuple[Element, str, str, bool]]:
    """Yield element, class, why it is open (empty if it is not), and whether it bars the app."""
    application = apk.application
    if application is None:
        return
    default = _text(application, PERMISSION)
    for element in application.children:
        if element.name not in KINDS or apk.boolean(element.attribute(ENABLED)) is False:
            continue
        stated = apk.boolean(element.attribute(EXPORTED))
        filters = bool(element.children_named("intent-filter"))
        why = ""
        refused = False
        if stated is not None:
            why = "exported" if stated else ""
        elif element.name == "provider":
            if apk.target_sdk < PROVIDER_CLOSED_SINCE:
                why = f"a provider, exported as the app targets API {apk.target_sdk}"
        elif filters:
            why = "has an intent filter and does not say that it is not exported"
            refused = apk.target_sdk >= EXPLICIT_SINCE and (sdk or 0) >= EXPLICIT_SINCE
        guard = _guard(element, default)
        yield element, _text(element, NAME) or "?", why if not guard else "", refused and not guard


def _guard(element: Element, default: str) -> bool:
    """Say whether a permission stands before a component, for reading and for writing."""
    whole = _text(element, PERMISSION) or default
    if element.name != "provider":
        return bool(whole)
    sides = (READ_PERMISSION, WRITE_PERMISSION)
    return all(_text(element, side) or whole for side in sides)


def _text(element: Element, resource_id: int) -> str:
    attribute = element.attribute(resource_id)
    return (attribute.as_string() if attribute else None) or ""
