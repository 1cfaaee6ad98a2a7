"""The APK signing block: whole-file signatures by schemes v2, v3 and v3.1.

Layout; numbers are little-endian, ``lp(x)`` is a 32-bit length and then x::

    entries | signing block | central directory | end record

    block        u64 size | pairs | u64 size | "APK Sig Block 42"    size counts from the pairs on
    pair         u64 size of id and value | u32 id | value
    value        lp(signers), each lp(signer)
    v2 signer    lp(signed data) | lp(signatures) | lp(SubjectPublicKeyInfo)
    v3 signer    lp(signed data) | u32 min SDK | u32 max SDK | lp(signatures) | lp(SPKI)
    signed data  lp(digests) | lp(certificates) | v3: u32 min SDK, u32 max SDK | lp(attributes)
    digest       lp(u32 algorithm | lp(digest));  a signature alike
    certificate  lp(DER)
    attribute    lp(u32 id | value)

The content digest covers all but the block, the end record with the block's offset as that of the
central directory. Each of the three parts is cut into chunks of 1 MiB::

    digest of a chunk    H(A5 | u32 length | chunk)
    content digest       H(5A | u32 number of chunks | digests of all chunks)

Source: source.android.com, "APK Signature Scheme v2" and "v3"; ids from AOSP apksig.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.apk_signer import ApkSigner, Scheme, signature_fault
from rom_builder.formats.source import BytesSource, Slice, Source
from rom_builder.formats.x509 import Certificate, parse_certificate
from rom_builder.formats.zip import ZipArchive

MAGIC = b"APK Sig Block 42"
V2_ID = 0x7109871A
V3_ID = 0xF05368C0
V31_ID = 0x1B93AD61
SCHEMES: Mapping[int, Scheme] = {V2_ID: "v2", V3_ID: "v3", V31_ID: "v3.1"}
STRIPPING_PROTECTION_ID = 0xBEEFF00D
"""Attribute of a v2 signer: the later scheme that must be there too."""
ROTATION_ID = 0x3BA06F8C
"""Attribute of a v3 signer: proof of rotation, the lineage."""

CHUNK_SIZE = 1 << 20
MAX_BLOCK_SIZE = 64 << 20
"""Bytes of signing block that are read."""
MAX_SIGNERS = 10
"""More signers are refused, as by Android."""
MAX_LINEAGE = 100


class Algorithm(NamedTuple):
    """One signature algorithm; ``content`` is None where the digest is a Merkle tree's."""

    digest: str
    content: str | None
    pss: bool = False


RSA_PKCS1_SHA256 = 0x0103
ECDSA_SHA256 = 0x0201
ALGORITHMS: Mapping[int, Algorithm] = {
    0x0101: Algorithm("SHA-256", "sha256", pss=True),
    0x0102: Algorithm("SHA-512", "sha512", pss=True),
    RSA_PKCS1_SHA256: Algorithm("SHA-256", "sha256"),
    0x0104: Algorithm("SHA-512", "sha512"),
    ECDSA_SHA256: Algorithm("SHA-256", "sha256"),
    0x0202: Algorithm("SHA-512", "sha512"),
    0x0301: Algorithm("SHA-256", "sha256"),
    0x0421: Algorithm("SHA-256", None),
    0x0423: Algorithm("SHA-256", None),
    0x0425: Algorithm("SHA-256", None),
}
"""RSA-PSS, RSA PKCS#1 v1.5, ECDSA and DSA; the last three with a fs-verity content digest."""


class SigningBlock(NamedTuple):
    """Where a signing block lies and what it holds.

    Attributes:
        offset: Where it starts.
        pairs: Values by id.
        value_offsets: Where in the file each value starts, by id.
    """

    offset: int
    pairs: Mapping[int, bytes]
    value_offsets: Mapping[int, int]


