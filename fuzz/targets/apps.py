"""Code and resources of apps."""

from __future__ import annotations

import re

from fuzz.targets.target import each, target
from rom_builder.formats.arsc import parse_arsc
from rom_builder.formats.axml import parse_axml
from rom_builder.formats.axml_text import write_text
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.network_security_config import parse_nsc
from rom_builder.formats.oat import parse_oat
from rom_builder.formats.overlay_apk import parse_overlay_apk
from rom_builder.formats.overlay_config import (
    parse_overlay_config,
    parse_partition_order,
    with_overlay,
)
from rom_builder.formats.resource_config import decode_config
from rom_builder.formats.source import BytesSource
from rom_builder.formats.string_pool import StringPool
from rom_builder.formats.typed_xml import from_axml
from rom_builder.formats.vdex import parse_vdex

URL = re.compile(rb"https?://")


@target("axml")
def _(data: bytes) -> None:
    root = parse_axml(data)
    write_text(root)
    parse_nsc(from_axml(root))


@target("arsc")
def _(data: bytes) -> None:
    table = parse_arsc(data)
    _ = table.overlayables
    for kind in ("string", "bool", "xml", "integer", "array", "style"):
        for _name, number in list(table.names(kind))[:50]:
            each((lambda number=number: table.resolve(number),))
    for package, _name in table.packages:
        for number in range(40):
            resource = package << 24 | (1 + number % 8) << 16 | number // 8
            each((lambda r=resource: table.name(r), lambda r=resource: table.values(r)))


@target("overlay-apk")
def _(data: bytes) -> None:
    parse_overlay_apk(data)


@target("overlay-config")
def _(data: bytes) -> None:
    each((lambda: parse_overlay_config(data), lambda: parse_partition_order(data)))
    with_overlay(data, "com.example.rro")


@target("resource-config")
def _(data: bytes) -> None:
    decode_config(data)


@target("dex")
def _(data: bytes) -> None:
    dex = parse_dex(data)
    each((lambda: list(dex.strings), lambda: list(dex.find_strings(URL))))


@target("vdex")
def _(data: bytes) -> None:
    vdex = parse_vdex(data)
    for dex in vdex.files:
        each((lambda dex=dex: list(dex.strings), lambda dex=dex: list(dex.find_strings(URL))))
    for dex in vdex.restored():
        for method in DexClasses(DexIds(dex)).methods:
            code = parse_code(dex.data, method.code_offset, compact=dex.compact)
            each((lambda code=code: code.instructions,))


@target("oat")
def _(data: bytes) -> None:
    for inside in parse_oat(BytesSource(data)):
        dex = inside.dex()
        each((lambda dex=dex: list(dex.strings), lambda dex=dex: list(dex.find_strings(URL))))
        for method in DexClasses(DexIds(dex)).methods:
            code = parse_code(dex.data, method.code_offset, dex.operations)
            each((lambda code=code: code.instructions,))


@target("string-pool")
def _(data: bytes) -> None:
    pool = StringPool(data, 0, len(data))
    each((lambda: list(pool), lambda: list(pool.find("http://")), lambda: pool.indices("a")))
