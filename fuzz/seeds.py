"""Write the corpus anew: ``python -m fuzz.seeds``. Every byte of it is made here or by the tests."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack

import brotli
import zstandard
from cryptography.hazmat.primitives.serialization import Encoding

from fuzz.fuzz import CORPUS
from fuzz.targets import TARGETS
from rom_builder.formats.fec import build_fec
from rom_builder.formats.hashtree import build_hashtree
from rom_builder.formats.payload.properties import PayloadProperties
from rom_builder.formats.resource_config import encode_config
from rom_builder.formats.source import BytesSource
from rom_builder.formats.string_pool import encode_string_pool
from rom_builder.resources import data_folder
from rom_builder.signers.log import SigningLog
from rom_builder.signing_requests import request as requests
from tests import ab_package as ab
from tests.fixtures.make_apks import APKS
from tests.formats import (
    test_ab_metadata,
    test_apex,
    test_carrier_config,
    test_cms,
    test_default_permissions,
    test_init_rc,
    test_network_security_config,
    test_overlay_apk,
    test_overlay_config,
    test_ramdisk,
    test_system_config,
    test_updater_script,
    test_vbmeta,
)
from tests.formats.builders import boot_image, payload, sparse, vbmeta
from tests.formats.builders.cdex import vdex
from tests.formats.builders.cpio import archive, entry
from tests.formats.builders.device import TOP_KEY
from tests.formats.builders.dex import Class, Method, dex
from tests.formats.builders.oat import oat
from tests.formats.damage import noise
from tests.signed_package import sign_with
from tests.signing_material import key, signed_package, signer

BLOCK = 4096
EARLIER = "ro.build.version.sdk=34\nimport /vendor/${ro.x}.prop oem.*\n# note\nro.debuggable=0\n"
TARGET_FILES = b"""\
use_dynamic_partitions=true
super_partition_groups=first second
super_first_group_size=4096
super_first_partition_list=system vendor
second_size=8192
virtual_ab=true
virtual_ab_compression=true
virtual_ab_compression_method=lz4
virtual_ab_cow_version=3
"""
LIST = b"4\n3\n0\n0\nerase 2,0,8\nnew 4,0,2,4,5\nzero 2,5,8\n"


def apk_entry(name: str, inner: str) -> bytes:
    with zipfile.ZipFile(APKS / name) as file:
        return file.read(inner)


def vdexes() -> list[bytes]:
    """Return containers of every layout, their code quickened where it can be."""
    body = [0x2152, 3, 0x031F, 4, 0x206E, 7, 0x0021, 0x0000, 0x000E]
    tries = pack("<IHHBBBB", 0, 9, 1, 1, 0x7F, 1, 8) + b"\0"
    methods = (Method("m", code=body, registers=4, tries=tries, try_count=1), Method("n"))
    files = [dex([Class(name, methods=methods)]) for name in ("La;", "Lb;")]
    plain = [vdex(version, files, quick=True) for version in ("006", "010")]
    compact = [vdex(version, files, as_compact=True, quick=True) for version in ("019", "021")]
    return [*plain, *compact, vdex("027", files, as_compact=True)]


def oats() -> list[bytes]:
    """Return compiled code of every layout, quickened where there is any."""
    body = [0x2152, 3, 0x031F, 4, 0x206E, 7, 0x0021, 0x0000, 0x000E]
    files = [dex([Class(name, methods=(Method("m", code=body),))]) for name in ("La;", "Lb;")]
    return [
        oat("045", files, quick=True),
        oat("064", files, wide=True),
        oat("088", files, wide=True, quick=True),
    ]


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("stored", b"stored")
        file.writestr("folder/deflated", b"deflated" * 40, zipfile.ZIP_DEFLATED)
        file.comment = b"comment"
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, kind in (("a/file", tarfile.REGTYPE), ("a/link", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "file"
            info.size = 5 if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(b"bytes"))
    return out.getvalue()


def full_payload() -> bytes:
    image = noise(200) + bytes(2 * BLOCK - 200) + b"text" * BLOCK
    kinds = [payload.REPLACE, payload.REPLACE_XZ, payload.REPLACE_BZ, payload.REPLACE_ZSTD]
    part = payload.Part("system", image, payload.full_ops(image, kinds, 2))
    return payload.Spec([part], sign=lambda digest: digest * 8).build()


def ramdisks() -> list[bytes]:
    files = archive(
        entry(b"bin", mode=0o40755), entry(b"bin/init", b"#!"), entry(b"l", b"bin", mode=0o120777)
    )
    packers: list[Callable[[bytes], bytes]] = [
        bytes, gzip.compress, lzma.compress, zstandard.compress, bz2.compress, test_ramdisk.lz4_legacy,
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ]  # fmt: skip
    return [pack(files) for pack in packers]


def boots() -> list[bytes]:
    ramdisk = ramdisks()[1]
    return [
        boot_image.boot_v0(b"kernel", ramdisk, device_tree=b"dt"),
        boot_image.boot_v1(
            b"kernel", boot_image.mtk(b"ROOTFS", ramdisk), b"second", b"dtbo", b"dtb"
        ),
        boot_image.boot_v4(b"kernel", ramdisk, b"signature"),
        boot_image.vendor_boot_v4([(b"", 1, ramdisk), (b"dlkm", 3, ramdisk)], b"dtb", b"a=b\n"),
    ]


def certificates() -> list[bytes]:
    made = [key("p256").certificate, key("rsa-2048").certificate]
    return [one.public_bytes(form) for one in made for form in (Encoding.DER, Encoding.PEM)]


def ab_package() -> bytes:
    """Return a signed A/B package of one small partition, under verified boot."""
    own = key("rsa-2048")
    sealed, item = hashtree_sealed(noise(3 * BLOCK))
    top = vbmeta.vbmeta(item, TOP_KEY).ljust(2 * BLOCK, b"\0")
    parts = [
        payload.Part(name, image, payload.full_ops(image, [payload.REPLACE_XZ], 8))
        for name, image in {"system": sealed, "vbmeta": top}.items()
    ]
    spec = payload.Spec(parts, sign=sign_with(own.private_key))
    with tempfile.TemporaryDirectory() as folder:
        otacert = own.certificate.public_bytes(Encoding.PEM)
        path = ab.written(Path(folder) / "x.zip", spec.build(), otacert, care="2,0,3")
        return signed_package(own, path.read_bytes())


def hashtree_sealed(data: bytes) -> tuple[bytes, bytes]:
    """Return a partition with hash tree, parity and footer, and its descriptor."""
    tree = build_hashtree(BytesSource(data))
    parity = build_fec(BytesSource(data + tree.tree))
    sizes = (len(data), len(tree.tree), len(parity))
    item = vbmeta.hashtree(b"system", b"", tree.root_digest, *sizes)
    own = vbmeta.vbmeta(item)
    image = vbmeta.with_footer(data + tree.tree + parity, own, 8 * BLOCK)
    return image[:-52] + len(data).to_bytes(8, "big") + image[-44:], item


def signing_request() -> bytes:
    """Return a request for the signature of an app and of a file, with a key of each kind."""
    asked = requests.RequestedFile(name="base.zip", sha256="1" * 64, size=9)
    keys = {name: requests.requested_key(signer(key(kind))) for name, kind in ROLES.items()}
    digests = [
        requests.RequestedDigest(
            id=f"{name}.x", role=name, what="all", algorithm="sha256", digest="0" * 64
        )
        for name in keys
    ]
    request = requests.SigningRequest(
        version="rom-builder/signing-request/v1",
        round="apk",
        later=("avb", "ota"),
        package=None,
        digests=tuple(digests),
        keys=keys,
        verdict="compliant",
        policies=(asked,),
        base=asked,
        apps=(requests.RequestedApp(path="/system/app/A.apk", content="UEs="),),
    )
    return request.encode()


ROLES = {"ota": "p256", "apk": "rsa-2048"}


def signing_log() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log = SigningLog(Path(folder) / "log", "ota.zip", "7", "somebody", ("2" * 64,))
        for name, kind in ROLES.items():
            log.record(name, signer(key(kind)), noise(32), "sha256")
        return log.path.read_bytes()


def fec_of_one_block() -> bytes:
    data = noise(BLOCK)
    return data + build_fec(BytesSource(data))


def made() -> dict[str, list[bytes]]:
    """Return the inputs of every target that takes whole files."""
    apks = [path.read_bytes() for path in sorted(APKS.glob("*.apk"))]
    manifests = [apk_entry(path.name, "AndroidManifest.xml") for path in sorted(APKS.glob("*.apk"))]
    tables = [apk_entry(path.name, "resources.arsc") for path in sorted(APKS.glob("*.apk"))]
    pin = f'<domain-config>{test_network_security_config.EXAMPLE}<pin-set expiration="2030-01-01">'
    pin += f"{test_network_security_config.PIN_SET}</pin-set></domain-config>"
    bodies = ["", test_network_security_config.BASE_NO + test_network_security_config.NESTED, pin]
    xml = [f"<network-security-config>{b}</network-security-config>".encode() for b in bodies]
    policies = data_folder("policies")
    yaml = sorted([*policies.glob("*.yaml"), *policies.glob("profiles/*.yaml")])
    scripts = [test_updater_script.OLD, test_updater_script.NEW]
    signed = [signed_package(key(kind)) for kind in ("p256", "rsa-2048")]
    image = sparse.sparse_image(
        sparse.raw(b"a" * BLOCK),
        sparse.fill(b"abcd", 2),
        sparse.gap(3),
        sparse.crc(b"a" * BLOCK + b"abcd" * (BLOCK // 2) + bytes(3 * BLOCK)),
    )
    content = (noise(50) * BLOCK)[: 3 * BLOCK]
    return {
        "zip": [zipped(), apks[-1]],
        "apk-signature": apks,
        "ota-signature": signed,
        "cms": [test_cms.ours(kind).encode() for kind in ("p256", "rsa-2048")],
        "x509": certificates(),
        "apex": [test_apex.GOOD],
        "ota-metadata": [b"ota-type=AB\nota-property-files=payload.bin:1:2  \npre-device=pine\n"],
        "ab-metadata": [test_ab_metadata.ENCODED],
        "property-files": [b"payload_metadata.bin:10:20,payload.bin:10:400  "],
        "target-files": [TARGET_FILES, b"boot\nsystem\n"],
        "payload-properties": [PayloadProperties(bytes(32), 100, bytes(32), 50).encode()],
        "axml": manifests,
        "arsc": tables,
        "overlay-apk": [test_overlay_apk.WHOLE.encode()],
        "overlay-config": [test_overlay_config.CONFIG],
        "resource-config": [encode_config("mcc310"), b"\x40\0\0\0" + noise(60)],
        "dex": [apk_entry("messaging.apk", "classes.dex")],
        "vdex": vdexes(),
        "oat": oats(),
        "string-pool": [encode_string_pool(["", "http://example.com/a", "€😀"])],
        "typed-xml": [*xml, b'<a b="1"><!-- c --><d e="&lt;">f</d></a>'],
        "network-security-config": xml,
        "system-config": [test_system_config.SAMPLE],
        "default-permissions": [test_default_permissions.SAMPLE],
        "carrier-config": [test_carrier_config.SAMPLE],
        "init-rc": [test_init_rc.SAMPLE],
        "edify": scripts,
        "updater-script": scripts,
        "build-prop": [EARLIER.encode(), b"a = b \r\n#\nimport x\n\xff=\xfe"],
        "policy": [path.read_bytes() for path in yaml],
        "payload": [full_payload()],
        "sparse": [image],
        "vbmeta": [test_vbmeta.GOOD, vbmeta.with_footer(b"image", test_vbmeta.GOOD, 12288)],
        "boot": boots(),
        "mtk-header": [boot_image.mtk(b"ROOTFS", b"data")],
        "ramdisk": ramdisks(),
        "cpio": ramdisks()[:1],
        "compression": ramdisks()[1:],
        "brotli": [brotli.compress(b"text" * 100)],
        "fec": [fec_of_one_block()],
        "transfer-list": [LIST + b"\0" + content, LIST + b"\0" + brotli.compress(content)],
        "tar": [tarred()],
        "gzip": [gzip.compress(tarred(), mtime=0)],
        "package": [ab_package(), signed[1]],
        "signing-request": [signing_request()],
        "signing-log": [signing_log()],
    }


def main() -> None:
    found = made()
    for name, target in TARGETS.items():
        inputs = found.get(name, [])
        if target.images is not None:
            inputs = [bytes([number]) for number in range(len(target.images.images))]
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            path = CORPUS / name / f"{number}.gz"
            path.write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    main()
