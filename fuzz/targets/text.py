"""Files that people can read: XML, scripts and settings."""

from __future__ import annotations

from datetime import date

from fuzz.targets.target import each, target
from rom_builder.formats import carrier_config_answers as carriers
from rom_builder.formats.build_prop import parse_build_prop
from rom_builder.formats.carrier_config import carrier_file, parse_carrier_config
from rom_builder.formats.default_permissions import parse_default_permissions
from rom_builder.formats.edify import parse_edify
from rom_builder.formats.init_rc import parse_init_rc
from rom_builder.formats.network_security_answers import (
    App,
    app_wide,
    evaluate_cleartext,
    pins,
    trust,
)
from rom_builder.formats.network_security_config import parse_nsc
from rom_builder.formats.system_config import parse_system_config
from rom_builder.formats.typed_xml import from_text_xml
from rom_builder.formats.updater_script import parse_updater_script
from rom_builder.mechanisms import binding_models
from rom_builder.policy.models import Policy
from rom_builder.policy.profile import read_profile
from rom_builder.policy.yaml import parse_yaml, validate

APP = App(34, 34, None)


@target("typed-xml")
def _(data: bytes) -> None:
    from_text_xml(data)


@target("network-security-config")
def _(data: bytes) -> None:
    config = parse_nsc(from_text_xml(data))
    app_wide(config, APP)
    for host in ("example.net", "a.example.net"):
        evaluate_cleartext(config, APP, host)
        trust(config, APP, host)
        pins(config, APP, host, date(2026, 1, 1))


@target("system-config")
def _(data: bytes) -> None:
    parse_system_config(data)


@target("default-permissions")
def _(data: bytes) -> None:
    parse_default_permissions(data)


@target("carrier-config")
def _(data: bytes) -> None:
    blocks = parse_carrier_config(from_text_xml(data))
    asset = carriers.Source("asset", blocks, carrier_file("carrier_config_mccmnc_00101.xml"))
    vendor = carriers.Source("vendor.xml", blocks)
    for key in {key for block in blocks for key in block.settings}:
        carriers.answers(key, [asset], vendor, carriers.Device("pine", ""))
        carriers.answers_without_sim(key, [asset], vendor, carriers.Device())


@target("init-rc")
def _(data: bytes) -> None:
    parse_init_rc(data)


@target("edify")
def _(data: bytes) -> None:
    parse_edify(data)


@target("updater-script")
def _(data: bytes) -> None:
    script = parse_updater_script(data)
    _ = script.links, script.style, script.mounts, script.formats, script.deletes
    for path in ("/system/bin/sh", "/system/build.prop"):
        each(
            (
                lambda path=path: script.resolve(path),
                lambda path=path: script.permissions(path),
                lambda path=path: script.zip_path_for(path),
                lambda path=path: script.extracted(path[1:]),
            )
        )


@target("build-prop")
def _(data: bytes) -> None:
    prop = parse_build_prop(data)
    if prop.encode() != data:
        raise AssertionError("an unchanged file is not written as it was read")
    _ = prop.values(), prop.duplicates()
    each((lambda: prop.with_values({"ro.debuggable": "0"}),))


@target("policy")
def _(data: bytes) -> None:
    document = parse_yaml(data, "policy.yaml")
    each((lambda: validate(Policy, document), lambda: read_profile(document, binding_models())))
