"""JAR signatures: scheme v1 of APKs, and of OTA packages before whole-file signatures.

Three steps lead from a key to a file::

    META-INF/X.RSA (.DSA, .EC)   CMS SignedData (RFC 5652) over the bytes of X.SF
    META-INF/X.SF                digest of the whole MANIFEST.MF, or of each of its sections
    META-INF/MANIFEST.MF         digest of every entry

Which entries need no digest: AOSP apksig, ``V1SchemeVerifier``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.apk_signer import ApkSigner, Scheme, signature_fault
from rom_builder.formats.der import (
    CONTEXT_0,
    CONTEXT_1,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    DerReader,
)
from rom_builder.formats.jar_manifest import HASHES, JarManifest, strongest
from rom_builder.formats.x509 import Certificate, parse_certificate, same_name
from rom_builder.formats.zip import ZipArchive, ZipEntry

MANIFEST = "META-INF/MANIFEST.MF"
_FOLDER = "META-INF/"
MAX_FILE_SIZE = 32 << 20
"""Bytes of a manifest, signature file or CMS that are read."""
MAX_SIGNERS = 10
"""Signature blocks of one archive that are read, as in the later schemes."""

NEWEST = 0x7FFFFFFF
"""The API level that stands for no end."""
ATTRIBUTES_SINCE = 19
"""First API level that reads signed attributes of a CMS rightly."""
SINCE = {("SHA-256", "RSA"): 18, ("SHA-1", "EC"): 18, ("SHA-256", "EC"): 21}
"""First API level that accepts a digest with a kind of key; found out with apksigner 31."""

_BLOCK = re.compile(r"META-INF/[^/]+\.(?:RSA|DSA|EC)", re.IGNORECASE)
_OWN = re.compile(r"META-INF/(?i:MANIFEST\.MF|SIG-[^/]*|[^/]+\.(?:SF|RSA|DSA|EC))", re.ASCII)
"""Names of entries that are the signature itself and have no digest."""

_DIGEST_OIDS = {
    bytes.fromhex("2a864886f70d0205"): "MD5",
    bytes.fromhex("2b0e03021a"): "SHA-1",
    bytes.fromhex("608648016503040204"): "SHA-224",
    bytes.fromhex("608648016503040201"): "SHA-256",
    bytes.fromhex("608648016503040202"): "SHA-384",
    bytes.fromhex("608648016503040203"): "SHA-512",
}
"""Digest by OID content: RFC 3370, 2 and RFC 5754, 2."""
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")


@dataclass(frozen=True, slots=True)
class _Signature:
    """One SignerInfo of a CMS with the certificate it names."""

    certificate: Certificate
    digest: str
    signature: bytes
    attributes: bytes | None


def read_jar_signers(
    archive: ZipArchive,
    *,
    verify: bool = False,
    present: Collection[Scheme] | None = None,
    min_sdk: int = NEWEST,
) -> tuple[ApkSigner, ...]:
    """Return the signers of a JAR signature, in the order of their names.

    Always checked: each CMS over its signature file, and that file's digest of the manifest.

    Args:
        archive: An APK, a JAR or an OTA package.
        verify: Also check the digest of every entry.
        present: Later schemes that an APK has too: a signature file that announces one which is
            absent was stripped of it. None for what is no APK.
        min_sdk: First API level of the platforms that have to accept it.

    Raises:
        ImageError: A part of the signature is damaged.
    """
    own = [name for name in archive.entries if name[: len(_FOLDER)].upper() == _FOLDER]
    blocks = sorted(name for name in own if _BLOCK.fullmatch(name))
    if not blocks:
        return ()
    if len(blocks) > MAX_SIGNERS:
        raise ImageError(f"{len(blocks)} JAR signatures, at most {MAX_SIGNERS} are read")
    by_upper = {name.upper(): archive.entries[name] for name in own}
    manifest = None
    if MANIFEST in archive.entries:
        manifest = JarManifest(_content(archive, archive.entries[MANIFEST]), MANIFEST)
    entry_faults = _entry_faults(archive, manifest) if verify and manifest else []
    signers: list[ApkSigner] = []
    for block in blocks:
        signature_file = by_upper.get(block.rpartition(".")[0].upper() + ".SF")
        faults = list(entry_faults)
        text = b""
        if manifest is None:
            faults.append(f"{MANIFEST} is missing")
        if signature_file is None:
            faults.append(f"{block} has no signature file")
        else:
            text = _content(archive, signature_file)
            if manifest is not None:
                parsed = JarManifest(text, signature_file.name)
                faults += _manifest_faults(parsed, signature_file.name, manifest, verify=verify)
                faults += _stripped(parsed, present)
        signers += _block_signers(archive, block, text, faults, verify=verify, min_sdk=min_sdk)
    return tuple(signers)


def _block_signers(
    archive: ZipArchive, block: str, text: bytes, faults: list[str], *, verify: bool, min_sdk: int
) -> Iterator[ApkSigner]:
    data = _content(archive, archive.entries[block])
    try:
        certificates, signatures = _parse_cms(data)
    except ImageError as error:
        raise error.within(block) from error
    for signature in signatures:
        own = signature.certificate
        fault = _signature_fault(signature, text) or _too_new(signature, min_sdk)
        yield ApkSigner(
            scheme="v1",
            certificates=(own, *(other for other in certificates if other is not own)),
            digest_algorithms=(signature.digest,),
            block=block,
            faults=(*([f"{block}: {fault}"] if fault else []), *faults),
            verified=verify,
        )


def _content(archive: ZipArchive, entry: ZipEntry) -> bytes:
    return archive.read(entry, limit=MAX_FILE_SIZE)


def _parse_cms(data: bytes) -> tuple[list[Certificate], list[_Signature]]:
    """Return the certificates and signers of a SignedData."""
    info = DerReader(data).inside(SEQUENCE, "a CMS ContentInfo")
    if info.content(OID, "id-signedData") != _SIGNED_DATA:
        raise ImageError("the CMS is not SignedData", offset=info.offset)
    signed = info.inside(CONTEXT_0, "SignedData").inside(SEQUENCE, "SignedData")
    signed.integer("the version of SignedData")
    signed.content(SET, "the set of digest algorithms")
    signed.content(SEQUENCE, "the description of the content")
    certificates = []
    if signed.peek() == CONTEXT_0:
        bag = signed.inside(CONTEXT_0, "the certificates")
        while bag.peek() is not None:
            certificates.append(parse_certificate(bag.element(SEQUENCE, "a certificate")))
    if signed.peek() == CONTEXT_1:
        signed.content(CONTEXT_1, "revocation lists")
    signers = signed.inside(SET, "the set of signers")
    signatures: list[_Signature] = []
    while signers.peek() is not None:
        if len(signatures) == MAX_SIGNERS:
            raise ImageError(f"more than {MAX_SIGNERS} signers", offset=signers.offset)
        signer = signers.inside(SEQUENCE, "a SignerInfo")
        signatures.append(_parse_signer(signer, data, certificates))
    if not signatures:
        raise ImageError("the CMS has no signer", offset=signers.offset)
    return certificates, signatures


def _parse_signer(signer: DerReader, data: bytes, certificates: list[Certificate]) -> _Signature:
    signer.integer("the version of SignerInfo")
    at = signer.offset
    name = signer.inside(SEQUENCE, "issuer and serial number")
    issuer, serial = name.element(SEQUENCE, "an issuer"), name.integer("a serial number")
    own = [
        other
        for other in certificates
        if other.serial == serial and same_name(other.issuer_der, issuer)
    ]
    if not own:
        raise ImageError("the signer's certificate is missing", offset=at)
    at = signer.offset
    oid = signer.inside(SEQUENCE, "a digest algorithm").content(OID, "a digest algorithm")
    if oid not in _DIGEST_OIDS:
        raise ImageError(f"the digest algorithm is unknown (OID {oid.hex()})", offset=at)
    attributes = None
    if signer.peek() == CONTEXT_0:
        start = signer.offset
        signer.content(CONTEXT_0, "signed attributes")
        # RFC 5652, 5.4: signed is the same DER with the tag of a SET.
        attributes = bytes([SET]) + data[start + 1 : signer.offset]
    signer.content(SEQUENCE, "a signature algorithm")
    signature = signer.content(OCTET_STRING, "a signature")
    return _Signature(own[0], _DIGEST_OIDS[oid], signature, attributes)


def _signature_fault(signature: _Signature, text: bytes) -> str | None:
    signed = text
    if signature.attributes is not None:
        signed = signature.attributes
        attributes = _attributes(signed)
        if _CONTENT_TYPE not in attributes:
            return "the signed attributes lack a content type"
        if attributes.get(_MESSAGE_DIGEST) != HASHES[signature.digest](text).digest():
            return "the signed attributes hold another digest of the signature file"
    return signature_fault(
        signature.certificate.spki, signature.digest, signature.signature, signed
    )


def _too_new(signature: _Signature, min_sdk: int) -> str | None:
    """Return why an old platform refuses a signature that holds, None if it does not."""
    if signature.attributes is not None and min_sdk < ATTRIBUTES_SINCE:
        return f"platforms below API {ATTRIBUTES_SINCE} refuse signed attributes"
    kind = "EC" if signature.certificate.key_kind.startswith("P-") else "RSA"
    since = SINCE.get((signature.digest, kind), 1)
    if min_sdk < since:
        return f"platforms below API {since} refuse {kind} with {signature.digest}"
    return None


def _attributes(encoded: bytes) -> dict[bytes, bytes]:
    """Return the value of each attribute whose value is one OCTET STRING; of others nothing."""
    attributes: dict[bytes, bytes] = {}
    reader = DerReader(encoded).inside(SET, "signed attributes")
    while reader.peek() is not None:
        at = reader.offset
        attribute = reader.inside(SEQUENCE, "a signed attribute")
        kind = attribute.content(OID, "the kind of an attribute")
        if kind in attributes:
            raise ImageError("a signed attribute occurs twice", offset=at)
        values = attribute.inside(SET, "the values of an attribute")
        is_octets = values.peek() == OCTET_STRING
        attributes[kind] = values.content(OCTET_STRING, "a value") if is_octets else b""
    return attributes


def _manifest_faults(
    signed: JarManifest, path: str, manifest: JarManifest, *, verify: bool
) -> list[str]:
    """Return why a signature file does not vouch for the manifest."""
    faults = []
    whole = strongest(signed.main, "-digest-manifest")
    if whole is None or not whole.is_of(manifest.data):
        wrong = []
        for name, data in manifest.section_bytes.items():
            digest = signed.digests.get(name)
            if digest is None or not digest.is_of(data):
                wrong.append(name)
        main = strongest(signed.main, "-digest-manifest-main-attributes")
        if main is not None and not main.is_of(manifest.main_bytes):
            faults.append(f"{path} has another digest of the manifest's main attributes")
        if wrong or not manifest.digests:
            more = f", nor of {len(wrong)} of its sections (first: {wrong[0]!r})" if wrong else ""
            faults.append(f"{path} has no right digest of the manifest{more}")
    elif verify and (unnamed := manifest.names - signed.names):
        faults.append(f"{path} does not name {len(unnamed)} entries (first: {min(unnamed)!r})")
    return faults


def _stripped(signed: JarManifest, present: Collection[Scheme] | None) -> Iterator[str]:
    """Yield the schemes that a signature file announces and that are absent."""
    if present is None:
        return
    for number in signed.main.get("x-android-apk-signed", "").split(","):
        scheme = f"v{number.strip()}"
        if scheme in ("v2", "v3") and scheme not in present:
            yield f"a {scheme} signature was there and is missing"


def _entry_faults(archive: ZipArchive, manifest: JarManifest) -> list[str]:
    """Return which entries are not those of the manifest."""
    wanted = manifest.digests
    signed = [
        entry
        for name, entry in archive.entries.items()
        if not (name.endswith("/") or _OWN.fullmatch(name))
    ]
    told = [(entry, digest) for entry in signed if (digest := wanted.get(entry.name))]
    found = archive.digests((entry, HASHES[digest.algorithm]) for entry, digest in told)
    wrong = {entry.name for entry, digest in told if not digest.matches(found[entry.name])}
    faults = [f"{name!r} is there more than once" for name in sorted(archive.repeated)]
    for entry in signed:
        if not wanted.get(entry.name):
            if _needs_digest(entry.name):
                faults.append(f"{entry.name!r} has no digest in the manifest")
        elif entry.name in wrong:
            faults.append(f"{entry.name!r} is not the file that was signed")
    missing = manifest.names - archive.entries.keys()
    faults += [f"{name!r} was signed and is missing" for name in sorted(missing)]
    return faults


def _needs_digest(name: str) -> bool:
    """Say whether a file must be in the manifest.

    Android asks for no digest of what lies in META-INF, and knows no other spelling of it. What lies
    in folders there does need one here: apps load services from there.
    """
    return not name.startswith(_FOLDER) or "/" in name[len(_FOLDER) :]
