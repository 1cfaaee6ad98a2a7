"""Sign an APK with schemes v2 and v3; the layout is that of :mod:`.apk_signing_block`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.apk_signer import signature_fault
from rom_builder.formats.apk_signing_block import (
    ECDSA_SHA256,
    MAGIC,
    RSA_PKCS1_SHA256,
    STRIPPING_PROTECTION_ID,
    V2_ID,
    V3_ID,
    content_digest,
    find_signing_block,
)
from rom_builder.formats.source import BytesSource, Slice
from rom_builder.formats.x509 import Certificate, parse_certificate
from rom_builder.formats.zip import ZipArchive

V3_MIN_SDK = 28
"""Android 9, the first to read v3."""
V3_MAX_SDK = 0x7FFFFFFF


def sign_apk(unsigned: bytes, certificate: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Return an APK with a v2 and a v3 signature, for Android 7 and later.

    The same APK, certificate and signatures give the same bytes; each signature is verified before
    it is used.

    Args:
        unsigned: A zip archive without a signing block.
        certificate: The signer's certificate, DER or PEM; its key is RSA, P-256 or P-384.
        sign: Returns the signature over a SHA-256 digest: RSA PKCS#1 v1.5, or the DER of an ECDSA
            one.

    Raises:
        ImageError: The archive or the certificate is damaged, or there is a signing block already.
        SigningError: The key is of another kind, or a signature is not that of the certificate.
    """
    archive, signer, v2, v3 = _signed_data(unsigned, certificate)
    start, end = archive.directory_offset, archive.eocd_offset
    pairs = _pair(V2_ID, _signed(v2, b"", signer, sign))
    pairs += _pair(V3_ID, _signed(v3, _LEVELS, signer, sign))
    size = (len(pairs) + 24).to_bytes(8, "little")
    block = size + pairs + size + MAGIC
    moved = _u32(start + len(block))
    return unsigned[:start] + block + unsigned[start : end + 16] + moved + unsigned[end + 20 :]


def digests_to_sign(unsigned: bytes, certificate: bytes) -> tuple[bytes, bytes]:
    """Return the SHA-256 digests that :func:`sign_apk` asks to be signed: for v2, for v3.

    Raises:
        ImageError: As :func:`sign_apk`.
        SigningError: The key is of another kind.
    """
    _, _, v2, v3 = _signed_data(unsigned, certificate)
    return hashlib.sha256(v2).digest(), hashlib.sha256(v3).digest()


def _signed_data(
    unsigned: bytes, certificate: bytes
) -> tuple[ZipArchive, Certificate, bytes, bytes]:
    """Return the archive, the signer, and what its signatures of v2 and v3 cover."""
    source = BytesSource(unsigned)
    archive = ZipArchive(source)
    if find_signing_block(archive, source):
        raise ImageError("the APK has a signing block already", offset=archive.directory_offset)
    signer = parse_certificate(certificate)
    start, end = archive.directory_offset, archive.eocd_offset
    parts = (Slice(source, 0, start), Slice(source, start, end - start))
    digest = content_digest((*parts, Slice(source, end, source.size - end)))

    digests = _lp(_lp(_u32(_algorithm(signer)) + _lp(digest)))
    certificates = _lp(_lp(signer.der))
    attributes = _lp(_lp(_u32(STRIPPING_PROTECTION_ID) + _u32(3)))
    common = digests + certificates
    return archive, signer, common + attributes, common + _LEVELS + _lp(b"")


def _algorithm(signer: Certificate) -> int:
    if signer.key_kind.startswith("RSA-"):
        return RSA_PKCS1_SHA256
    if signer.key_kind in ("P-256", "P-384"):
        return ECDSA_SHA256
    raise SigningError(
        f"APKs are signed with RSA, P-256 or P-384, not with a {signer.key_kind} key"
    )


def _signed(
    signed_data: bytes, levels: bytes, signer: Certificate, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return the value of one scheme with its only signer."""
    signature = sign(hashlib.sha256(signed_data).digest())
    fault = signature_fault(signer.spki, "SHA-256", signature, signed_data)
    if fault:
        raise SigningError(f"{signer.subject}: {fault}")
    signatures = _lp(_lp(_u32(_algorithm(signer)) + _lp(signature)))
    return _lp(_lp(_lp(signed_data) + levels + signatures + _lp(signer.spki)))


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _lp(data: bytes) -> bytes:
    return _u32(len(data)) + data


def _pair(kind: int, value: bytes) -> bytes:
    return (len(value) + 4).to_bytes(8, "little") + _u32(kind) + value


_LEVELS = _u32(V3_MIN_SDK) + _u32(V3_MAX_SDK)
