"""Makers of tiny ROMs: a dict of files in, a folder out; apps are described, not stored.

Apps are written with the project's own writers, so tests that rest on them alone could be wrong on
both sides; ``tests/fixtures/apks`` holds apps that the platform's own tools made.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from struct import pack, pack_into
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from rom_builder.formats.apk_signing import sign_apk
from rom_builder.formats.arsc_writer import Reference, Resource, encode_arsc, resource_ids
from rom_builder.formats.axml import ANDROID_NAMESPACE, Attribute, Element
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.formats.cms import cms_for
from rom_builder.formats.overlay_apk import OverlayApk, OverlayResource
from rom_builder.formats.resource_chunk import ValueType
from rom_builder.formats.zip_writer import ZipWriter

ATTRIBUTES = {
    "name": 0x01010003,
    "sharedUserId": 0x0101000B,
    "hasCode": 0x0101000C,
    "hash": 0x01010526,
    "permission": 0x01010006,
    "readPermission": 0x01010007,
    "writePermission": 0x01010008,
    "persistent": 0x0101000D,
    "enabled": 0x0101000E,
    "debuggable": 0x0101000F,
    "exported": 0x01010010,
    "key": 0x010101E8,
    "defaultValue": 0x010101ED,
    "minSdkVersion": 0x0101020C,
    "targetSdkVersion": 0x01010270,
    "allowBackup": 0x01010280,
    "fullBackupContent": 0x010104EB,
    "usesCleartextTraffic": 0x010104EC,
    "networkSecurityConfig": 0x01010527,
    "dataExtractionRules": 0x0101063E,
}
"""Resource ids of attributes (frameworks/base, core/res/res/values/public.xml)."""

# build/make target/product/security/testkey.x509.pem: the public half, which is all that is needed
# to be recognised. Its private half is published beside it.
AOSP_TESTKEY = rsa.RSAPublicNumbers(
    3,
    int(
        "d6931904dec60b24b1edc762e0d9d8253e3ecd6ceb1de2ff068ca8e8bca8cd6bd3786ea70aa76ce60ebb0f993559"
        "ffd93e77a943e7e83d4b64b8e4fea2d3e656f1e267a81bbfb230b578c20443be4c7218b846f5211586f038a14e89"
        "c2be387f8ebecf8fcac3da1ee330c9ea93d0a7c3dc4af350220d50080732e0809717ee6a053359e6a694ec2cb3f2"
        "84a0a466c87a94d83b31093a67372e2f6412c06e6d42f15818dffe0381cc0cd444da6cddc3b82458194801b32564"
        "134fbfde98c9287748dbf5676a540d8154c8bbca07b9e247553311c46b9af76fdeeccc8e69e7c8a2d08e78262094"
        "3f99727d3c04fe72991d99df9bae38a0b2177fa31d5b6afee91f",
        16,
    ),
)
DIGEST_OIDS = {"SHA-1": "05", "MD5": "04", "SHA-256": "0b"}
"""Last byte of ``<digest>WithRSAEncryption``: 1.2.840.113549.1.1.x (RFC 8017)."""


# Certificates and signatures


@cache
def private_key(kind: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """A key, the same for the whole test run."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


@cache
def certificate(
    of: str = "release", *, name: str | None = None, digest: str = "SHA-256", serial: int = 1
) -> bytes:
    """The DER of a certificate for a key: ``release``, ``p256``, or AOSP's public ``testkey``.

    Only ``digest`` is written for what is not SHA-256; the signature then does not hold.
    """
    issuer = private_key("rsa" if of in ("release", "testkey") else "p256")
    public = AOSP_TESTKEY.public_key() if of == "testkey" else issuer.public_key()
    subject = x509.Name.from_rfc4514_string(f"CN={name or of}")
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(subject, subject, public, serial, start, end)
    der = builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.DER)
    oid = "2a864886f70d0101"
    return der.replace(bytes.fromhex(oid + "0b"), bytes.fromhex(oid + DIGEST_OIDS[digest]))