class _Cursor:
    """Reads numbers and length-prefixed parts; offsets in errors are those of the file."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._position = 0
        self._offset = offset

    @property
    def more(self) -> bool:
        return self._position < len(self._data)

    @property
    def at(self) -> int:
        return self._offset + self._position

    def take(self, size: int) -> bytes:
        part = self._data[self._position : self._position + size]
        if len(part) != size:
            raise ImageError(f"{size} bytes do not fit into what holds them", offset=self.at)
        self._position += size
        return part

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._position)

    def part(self) -> bytes:
        """Read a length-prefixed part."""
        return self.take(self.u32())

    def inside(self) -> _Cursor:
        """Step over a length-prefixed part; return a cursor over its content."""
        size = self.u32()
        start = self.at
        return _Cursor(self.take(size), start)

    def items(self) -> Iterator[_Cursor]:
        """Step over a length-prefixed sequence; yield a cursor over each of its items."""
        sequence = self.inside()
        while sequence.more:
            yield sequence.inside()


def find_signing_block(archive: ZipArchive, source: Source) -> SigningBlock | None:
    """Return the signing block of an APK, None if it has none.

    Raises:
        ImageError: It is damaged.
    """
    end = archive.directory_offset
    if end < 32 or source.read_at(end - len(MAGIC), len(MAGIC)) != MAGIC:
        return None
    size = int.from_bytes(source.read_at(end - 24, 8), "little")
    if not 24 <= size <= min(end - 8, MAX_BLOCK_SIZE):
        raise ImageError(f"the APK signing block cannot have {size} bytes", offset=end - 24)
    offset = end - size - 8
    cursor = _Cursor(source.read_at(offset, size - 16), offset)
    if cursor.u64() != size:
        raise ImageError("the two sizes of the APK signing block differ", offset=offset)
    pairs: dict[int, bytes] = {}
    value_offsets: dict[int, int] = {}
    while cursor.more:
        at = cursor.at
        pair_size = cursor.u64()
        pair = cursor.take(pair_size)
        kind = int.from_bytes(pair[:4], "little")
        if pair_size < 4 or (kind in pairs and kind in SCHEMES):
            raise ImageError("a pair of the APK signing block is damaged or double", offset=at)
        pairs[kind] = pair[4:]
        value_offsets[kind] = at + 12
    return SigningBlock(offset, pairs, value_offsets)


def read_block_signers(
    archive: ZipArchive,
    source: Source,
    block: SigningBlock,
    *,
    verify: bool = False,
    known: Collection[Scheme] = tuple(SCHEMES.values()),
) -> tuple[ApkSigner, ...]:
    """Return the signers of a signing block, v2 before v3 before v3.1.

    Args:
        archive: The APK.
        source: Its bytes.
        block: From :func:`find_signing_block`.
        verify: Check signatures, lineages and the digest of the whole file.
        known: Schemes that the platform knows; others are not read, nor missed if they were stripped.

    Raises:
        ImageError: A part of a signer is damaged.
    """
    schemes = frozenset(
        name for kind, name in SCHEMES.items() if kind in block.pairs or name not in known
    )
    contents = _Contents(archive, source, block) if verify else None
    signers: list[ApkSigner] = []
    for kind, scheme in SCHEMES.items():
        if kind not in block.pairs or scheme not in known:
            continue
        cursor = _Cursor(block.pairs[kind], block.value_offsets[kind])
        before = len(signers)
        for signer in cursor.items():
            if len(signers) - before == MAX_SIGNERS:
                raise ImageError(f"more than {MAX_SIGNERS} {scheme} signers", offset=cursor.at)
            signers.append(_read_signer(signer, scheme, schemes, contents))
        if len(signers) == before:
            raise ImageError(f"the {scheme} signature has no signer", offset=cursor.at)
    return tuple(signers)


class _Contents:
    """The content digests of an APK, each computed once."""

    def __init__(self, archive: ZipArchive, source: Source, block: SigningBlock) -> None:
        end = source.read_at(archive.eocd_offset, source.size - archive.eocd_offset)
        end = end[:16] + block.offset.to_bytes(4, "little") + end[20:]
        directory_size = archive.eocd_offset - archive.directory_offset
        self._parts: tuple[Source, ...] = (
            Slice(source, 0, block.offset),
            Slice(source, archive.directory_offset, directory_size),
            BytesSource(end),
        )
        self._digests: dict[str, bytes] = {}

    def digest(self, algorithm: str) -> bytes:
        if algorithm not in self._digests:
            self._digests[algorithm] = content_digest(self._parts, algorithm)
        return self._digests[algorithm]


def content_digest(parts: tuple[Source, ...], algorithm: str = "sha256") -> bytes:
    """Return the digest that covers an APK.

    Args:
        parts: The entries, the central directory, the end record.
        algorithm: ``sha256`` or ``sha512``.
    """
    digests = []
    for part in parts:
        for offset in range(0, part.size, CHUNK_SIZE):
            chunk = part.read_at(offset, min(CHUNK_SIZE, part.size - offset))
            hasher = hashlib.new(algorithm, b"\xa5" + len(chunk).to_bytes(4, "little"))
            hasher.update(chunk)
            digests.append(hasher.digest())
    count = len(digests).to_bytes(4, "little")
    return hashlib.new(algorithm, b"\x5a" + count + b"".join(digests)).digest()


def _read_signer(
    signer: _Cursor, scheme: Scheme, schemes: frozenset[Scheme], contents: _Contents | None
) -> ApkSigner:
    at = signer.at
    signed_data = signer.part()
    levels = None if scheme == "v2" else (signer.u32(), signer.u32())
    signatures = {item.u32(): item.part() for item in signer.items()}
    spki = signer.part()

    signed = _Cursor(signed_data, at + 4)
    digests = {item.u32(): item.part() for item in signed.items()}
    # An item of the sequence of certificates is the certificate, without a second length.
    certificates = tuple(_certificate(item) for item in signed.items())
    if not certificates:
        raise ImageError(f"the {scheme} signer has no certificate", offset=at)
    signed_levels = None if scheme == "v2" else (signed.u32(), signed.u32())
    attributes = {item.u32(): item for item in signed.items()}

    faults = []
    if list(signatures) != list(digests):
        faults.append("digests and signatures have different algorithms")
    if levels != signed_levels:
        faults.append("the SDK levels are not those that were signed")
    if certificates[0].spki != spki:
        faults.append("the public key is not that of the certificate")
    if STRIPPING_PROTECTION_ID in attributes and "v3" not in schemes:
        later = attributes[STRIPPING_PROTECTION_ID].u32()
        if later == 3:
            faults.append("a v3 signature was there and is missing")
    lineage: tuple[Certificate, ...] = ()
    if scheme != "v2" and ROTATION_ID in attributes:
        lineage, lineage_faults = _read_lineage(attributes[ROTATION_ID], verify=bool(contents))
        faults += lineage_faults
        if certificates[0].der not in [other.der for other in lineage]:
            faults.append("the lineage does not have the signer's certificate")
    if contents is not None:
        faults += _verify(signed_data, signatures, digests, spki, contents)
    known = [ALGORITHMS[number].digest for number in signatures if number in ALGORITHMS]
    return ApkSigner(
        scheme=scheme,
        certificates=certificates,
        digest_algorithms=tuple(dict.fromkeys(known)),
        lineage=lineage,
        min_sdk=levels[0] if levels else None,
        max_sdk=levels[1] if levels else None,
        faults=tuple(f"{scheme}: {fault}" for fault in faults),
        verified=contents is not None,
    )


def _certificate(item: _Cursor) -> Certificate:
    at = item.at
    try:
        return parse_certificate(item.rest())
    except ImageError as error:
        raise ImageError(error.message, offset=at) from error


def _verify(
    signed_data: bytes,
    signatures: Mapping[int, bytes],
    digests: Mapping[int, bytes],
    spki: bytes,
    contents: _Contents,
) -> Iterator[str]:
    """Yield why a signer does not vouch for the file; checks every algorithm that is known."""
    known = [number for number in signatures if number in ALGORITHMS]
    if not any(ALGORITHMS[number].content for number in known):
        yield "no signature of a known algorithm over the whole file"
    for number in known:
        algorithm = ALGORITHMS[number]
        fault = signature_fault(
            spki, algorithm.digest, signatures[number], signed_data, pss=algorithm.pss
        )
        if fault:
            yield f"algorithm {number:#06x}: {fault}"
        content = algorithm.content
        if content and digests.get(number) != contents.digest(content):
            yield f"algorithm {number:#06x}: the file is not the one that was signed"


def _read_lineage(attribute: _Cursor, *, verify: bool) -> tuple[tuple[Certificate, ...], list[str]]:
    """Return the certificates of a proof of rotation, oldest first, and what is wrong with it.

    u32 version 1, then for each certificate lp(lp(signed) | u32 flags | u32 algorithm |
    lp(signature)), with signed = lp(DER) | u32 algorithm. The key before signs a node; the
    algorithm inside a node is that of its signature.
    """
    at = attribute.at
    version = attribute.u32()
    if version != 1:
        raise ImageError(f"proof of rotation of version {version}, only 1 is read", offset=at)
    lineage: list[Certificate] = []
    faults: list[str] = []
    algorithm_before = 0
    while attribute.more:
        if len(lineage) == MAX_LINEAGE:
            raise ImageError(f"more than {MAX_LINEAGE} rotations", offset=attribute.at)
        node = attribute.inside()
        start = node.at
        signed_data = node.part()
        node.u32()
        algorithm_after = node.u32()
        signature = node.part()
        signed = _Cursor(signed_data, start + 4)
        certificate = _certificate(signed.inside())
        signed_algorithm = signed.u32()
        if lineage and verify:
            known = ALGORITHMS.get(algorithm_before)
            if known is None or signed_algorithm != algorithm_before:
                faults.append(f"rotation {len(lineage)} is signed with an unknown algorithm")
            elif fault := signature_fault(
                lineage[-1].spki, known.digest, signature, signed_data, pss=known.pss
            ):
                faults.append(f"rotation {len(lineage)}: {fault}")
        algorithm_before = algorithm_after
        lineage.append(certificate)
    return tuple(lineage), faults
