"""APEX modules, plain and compressed (CAPEX).

Source: AOSP ``system/apex/docs/README.md``, ``apexd/apex_file.cpp`` and
``proto/apex_manifest.proto``. An APEX is a zip archive:

====================== ==========================================================================
entry                  content
====================== ==========================================================================
``apex_manifest.pb``   name and version, a protobuf message; Android 10 has ``.json`` instead
``apex_payload.img``   stored ext4, EROFS or F2FS image with an AVB footer
``apex_pubkey``        AVB key blob the payload must be signed with
``original_apex``      in a CAPEX instead of the payload: the APEX itself, deflated
====================== ==========================================================================
"""

from __future__ import annotations

# ruff: noqa: RUF009 - proto() and repeated() are dataclasses.field()
import json
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import HashtreeDescriptor
from rom_builder.formats.protobuf import Kind, Message, proto, repeated
from rom_builder.formats.source import Source
from rom_builder.formats.vbmeta import Vbmeta, read_vbmeta, verify_vbmeta
from rom_builder.formats.zip import ZipArchive

MANIFEST = "apex_manifest.pb"
MANIFEST_JSON = "apex_manifest.json"
PAYLOAD = "apex_payload.img"
PUBLIC_KEY = "apex_pubkey"
ORIGINAL = "original_apex"

MAX_MANIFEST_SIZE = 1 << 20
MAX_PUBLIC_KEY_SIZE = 1 << 12


@dataclass(frozen=True, slots=True)
class CompressedApexMetadata(Message):
    """What a CAPEX says of the APEX inside: its payload's root digest in hex."""

    original_apex_digest: str | None = proto(1, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class ApexManifest(Message):
    """The manifest: ``name`` is where the module is mounted, ``/apex/NAME``."""

    name: str | None = proto(1, Kind.TEXT)
    version: int | None = proto(2, Kind.INT)
    pre_install_hook: str | None = proto(3, Kind.TEXT)
    post_install_hook: str | None = proto(4, Kind.TEXT)
    version_name: str | None = proto(5, Kind.TEXT)
    no_code: bool | None = proto(6, Kind.BOOL)
    provide_native_libs: tuple[str, ...] = repeated(7, Kind.TEXT)
    require_native_libs: tuple[str, ...] = repeated(8, Kind.TEXT)
    jni_libs: tuple[str, ...] = repeated(9, Kind.TEXT)
    require_shared_apex_libs: tuple[str, ...] = repeated(10, Kind.TEXT)
    provide_shared_apex_libs: bool | None = proto(11, Kind.BOOL)
    capex_metadata: CompressedApexMetadata | None = proto(12, CompressedApexMetadata)
    supports_rebootless_update: bool | None = proto(13, Kind.BOOL)


def is_apex(archive: ZipArchive) -> bool:
    """Tell whether a zip archive is an APEX or a CAPEX."""
    names = archive.entries.keys()
    return bool(names & {MANIFEST, MANIFEST_JSON}) and bool(names & {PAYLOAD, ORIGINAL})


class Apex:
    """An opened APEX or CAPEX.

    Attributes:
        archive: The zip archive around it.
        manifest: Name and version.
        public_key: The AVB key blob the payload must be signed with; empty if there is none.
        is_compressed: A CAPEX: the payload lies in :meth:`original`.

    Raises:
        ImageError: No APEX, or its manifest or key is damaged.
    """

    def __init__(self, source: Source) -> None:
        self.archive = ZipArchive(source, lenient=True)
        if not is_apex(self.archive):
            raise ImageError("the zip archive is no APEX")
        self.is_compressed = PAYLOAD not in self.archive.entries
        self.manifest = self._read_manifest()
        key = self.archive.entries.get(PUBLIC_KEY)
        self.public_key = self.archive.read(key, MAX_PUBLIC_KEY_SIZE) if key else b""

    def _read_manifest(self) -> ApexManifest:
        if MANIFEST in self.archive.entries:
            data = self.archive.read(self.archive.entries[MANIFEST], MAX_MANIFEST_SIZE)
            manifest = ApexManifest.parse(data)
        else:
            data = self.archive.read(self.archive.entries[MANIFEST_JSON], MAX_MANIFEST_SIZE)
            manifest = _parse_json(data)
        if not manifest.name:
            raise ImageError("the APEX manifest gives no name", path=MANIFEST)
        return manifest

    def payload(self) -> Source:
        """Return the file-system image, AVB footer included.

        Raises:
            ImageError: This is a CAPEX, or the payload is damaged.
        """
        if self.is_compressed:
            raise ImageError("the payload of a compressed APEX lies in its original APEX")
        return self.archive.open(self.archive.entries[PAYLOAD])

    def original(self) -> Apex:
        """Return the APEX inside a CAPEX.

        Raises:
            ImageError: Not a CAPEX, or name, version or key inside differ, which devices refuse.
        """
        if not self.is_compressed:
            raise ImageError("the APEX is not compressed")
        inner = Apex(self.archive.open(self.archive.entries[ORIGINAL]))
        if inner.is_compressed:
            raise ImageError("a compressed APEX holds another compressed APEX", path=ORIGINAL)
        for what, outside, inside in (
            ("name", self.manifest.name, inner.manifest.name),
            ("version", self.manifest.version, inner.manifest.version),
            ("public key", self.public_key, inner.public_key),
        ):
            if outside != inside:
                raise ImageError(f"a compressed APEX differs in {what} from the APEX inside it")
        return inner

    def verify_payload(self) -> Vbmeta:
        """Check that the payload's vbmeta is signed with ``apex_pubkey``, and return it.

        The file system itself is covered by the root digest in its hashtree descriptor, which is
        not recomputed here.

        Raises:
            ImageError: Unsigned, changed, signed with another key, or without a hashtree.
        """
        if not self.public_key:
            raise ImageError("the APEX has no public key", path=PUBLIC_KEY)
        try:
            vbmeta = read_vbmeta(self.payload())
            verify_vbmeta(vbmeta, self.public_key)
        except ImageError as error:
            raise error.within(PAYLOAD) from error
        if not any(isinstance(item, HashtreeDescriptor) for item in vbmeta.descriptors):
            raise ImageError("the payload's vbmeta names no hashtree", path=PAYLOAD)
        return vbmeta


def _parse_json(data: bytes) -> ApexManifest:
    """Read the manifest of Android 10."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"damaged APEX manifest: {error}", path=MANIFEST_JSON) from None
    name = values.get("name") if isinstance(values, dict) else None
    version = values.get("version") if isinstance(values, dict) else None
    if not isinstance(name, str) or not isinstance(version, int):
        raise ImageError("the APEX manifest gives no name and version", path=MANIFEST_JSON)
    return ApexManifest(name=name, version=version)
