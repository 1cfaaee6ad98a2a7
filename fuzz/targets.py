"""Every reader of hostile input as one call, by the name of its format.

A target reads all that it can of the bytes it is given. :class:`~rom_builder.errors.ImageError` and
:class:`~rom_builder.errors.PolicyError` are the answers to damage; anything else that escapes, and
any reading without end or measure, is a mistake in the reader.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache

from cryptography.x509 import Certificate

from fuzz.fuzz import seeds
from fuzz.images import PatchedImages, disk_images, fixture_images, super_images
from rom_builder.errors import ImageError, PolicyError, SigningError
from rom_builder.formats import carrier_config_answers as carriers
from rom_builder.formats.ab_metadata import (
    CareMap,
    OtaMetadata,
    legacy_metadata,
    parse_property_files,
    verify_property_files,
)
from rom_builder.formats.apex import Apex
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.arsc import parse_arsc
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.axml import parse_axml
from rom_builder.formats.axml_text import write_text
from rom_builder.formats.boot_image import detect_boot_image, open_boot_image
from rom_builder.formats.brotli_stream import BrotliStream
from rom_builder.formats.build_prop import parse_build_prop
from rom_builder.formats.carrier_config import carrier_file, parse_carrier_config
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.compression import Codec, decompress, detect_codec
from rom_builder.formats.cpio import CpioTree
from rom_builder.formats.default_permissions import parse_default_permissions
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_class import DexClasses
from rom_builder.formats.dex_code import parse_code
from rom_builder.formats.dex_ids import DexIds
from rom_builder.formats.edify import parse_edify
from rom_builder.formats.erofs import open_erofs
from rom_builder.formats.ext4 import open_ext4
from rom_builder.formats.fec import verify_fec
from rom_builder.formats.gpt import DiskImage
from rom_builder.formats.init_rc import parse_init_rc
from rom_builder.formats.jar_signature import read_jar_signers
from rom_builder.formats.mtk_header import strip_mtk_header
from rom_builder.formats.network_security_answers import (
    App,
    app_wide,
    evaluate_cleartext,
    pins,
    trust,
)
from rom_builder.formats.network_security_config import parse_nsc
from rom_builder.formats.oat import parse_oat
from rom_builder.formats.ota_metadata import parse_ota_metadata
from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.otacert import parse_certificates, recovery_fitness
from rom_builder.formats.overlay_apk import parse_overlay_apk
from rom_builder.formats.overlay_config import (
    parse_overlay_config,
    parse_partition_order,
    with_overlay,
)
from rom_builder.formats.payload import Payload, gaps, problems
from rom_builder.formats.payload.properties import parse_payload_properties
from rom_builder.formats.ramdisk import open_ramdisk
from rom_builder.formats.resource_config import decode_config
from rom_builder.formats.source import BytesSource, Source
from rom_builder.formats.sparse import SparseImage
from rom_builder.formats.squashfs import open_squashfs
from rom_builder.formats.string_pool import StringPool
from rom_builder.formats.super_image import SuperImage
from rom_builder.formats.system_config import parse_system_config
from rom_builder.formats.tar_tree import TarTree, inflate_gzip
from rom_builder.formats.target_files import dynamic_partitions, parse_ab_partitions, parse_info
from rom_builder.formats.transfer_list import open_transfer, parse_transfer_list
from rom_builder.formats.tree import NodeKind, Tree
from rom_builder.formats.typed_xml import from_axml, from_text_xml
from rom_builder.formats.updater_script import parse_updater_script
from rom_builder.formats.vbmeta import parse_vbmeta, read_footer, read_vbmeta, verify_vbmeta
from rom_builder.formats.vdex import parse_vdex
from rom_builder.formats.x509 import parse_certificate, parse_otacerts
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.mechanisms import binding_models
from rom_builder.policy.models import Policy
from rom_builder.policy.profile import read_profile
from rom_builder.policy.yaml import parse_yaml, validate
from rom_builder.rom.containers import Contents
from rom_builder.signers.log import parse_log
from rom_builder.signing_requests.request import parse_request, public_half
from rom_builder.verification.package import verify_package
from rom_builder.verification.report import Demands, as_json

DOCUMENTED = (ImageError, PolicyError)
"""What a reader may raise."""
MAX_FILES = 200
MAX_READ = 1 << 19
"""Bytes read of one file or partition: its size is what the input claims, and holes cost nothing."""
STEP = 1 << 16
URL = re.compile(rb"https?://")
APP = App(34, 34, None)

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        images: Images that the input is a list of changes to; None if the input is the file itself.
    """

    name: str
    read: Read
    images: PatchedImages | None = None

    def __call__(self, data: bytes) -> bool:
        """Read the input; return whether it was accepted."""
        if self.images is not None:
            data = self.images.patched(data)
        try:
            self.read(data)
        except DOCUMENTED:
            return False
        return True