def pem(der: bytes) -> bytes:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


def otacerts(*certificates: bytes) -> bytes:
    return zipped({f"{number}.x509.pem": pem(der) for number, der in enumerate(certificates)})


def sign_v2(unsigned: bytes, of: str = "p256") -> bytes:
    """Sign an app with schemes v2 and v3."""
    key = private_key("rsa" if of == "release" else "p256")

    def sign(digest: bytes) -> bytes:
        hashed = utils.Prehashed(hashes.SHA256())
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(digest, padding.PKCS1v15(), hashed)
        return key.sign(digest, ec.ECDSA(hashed))

    return sign_apk(unsigned, certificate(of), sign)


def jar_signature(
    entries: Mapping[str, bytes], of: str, digest: str = "SHA-256"
) -> dict[str, bytes]:
    """The entries of a JAR signature. One that names the ``testkey`` is a forgery that does not hold:
    whose key an app names is what a check reports."""
    label, hash_name = ("SHA1", "sha1") if digest == "SHA-1" else ("SHA-256", "sha256")

    def hashed(data: bytes) -> str:
        return base64.b64encode(hashlib.new(hash_name, data).digest()).decode()

    sections = {
        name: f"Name: {name}\r\n{label}-Digest: {hashed(data)}\r\n\r\n"
        for name, data in entries.items()
    }
    manifest = "Manifest-Version: 1.0\r\n\r\n" + "".join(sections.values())
    signed = (
        f"Signature-Version: 1.0\r\n{label}-Digest-Manifest: {hashed(manifest.encode())}\r\n\r\n"
    )
    for name, section in sections.items():
        signed += f"Name: {name}\r\n{label}-Digest: {hashed(section.encode())}\r\n\r\n"
    key = private_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    algorithm = hashes.SHA1() if digest == "SHA-1" else hashes.SHA256()
    signature = key.sign(signed.encode(), padding.PKCS1v15(), algorithm)
    cms = cms_for(certificate(of), signature, "rsa", "sha1" if digest == "SHA-1" else "sha256")
    return {
        "META-INF/MANIFEST.MF": manifest.encode(),
        "META-INF/CERT.SF": signed.encode(),
        "META-INF/CERT.RSA": cms.encode(),
    }


# Formats


