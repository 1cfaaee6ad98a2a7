"""Android's Network Security Config, inside an app or as a file that a service applies itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lxml import etree
from pydantic import Field, model_validator

from rom_builder.edits import Change, Edit, FileData, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import NetworkSecurity, Value, app_behind
from rom_builder.findings import Location, Strength
from rom_builder.formats.arsc import ResourceValue
from rom_builder.formats.axml import Attribute, Element, patch_attribute
from rom_builder.formats.network_security_answers import evaluate_cleartext
from rom_builder.formats.network_security_config import (
    NetworkSecurityConfig,
    parse_nsc,
    with_debug_file,
)
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.formats.typed_xml import ConfigElement, from_axml, from_text_xml
from rom_builder.mechanisms.inside_app import TRUE, changed
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.service_config import parse_xml
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.packages import DEBUGGABLE, MANIFEST, Apk, Packages
from rom_builder.policy.profile import Binding, Profile
from rom_builder.rom import Rom

MAX_FILE_SIZE = 1 << 20
CLEARTEXT = "cleartextTrafficPermitted"


class NetworkSecurityConfigFile(Binding):
    """A network security config: that of an app, or a text file of the device.

    Attributes:
        package: App whose manifest names its config.
        file: Device path of a text XML file that the service applies itself.
    """

    package: str | None = Field(None, description="App whose manifest names its config.")
    file: str | None = Field(
        None, description="Device path of a text XML file that the service applies itself."
    )

    @model_validator(mode="after")
    def _one_place(self) -> NetworkSecurityConfigFile:
        if (self.package is None) == (self.file is None):
            raise ValueError("give either package or file")
        return self


@mechanism("network-security-config")
class NetworkSecurityConfigMechanism:
    """Cleartext as the platform decides it; the values are the policy's: forbidden or allowed.

    Forbidden is what refuses by default and for every domain that the config singles out.
    """

    options = NetworkSecurityConfigFile

    def read(
        self, rom: Rom, packages: Packages, binding: NetworkSecurityConfigFile
    ) -> Iterator[Found]:
        sdk = read_platform(rom).sdk
        for fact in facts_of(rom, packages, "", binding):
            app = app_behind(fact, sdk)
            if app is None:
                continue
            domains = [
                d.name for e in (fact.config.entries if fact.config else ()) for d in e.domains
            ]
            hosts = (None, *(name for name in domains if not name.startswith(".")))
            answers = [evaluate_cleartext(fact.config, app, host) for host in hosts]
            answer = next((each for each in answers if each.permitted), answers[0])
            value = "allowed" if answer.permitted else "forbidden"
            label = f"cleartext ({answer.because})"
            yield Found(label, (value,), fact.location, Strength.EFFECTIVE)

    def render(
        self,
        rom: Rom,
        packages: Packages,
        binding: NetworkSecurityConfigFile,
        values: tuple[Value, ...],
    ) -> Iterator[Change]:
        permitted = values[0] == "allowed"
        if binding.file is not None:
            yield from _render_file(rom, binding.file, permitted)
        for apk in packages.named(binding.package) if binding.package else ():
            yield from _render_app(apk, permitted, read_platform(rom).sdk)


def read_network_security(
    rom: Rom, packages: Packages, profile: Profile
) -> Iterator[NetworkSecurity]:
    """Yield what decides on the connections of each app and file of a service.

    A config that cannot be read is noted as unread.
    """
    bindings = [b for b in profile.transport if isinstance(b, NetworkSecurityConfigFile)]
    named = {binding.package for binding in bindings}
    bindings += [
        NetworkSecurityConfigFile(mechanism="network-security-config", package=package, file=None)
        for package in profile.packages
        if package not in named
    ]
    for binding in bindings:
        yield from facts_of(rom, packages, profile.id, binding)


def facts_of(
    rom: Rom, packages: Packages, service: str, binding: NetworkSecurityConfigFile
) -> Iterator[NetworkSecurity]:
    """Yield the fact of one binding, or of each app of that name."""
    if binding.file is not None:
        file = rom.find(binding.file)
        if file is not None:
            try:
                parsed = parse_nsc(from_text_xml(rom.read(file, MAX_FILE_SIZE)))
                yield NetworkSecurity(service, None, parsed, Location(file.name))
            except ImageError as error:
                rom.note_unread(error, file.name)
        return
    sdk = read_platform(rom).sdk
    for apk in packages.named(binding.package or ""):
        try:
            described = apk.describe()
            for entry, config in configs_of(apk, sdk):
                place = Location(apk.inner(entry or MANIFEST))
                yield NetworkSecurity(service, described, config, place)
        except ImageError as error:
            rom.note_unread(error, apk.file.name)


def configs_of(
    apk: Apk, sdk: int | None
) -> Iterator[tuple[str | None, NetworkSecurityConfig | None]]:
    """Yield entry and content of every config that an app may have on a platform of that API level.

    One without an entry if the manifest names none. A config may depend on the network or the
    language (``res/xml-mcc310``), so an app may have several. The file for debuggable apps is in the
    config of an app that is debuggable.

    Raises:
        ImageError: The manifest names a config that is not in the app, or one is damaged.
    """
    attribute = apk.network_security_config
    if attribute is None:
        yield None, None
        return
    values = reachable(apk.resolve(attribute.reference) if attribute.reference else (), sdk)
    if not values or not all(value.string for value in values):
        raise ImageError("the config that the manifest names is missing", path=apk.inner(MANIFEST))
    for entry in dict.fromkeys(value.string for value in values if value.string):
        config = parse_nsc(_element(apk, entry))
        if apk.flag(DEBUGGABLE):
            for debug_entry in _debug_entries(apk, attribute.reference or 0):
                config = with_debug_file(config, _element(apk, debug_entry))
        yield entry, config


_VERSION = re.compile(r"(?:^|-)v(\d+)$")


def reachable(values: Iterable[ResourceValue], sdk: int | None) -> list[ResourceValue]:
    """Return the values of a resource that a platform may choose.

    Of those that differ by API level alone (``v28``) that is the one with the highest level that is
    not above the platform's.
    """
    best: dict[str, tuple[int, ResourceValue]] = {}
    for value in values:
        found = _VERSION.search(value.config)
        level = int(found[1]) if found else 0
        if sdk is not None and level > sdk:
            continue
        key = value.config if sdk is None else _VERSION.sub("", value.config)
        if key not in best or level > best[key][0]:
            best[key] = level, value
    return [value for _, value in best.values()]


def _element(apk: Apk, entry: str) -> ConfigElement:
    try:
        return from_axml(apk.xml(entry))
    except ImageError as error:
        raise error.within(apk.inner(entry)) from error


def _debug_entries(apk: Apk, reference: int) -> Iterator[str]:
    """Yield the file that debuggable apps read too, if there is one."""
    table = apk.resources
    kind, _, name = ((table.name(reference) if table else None) or "").partition("/")
    found = table.find(kind, f"{name}_debug") if table and name else None
    values = apk.resolve(found) if found is not None else ()
    yield from (value.string for value in values[:1] if value.string)


def _render_file(rom: Rom, path: str, permitted: bool) -> Iterator[Change]:
    file = rom.find(path)
    why = f"cleartext is to be {'allowed' if permitted else 'forbidden'}"
    if file is None or file.path is None:
        yield Obstacle(path, f"{why}, but there is no such file", "add the file")
        return
    tree = parse_xml(rom, file)
    root = tree.getroot()
    base = root.find("base-config")
    if base is None:
        base = etree.SubElement(root, "base-config")
    before = etree.tostring(tree)
    for element in (base, *root.iter("domain-config")):
        if element is base or element.get(CLEARTEXT) is not None:
            element.set(CLEARTEXT, "true" if permitted else "false")
    if etree.tostring(tree) != before or base.get(CLEARTEXT) is None:
        data = etree.tostring(tree, xml_declaration=True, encoding="utf-8")
        yield Edit(file.path, FileData(data), why)


def _render_app(apk: Apk, permitted: bool, sdk: int | None) -> Iterator[Change]:
    why = f"cleartext is to be {'allowed' if permitted else 'forbidden'}"
    new_version = f"bring a new version of the app: --replace {apk.file.path}=FILE"
    attribute = apk.network_security_config
    values = apk.resolve(attribute.reference) if attribute and attribute.reference else ()
    entries = list(dict.fromkeys(v.string for v in reachable(values, sdk) if v.string))
    if not entries:
        fact = NetworkSecurity("", apk.describe(), None, Location(apk.inner(MANIFEST)))
        app = app_behind(fact, sdk)
        if app is None or evaluate_cleartext(None, app, None).permitted != permitted:
            yield Obstacle(apk.inner(MANIFEST), f"{why}, but the app names no config", new_version)
    for entry in entries:
        yield from _render_entry(apk, entry, permitted, why, new_version)


def _render_entry(
    apk: Apk, entry: str, permitted: bool, why: str, new_version: str
) -> Iterator[Change]:
    root = apk.xml(entry)
    if not any(True for _ in _stated(root, "base-config")):
        yield Obstacle(apk.inner(entry), f"{why}, but the config has no base value", new_version)
        return
    data = apk.read(entry)
    wrong = False
    for kind in ("base-config", "domain-config"):
        for attribute in _stated(root, kind):
            good = attribute.type == ValueType.INT_BOOLEAN and bool(attribute.data) == permitted
            if not good:
                wrong = True
                data = patch_attribute(
                    data, attribute, ValueType.INT_BOOLEAN, TRUE if permitted else 0
                )
    if wrong:
        yield changed(apk, entry, data, why)


def _stated(root: Element, kind: str) -> Iterator[Attribute]:
    for element in root.walk():
        if element.name == kind:
            found = element.attribute(name=CLEARTEXT, any_namespace=True)
            if found is not None:
                yield found