TARGETS: dict[str, Target] = {}


def target(name: str, images: PatchedImages | None = None) -> Callable[[Read], Read]:
    """Return a decorator that adds a reader under the name of its format."""

    def join(read: Read) -> Read:
        TARGETS[name] = Target(name, read, images)
        return read

    return join


def drain(source: Source) -> None:
    """Read a source from its start, up to a measure, and its end."""
    for offset in range(0, min(source.size, MAX_READ), STEP):
        source.read_at(offset, min(STEP, source.size - offset))
    source.read_at(max(0, source.size - 100), min(100, source.size))


def drain_tree(tree: Tree) -> None:
    """Walk a tree and read its files; one that is damaged does not hide the others."""
    files = 0
    for node in tree.walk():
        if node.kind is NodeKind.FILE and files < MAX_FILES:
            files += 1
            with suppress(ImageError):
                drain(tree.open(node))


def each(calls: Iterable[Callable[[], object]]) -> None:
    """Make every call, whether or not the one before was refused."""
    for call in calls:
        with suppress(*DOCUMENTED):
            call()


# Packages and their signatures


@target("zip")
def _(data: bytes) -> None:
    each(lambda lenient=lenient: _unzip(data, lenient) for lenient in (False, True))


def _unzip(data: bytes, lenient: bool) -> None:
    archive = ZipArchive(BytesSource(data), lenient=lenient)
    for entry in list(archive.entries.values())[:MAX_FILES]:
        each(
            (
                lambda entry=entry: archive.read(entry, MAX_READ),
                lambda entry=entry: drain(archive.open(entry)),
            )
        )
    drain_tree(ZipTree(archive))


@target("apk-signature")
def _(data: bytes) -> None:
    source = BytesSource(data)
    archive = ZipArchive(source, lenient=True)
    each(
        (
            lambda: read_signers(archive, source, verify=True),
            lambda: read_signers(archive, source),
            lambda: read_jar_signers(archive, verify=True),
        )
    )


@target("ota-signature")
def _(data: bytes) -> None:
    source = BytesSource(data)
    found = parse_ota_signature(source)
    if found is not None:
        with suppress(SigningError):
            verify_ota_signature(source, trusted())


@target("package")
def _(data: bytes) -> None:
    found = verify_package(BytesSource(data))
    as_json("ota.zip", len(data), found, Demands(), None)
    if found.failed:
        raise ImageError(found.failed[0].detail)


@cache
def trusted() -> list[Certificate]:
    """Return the certificates of the corpus: packages of the corpus are signed with them."""
    return [one for data in seeds("x509") for one in parse_certificates(data)]


@target("cms")
def _(data: bytes) -> None:
    parse_cms(data)


@target("x509")
def _(data: bytes) -> None:
    each((lambda: parse_certificate(data), lambda: parse_otacerts(data), lambda: _otacert(data)))


def _otacert(data: bytes) -> None:
    for certificate in parse_certificates(data):
        recovery_fitness(certificate)


@target("apex")
def _(data: bytes) -> None:
    apex = Apex(BytesSource(data))
    each((apex.verify_payload, lambda: drain(apex.payload()), apex.original))


@target("ota-metadata")
def _(data: bytes) -> None:
    for value in parse_ota_metadata(data).values():
        each((lambda value=value: verify_property_files(value, {}, 1 << 30),))


@target("ab-metadata")
def _(data: bytes) -> None:
    each((lambda: legacy_metadata(OtaMetadata.parse(data)), lambda: CareMap.parse(data)))


@target("property-files")
def _(data: bytes) -> None:
    parse_property_files(data.decode("latin-1"))


@target("payload-properties")
def _(data: bytes) -> None:
    parse_payload_properties(data)


@target("target-files")
def _(data: bytes) -> None:
    each((lambda: dynamic_partitions(parse_info(data)), lambda: parse_ab_partitions(data)))


# Code and resources


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


# Scripts and settings


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


# Partition images and what they are packed in