def zipped(entries: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    writer = ZipWriter(file)
    for name, data in entries.items():
        writer.add(name, data, compress=False, align=4)
    writer.close()
    return file.getvalue()


def dex(strings: Iterable[str]) -> bytes:
    """A DEX file of nothing but a string table (dex-format: header_item, string_id_item)."""
    items = []
    for text in sorted(set(strings)):
        units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
        encoded = b"".join(  # modified UTF-8: each half of a surrogate pair by itself
            chr(unit).encode("utf-8", "surrogatepass") if unit else b"\xc0\x80" for unit in units
        )
        length, size = len(units), b""
        while length >= 0x80:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        items.append(size + bytes([length]) + encoded + b"\0")
    start = 0x70 + 4 * len(items)
    offsets = b"".join(pack("<I", start + sum(map(len, items[:i]))) for i in range(len(items)))
    body = offsets + b"".join(items)
    header = bytearray(0x70)
    header[:8] = b"dex\n035\0"
    pack_into("<3I", header, 0x20, 0x70 + len(body), 0x70, 0x12345678)
    pack_into("<2I", header, 0x38, len(items), 0x70)
    return bytes(header) + body


def axml(text: str, ids: Mapping[str, int] | None = None) -> bytes:
    """Compile XML as aapt2 does: true and false are booleans, digits of Android's attributes numbers,
    ``@type/name`` a reference."""
    return encode_axml(_element(etree.fromstring(text.strip().encode()), ids or {}))


def _element(source: Any, ids: Mapping[str, int]) -> Element:
    attributes = []
    for qualified, value in source.attrib.items():
        name = etree.QName(qualified)
        android = name.namespace == ANDROID_NAMESPACE
        resource_id = ATTRIBUTES[name.localname] if android else None
        namespace = ANDROID_NAMESPACE if android else None
        if value.startswith("@"):
            data = ids.get(value[1:], 0x7FFFFFFF)
            attributes.append(
                Attribute(name.localname, namespace, resource_id, ValueType.REFERENCE, data)
            )
            continue
        typed: bool | int | str = value
        if value in ("true", "false"):
            typed = value == "true"
        elif android and value.isdigit():
            typed = int(value)
        attributes.append(Attribute.of(name.localname, typed, resource_id, namespace))
    return Element(
        etree.QName(source).localname,
        attributes=tuple(attributes),
        children=tuple(_element(child, ids) for child in source if isinstance(child.tag, str)),
        text=(source.text or "").strip(),
        line=source.sourceline or 0,
    )


# Apps


@dataclass(frozen=True)
class App:
    """One app in words.

    Attributes:
        cleartext: ``android:usesCleartextTraffic``; a text may be ``@bool/name``.
        network_security_config: XML of ``@xml/network_security_config``.
        preferences: Key and ``android:defaultValue`` of each check box; None gives it no default.
        bools: ``<bool>`` resources, or a reference ``@bool/name``; a mapping gives a value per
            configuration, ``""`` the default.
        strings: ``<string>`` resources; the same.
        integers: ``<integer>`` resources; the same.
        components: Kind, then class name, then attributes; ``action`` and ``category`` are those of
            an intent filter.
        permissions: Names that the app asks for; without a dot those of ``android.permission``.
        application: Further attributes of the application element.
        shared_user_id: ``android:sharedUserId``.
        restrict_update: SHA-512 of the only update that the platform takes.
        code: Strings of ``classes.dex``.
        entries: Further entries, or ones that replace those above; text or bytes.
        signer: ``release``, ``p256`` or ``testkey``; None leaves it unsigned.
        scheme: ``v2`` (and v3) or ``v1``; ``v1+v2`` for both, v1 then with ``digest``.
    """

    package: str
    target_sdk: int | None = 29
    min_sdk: int | None = None
    debuggable: bool | None = None
    cleartext: bool | str | None = None
    network_security_config: str | None = None
    preferences: Mapping[str, bool | str | None] | None = None
    bools: Mapping[str, bool | str | Mapping[str, bool]] = field(default_factory=dict)
    strings: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    integers: Mapping[str, int | Mapping[str, int]] = field(default_factory=dict)
    components: Mapping[str, Mapping[str, Mapping[str, bool | str]]] = field(default_factory=dict)
    permissions: tuple[str, ...] = ()
    application: Mapping[str, bool | str] = field(default_factory=dict)
    shared_user_id: str | None = None
    restrict_update: str | None = None
    code: tuple[str, ...] = ()
    entries: Mapping[str, str | bytes] = field(default_factory=dict)
    signer: str | None = "p256"
    scheme: str = "v2"
    digest: str = "SHA-256"

    def encode(self) -> bytes:
        entries = self._entries()
        if self.signer and "v1" in self.scheme:
            entries |= jar_signature(entries, self.signer, self.digest)
        packed = zipped(entries)
        return sign_v2(packed, self.signer) if self.signer and "v2" in self.scheme else packed

    def _entries(self) -> dict[str, bytes]:
        resources = self._resources()
        ids = resource_ids(resources)
        entries = {"AndroidManifest.xml": axml(self._manifest(), ids)}
        if resources:
            entries["resources.arsc"] = encode_arsc(self.package, resources)
        if self.network_security_config is not None:
            entries["res/xml/nsc.xml"] = axml(self.network_security_config, ids)
        if self.preferences is not None:
            entries["res/xml/preferences.xml"] = axml(self._preferences(), ids)
        if self.code:
            entries["classes.dex"] = dex(self.code)
        for name, data in self.entries.items():
            entries[name] = data.encode() if isinstance(data, str) else data
        return entries

    def _resources(self) -> list[Resource]:
        resources = []
        kinds = (("string", self.strings), ("bool", self.bools), ("integer", self.integers))
        for kind, named in kinds:
            for name, value in named.items():
                by_config = value if isinstance(value, Mapping) else {"": value}
                resources += [
                    Resource(kind, name, _resource_value(kind, v), config)
                    for config, v in by_config.items()
                ]
        if self.network_security_config is not None:
            resources.append(Resource("xml", "network_security_config", "res/xml/nsc.xml"))
        return resources

    def _manifest(self) -> str:
        config = self.network_security_config
        stated: dict[str, bool | int | str | None] = {
            "debuggable": self.debuggable,
            "usesCleartextTraffic": self.cleartext,
            "networkSecurityConfig": None if config is None else "@xml/network_security_config",
        }
        application = _android(**{**stated, **self.application})
        components = "".join(
            _component(kind, name, dict(attributes))
            for kind, named in self.components.items()
            for name, attributes in named.items()
        )
        sdk = _android(minSdkVersion=self.min_sdk, targetSdkVersion=self.target_sdk)
        asked = "".join(
            f'<uses-permission android:name="{name if "." in name else f"android.permission.{name}"}"/>'
            for name in self.permissions
        )
        if self.restrict_update is not None:
            asked += f"<restrict-update {_android(hash=self.restrict_update)}/>"
        return (
            f'<manifest xmlns:android="{ANDROID_NAMESPACE}" package="{self.package}"'
            f" {_android(sharedUserId=self.shared_user_id)}>"
            f"<uses-sdk {sdk}/>{asked}<application {application}>{components}</application></manifest>"
        )

    def _preferences(self) -> str:
        boxes = "".join(
            f"<CheckBoxPreference {_android(key=key, defaultValue=value)}/>"
            for key, value in (self.preferences or {}).items()
        )
        return f'<PreferenceScreen xmlns:android="{ANDROID_NAMESPACE}">{boxes}</PreferenceScreen>'


def _resource_value(kind: str, value: bool | str) -> bool | str | Reference:
    refers = kind == "bool" and isinstance(value, str)
    return Reference(str(value)[1:]) if refers else value


def _component(kind: str, name: str, attributes: dict[str, bool | str]) -> str:
    action = attributes.pop("action", None)
    category = attributes.pop("category", None)
    inside = f"<action {_android(name=action)}/>" if action else ""
    inside += f"<category {_android(name=category)}/>" if category else ""
    inside = f"<intent-filter>{inside}</intent-filter>" if inside else ""
    return f"<{kind} {_android(name=name, **attributes)}>{inside}</{kind}>"


def _android(**attributes: bool | int | str | None) -> str:
    return " ".join(
        f'android:{name}="{str(value).lower() if isinstance(value, bool) else value}"'
        for name, value in attributes.items()
        if value is not None
    )


def overlay(
    package: str,
    target: str,
    values: Mapping[str, bool | int | str],
    priority: int = 1,
    target_name: str | None = None,
) -> bytes:
    """A signed static overlay; values by type and name, ``bool/x``."""
    resources = tuple(OverlayResource(name, value) for name, value in values.items())
    return sign_v2(OverlayApk(package, target, resources, target_name, priority).encode())


# ROMs


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Fifo:
    pass


Content = str | bytes | App | Link | Fifo


def write_rom(folder: Path, files: Mapping[str, Content]) -> Path:
    """Write a ROM as an unpacked folder; names are device paths or names of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case str():
                path.write_text(content, encoding="utf-8")
            case bytes():
                path.write_bytes(content)
            case App():
                path.write_bytes(content.encode())
            case Link(target):
                path.symlink_to(target)
            case Fifo():
                os.mkfifo(path)
    return folder


__all__ = ["App", "Content", "Fifo", "Link", "Reference", "axml", "dex", "write_rom", "zipped"]
