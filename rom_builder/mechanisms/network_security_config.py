"""Android's Network Security Config, inside an app or as a file that a service applies itself."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree
from pydantic import Field, model_validator

from rom_builder.edits import Change, Edit, FileData, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import NetworkSecurity, Value, app_behind
from rom_builder.findings import Location, Strength
from rom_builder.formats.axml import Attribute, Element, patch_attribute
from rom_builder.formats.network_security_answers import (
    ATTRIBUTE_SINCE,
    FILE_SINCE,
    CleartextAnswer,
    evaluate_cleartext,
)
from rom_builder.formats.network_security_config import (
    NetworkSecurityConfig,
    parse_nsc,
    with_debug_file,
)
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.formats.typed_xml import ConfigElement, from_axml, from_text_xml
from rom_builder.mechanisms.effective_resources import (
    Effective,
    EffectiveResources,
    effective_resources,
)
from rom_builder.mechanisms.inside_app import TRUE, changed, on_device
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlay_render import Refusal, android, overlay_edits
from rom_builder.mechanisms.service_config import parse_xml
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.profile import Binding, Profile
from rom_builder.readers.packages import DEBUGGABLE, MANIFEST, Apk, Packages
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
            answer = laxest_answer(fact, sdk)
            if answer is not None:
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
            yield from _render_app(rom, packages, apk, permitted)


def laxest_answer(fact: NetworkSecurity, sdk: int | None) -> CleartextAnswer | None:
    """Return the answer by default, or for a domain that is let through; None without an API level."""
    app = app_behind(fact, sdk)
    if app is None:
        return None
    domains = [d.name for e in (fact.config.entries if fact.config else ()) for d in e.domains]
    hosts = (None, *(name for name in domains if not name.startswith(".")))
    answers = [evaluate_cleartext(fact.config, app, host) for host in hosts]
    return next((each for each in answers if each.permitted), answers[0])


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
    for apk in packages.named(binding.package or ""):
        try:
            described = apk.describe()
            for holder, entry, config in configs_of(rom, packages, apk):
                place = Location(holder.inner(entry or MANIFEST))
                yield NetworkSecurity(service, described, config, place)
        except ImageError as error:
            rom.note_unread(error, apk.file.name)


def configs_of(
    rom: Rom, packages: Packages, apk: Apk
) -> Iterator[tuple[Apk, str | None, NetworkSecurityConfig | None]]:
    """Yield each config that an app may have on its platform: app or overlay, entry and content.

    One without an entry if the manifest names none. A config may depend on the network or the
    language (``res/xml-mcc310``), so an app may have several. The file for debuggable apps is in the
    config of an app that is debuggable.

    Raises:
        ImageError: The manifest names a config that is not in the app, one is damaged, or nobody can
            tell which one counts.
    """
    attribute = apk.network_security_config
    if attribute is None:
        yield apk, None, None
        return
    resources = effective_resources(rom, packages)
    values = resources.resolve(apk, attribute.reference) if attribute.reference else ()
    if not values or not all(each.value.string for each in values):
        raise ImageError("the config that the manifest names is missing", path=apk.inner(MANIFEST))
    seen = set()
    for each in values:
        if each.doubt:
            raise ImageError(
                f"which config counts cannot be told: {each.doubt}", path=apk.file.name
            )
        entry = each.value.string or ""
        if (each.apk.file.name, entry) in seen:
            continue
        seen.add((each.apk.file.name, entry))
        config = parse_nsc(_element(each.apk, entry))
        if apk.flag(DEBUGGABLE):
            for holder, debug_entry in _debug_files(resources, apk, attribute.reference or 0):
                config = with_debug_file(config, _element(holder, debug_entry))
        yield each.apk, entry, config


def _element(apk: Apk, entry: str) -> ConfigElement:
    try:
        return from_axml(apk.xml(entry))
    except ImageError as error:
        raise error.within(apk.inner(entry)) from error


def _debug_files(
    resources: EffectiveResources, apk: Apk, reference: int
) -> Iterator[tuple[Apk, str]]:
    """Yield the file that debuggable apps read too, if there is one."""
    name = apk.resources.name(reference) if apk.resources else None
    found = resources.find(apk, f"{name}_debug") if name else ()
    yield from ((each.apk, each.value.string) for each in found[:1] if each.value.string)


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


def _render_app(rom: Rom, packages: Packages, apk: Apk, permitted: bool) -> Iterator[Change]:
    """Yield an overlay of the config, or what has to be in a new version of the app."""
    why = f"cleartext is to be {'allowed' if permitted else 'forbidden'}"
    new_version = f"bring a new version of the app: --replace {apk.file.path}=FILE"
    reference = apk.network_security_config.reference if apk.network_security_config else None
    found = effective_resources(rom, packages).resolve(apk, reference) if reference else ()
    entries = [each for each in found if each.value.string]
    sdk = read_platform(rom).sdk
    if sdk is not None and sdk < ATTRIBUTE_SINCE:
        if not permitted:
            yield Obstacle(
                on_device(apk),
                f"{why}, but {android(sdk)} lets every app send unencrypted: its code decides",
                f"bring a version of the app that uses https only, unless this one does: "
                f"--replace {apk.file.path}=FILE",
            )
        return
    if reference is None or not entries or (sdk is not None and sdk < FILE_SINCE):
        fact = NetworkSecurity("", apk.describe(), None, Location(apk.inner(MANIFEST)))
        app = app_behind(fact, sdk)
        if app is None or evaluate_cleartext(None, app, None).permitted != permitted:
            because = "the app names no config, and no overlay can add one to its manifest"
            if sdk is not None and sdk < FILE_SINCE:
                because = f"{android(sdk)} reads usesCleartextTraffic of the manifest only"
            yield Obstacle(on_device(apk, MANIFEST), f"{why}, but {because}", new_version)
        return
    if refuses(rom, packages, apk) if not permitted else all(map(_permits, entries)):
        return
    name = (apk.resources.name(reference) if apk.resources else None) or ""

    def wanted(each: Effective) -> Element:
        return with_cleartext(each.apk.xml(each.value.string or ""), permitted)

    edits = overlay_edits(rom, packages, apk, {name: wanted}, why)
    if not isinstance(edits, Refusal):
        yield from edits
        return
    why = f"{why}, and no overlay can: {edits.why}"
    for entry in dict.fromkeys(e.value.string for e in entries if e.apk is apk):
        yield from _render_entry(apk, entry or "", permitted, why, new_version)
    if any(each.apk is not apk for each in entries):
        yield Obstacle(on_device(apk), why, edits.hint)


def refuses(rom: Rom, packages: Packages, apk: Apk) -> bool:
    """Say whether every config that an app may have refuses cleartext to everyone."""
    sdk = read_platform(rom).sdk
    described = apk.describe()
    for holder, entry, config in configs_of(rom, packages, apk):
        fact = NetworkSecurity("", described, config, Location(holder.inner(entry or MANIFEST)))
        answer = laxest_answer(fact, sdk)
        if answer is None or answer.permitted:
            return False
    return True


def _permits(each: Effective) -> bool:
    """Say whether a config permits cleartext at its base and wherever else it says so."""
    root = each.apk.xml(each.value.string or "")
    return any(True for _ in _stated(root, "base-config")) and all(
        attribute.type == ValueType.INT_BOOLEAN and bool(attribute.data)
        for kind in ("base-config", "domain-config")
        for attribute in _stated(root, kind)
    )


def with_cleartext(root: Element, permitted: bool) -> Element:
    """Return a config that permits or forbids cleartext at its base and wherever it says so.

    The value is a boolean, whatever it was before; all else stays.
    """

    def stated(element: Element) -> Element:
        attributes = [
            Attribute.of(CLEARTEXT, permitted) if a.name == CLEARTEXT else a
            for a in element.attributes
            if element.name in ("base-config", "domain-config") or a.name != CLEARTEXT
        ]
        if element.name == "base-config" and not any(a.name == CLEARTEXT for a in attributes):
            attributes.append(Attribute.of(CLEARTEXT, permitted))
        return element._replace(
            attributes=tuple(attributes),
            children=tuple(stated(child) for child in element.children),
        )

    if not root.children_named("base-config"):
        root = root._replace(children=(Element("base-config"), *root.children))
    return stated(root)


def _render_entry(
    apk: Apk, entry: str, permitted: bool, why: str, new_version: str
) -> Iterator[Change]:
    root = apk.xml(entry)
    if not any(True for _ in _stated(root, "base-config")):
        yield Obstacle(
            on_device(apk, entry), f"{why}, but the config has no base value", new_version
        )
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
