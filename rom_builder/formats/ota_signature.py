"""Whole-file signature of an OTA zip: what ``signapk -w`` writes and recovery checks.

The signature lies in the zip's archive comment. Layout from the end of the central directory on:

=====================  ====================================================================
bytes                  content
=====================  ====================================================================
20                     end of central directory (EOCD) up to its comment length: signed
2                      comment length, little-endian: the first byte that is not signed
18                     text that names the signer and ends in NUL
n                      CMS SignedData in DER (:mod:`rom_builder.formats.cms`)
2                      signature start = n + 6: from the end of the file back to the CMS, LE
2                      ``FF FF``
2                      comment length again, little-endian
=====================  ====================================================================

Source: ``verify_file`` in AOSP bootable/recovery ``otautil/verifier.cpp`` and ``signWholeFile`` in
AOSP build ``tools/signapk``. Recovery takes nothing from the comment but the position of the
signature and the signature's octets; :mod:`rom_builder.formats.ota_verify` also refuses every other byte
that is not as its signer wrote it, so that no byte of a verified package is free.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.otacert import (
    RecoveryDigest,
)
from rom_builder.formats.source import Source

FOOTER_SIZE = 6
EOCD_SIZE = 22
EOCD_MAGIC = b"PK\x05\x06"
COMMENT_LIMIT = 0xFFFF
"""Longest archive comment; its length is a 16-bit field."""

SIGNAPK_TEXT = b"signed by SignApk\0"
KNOWN_TEXTS = (SIGNAPK_TEXT, b"signed by avbroot\0")
"""What the tools in use write before the CMS."""

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class OtaSignature:
    """Where a whole-file signature lies.

    Attributes:
        signed_size: Bytes from the start of the file that the signature covers.
        comment_size: Bytes of the archive comment, footer included, by the footer's word.
        cms_offset: Where in the file the CMS starts.
        text: What the comment holds before the CMS.
        cms: The CMS in DER.
    """

    signed_size: int
    comment_size: int
    cms_offset: int
    text: bytes
    cms: bytes


def parse_ota_signature(source: Source) -> OtaSignature | None:
    """Find a package's whole-file signature by recovery's rules.

    Returns:
        None where recovery would see no whole-file signature: no footer, a signature start or
        comment size out of range, no EOCD exactly where the footer says, or a second EOCD magic
        after it.
    """
    if source.size < FOOTER_SIZE:
        return None
    start, marker, comment_size = struct.unpack(
        "<H2sH", source.read_at(source.size - FOOTER_SIZE, FOOTER_SIZE)
    )
    if marker != b"\xff\xff" or not FOOTER_SIZE < start <= comment_size:
        return None
    eocd_offset = source.size - comment_size - EOCD_SIZE
    if eocd_offset < 0:
        return None
    eocd = source.read_at(eocd_offset, EOCD_SIZE + comment_size)
    if not eocd.startswith(EOCD_MAGIC) or eocd.find(EOCD_MAGIC, 4) != -1:
        return None
    return OtaSignature(
        signed_size=eocd_offset + EOCD_SIZE - 2,
        comment_size=comment_size,
        cms_offset=source.size - start,
        text=eocd[EOCD_SIZE:-start],
        cms=eocd[-start:-FOOTER_SIZE],
    )


def signed_size(source: Source) -> int:
    """Return how many bytes the signature of a package covers, signed already or not.

    Raises:
        ImageError: Not a zip, or one with an archive comment that is not a signature.
    """
    signature = parse_ota_signature(source)
    if signature is not None:
        return signature.signed_size
    start = source.size - EOCD_SIZE
    if (
        start < 0
        or source.read_at(start, 4) != EOCD_MAGIC
        or source.read_at(start + 20, 2) != b"\0\0"
    ):
        raise ImageError("not a zip without archive comment", offset=max(start, 0))
    return source.size - 2


def signed_digest(source: Source, algorithm: RecoveryDigest = "sha256") -> bytes:
    """Hash what a package's whole-file signature covers, without holding it in memory.

    Raises:
        ImageError: See :func:`signed_size`.
    """
    digest = hashlib.new(algorithm, usedforsecurity=algorithm != "sha1")
    size = signed_size(source)
    for offset in range(0, size, _CHUNK):
        digest.update(source.read_at(offset, min(_CHUNK, size - offset)))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class PackageDigests:
    """SHA-256 of a package.

    Attributes:
        signed: Of what its whole-file signature covers.
        file: Of the whole file.
    """

    signed: bytes
    file: bytes


def digests_of(source: Source) -> PackageDigests:
    """Hash a package, reading it once.

    Raises:
        ImageError: See :func:`signed_size`.
    """
    digest = hashlib.sha256()
    size = signed_size(source)
    for offset in range(0, size, _CHUNK):
        digest.update(source.read_at(offset, min(_CHUNK, size - offset)))
    signed = digest.digest()
    digest.update(source.read_at(size, source.size - size))
    return PackageDigests(signed, digest.digest())


def comment_for(cms: bytes) -> bytes:
    """Return the archive comment that carries a signature.

    A signed package is ``package[:signed_size] + struct.pack("<H", len(comment)) + comment``.

    Raises:
        SigningError: Longer than an archive comment can be, or it happens to hold an EOCD magic,
            which recovery refuses; both need another certificate (the magic: another serial number
            may do).
    """
    size = len(SIGNAPK_TEXT) + len(cms) + FOOTER_SIZE
    if size > COMMENT_LIMIT:
        raise SigningError(
            f"the signature needs an archive comment of {size} bytes, {COMMENT_LIMIT} are possible",
            hint="use a smaller certificate",
        )
    footer = struct.pack("<H2sH", len(cms) + FOOTER_SIZE, b"\xff\xff", size)
    comment = SIGNAPK_TEXT + cms + footer
    if EOCD_MAGIC in comment:
        raise SigningError(
            "the signature holds the bytes 'PK\\5\\6', which recovery refuses",
            hint="change any byte of the package, for example its time stamp, or the certificate",
        )
    return comment
