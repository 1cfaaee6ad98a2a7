"""Keys of the carrier configuration, for every SIM that the ROM tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pydantic import Field

from rom_builder.edits import Change, Obstacle
from rom_builder.errors import ImageError
from rom_builder.facts import Value
from rom_builder.findings import Link, Location, Strength
from rom_builder.formats.axml import Attribute, Element
from rom_builder.formats.carrier_config import (
    CarrierBlock,
    CarrierValue,
    Scalar,
    carrier_file,
    parse_carrier_config,
)
from rom_builder.formats.carrier_config_answers import (
    Answer,
    Device,
    Source,
    Step,
    answers,
    answers_without_sim,
)
from rom_builder.formats.typed_xml import from_axml, from_text_xml
from rom_builder.mechanisms.effective_resources import Effective, EffectiveResources
from rom_builder.mechanisms.inside_app import in_config
from rom_builder.mechanisms.mechanism import Found, mechanism
from rom_builder.mechanisms.overlay_render import Refusal, overlay_edits
from rom_builder.mechanisms.overlays import Overlays
from rom_builder.mechanisms.system_property import read_platform, text_of
from rom_builder.policy.profile import Binding
from rom_builder.policy.profile import Value as ProfileValue
from rom_builder.readers.packages import RESOURCES, Apk, Packages
from rom_builder.rom import Rom

CARRIER_CONFIG = "com.android.carrierconfig"
PHONE = "com.android.phone"
ASKED = "string/platform_carrier_config_package"
"""Names the app that the phone asks (packages/services/Telephony, ``CarrierConfigLoader``)."""
ASSETS = "assets/"
MAX_ASSETS = 4000
"""Files of carriers in one app; AOSP has some hundred."""
VENDOR, VENDOR_NO_SIM = "xml/vendor", "xml/vendor_no_sim"
ENCRYPTED, PLAIN = "forbidden", "allowed"


class CarrierConfig(Binding):
    """One key of the carrier configuration.

    Attributes:
        key: Its name.
        package: The app whose files hold it.
        platform_default: What the platform's code takes where no file sets the key; None if that is
            not known.
        since: First API level that knows the key.
        meaning: ``cleartext``: the value is an address, and what is asked is whether it is without TLS.
    """

    key: str = Field(description="Name of the key.", pattern=r"^[A-Za-z0-9_.]{1,200}$")
    package: str = Field(CARRIER_CONFIG, description="Package name of the carrier config app.")
    platform_default: ProfileValue | None = Field(
        None, description="What the platform takes where no file sets the key; it stands in code."
    )
    since: int | None = Field(None, description="First API level that knows the key.")
    meaning: Literal["value", "cleartext"] = Field(
        "value",
        description="cleartext: the value is an address; allowed stands for one over http, forbidden "
        "for all others.",
    )


@mechanism("carrier-config")
class CarrierConfigMechanism:
    """The app's assets for each carrier, then its ``vendor.xml`` as overlays leave it.

    An app of a carrier, or one that runs as the phone, may still override a key for SIMs that trust it;
    that is in no file.
    """

    options = CarrierConfig

    def read(self, rom: Rom, packages: Packages, binding: CarrierConfig) -> Iterator[Found]:
        yield from self.found(rom, packages, binding, unsigned=False)

    def found(
        self, rom: Rom, packages: Packages, binding: CarrierConfig, *, unsigned: bool
    ) -> Iterator[Found]:
        """Yield the answers; ``unsigned`` takes overlays that build has not signed yet for signed."""
        sdk = read_platform(rom).sdk
        if binding.since is not None and sdk is not None and sdk < binding.since:
            return
        effective = EffectiveResources(Overlays(rom, packages, unsigned=unsigned))
        elsewhere = list(asked_elsewhere(packages, effective, binding))
        yield from elsewhere
        for apk in packages.named(binding.package) if not elsewhere else ():
            app = CarrierApp(rom, apk, effective)
            for config, answer, vendor in app.answers(binding.key):
                if binding.meaning == "value" or any(answer.values or ()):
                    yield self._found(apk, binding, config, answer, vendor)

    def _found(
        self,
        apk: Apk,
        binding: CarrierConfig,
        config: str,
        answer: Answer,
        vendor: Effective | None,
    ) -> Found:
        what = f"cleartext by {binding.key}" if binding.meaning == "cleartext" else binding.key
        label = in_config(f"{what} for {answer.who}", config)
        links = tuple(
            Link(place_of(step), f"{binding.key} is {shown(step.values)}") for step in answer.steps
        )
        if vendor is not None and vendor.doubt:
            chain = (*links, Link(vendor.location, vendor.doubt))
            return Found(label, (), vendor.location, Strength.EFFECTIVE, chain)
        values = answer.values
        if values is None:
            place = vendor.location if vendor else Location(apk.file.name)
            what = "no file sets it"
            if binding.platform_default is not None:
                values = (binding.platform_default,)
                what = f"{what}: the platform's own {shown(values)}, as the profile says"
            else:
                what = f"{what}, and the platform's own value is not known"
            links = (Link(place, what),)
        elif vendor is not None and len(vendor.chain) > 1:
            links = (*links[:-1], *vendor.chain, *links[-1:])
        place = links[-1].location
        if binding.meaning == "cleartext" and values is not None:
            values = tuple(dict.fromkeys(PLAIN if is_plain(v) else ENCRYPTED for v in values))
        chain = links if len(links) > 1 or not answer.steps else ()
        return Found(label, values or (), place, Strength.EFFECTIVE, chain)

    def render(
        self, rom: Rom, packages: Packages, binding: CarrierConfig, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        found = list(self.found(rom, packages, binding, unsigned=True))
        if not found or all(each.values == values for each in found):
            return
        why = f"{binding.key} is to be {', '.join(map(text_of, values))} for every SIM"
        if binding.meaning == "cleartext":
            why = f"{binding.key} is to be an address over https"
        effective = EffectiveResources(Overlays(rom, packages, unsigned=True))
        for each in asked_elsewhere(packages, effective, binding):
            hint = "name the app that the phone asks in the profile, or give it the key there"
            yield Obstacle(each.location.path, f"{why}, but {each.label}", hint)
            return
        for apk in packages.named(binding.package):
            app = CarrierApp(rom, apk, effective)
            wanted = app.wanted(binding, values)
            if isinstance(wanted, Obstacle):
                yield replace(wanted, why=f"{why}, but {wanted.why}")
                continue
            edits = overlay_edits(rom, packages, apk, wanted, why)
            if isinstance(edits, Refusal):
                yield Obstacle(apk.inner(RESOURCES), f"{why}: {edits.why}", edits.hint)
            else:
                yield from edits


def asked_elsewhere(
    packages: Packages, effective: EffectiveResources, binding: CarrierConfig
) -> Iterator[Found]:
    """Yield a finding for each other app that the phone asks for its carrier configuration."""
    for phone in packages.named(PHONE):
        for each in effective.find(phone, ASKED):
            asked = each.value.as_value()
            if each.doubt or asked != binding.package:
                label = (
                    f"{PHONE} asks {each.doubt or asked} for {binding.key}, not {binding.package}"
                )
                link = Link(each.location, "its settings are not read")
                yield Found(label, (), each.location, Strength.EFFECTIVE, (*each.chain, link))


@dataclass(frozen=True, slots=True)
class CarrierApp:
    """One carrier config app: what it ships, and what overlays make of it."""

    rom: Rom
    apk: Apk
    effective: EffectiveResources

    def answers(self, key: str) -> Iterator[tuple[str, Answer, Effective | None]]:
        """Yield what SIMs get, each with the configuration and the file that it holds in."""
        assets = list(self._assets(key))
        device = self._device()
        for resource, ask in ((VENDOR, answers), (VENDOR_NO_SIM, answers_without_sim)):
            files: list[Effective | None] = list(self.effective.find(self.apk, resource)) or [None]
            for each in files:
                try:
                    vendor = self._vendor(each) if each else None
                except ImageError as error:
                    self.rom.note_unread(error, self.apk.file.name)
                    continue
                for answer in ask(key, assets, vendor, device):
                    yield each.config if each else "", answer, each

    def wanted(
        self, binding: CarrierConfig, values: tuple[Value, ...]
    ) -> dict[str, bool | int | str | Element] | Obstacle:
        """Return the files with which every SIM gets values, by the name of the resource."""
        hint = f"bring a new version of the app: --replace {self.apk.file.path}=FILE"
        if len(values) != 1 or (binding.meaning == "cleartext" and values != (ENCRYPTED,)):
            return Obstacle(self.apk.file.name, f"{values!r} cannot be written there", hint)
        found: dict[str, bool | int | str | Element] = {}
        for resource in (VENDOR, VENDOR_NO_SIM):
            answered = [
                answer
                for config, answer, vendor in self.answers(binding.key)
                if (answer.who.startswith("no SIM")) == (resource == VENDOR_NO_SIM)
            ]
            files = self.effective.find(self.apk, resource)
            if all(answer.values == values for answer in answered):
                continue
            if len(files) != 1 or files[0].doubt:
                what = "is there for more than one configuration" if files else "is not in the app"
                return Obstacle(self.apk.inner(RESOURCES), f"{resource} {what}", hint)
            root = files[0].apk.xml(str(files[0].value.as_value()))
            if binding.meaning == "cleartext":
                found[resource] = over_https(root, binding.key, answered)
            else:
                found[resource] = with_setting(root, binding.key, values[0])
        return found

    def _vendor(self, file: Effective) -> Source:
        entry = file.value.as_value()
        if not isinstance(entry, str):
            raise ImageError("names no file", path=file.location.path)
        name = file.apk.inner(entry)
        try:
            return Source(name, parse_carrier_config(from_axml(file.apk.xml(entry))))
        except ImageError as error:
            raise error.within(name) from error

    def _assets(self, key: str) -> Iterator[Source]:
        files = {
            entry: carrier
            for entry in sorted(self.apk.archive.entries)
            if entry.startswith(ASSETS) and (carrier := carrier_file(entry.removeprefix(ASSETS)))
        }
        if len(files) > MAX_ASSETS:
            raise ImageError(
                f"has {len(files)} files of carriers, at most {MAX_ASSETS} are read",
                path=self.apk.file.name,
            )
        for entry, carrier in files.items():
            name = self.apk.inner(entry)
            data = b""
            try:
                data = self.apk.read(entry)
                yield Source(name, blocks_of(data), carrier)
            except ImageError as error:
                # The app may drop such a file or take what stands before the fault. AOSP 12 itself
                # ships one; it matters only to the keys that it may set.
                if not data or any(each in data for each in (key.encode(), b"&#", b"<!ENTITY")):
                    self.rom.note_unread(error, name)
                    nobody_knows = CarrierBlock((), {key: CarrierValue((), 0)}, 0)
                    yield Source(name, (nobody_knows,), carrier)

    def _device(self) -> Device:
        platform = read_platform(self.rom)
        skus = {e.value.as_value() for e in self.effective.find(self.apk, "string/sku_filter")}
        sku = skus.pop() if len(skus) == 1 else None
        return Device(platform.get("ro.product.device"), sku if isinstance(sku, str) else None)


@lru_cache(maxsize=2048)
def blocks_of(data: bytes) -> tuple[CarrierBlock, ...]:
    """Return the blocks of a text file; an app has hundreds, and each key asks for all of them.

    Raises:
        ImageError: It is damaged.
    """
    return parse_carrier_config(from_text_xml(data))


def with_setting(root: Element, key: str, value: Scalar) -> Element:
    """Return a ``vendor.xml`` whose last word on a key is for every SIM."""
    kind = "boolean" if isinstance(value, bool) else "int" if isinstance(value, int) else "string"
    name = Attribute.of("name", key)
    if kind == "string":
        setting = Element(kind, attributes=(name,), text=str(value))
    else:
        setting = Element(kind, attributes=(name, Attribute.of("value", text_of(value))))
    blocks = list(root.children)
    if blocks and blocks[-1].name == "carrier_config" and not blocks[-1].attributes:
        kept = tuple(
            child
            for child in blocks[-1].children
            if (a := child.attribute(name="name")) is None or a.as_string() != key
        )
        blocks[-1] = blocks[-1]._replace(children=(*kept, setting))
    else:
        blocks.append(Element("carrier_config", children=(setting,)))
    return root._replace(children=tuple(blocks))


def over_https(root: Element, key: str, answered: list[Answer]) -> Element:
    """Return a ``vendor.xml`` in which the addresses of a key are over https, and those of assets too."""
    blocks = [_https(block, key) for block in root.children]
    for answer in answered:
        step = answer.steps[-1] if answer.steps else None
        carrier = carrier_file(step.source.rpartition("/")[2]) if step else None
        if step is None or carrier is None or not any(map(is_plain, step.values)):
            continue
        filters = list(answer.filters)
        if carrier.kind == "operator":
            filters += [("mcc", carrier.identity[:3]), ("mnc", carrier.identity[3:])]
        elif carrier.kind == "carrier-id":
            filters.append(("cid", carrier.identity))
        address = Element(
            "string",
            attributes=(Attribute.of("name", key),),
            text=secured(str(step.values[0])),
        )
        attributes = tuple(Attribute.of(name, text) for name, text in filters)
        blocks.append(Element("carrier_config", attributes=attributes, children=(address,)))
    return root._replace(children=tuple(blocks))


def _https(block: Element, key: str) -> Element:
    children = tuple(
        child._replace(text=secured(child.text))
        if (a := child.attribute(name="name")) is not None and a.as_string() == key
        else child
        for child in block.children
    )
    return block._replace(children=children)


def is_plain(address: Scalar) -> bool:
    """Say whether an address is reached without TLS.

    >>> is_plain("http://example.com"), is_plain("https://example.com"), is_plain("")
    (True, False, False)
    """
    text = str(address).strip().lower()
    return bool(text) and not text.startswith("https:")


def secured(address: str) -> str:
    """Return an address over https.

    >>> secured(" HTTP://example.com/x")
    'https://example.com/x'
    """
    text = address.strip()
    scheme, colon, rest = text.partition("://")
    if scheme.lower() == "http" and colon:
        return f"https://{rest}"
    return text if not is_plain(text) else f"https://{text}"


def place_of(step: Step) -> Location:
    """Return where a step stands."""
    return Location(step.source, line=step.line or None)


def shown(values: tuple[Scalar, ...]) -> str:
    """Say values as a file has them."""
    return ", ".join(map(text_of, values)) if values else "no value that the platform can take"