@target("payload")
def _(data: bytes) -> None:
    payload = Payload(BytesSource(data))
    each((lambda: problems(payload), lambda: gaps(payload), payload.payload_digest))
    each((payload.metadata_signatures, payload.payload_signatures))
    for name in payload.names[:20]:
        each((lambda name=name: drain(payload.partition(name)),))
        if payload.partition(name).size < 1 << 22:
            each((lambda name=name: payload.verify_partition(name),))


@target("sparse")
def _(data: bytes) -> None:
    image = SparseImage(BytesSource(data))
    drain(image)
    for _offset, _size, source in image.written():
        drain(source)
    if image.size < 1 << 24:
        image.verify_checksums()


@target("gpt", disk_images())
def _(data: bytes) -> None:
    disk = DiskImage(BytesSource(data))
    for partition in disk.partitions:
        each((lambda name=partition.name: drain(disk.partition(name)),))


@target("super", super_images())
def _(data: bytes) -> None:
    image = SuperImage(BytesSource(data))
    for slot, metadata in enumerate(image.slots):
        for partition in metadata.partitions if metadata else ():
            each((lambda p=partition, s=slot: drain(image.partition(p.name, s)),))


@target("vbmeta")
def _(data: bytes) -> None:
    source = BytesSource(data)
    each((lambda: read_footer(source), lambda: read_vbmeta(source)))
    vbmeta = parse_vbmeta(data)
    _ = vbmeta.properties, vbmeta.public_key_sha1
    each((lambda: verify_vbmeta(vbmeta),))
    for item in vbmeta.descriptors:
        if isinstance(item, HashDescriptor | HashtreeDescriptor):
            each((lambda item=item: verify_image(source, item),))


@target("boot")
def _(data: bytes) -> None:
    detect_boot_image(data[:8192])
    boot = open_boot_image(BytesSource(data))
    each((lambda: drain_tree(open_ramdisk([item.content for item in boot.ramdisks], MAX_READ)),))


@target("mtk-header")
def _(data: bytes) -> None:
    strip_mtk_header(BytesSource(data))


@target("ramdisk")
def _(data: bytes) -> None:
    drain_tree(open_ramdisk([BytesSource(data)], MAX_READ))


@target("cpio")
def _(data: bytes) -> None:
    drain_tree(CpioTree([data]))


@target("compression")
def _(data: bytes) -> None:
    codec = detect_codec(data)
    for each_codec in Codec if codec is None else (codec,):
        each((lambda codec=each_codec: decompress(codec, data, MAX_READ),))


@target("brotli")
def _(data: bytes) -> None:
    drain(BrotliStream(BytesSource(data), MAX_READ))


@target("fec")
def _(data: bytes) -> None:
    verify_fec(BytesSource(data[:4096]), data[4096:])


@target("transfer-list")
def _(data: bytes) -> None:
    text, _, content = data.partition(b"\0")
    parse_transfer_list(text)
    each(
        lambda brotli=brotli: drain(open_transfer(text, BytesSource(content), brotli=brotli))
        for brotli in (False, True)
    )


@target("tar")
def _(data: bytes) -> None:
    drain_tree(TarTree(BytesSource(data)))


@target("gzip")
def _(data: bytes) -> None:
    drain_tree(TarTree(inflate_gzip(BytesSource(data))))


# File systems


@target("ext4", fixture_images("formats/data", "ext*"))
def _(data: bytes) -> None:
    tree = open_ext4(BytesSource(data))
    drain_tree(tree)
    tree.check_complete()


@target("erofs", fixture_images("fixtures/erofs", "*"))
def _(data: bytes) -> None:
    drain_tree(open_erofs(BytesSource(data)))


@target("squashfs", fixture_images("formats/data", "squashfs*"))
def _(data: bytes) -> None:
    drain_tree(open_squashfs(BytesSource(data)))


# What comes back from where keys are


@target("signing-request")
def _(data: bytes) -> None:
    try:
        request = parse_request(data, "request")
    except SigningError as error:
        raise ImageError(error.message) from error
    request.encode()
    for app in request.apps:
        with suppress(SigningError):
            drain(BytesSource(app.data))
    for role, key in request.keys.items():
        with suppress(SigningError):
            public_half(role, key)


@target("signing-log")
def _(data: bytes) -> None:
    try:
        for entry, _line in parse_log(io.BytesIO(data), "log"):
            entry.encode()
    except SigningError as error:
        raise ImageError(error.message) from error


# Whatever it is


@target("any")
def _(data: bytes) -> None:
    contents = Contents()
    contents.open("", "system", BytesSource(data))
    for partition in list(contents.partitions.values())[:20]:
        each((lambda partition=partition: drain(partition.source),))
